import { type EncryptionOptions } from '../record-cipher.js';
import { RecordCodec } from '../record-codec.js';
import { changesData } from '../session-log.js';
import {
  type SessionChanges,
  type SessionMoved,
  type SessionRecord,
  SessionStore,
} from '../session-store.js';
import { beginningOf, decodeCached, encodeCached, movedKey, newLease } from './cached-record.js';
import { type CacheLog, GuardedCache, type GuardedCacheOptions } from './guarded-cache.js';
import { type RecordCache } from './record-cache.js';

export interface CachedDatabaseStoreOptions extends GuardedCacheOptions {
  /** The store keys of a user's records, expired ones too if that is easier. */
  keysOfUser: (userId: string) => Promise<string[]>;
  /** The store keys of the record with this session id: one or none. */
  keysOfSession: (id: string) => Promise<string[]>;
  /**
   * Encrypts what comes into the cache, as the database has it.
   * @default off
   */
  encryption?: EncryptionOptions;
}

/** How long the cache knows where a record went: longer than any request that may carry its old key. */
const MOVE_KNOWN_FOR = 120_000;

/**
 * A database that decides, and a cache in front that saves reading it.
 *
 * - Whoever finds nothing in the cache takes a lease there, reads the database, and puts the record in the place of
 *   the lease. Every write deletes what is there, after it wrote to the database. So a reader that was slower than a
 *   write or a logout finds its lease gone, and the stale record stays outside.
 * - A save that finds in the cache the very version it was made from replaces it; where others wrote meanwhile, only
 *   the database knows how the changes add up.
 * - What comes into the cache inherits the time to live of the lease, which began before the database was read. So
 *   whatever changes without us, by SQL or while the cache is away, shows after that time at the latest.
 */
export class CachedDatabaseStore extends SessionStore {
  override readonly remembersMoves: boolean;
  private readonly cache: GuardedCache;
  private readonly codec: RecordCodec;

  /** @throws SessionConfigError when a secret is weak */
  constructor(
    private readonly database: SessionStore,
    cache: RecordCache,
    private readonly options: CachedDatabaseStoreOptions,
    logger: CacheLog,
  ) {
    super();
    this.remembersMoves = database.remembersMoves;
    this.codec = new RecordCodec(options.encryption);
    this.cache = new GuardedCache(cache, options, logger);
  }

  load(key: string): Promise<SessionRecord | null> {
    return this.read<never>(key, () => this.database.load(key));
  }

  /** Where a record has moved to is for the database to say: nobody asks for it often. */
  override find(key: string): Promise<SessionRecord | SessionMoved | null> {
    return this.read(key, () => this.database.find(key));
  }

  /** Leaves the cache alone: most visitors never come back, and the first load of the others fills it. */
  create(key: string, record: SessionRecord): Promise<boolean> {
    return this.database.create(key, record);
  }

  async save(key: string, changes: SessionChanges, record: SessionRecord): Promise<boolean> {
    let replaced = false;
    try {
      const saved = await this.database.save(key, changes, record);
      if (saved && changesData(changes)) {
        const { version } = record;
        const written = encodeCached({ ...record, version: version + 1 }, this.codec);
        replaced = await this.cache.replace(key, beginningOf(version), written);
      }
      return saved;
    } finally {
      // Also after an error, for the database may have done it and only failed to say so.
      if (!replaced) await this.cache.delete(key);
    }
  }

  async delete(key: string, id?: string): Promise<boolean> {
    try {
      return await this.database.delete(key, id);
    } finally {
      await this.forget(key);
    }
  }

  override async touch(key: string, record: SessionRecord): Promise<boolean> {
    try {
      return await this.database.touch(key, record);
    } finally {
      await this.cache.delete(key);
    }
  }

  /** Puts nothing under the new key: a logout that knows only the old one could come between. */
  override async rename(
    key: string,
    newKey: string,
    changes: SessionChanges,
    record: SessionRecord,
  ): Promise<boolean> {
    let renamed: boolean | undefined;
    try {
      renamed = await this.database.rename(key, newKey, changes, record);
      return renamed;
    } finally {
      // Before anybody learns of the new key, so that a logout under the old one finds what is cached under the new.
      if (renamed !== false) await this.cache.set(movedKey(key), newKey, MOVE_KNOWN_FOR);
      await this.cache.delete(key);
    }
  }

  override clearExpired(batchSize: number): Promise<number> {
    // The cache shows no expired record, and forgets it soon.
    return this.database.clearExpired(batchSize);
  }

  override listByUser(userId: string): Promise<SessionRecord[]> {
    return this.database.listByUser(userId);
  }

  override deleteByUser(userId: string, exceptIds?: readonly string[]): Promise<number> {
    return this.end(this.options.keysOfUser(userId), () => this.database.deleteByUser(userId, exceptIds));
  }

  override deleteById(id: string, userId?: string): Promise<boolean> {
    return this.end(this.options.keysOfSession(id), () => this.database.deleteById(id, userId));
  }

  override now(): number {
    return this.database.now();
  }

  override async close(): Promise<void> {
    await this.cache.close();
    await this.database.close();
  }

  private async read<Moved extends SessionMoved>(
    key: string,
    ask: () => Promise<SessionRecord | Moved | null>,
  ): Promise<SessionRecord | Moved | null> {
    const { revocationBound } = this.options;
    const held = await this.cache.get(key);
    const cached = held ? decodeCached(held, revocationBound, this.codec) : null;
    if (cached) return cached;
    const lease = newLease();
    const leased = held === null && (await this.cache.add(key, lease, revocationBound));
    const found = await ask();
    if (found && leased && !('movedTo' in found)) {
      await this.cache.replace(key, lease, encodeCached(found, this.codec));
    }
    return found;
  }

  /** Deletes in the database, and takes out of the cache what was under these keys before. */
  private async end<Answer>(keys: Promise<string[]>, work: () => Promise<Answer>): Promise<Answer> {
    // Without the keys the cache shows them until the bound passes, which must not keep them from being ended.
    const known = await keys.catch(() => []);
    try {
      return await work();
    } finally {
      await Promise.all(known.map((key) => this.forget(key)));
    }
  }

  /** Takes a record out of the cache, wherever it has moved since. */
  private async forget(key: string): Promise<void> {
    const forgotten = new Set<string>();
    for (let next: string | null | undefined = key; next && !forgotten.has(next);) {
      forgotten.add(next);
      await this.cache.delete(next);
      next = await this.cache.get(movedKey(next));
    }
  }
}
