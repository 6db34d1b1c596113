import { Logger } from '@nestjs/common';
import type { Cache } from 'cache-manager';
import ms from 'ms';
import { SessionConfigError } from '../../session.errors.js';
import { databaseEngine, type DatabaseEngineOptions } from '../database/database-engine.js';
import { checkEngineOptions, type ClientGiven, type ClientWanted } from '../redis/redis-options.js';
import { type EncryptionOptions } from '../sealing.js';
import { type EngineFactory, type SessionEngine } from '../session-engine.js';
import { type SessionStore } from '../session-store.js';
import { CachedDatabaseStore } from './cached-database-store.js';
import { ManagerCache, ProcessCache, type RecordCache, RedisCache } from './record-cache.js';

/** What `cachedDatabaseEngine` takes. Every member may be left out. */
export interface CachedDatabaseEngineOptions {
  /** The options of `databaseEngine`, except the encryption, which the cache shares. */
  database?: Omit<DatabaseEngineOptions, 'encryption'>;
  /**
   * Encrypts data and metadata, in the database and in the cache.
   * @default off
   */
  encryption?: EncryptionOptions;
  /**
   * Which cache, or a factory that returns it.
   * @default one in the memory of this process, for one process: several would not see each other's writes for up to
   * `revocationBound`
   */
  cache?: CacheChoice | EngineFactory<CacheChoice>;
  /**
   * How long the cache may show a session that was changed or deleted behind its back: by SQL, or while the cache was
   * down. Logouts, revocations and saves by this library show at once. Seconds, or a string such as `'5s'`.
   * @default 5
   */
  revocationBound?: number | string;
  /**
   * How long to wait for the cache before asking the database. Seconds, or a string such as `'500ms'`.
   * @default '500ms'
   */
  cacheTimeout?: number | string;
}

/**
 * One of: `redis`, with the options of `redisEngine`; `manager`, a cache of `@nestjs/cache-manager`; `custom`, your own
 * cache; or the memory of this process with `maxEntries` (10,000). The first two take a `prefix` (`'session-cache:'`).
 */
export type CacheChoice =
  | { redis: ClientGiven | ClientWanted; prefix?: string }
  | { manager: Cache; prefix?: string }
  | { custom: RecordCache }
  | { maxEntries?: number };

/**
 * Keeps sessions in a database, with a cache in front: Redis, a cache of `@nestjs/cache-manager`, or the process's
 * memory. The database decides. If the cache is down, everything works at the database's speed.
 *
 * @throws SessionConfigError if an option is wrong
 *
 * @example
 * ```ts
 * SessionModule.forRoot(cachedDatabaseEngine({ cache: { redis: { url: 'redis://localhost:6379' } } }))
 * SessionModule.forRoot(cachedDatabaseEngine({
 *   cache: { inject: [CACHE_MANAGER], useFactory: (cache: Cache) => ({ manager: cache }) },
 * }))
 * ```
 */
export function cachedDatabaseEngine(options: CachedDatabaseEngineOptions = {}): SessionEngine {
  const { database = {}, cache = {}, encryption } = options;
  if ('encryption' in database) {
    throw new SessionConfigError(
      'database.encryption',
      'would leave the cache in plain text. Give "encryption" beside "database", for both.',
    );
  }
  const limits = {
    revocationBound: milliseconds('revocationBound', options.revocationBound ?? 5),
    cacheTimeout: milliseconds('cacheTimeout', options.cacheTimeout ?? '500ms'),
  };
  const { imports = [], inject = [], useFactory: chooseCache } = choiceFactory(cache);
  const encrypted = { ...(encryption && { encryption }) };
  const {
    imports: databaseImports = [],
    inject: databaseInject = [],
    useFactory: makeDatabase,
  } = databaseEngine({ ...database, ...encrypted });
  return {
    imports: [...databaseImports, ...imports],
    inject: [...databaseInject, ...inject],
    useFactory: async (...dependencies: unknown[]): Promise<SessionStore> => {
      const choice = await chooseCache(...dependencies.slice(databaseInject.length));
      checkChoice(choice);
      const store = (await makeDatabase(...dependencies.slice(0, databaseInject.length))) as SessionStore;
      return new CachedDatabaseStore(
        store,
        makeCache(choice),
        { ...limits, ...encrypted },
        new Logger('Sessions'),
      );
    },
  };
}

function choiceFactory(cache: CacheChoice | EngineFactory<CacheChoice>): EngineFactory<CacheChoice> {
  if ('useFactory' in cache) return cache;
  checkChoice(cache);
  return { useFactory: () => cache };
}

/** @throws SessionConfigError for what can be seen without a connection */
function checkChoice(choice: CacheChoice): void {
  if ('redis' in choice) return checkEngineOptions(choice.redis);
  if ('manager' in choice || 'custom' in choice) return;
  const { maxEntries = 1 } = choice;
  if (Number.isSafeInteger(maxEntries) && maxEntries > 0) return;
  throw new SessionConfigError('cache.maxEntries', 'must be a whole number of at least 1.');
}

function makeCache(choice: CacheChoice): RecordCache {
  if ('custom' in choice) return choice.custom;
  if ('redis' in choice) return new RedisCache(choice.redis, choice.prefix ?? DEFAULT_PREFIX);
  if ('manager' in choice) return new ManagerCache(choice.manager, choice.prefix ?? DEFAULT_PREFIX);
  return new ProcessCache(choice.maxEntries ?? 10_000);
}

const DEFAULT_PREFIX = 'session-cache:';

function milliseconds(option: string, duration: number | string): number {
  const parsed: unknown =
    typeof duration === 'number'
      ? duration * 1000
      : /[a-z]$/i.test(duration)
        ? ms(duration as ms.StringValue)
        : NaN;
  if (typeof parsed === 'number' && parsed >= 1 && parsed <= LONGEST) return parsed;
  throw new SessionConfigError(
    option,
    `has to be a duration between 1 ms and a day: a number of seconds or a string such as '5s', not ${JSON.stringify(duration)}.`,
  );
}

const LONGEST = 24 * 3600 * 1000;
