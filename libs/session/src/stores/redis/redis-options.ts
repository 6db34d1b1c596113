import { SessionConfigError } from '../../session.errors.js';
import { type EncryptionOptions } from '../sealing.js';
import { checkSecrets } from '../secrets.js';
import { type IoRedisClient, isIoRedis, isNodeRedis, type NodeRedisClient } from './redis-clients.js';
import { type ReplicaWait } from './redis-connection.js';

/** The options of `RedisStore`. Every member may be left out. */
export interface RedisStoreOptions {
  /**
   * The prefix of all keys, so that other things can live in the same Redis. No braces.
   * @default 'session:'
   */
  prefix?: string;
  /**
   * Makes each end (logout, revocation, rotation) wait until this many replicas have it, and fail if that takes too long.
   * Redis replicates asynchronously, so without this a fail-over can bring back a session that ended a moment before.
   * It needs a second connection, which the first end opens.
   * @default none: an end is done when the primary has it
   *
   * @example
   * ```ts
   * waitForReplicas: { replicas: 1, timeout: 500 } // milliseconds
   * ```
   */
  waitForReplicas?: ReplicaWait;
  /**
   * Encrypts data and metadata. User ids, session ids and deadlines stay readable, because Redis works with them.
   * @default off
   */
  encryption?: EncryptionOptions;
}

/** The application's own client, which the store uses and never closes. */
export interface ClientGiven {
  /**
   * A client of `ioredis` (`new Redis()`, `new Cluster()`) or `redis` (`createClient()`, `createCluster()`,
   * `createSentinel()`).
   */
  client: IoRedisClient | NodeRedisClient;
}

/** Where Redis is, for a client that the store opens and closes itself: `url`, `cluster` or `sentinel`. */
export interface ClientWanted {
  /** A single node: `redis://[user:password@]host[:port][/database]`, `rediss://` for TLS. */
  url?: string;
  /** URLs of some nodes of a Redis Cluster, the more the better. User, password and TLS are those of the first. */
  cluster?: readonly string[];
  /** Sentinels as `host:port`, and the name by which they know the primary. */
  sentinel?: {
    /** The name by which the sentinels know the primary, such as `mymaster`. */
    name: string;
    /** `host:port` of some sentinels. */
    nodes: readonly string[];
  };
  /** Options of the client, which override the store's. Alone they mean a single node: `{ host, port }`. */
  options?: object;
  /**
   * Which package to use.
   * @default ioredis if it is installed, because it takes less time per command; otherwise redis
   */
  library?: RedisLibrary;
}

/** The two packages that reach Redis. */
export type RedisLibrary = 'ioredis' | 'redis';

/** What `redisEngine` takes: where Redis is, or a client, and the options of the store. */
export type RedisEngineOptions = RedisStoreOptions & (ClientGiven | ClientWanted);

/** @throws SessionConfigError */
export function resolveStoreOptions({
  prefix = 'session:',
  waitForReplicas,
}: RedisStoreOptions): Required<Pick<RedisStoreOptions, 'prefix'>> &
  Pick<RedisStoreOptions, 'waitForReplicas'> {
  if (typeof prefix !== 'string' || /[{}]/.test(prefix)) {
    throw new SessionConfigError(
      'prefix',
      'has to be a string without braces, because in a cluster they decide where a key lives.',
    );
  }
  if (waitForReplicas === undefined) return { prefix };
  for (const name of ['replicas', 'timeout'] as const) {
    const value: unknown = waitForReplicas[name];
    if (!Number.isSafeInteger(value) || Number(value) < 1) {
      // A timeout of 0 would mean for ever.
      throw new SessionConfigError(`waitForReplicas.${name}`, 'must be a whole number of at least 1.');
    }
  }
  return { prefix, waitForReplicas };
}

/** @throws SessionConfigError for what can be seen without a connection */
export function checkEngineOptions(options: RedisEngineOptions): void {
  resolveStoreOptions(options);
  // Before there is a connection that would have to be closed again.
  if (options.encryption !== undefined) checkSecrets(options.encryption.secrets, 'encryption.secrets');
  if ('client' in options) return checkClient(options.client);
  const { url, cluster, sentinel, library } = options;
  if (url === undefined && cluster === undefined && sentinel === undefined && options.options === undefined) {
    throw new SessionConfigError(
      'url',
      'is missing. Say where Redis is: by "url", "cluster", "sentinel", "options" or "client".',
    );
  }
  if ([url, cluster, sentinel].filter((place) => place !== undefined).length > 1) {
    throw new SessionConfigError(
      'url',
      'is given with another of "url", "cluster" and "sentinel". Keep one of them.',
    );
  }
  if (url !== undefined) parseRedisUrl('url', url);
  if (cluster !== undefined) {
    if (cluster.length === 0)
      throw new SessionConfigError('cluster', 'is empty. Give the URL of at least one node.');
    cluster.forEach((node, index) => parseRedisUrl(`cluster[${index}]`, node));
  }
  sentinel?.nodes.forEach((node, index) => parseNode(`sentinel.nodes[${index}]`, node));
  if (sentinel !== undefined && (sentinel.nodes.length === 0 || sentinel.name === '')) {
    throw new SessionConfigError(
      'sentinel',
      'needs the "name" of the primary and at least one of the "nodes".',
    );
  }
  if (library !== undefined && library !== 'ioredis' && library !== 'redis') {
    throw new SessionConfigError('library', 'has to be "ioredis" or "redis".');
  }
}

function checkClient(client: unknown): void {
  if (isIoRedis(client) || isNodeRedis(client)) return;
  throw new SessionConfigError(
    'client',
    'is a client of neither "ioredis" nor "redis". Pass a client that one of them made.',
  );
}

/** A client that puts something before all keys by itself. What the store says to Redis in scripts would name other keys. */
export function keyPrefixRefused(library: string): SessionConfigError {
  return new SessionConfigError(
    'prefix',
    `has to be set here, and the ${library} client has a "keyPrefix". Remove "keyPrefix" from the client (or give the sessions a separate client if other code needs it).`,
  );
}

/** @throws SessionConfigError, which does not quote it, because it may hold a password */
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
    'is not a Redis URL. Write it like redis://user:password@host:6379/0, or rediss:// for TLS.',
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
