import { randomBytes } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { fromRecordText, RecordCodec, toRecordText } from '../record-codec.js';
import { type EncryptionOptions } from '../sealing.js';
import {
  type RecordPage,
  type SessionChanges,
  type SessionCount,
  type SessionRecord,
  SessionStore,
} from '../session-store.js';
import { type CacheLog, GuardedCache, type GuardedCacheOptions } from './guarded-cache.js';
import { type RecordCache } from './record-cache.js';

/** The options of `CachedDatabaseStore`. */
export interface CachedDatabaseStoreOptions extends GuardedCacheOptions {
  /**
   * Encrypts what comes into the cache, as the database has it.
   * @default off
   */
  encryption?: EncryptionOptions;
}

/** How many records of late this process knows the origin of. */
const MOST_ORIGINS = 10_000;

/**
 * A database that decides, and a cache in front that saves reading it.
 *
 * Under a session id the cache holds a record, or the mark of a write, or nothing.
 *
 * - A load that finds no record reads the database, and puts the record into the cache only if what it found there is
 *   there still: nothing, or the same mark. Every write puts a new mark there, after it wrote to the database. So a load
 *   that was slower than a write or a logout finds the place taken, and its stale record stays outside.
 * - A save that finds in the cache the very entry that its record came from replaces it. If others wrote in between, only
 *   the database knows how the changes add up, so the save leaves a mark as well.
 * - A record stays in the cache for `revocationBound`, which begins before the database is read and which no save puts
 *   off. So whatever changes without us, by SQL or while the cache is away, shows after that time at the latest.
 * - A load that took longer than half of that keeps its record to itself. So nothing that was put into the cache while it
 *   read the database, record or mark, has expired when it comes to put its own there.
 *
 * @example
 * ```ts
 * // `cachedDatabaseEngine()` makes one. In a test, to look at what is kept:
 * const store = app.get<CachedDatabaseStore>(SessionStore);
 * ```
 */
export class CachedDatabaseStore extends SessionStore {
  private readonly cache: GuardedCache;
  private readonly codec: RecordCodec;
  /** By session id and version: the beginning of the entry that has this record; `''` when two records have this version. */
  private readonly origins: LRUCache<string, string>;

  /** @throws SessionConfigError when a secret is weak */
  constructor(
    private readonly database: SessionStore,
    cache: RecordCache,
    private readonly options: CachedDatabaseStoreOptions,
    logger: CacheLog,
  ) {
    super();
    // The module sets them on this store, and it is the database that goes by them.
    for (const limit of ['limits', 'timeLimit'] as const) {
      Object.defineProperty(this, limit, {
        get: () => database[limit],
        set: (value: never) => {
          database[limit] = value;
        },
      });
    }
    this.codec = new RecordCodec(options.encryption);
    this.cache = new GuardedCache(cache, options, logger);
    const ttl = Math.ceil(options.revocationBound);
    this.origins = new LRUCache({ max: MOST_ORIGINS, ttl, ttlResolution: 0 });
  }

  /** An id that nobody has costs one look at each, and leaves nothing in the cache. */
  async load(id: string): Promise<SessionRecord | null> {
    const held = await this.cache.get(id);
    const cached = held ? this.decode(id, held) : null;
    if (held && cached) {
      this.noteOrigin(cached, held.slice(0, held.indexOf(' ') + 1));
      return cached;
    }
    const [began, readAt] = [performance.now(), Date.now()];
    const record = await this.database.load(id);
    if (!record) return null;
    // As the database has it, which gives a version to one record only.
    const beginning = `r${record.version} `;
    this.noteOrigin(record, beginning);
    const { revocationBound } = this.options;
    const took = performance.now() - began;
    if (held !== undefined && took < revocationBound / 2) {
      const ttl = Math.ceil(revocationBound - took);
      await this.fill(id, held, this.encode(record, beginning, readAt), ttl);
    }
    return record;
  }

  /** Leaves the cache alone: most visitors never come back, and the first load of the others fills it. */
  create(id: string, record: SessionRecord): Promise<boolean> {
    return this.database.create(id, record);
  }

