import { type FactoryProvider } from '@nestjs/common';
import type { Cache } from 'cache-manager';
import { LRUCache } from 'lru-cache';
import { SessionConfigError } from '../../session.errors.js';
import { type EncodedRecord, fromRecordText, toRecordText } from '../record-codec.js';
import { type EncryptionOptions } from '../sealing.js';
import { type SessionEngine } from '../session-engine.js';
import { WholeRecordStore } from '../whole-record-store.js';
import { CacheEntries } from './cache-entries.js';

/** The options of `CacheStore`. Every member may be left out. */
export interface CacheStoreOptions {
  /**
   * The prefix of every key, so that sessions and other entries of the cache never collide.
   * @default 'session:'
   */
  prefix?: string;
  /**
   * Encrypts data and metadata. Session id, key hash, user id and times stay readable.
   * @default off
   */
  encryption?: EncryptionOptions;
}

/** What `cacheEngine` takes. Every member may be left out. */
export interface CacheEngineOptions extends CacheStoreOptions {
  /**
   * Token of a cache of `@nestjs/cache-manager`: `CACHE_MANAGER`, or your own token.
   * @default none: a separate cache in the memory of this process, for 10,000 sessions
   */
  cache?: NonNullable<FactoryProvider['inject']>[number];
  /** The module that exports the token, unless it is global. */
  imports?: NonNullable<SessionEngine['imports']>;
}

/**
 * Keeps sessions in a cache of `@nestjs/cache-manager`, and nowhere else: what the cache forgets is gone.
 *
 * @throws SessionConfigError when the application starts, if the token does not resolve to such a cache
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

/**
 * Keeps sessions in a cache of cache-manager, and nowhere else: what the cache forgets is gone.
 *
 * A cache can neither compare nor merge in one step. Within this process, operations on one session run one after
 * another, so nothing is lost. If two processes save one session at once, the later one wins. An ended session stays
 * ended, and a replaced key stays replaced, even across processes.
 *
 * @example
 * ```ts
 * const store = new CacheStore(app.get(CACHE_MANAGER));
 * ```
 */
export class CacheStore extends WholeRecordStore {
  private readonly entries: CacheEntries;

  /** @throws SessionConfigError if this is not a cache of cache-manager, or a secret is weak */
  constructor(cache: Cache, { prefix = 'session:', encryption }: CacheStoreOptions = {}) {
    super(encryption);
    this.entries = new CacheEntries(cache, prefix);
  }

  /** Only a cache in the memory of this process has something to clear; others let entries expire by themselves. */
  override clearExpired(batchSize: number): Promise<number> {
    return this.entries.clearExpired(batchSize, (name) => !isMark(name));
  }

  override close(): Promise<void> {
    this.entries.release();
    return Promise.resolve();
  }

  protected async get(operation: string, id: string): Promise<EncodedRecord | null> {
    const text = await this.entries.get(operation, id);
    return text === null ? null : fromRecordText(text);
  }

  protected put(operation: string, id: string, record: EncodedRecord): Promise<void> {
    return this.entries.set(operation, id, toRecordText(record), record.expiresAt - Date.now());
  }

  protected remove(operation: string, id: string): Promise<boolean> {
    return this.entries.delete(operation, id);
  }

  protected getMark(operation: string, name: string): Promise<string | null> {
    return this.entries.get(operation, name);
  }

  /** Sets a small text beside the sessions, for this long. */
  protected putMark(operation: string, name: string, text: string, lifetime: number): Promise<void> {
    return this.entries.set(operation, name, text, lifetime);
  }
}

/** Names of marks have a colon in them, and session ids have none. */
function isMark(name: string): boolean {
  return name.includes(':');
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
