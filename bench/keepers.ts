import { type Keeping } from './application.js';
import { type Keeper, type Places } from './contestants.js';
import { BareController } from './controllers.js';

/** Imported where they are wanted only: nobody carries the libraries of the others. */
export const keepers: Record<Keeper, (places: Places) => Promise<Keeping>> = {
  none: async () => ({ controller: BareController }),
  'nest-sessions': async (places) => (await import('./keepers/postgres.js')).ours(places),
  databaseEngine: async (places) => (await import('./keepers/postgres.js')).ours(places),
  'cachedDatabaseEngine, Redis': async (places) => (await import('./keepers/postgres.js')).oursCached(places),
  'cachedDatabaseEngine, Redis, 10 min': async (places) =>
    (await import('./keepers/postgres.js')).oursCached(places, '10m'),
  'express-session': async (places) => (await import('./keepers/postgres.js')).pgSimple(places, false),
  'express-session, disableTouch': async (places) =>
    (await import('./keepers/postgres.js')).pgSimple(places, true),
  'redisEngine, ioredis': async (places) => (await import('./keepers/redis.js')).ours(places, 'ioredis'),
  'redisEngine, node-redis': async (places) => (await import('./keepers/redis.js')).ours(places, 'redis'),
  'connect-redis': async (places) => (await import('./keepers/redis.js')).connectRedis(places),
  fileEngine: async (places) => (await import('./keepers/file.js')).ours(places),
  'session-file-store': async (places) => (await import('./keepers/file.js')).sessionFileStore(places),
  memoryEngine: async () => (await import('./keepers/memory.js')).ours(),
  memorystore: async () => (await import('./keepers/memory.js')).memorystore(),
  'cookieEngine, encrypted': async () => (await import('./keepers/cookie.js')).ours(false),
  'cookieEngine, signed': async () => (await import('./keepers/cookie.js')).ours(true),
  'cookie-session': async () => (await import('./keepers/cookie.js')).signedCookie(),
  'iron-session': async () => (await import('./keepers/iron-session.js')).ironSession(),
};
