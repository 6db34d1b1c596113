export type Platform = 'express' | 'fastify';

/** Each group is a place where sessions are kept, and can be selected by its name. */
export type Group = 'postgres' | 'redis' | 'memory' | 'encrypted' | 'signed' | 'file' | 'cached';

/** An application under measurement: Nest on a platform, with a library that keeps its sessions. */
export interface Contestant {
  platform: Platform;
  /** A module in `libraries/`, and what it calls this library. `bare` has no sessions. */
  group: Group | 'bare';
  library: string;
  /** Two libraries of the group that its cost is a multiple of: the one that is used today, and the one by hand. */
  peer?: string;
  floor?: string;
}

export const BARE = 'bare';

export const contestants: readonly Contestant[] = [
  // Twice, in processes of their own: how far they are apart is how far two equal applications are apart.
  ...both('bare', BARE),
  ...both('bare', 'bare again'),
  ...both('postgres', 'databaseEngine', { peer: 'connect-pg-simple', floor: 'pg by hand' }),
  ...both('postgres', 'connect-pg-simple'),
  on('express', 'postgres', 'connect-pg-simple, disableTouch'),
  ...both('postgres', 'pg by hand'),
  ...both('redis', 'redisEngine, node-redis', { peer: 'connect-redis', floor: 'node-redis by hand' }),
  ...both('redis', 'redisEngine, ioredis', { peer: 'connect-redis', floor: 'ioredis by hand' }),
  ...both('redis', 'connect-redis'),
  ...both('redis', 'node-redis by hand'),
  ...both('redis', 'ioredis by hand'),
  on('express', 'memory', 'memoryEngine', { peer: 'memorystore', floor: 'a Map by hand' }),
  on('fastify', 'memory', 'memoryEngine', { peer: '@fastify/session', floor: 'a Map by hand' }),
  on('express', 'memory', 'memorystore'),
  on('express', 'memory', 'MemoryStore of express-session'),
  on('fastify', 'memory', '@fastify/session'),
  ...both('memory', 'a Map by hand'),
  on('express', 'encrypted', 'cookieEngine', { peer: 'iron-session', floor: 'AES-GCM by hand' }),
  on('fastify', 'encrypted', 'cookieEngine', { peer: '@fastify/secure-session', floor: 'AES-GCM by hand' }),
  on('express', 'encrypted', 'iron-session'),
  on('fastify', 'encrypted', '@fastify/secure-session'),
  ...both('encrypted', 'AES-GCM by hand'),
  ...both('signed', 'cookieEngine, signedOnly', { peer: 'cookie-session' }),
  on('express', 'signed', 'cookie-session'),
  on('express', 'file', 'fileEngine', { peer: 'session-file-store' }),
  on('express', 'file', 'session-file-store'),
  on('express', 'cached', 'databaseEngine'),
  on('express', 'cached', 'cachedDatabaseEngine', { peer: 'databaseEngine' }),
  on('express', 'cached', 'cachedDatabaseEngine, 10 min', { peer: 'databaseEngine' }),
];

type Compared = Pick<Contestant, 'peer' | 'floor'>;

function both(group: Contestant['group'], library: string, compared?: Compared): Contestant[] {
  return (['express', 'fastify'] as const).map((platform) => on(platform, group, library, compared));
}

function on(
  platform: Platform,
  group: Contestant['group'],
  library: string,
  compared?: Compared,
): Contestant {
  return { platform, group, library, ...compared };
}

/** What a request does with its session; each is a path of every application. */
export const uses = ['untouched', 'read', 'write'] as const;
export type Use = (typeof uses)[number];

/** Seconds: all libraries are told the same. */
export const COOKIE_AGE = 14 * 24 * 3600;

export interface VisitorData {
  name: string;
  turn: number;
  cart: object;
}

/** About 1 KB as JSON: a name, a number, and a cart with nested items. */
export function visitorData(): VisitorData {
  const items = Array.from({ length: 11 }, (_, index) => ({
    sku: `SKU-${1000 + index}`,
    title: `Thing number ${index} of many`,
    quantity: 1 + (index % 3),
    price: 19.9,
  }));
  return { name: 'Ada Lovelace', turn: 0, cart: { currency: 'EUR', items } };
}
