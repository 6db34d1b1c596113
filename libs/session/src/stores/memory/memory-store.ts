import { SessionConfigError } from '../../session.errors.js';
import { plainCodec } from '../record-codec.js';
import { applyChanges, changedMetadata, changesData, checkRecordSize } from '../record-log.js';
import {
  type RecordPage,
  type SessionChanges,
  type SessionCount,
  type SessionRecord,
  SessionStore,
} from '../session-store.js';

/** The options of `MemoryStore`. Every member may be left out. */
export interface MemoryStoreOptions {
  /**
   * How many sessions are kept. When one more comes, expired sessions are dropped first, then the least recently used
   * session without a user, then the least recently used one with a user.
   * @default 10000
   */
  maxSessions?: number;
  /**
   * The clock of the sessions, in epoch milliseconds.
   * @default Date.now
   */
  now?: () => number;
}

/** Data and meta as text: no caller can change what is kept, and it went through JSON as in every other store. */
type Kept = Omit<SessionRecord, 'data' | 'meta'> & { data: string; meta: string | null };

const SWEEP_EVERY = 60_000;

/**
 * Keeps sessions in the memory of this process, for development and tests: they end with it, and no other process sees
 * them.
 *
 * @throws SessionConfigError when an option is wrong
 *
 * @example
 * ```ts
 * const store = new MemoryStore({ maxSessions: 100 });
 * ```
 */
export class MemoryStore extends SessionStore {
  /** By session id; those that were used last come last. */
  readonly #records = new Map<string, Kept>();
  readonly #maxSessions: number;
  readonly #clock: () => number;
  #sweptAt: number;
  /** Before this moment there is nothing to sweep. */
  #firstDeadline = Infinity;

  constructor({ maxSessions = 10_000, now = () => Date.now() }: MemoryStoreOptions = {}) {
    super();
    checkMaxSessions(maxSessions);
    this.#maxSessions = maxSessions;
    this.#clock = now;
    this.#sweptAt = now();
  }

  override now(): number {
    return this.#clock();
  }

  /** How many sessions are kept, expired ones that still wait to be swept included. */
  get size(): number {
    return this.#records.size;
  }

  async load(id: string): Promise<SessionRecord | null> {
    const kept = this.#live(id);
    return kept ? toRecord(kept) : null;
  }

  async create(id: string, record: SessionRecord): Promise<boolean> {
    if (this.#live(id)) return false;
    this.#records.delete(id);
    this.#makeRoom();
    this.#put(toKept(record));
    return true;
  }

  async save(id: string, keyHash: string, changes: SessionChanges, record: SessionRecord): Promise<boolean> {
    const kept = this.#live(id);
    if (kept?.keyHash !== keyHash) return false;
    const next: Kept = { ...kept, ...changedMetadata(kept, changes, record, this.now()) };
    if (changes.meta) next.meta = plainCodec.encodeMeta(changes.meta, id);
    if (changesData(changes)) {
      // When nobody else has saved, the data are as this request sees them.
      const data =
        kept.version === record.version
          ? record.data
          : applyChanges(plainCodec.decodeData(kept.data, '', id), changes);
      next.data = plainCodec.encodeSnapshot(data, id);
      if (next.data.length > kept.data.length) checkRecordSize(data, this.limits, next.data.length);
    }
    this.#put(next);
    return true;
  }

  async delete(id: string): Promise<boolean> {
    return this.#records.delete(id);
  }

  override async take(id: string): Promise<SessionRecord | null> {
    const kept = this.#live(id);
    this.#records.delete(id);
    return kept ? toRecord(kept) : null;
  }

  override async touch(id: string, { version, expiresAt, lastSeenAt }: SessionRecord): Promise<boolean> {
    const kept = this.#live(id);
    if (kept?.version !== version || kept.expiresAt >= expiresAt) return false;
    this.#put({ ...kept, expiresAt, lastSeenAt });
    return true;
  }

  override async clearExpired(batchSize: number): Promise<number> {
    const now = this.now();
    const expired = this.#all(({ expiresAt }) => expiresAt <= now).slice(0, batchSize);
    for (const { id } of expired) this.#records.delete(id);
    return expired.length;
  }

  override async listByUser(userId: string): Promise<SessionRecord[]> {
    return this.#ofUser(userId).map(toRecord);
  }

  override async deleteByUser(userId: string, exceptIds: readonly string[] = []): Promise<number> {
    const ending = this.#ofUser(userId).filter(({ id }) => !exceptIds.includes(id));
    for (const { id } of ending) this.#records.delete(id);
    return ending.length;
  }

  override async count(): Promise<SessionCount> {
    const live = this.#allLive();
    return { live: live.length, loggedIn: live.filter(({ userId }) => userId !== null).length };
  }

  /** In the order of the session ids. */
  override async list(after: string | null, limit: number): Promise<RecordPage> {
    const rest = this.#allLive()
      .filter(({ id }) => after === null || id > after)
      .toSorted((one, other) => (one.id < other.id ? -1 : 1));
    const page = rest.slice(0, limit);
    return {
      records: page.map(toRecord),
      next: rest.length > limit ? (page.at(-1)?.id ?? null) : null,
    };
  }

  #live(id: string): Kept | undefined {
    const kept = this.#records.get(id);
    return kept && kept.expiresAt > this.now() ? kept : undefined;
  }

