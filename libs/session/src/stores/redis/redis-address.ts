import { SessionConfigError } from '../../session.errors.js';

/** Where Redis is, for a client that the store opens and closes itself. One of `url`, `cluster`, `sentinel`. */
export interface ClientWanted {
  /** A single node: `redis://[user:password@]host[:port][/database]`, `rediss://` for TLS. */
  url?: string;
  /** URLs of some nodes of a Redis Cluster, the more the better. User, password and TLS are those of the first. */
  cluster?: readonly string[];
  /** Sentinels as `host:port`, and the name by which they know the primary. */
  sentinel?: { name: string; nodes: readonly string[] };
  /** Handed to the client's constructor, above what the store sets. Alone it means a single node: `{ host, port }`. */
  options?: object;
  /**
   * Which package to use.
   * @default ioredis if it is installed, for it takes less time per command, or else redis
   */
  library?: RedisLibrary;
}

export type RedisLibrary = 'ioredis' | 'redis';

/** @throws SessionConfigError, which does not quote it, for it may hold a password */
export function parseRedisUrl(option: string, url: string): URL {
  let parsed: URL | undefined;
  try {
    parsed = new URL(url);
  } catch {
    // Falls through.
  }
  if (parsed?.protocol === 'redis:' || parsed?.protocol === 'rediss:') return parsed;
  throw new SessionConfigError(
    option,
    'is no Redis URL. It looks like redis://user:password@host:6379/0, or rediss:// for TLS.',
  );
}

export function parseNode(option: string, node: string): { host: string; port: number } {
  const [, host, port] = /^\[?(.+?)\]?:(\d{1,5})$/.exec(node) ?? [];
  if (host !== undefined) return { host, port: Number(port) };
  throw new SessionConfigError(option, 'has to be a host and a port, such as "sentinel-1:26379".');
}

/** What all nodes of a cluster are reached with. */
export function credentialsOf([first = '']: readonly string[]): {
  username?: string;
  password?: string;
  tls?: true;
} {
  const { username, password, protocol } = parseRedisUrl('cluster[0]', first);
  return {
    ...(username !== '' && { username: decodeURIComponent(username) }),
    ...(password !== '' && { password: decodeURIComponent(password) }),
    ...(protocol === 'rediss:' && { tls: true }),
  };
}
