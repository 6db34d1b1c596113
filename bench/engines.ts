/**
 * What sessions cost a request with each engine, beside the library that keeps its sessions in the same place. All on
 * Express. See docs/benchmarks.md.
 */
import { type Contestant, type Keeper } from './contestants.js';
import { run } from './run.js';

/** Engines and their peers stand together: they are measured directly after one another. */
await run(
  [
    onExpress('none'),
    onExpress('redisEngine, ioredis', 'connect-redis'),
    onExpress('redisEngine, node-redis', 'connect-redis'),
    onExpress('connect-redis', 'connect-redis'),
    onExpress('fileEngine', 'session-file-store'),
    onExpress('session-file-store', 'session-file-store'),
    onExpress('cookieEngine, encrypted', 'iron-session'),
    onExpress('iron-session', 'iron-session'),
    onExpress('cookieEngine, signed', 'cookie-session'),
    onExpress('cookie-session', 'cookie-session'),
    onExpress('memoryEngine', 'memorystore'),
    onExpress('memorystore', 'memorystore'),
    onExpress('databaseEngine'),
    onExpress('cachedDatabaseEngine, Redis'),
    onExpress('cachedDatabaseEngine, Redis, 10 min'),
  ],
  { needsRedis: true, rounds: 11, warmUpRounds: 6, requests: 300 },
);

function onExpress(keeper: Keeper, peer?: Keeper): Contestant {
  return { platform: 'express', keeper, ...(peer && { peer }) };
}
