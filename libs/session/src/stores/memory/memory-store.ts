import { SessionConfigError } from '../../session.errors.js';
import { changedRecord } from '../changed-record.js';
import { plainCodec } from '../record-codec.js';
import {
  type SessionChanges,
  type SessionMoved,
  type SessionRecord,
  SessionStore,
} from '../session-store.js';

export interface MemoryStoreOptions {
  /**
   * How many sessions are kept. When one more comes, the expired ones go; if there are none, the session without a user
   * that was not used for the longest time; if there is none, the one of a user.
   * @default 10000
   */
  maxSessions?: number;
  /**
   * The clock that the sessions live by, in epoch milliseconds.
   * @default Date.now
   */
  now?: () => number;
}

/** Data and meta as text: no caller can change what is kept, and it went through JSON as in every other store. */
type Kept = Omit<SessionRecord, 'data' | 'meta'> & { data: string; meta: string | null };

type Move = SessionMoved & { until: number };

const SWEEP_EVERY = 60_000;
/** How long it is known where a session was moved to: longer than any request that may not know it yet. */
const REMEMBERED_FOR = 120_000;

/**
 * Keeps sessions in the memory of this process, for development and tests: they end with it, and no other process sees
 * them.
 *
 * @throws SessionConfigError when an option is wrong
 */
export class MemoryStore extends SessionStore {
  override readonly remembersMoves = true;
  /** By store key; those that were used last come last. */
  readonly #records = new Map<string, Kept>();
  readonly #keysById = new Map<string, string>();
  /** By the store key that was left; the oldest come first. Never more than there may be sessions. */
  readonly #moves = new Map<string, Move>();
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

  async load(key: string): Promise<SessionRecord | null> {
    const kept = this.#live(key);
    return kept ? toRecord(kept) : null;
  }

  async create(key: string, record: SessionRecord): Promise<boolean> {
    if (this.#live(key)) return false;
    this.#remove(key);
    this.#makeRoom();
    this.#put(key, toKept(record));
    return true;
  }

  async save(key: string, changes: SessionChanges, record: SessionRecord): Promise<boolean> {
    return this.#write(key, key, changes, record);
  }

  async delete(key: string, id?: string): Promise<boolean> {
    return this.#remove(key) || (id !== undefined && this.#remove(this.#keysById.get(id)));
  }

  override async touch(key: string, { version, expiresAt, lastSeenAt }: SessionRecord): Promise<boolean> {
    const kept = this.#live(key);
    if (kept?.version !== version || kept.expiresAt >= expiresAt) return false;
    this.#remove(key);
    this.#put(key, { ...kept, expiresAt, lastSeenAt });
    return true;
  }

  override async rename(
    key: string,
    newKey: string,
    changes: SessionChanges,
    record: SessionRecord,
  ): Promise<boolean> {
    if (this.#live(newKey) || !this.#write(key, newKey, changes, record)) return false;
    this.#remember(key, newKey);
    return true;
  }

  override async find(key: string): Promise<SessionRecord | SessionMoved | null> {
    const record = await this.load(key);
    if (record) return record;
    const move = this.#moves.get(key);
    return move && move.until > this.now() ? { movedTo: move.movedTo } : null;
  }

  override async clearExpired(batchSize: number): Promise<number> {
    const expired = this.#all(isExpiredAt(this.now())).slice(0, batchSize);
    for (const [key] of expired) this.#remove(key);
    return expired.length;
  }

  override async listByUser(userId: string): Promise<SessionRecord[]> {
    return this.#ofUser(userId).map(([, kept]) => toRecord(kept));
  }

  override async deleteByUser(userId: string, exceptIds: readonly string[] = []): Promise<number> {
    const ending = this.#ofUser(userId).filter(([, { id }]) => !exceptIds.includes(id));
    for (const [key] of ending) this.#remove(key);
    return ending.length;
  }

  override async deleteById(id: string, userId?: string): Promise<boolean> {
    const key = this.#keysById.get(id);
    const kept = key === undefined ? undefined : this.#live(key);
    return kept !== undefined && (userId === undefined || kept.userId === userId) && this.#remove(key);
  }

  #write(key: string, newKey: string, changes: SessionChanges, record: SessionRecord): boolean {
    const kept = this.#live(key);
    if (!kept) return false;
    this.#remove(key);
    this.#put(newKey, toKept(changedRecord(toRecord(kept), changes, record, this.now())));
    return true;
  }

  #live(key: string): Kept | undefined {
    const kept = this.#records.get(key);
    return kept && !isExpiredAt(this.now())(kept) ? kept : undefined;
  }

  #ofUser(userId: string): [key: string, kept: Kept][] {
    const isExpired = isExpiredAt(this.now());
    return this.#all((kept) => kept.userId === userId && !isExpired(kept));
  }

  #all(matches: (kept: Kept) => boolean): [key: string, kept: Kept][] {
    return [...this.#records].filter(([, kept]) => matches(kept));
  }

  #put(key: string, kept: Kept): void {
    this.#firstDeadline = Math.min(this.#firstDeadline, kept.expiresAt);
    this.#records.set(key, kept);
    this.#keysById.set(kept.id, key);
  }

  #remove(key: string | undefined): boolean {
    const kept = key === undefined ? undefined : this.#records.get(key);
    if (key === undefined || !kept) return false;
    this.#keysById.delete(kept.id);
    return this.#records.delete(key);
  }

  #remember(key: string, movedTo: string): void {
    const now = this.now();
    this.#moves.set(key, { movedTo, until: now + REMEMBERED_FOR });
    for (const [oldest, { until }] of this.#moves) {
      if (until > now && this.#moves.size <= this.#maxSessions) break;
      this.#moves.delete(oldest);
    }
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
    this.#remove(this.#oldestWithoutUser() ?? oldest);
  }

  #sweep(now: number): void {
    if (now < this.#firstDeadline) return;
    this.#firstDeadline = Infinity;
    for (const [key, { expiresAt }] of this.#records) {
      if (expiresAt <= now) this.#remove(key);
      else this.#firstDeadline = Math.min(this.#firstDeadline, expiresAt);
    }
  }

  #oldestWithoutUser(): string | undefined {
    for (const [key, { userId }] of this.#records) if (userId === null) return key;
    return undefined;
  }
}

/** @throws SessionConfigError */
export function checkMaxSessions(maxSessions: number): void {
  if (Number.isSafeInteger(maxSessions) && maxSessions > 0) return;
  throw new SessionConfigError('engine.maxSessions', `is ${maxSessions}. Use a whole number from 1 on.`);
}

function isExpiredAt(now: number): (kept: Kept) => boolean {
  return ({ expiresAt }) => expiresAt <= now;
}

function toKept({ data, meta, ...rest }: SessionRecord): Kept {
  const { id } = rest;
  return { ...rest, data: plainCodec.encodeSnapshot(data, id), meta: plainCodec.encodeMeta(meta, id) };
}

function toRecord({ data, meta, ...rest }: Kept): SessionRecord {
  const { id } = rest;
  return { ...rest, data: plainCodec.decodeData(data, '', id), meta: plainCodec.decodeMeta(meta, id) };
}