  async save(id: string, keyHash: string, changes: SessionChanges, record: SessionRecord): Promise<boolean> {
    const { version } = record;
    const origin = this.origins.get(`${id} ${version}`);
    const next = { ...record, keyHash: changes.keyHash ?? keyHash, version: version + 1 };
    // As it is if nobody else has written, so it shares its version with what the database has if somebody did.
    const beginning = `r${next.version}.${nonce()} `;
    const entry = origin ? this.encode(next, beginning, Date.now()) : '';
    let replaced = false;
    try {
      const saved = await this.database.save(id, keyHash, changes, record);
      if (saved && origin) {
        replaced = await this.cache.replace(id, origin, entry, this.options.revocationBound);
      }
      if (replaced) this.noteOrigin(next, beginning);
      return saved;
    } finally {
      // Also after an error, because the database may have saved it and only failed to say so.
      if (!replaced) await this.mark(id);
    }
  }

  delete(id: string): Promise<boolean> {
    return this.write(id, () => this.database.delete(id));
  }

  override take(id: string): Promise<SessionRecord | null> {
    return this.write(id, () => this.database.take(id));
  }

  override touch(id: string, record: SessionRecord): Promise<boolean> {
    return this.write(id, () => this.database.touch(id, record));
  }

  override listByUser(userId: string): Promise<SessionRecord[]> {
    return this.database.listByUser(userId);
  }

  override async deleteByUser(userId: string, exceptIds?: readonly string[]): Promise<number> {
    // If they cannot be listed, the cache shows them until the bound passes, which is no reason not to end them.
    const records = await this.database.listByUser(userId).catch(() => []);
    try {
      return await this.database.deleteByUser(userId, exceptIds);
    } finally {
      await Promise.all(records.map(({ id }) => this.mark(id)));
    }
  }

  override count(): Promise<SessionCount> {
    return this.database.count();
  }

  override list(after: string | null, limit: number): Promise<RecordPage> {
    return this.database.list(after, limit);
  }

  override clearExpired(batchSize: number): Promise<number> {
    // The cache shows no expired record, and forgets it soon.
    return this.database.clearExpired(batchSize);
  }

  override now(): number {
    return this.database.now();
  }

  override async close(): Promise<void> {
    await this.cache.close();
    await this.database.close();
  }

  private async write<Answer>(id: string, work: () => Promise<Answer>): Promise<Answer> {
    try {
      return await work();
    } finally {
      await this.mark(id);
    }
  }

  private mark(id: string): Promise<void> {
    return this.cache.mark(id, `w${nonce()}`, 2 * this.options.revocationBound);
  }

  /** @param held what the cache had before the database was read */
  private async fill(id: string, held: string | null, record: string, ttl: number): Promise<void> {
    if (held === null) await this.cache.add(id, record, ttl);
    else if (held.startsWith('w')) await this.cache.replace(id, held, record, ttl);
  }

  private noteOrigin({ id, version }: SessionRecord, beginning: string): void {
    const key = `${id} ${version}`;
    this.origins.set(key, (this.origins.get(key) ?? beginning) === beginning ? beginning : '');
  }

  /** `r` and the version, when the database was read by the clock of this process, a newline, and the record. */
  private encode(record: SessionRecord, beginning: string, readAt: number): string {
    return `${beginning}${readAt}\n${toRecordText(this.codec.encode(record))}`;
  }

  /**
   * The record that is held, or null if there is none to rely on: it must be live, and younger than the bound by the
   * clock of this process as well. Its moments are on the clock of the process that put it there, and where the clocks of
   * two processes are further apart than the bound, neither uses what the other has put there.
   */
  private decode(id: string, held: string): SessionRecord | null {
    if (!held.startsWith('r')) return null;
    const end = held.indexOf('\n');
    const readAt = Number(held.slice(held.indexOf(' '), end));
    const now = Date.now();
    if (!(Math.abs(now - readAt) <= this.options.revocationBound)) return null;
    try {
      const record = this.codec.decode(fromRecordText(held.slice(end + 1)));
      return record.id === id && record.expiresAt > now ? record : null;
    } catch {
      // Whatever it is, the database has the original.
      return null;
    }
  }
}

function nonce(): string {
  return randomBytes(12).toString('base64url');
}
