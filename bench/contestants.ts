export type Platform = 'express' | 'fastify';

/** Who keeps the sessions of an application. `express-session` alone is with connect-pg-simple. */
export type Keeper =
  | 'none'
  | 'nest-sessions'
  | 'express-session'
  | 'express-session, disableTouch'
  | 'databaseEngine'
  | 'cachedDatabaseEngine, Redis'
  | 'cachedDatabaseEngine, Redis, 10 min'
  | 'redisEngine, ioredis'
  | 'redisEngine, node-redis'
  | 'connect-redis'
  | 'fileEngine'
  | 'session-file-store'
  | 'memoryEngine'
  | 'memorystore'
  | 'cookieEngine, encrypted'
  | 'iron-session'
  | 'cookieEngine, signed'
  | 'cookie-session';

export interface Contestant {
  platform: Platform;
  keeper: Keeper;
  /** Whose time on Express its own is a multiple of. */
  peer?: Keeper;
}

/** Where sessions may be kept during one run. All of it is gone afterwards. */
export interface Places {
  postgres: string;
  redis: { url: string; prefix: string };
  directory: string;
}

/** What a request does with its session; each is a path of every contestant. */
export const uses = ['untouched', 'read', 'write'] as const;
export type Use = (typeof uses)[number];

/** Connections to the database that each contestant may open. */
export const POOL_SIZE = 10;

/** Seconds: all libraries are told the same. */
export const COOKIE_AGE = 14 * 24 * 3600;

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

export interface VisitorData {
  name: string;
  turn: number;
  cart: object;
}
