import { type FactoryProvider } from '@nestjs/common';
import type { Cache } from 'cache-manager';
import { LRUCache } from 'lru-cache';
import { SessionConfigError } from '../../session.errors.js';
import { type SessionEngine } from '../session-engine.js';
import { CacheStore, type CacheStoreOptions } from './cache-store.js';

export interface CacheEngineOptions extends CacheStoreOptions {
  /**
   * Token of a cache of `@nestjs/cache-manager`: `CACHE_MANAGER`, or one of your own.
   * @default none: a cache in the memory of this process, for the sessions alone, which holds 10,000 of them
   */
  cache?: NonNullable<FactoryProvider['inject']>[number];
  /** The module that exports the token, unless it is global. */
  imports?: NonNullable<SessionEngine['imports']>;
}

/**
 * Sessions in a cache of `@nestjs/cache-manager`, and nowhere else.
 *
 * @throws SessionConfigError, when the application starts, if the token is not that of such a cache
 *
 * @example
 * ```ts
 * @Module({
 *   imports: [
 *     CacheModule.register({ isGlobal: true, stores: new KeyvRedis(url) }),
 *     SessionModule.forRoot(cacheEngine({ cache: CACHE_MANAGER })),
 *   ],
 * })
 * export class AppModule {}
 * ```
 */
export function cacheEngine(options: CacheEngineOptions = {}): SessionEngine {
  const { cache: token, imports = [], ...storeOptions } = options;
  if (token === undefined) {
    return { useFactory: async () => new CacheStore(await createMemoryCache(), storeOptions) };
  }
  return {
    imports,
    inject: [token],
    useFactory: (cache: Cache) => new CacheStore(cache, storeOptions),
  };
}

/** How much the cache without a token holds: 10,000 sessions, and as many marks of users. */
const MOST_ENTRIES = 20_000;

async function createMemoryCache(): Promise<Cache> {
  const { createCache } = await loadCacheManager();
  const cache = createCache();
  for (const keyv of cache.stores) keyv.store = boundedStore();
  return cache;
}

/** A store for a Keyv. When it is full, the entry that was not used for the longest time makes room. */
function boundedStore(): object {
  const entries = new LRUCache<string, object>({ max: MOST_ENTRIES });
  return {
    get: (key: string) => entries.get(key),
    set(key: string, value: object, ttl: number) {
      entries.set(key, value, { ttl });
    },
    delete: (key: string) => entries.delete(key),
    clear() {
      entries.clear();
    },
  };
}

async function loadCacheManager(): Promise<typeof import('cache-manager')> {
  try {
    return await import('cache-manager');
  } catch (cause) {
    throw new SessionConfigError('engine', 'needs the package cache-manager: npm install cache-manager', {
      cause,
    });
  }
}