  #ofUser(userId: string): Kept[] {
    const now = this.now();
    return this.#all((kept) => kept.userId === userId && kept.expiresAt > now);
  }

  #allLive(): Kept[] {
    const now = this.now();
    return this.#all(({ expiresAt }) => expiresAt > now);
  }

  #all(matches: (kept: Kept) => boolean): Kept[] {
    return [...this.#records.values()].filter(matches);
  }

  /** The last one in the order of use. */
  #put(kept: Kept): void {
    this.#firstDeadline = Math.min(this.#firstDeadline, kept.expiresAt);
    this.#records.delete(kept.id);
    this.#records.set(kept.id, kept);
  }

  #makeRoom(): void {
    const full = this.#records.size >= this.#maxSessions;
    const now = this.now();
    if (full || now - this.#sweptAt >= SWEEP_EVERY) {
      this.#sweptAt = now;
      this.#sweep(now);
    }
    if (this.#records.size < this.#maxSessions) return;
    const [oldest] = this.#records.keys();
    this.#records.delete(this.#oldestWithoutUser() ?? (oldest as string));
  }

  #sweep(now: number): void {
    if (now < this.#firstDeadline) return;
    this.#firstDeadline = Infinity;
    for (const [id, { expiresAt }] of this.#records) {
      if (expiresAt <= now) this.#records.delete(id);
      else this.#firstDeadline = Math.min(this.#firstDeadline, expiresAt);
    }
  }

  #oldestWithoutUser(): string | undefined {
    for (const [id, { userId }] of this.#records) if (userId === null) return id;
    return undefined;
  }
}

/** @throws SessionConfigError */
export function checkMaxSessions(maxSessions: number): void {
  if (Number.isSafeInteger(maxSessions) && maxSessions > 0) return;
  throw new SessionConfigError('engine.maxSessions', `is ${maxSessions}. Use a whole number of at least 1.`);
}

function toKept(record: SessionRecord): Kept {
  const { id, data, meta } = record;
  return withTexts(record, plainCodec.encodeSnapshot(data, id), plainCodec.encodeMeta(meta, id));
}

function toRecord(kept: Kept): SessionRecord {
  const { id, data, meta } = kept;
  return withTexts(kept, plainCodec.decodeData(data, '', id), plainCodec.decodeMeta(meta, id));
}

/** Member by member: to spread the rest of a record costs more than to parse its data. */
function withTexts<Data, Meta>(
  { id, keyHash, userId, expiry, createdAt, lastSeenAt, expiresAt, version }: SessionRecord | Kept,
  data: Data,
  meta: Meta,
) {
  return { id, keyHash, userId, expiry, createdAt, lastSeenAt, expiresAt, version, data, meta };
}
