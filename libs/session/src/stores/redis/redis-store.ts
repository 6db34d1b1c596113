import { randomUUID } from 'node:crypto';
import { SessionRecordCorruptError } from '../../session.errors.js';
import { encodeLogLine, encodeSnapshot, shouldFold } from '../session-log.js';
import { type SessionChanges, type SessionRecord, SessionStore } from '../session-store.js';
import { type RedisConnection } from './redis-connection.js';
import { type RedisStoreOptions, resolveStoreOptions } from './redis-options.js';
import { createScript, endScript, loadScript, saveScript, touchScript } from './redis-scripts.js';
import { decodeValue, encodeMetadata, encodeUser, type StoredValue } from './redis-value.js';
import { type Reply, ScriptRunner } from './script-runner.js';
import { SessionMove } from './session-move.js';
import { UserIndex } from './user-index.js';

/** Dates beyond this are of no use to a session. */
const LAST_MOMENT = Date.UTC(9999, 11, 31);

/** How many sessions with a long log are remembered between their load and their save. */
const REMEMBERED_LOGS = 10_000;

/** An entry of the user index lasts twice as long as its session has to live, so that few touches have to renew it. */
const SHORTEST_ENTRY = 60_000;

/** How many sessions of a user are asked for at a time. */
const AT_A_TIME = 50;

/**
 * Keeps sessions in Redis, each in one string. A load is one script, a save is one script; both on the primary, for a
 * replica may still have a session that was ended. Redis expires what nobody uses, by its own clock.
 */
export class RedisStore extends SessionStore {
  private readonly prefix: string;
  private readonly scripts: ScriptRunner;
  private readonly users: UserIndex;
  private readonly move: SessionMove;
  /** Store keys of loaded records whose log wants folding. A hint: what is forgotten is folded after the next load. */
  private readonly longLogs = new Set<string>();

  /**
   * @param connection connected already; `close()` closes it
   * @throws SessionConfigError when an option is wrong
   */
  constructor(connection: RedisConnection, options: RedisStoreOptions = {}) {
    super();
    const { prefix, waitForReplicas } = resolveStoreOptions(options);
    this.prefix = prefix;
    this.scripts = new ScriptRunner(connection, waitForReplicas);
    this.users = new UserIndex(this.scripts, prefix);
    this.move = new SessionMove(
      this.scripts,
      this.users,
      (key) => this.keyOf(key),
      (operation, key) => this.read(operation, key),
    );
  }

  async load(key: string): Promise<SessionRecord | null> {
    const stored = await this.stored('load', key);
    if (stored?.kind !== 'session') return null;
    if (stored.longLog) this.rememberLongLog(key);
    return stored.record;
  }

  async create(key: string, record: SessionRecord): Promise<boolean> {
    const { userId } = record;
    const indexedFor = entryTime(record);
    if (userId !== null) await this.users.enrol('create', userId, key, indexedFor);
    const [created] = await this.scripts.run(
      'create',
      createScript,
      [this.keyOf(key)],
      [
        newWriteId(),
        fromNow(record.expiresAt),
        fromNow(record.createdAt),
        fromNow(record.lastSeenAt),
        userId === null ? 0 : indexedFor,
        encodeMetadata(record),
        encodeSnapshot(record.data),
      ],
    );
    return created === 1;
  }

  async save(key: string, changes: SessionChanges, record: SessionRecord): Promise<boolean> {
    if (typeof changes.userId === 'string') {
      await this.users.enrol('save', changes.userId, key, entryTime(record));
    }
    const written = this.writtenValues(key, changes, record);
    const [status, user, version] = await this.scripts.run('save', saveScript, [this.keyOf(key)], written);
    if (status !== 1) return false;
    if (user) {
      const saved = { ...record, version: Number(version) };
      // It is saved, and to say otherwise would have it saved twice. The next use tries again.
      await this.prolong(key, JSON.parse(String(user)) as string, saved).catch(() => {});
    }
    return true;
  }

  async delete(key: string, id?: string): Promise<boolean> {
    const ended = await this.end('delete', key, [''], id !== undefined);
    if (ended === null) return false;
    const userId = ended.user === '' ? null : (JSON.parse(ended.user) as string | null);
    if (userId !== null) await this.users.leave(userId, [key, ended.key]);
    return true;
  }

  override async touch(key: string, record: SessionRecord): Promise<boolean> {
    const [status, user] = await this.restartClock('touch', key, record, 0);
    if (status !== 2) return status === 1;
    return this.prolong(key, JSON.parse(String(user)) as string, record);
  }

  /** In a cluster the two keys live on different servers: see `SessionMove`. */
  override rename(
    key: string,
    newKey: string,
    changes: SessionChanges,
    record: SessionRecord,
  ): Promise<boolean> {
    const written = this.writtenValues(key, changes, record);
    return this.move.rename({ key, newKey, record, written, indexedFor: entryTime(record) });
  }

  override async listByUser(userId: string): Promise<SessionRecord[]> {
    const keys = await this.users.members('list', userId);
    const stored = await inBatches(keys, (key) => this.readable(key));
    return stored.flatMap((value) =>
      value?.kind === 'session' && value.record.userId === userId ? [value.record] : [],
    );
  }

  override async deleteByUser(userId: string, exceptIds: readonly string[] = []): Promise<number> {
    const conditions = [encodeUser(userId), ...exceptIds.map((id) => JSON.stringify(id))];
    const keys = await this.users.members('delete', userId);
    const ended = await inBatches(keys, async (key) => {
      const end = await this.end('delete', key, conditions, true);
      if (end !== null) await this.users.leave(userId, [key, end.key]);
      return end !== null;
    });
    return ended.filter(Boolean).length;
  }

  override close(): Promise<void> {
    return this.scripts.close();
  }

  /** Ends the session under this key or, if it was moved and `follow` says so, under the key that it has now. */
  private async end(
    operation: string,
    key: string,
    conditions: readonly string[],
    follow: boolean,
  ): Promise<{ key: string; user: string } | null> {
    for (let current = key; ;) {
      const [status, detail] = await this.scripts.end(
        operation,
        endScript,
        [this.keyOf(current)],
        conditions,
      );
      if (status === 1) return { key: current, user: String(detail) };
      if (status === 2 && follow) current = String(detail);
      // Pending: alive only if it has left its old key already. Then it can be ended here.
      else if (status !== 3 || (await this.stored(operation, current))?.kind !== 'session') return null;
    }
  }

  /** Extends the entry in the user's index, then the life of the session. */
  private async prolong(key: string, userId: string, record: SessionRecord): Promise<boolean> {
    const indexedFor = entryTime(record);
    await this.users.enrol('touch', userId, key, indexedFor);
    const [status] = await this.restartClock('touch', key, record, indexedFor);
    return status === 1;
  }

  private restartClock(
    operation: string,
    key: string,
    record: SessionRecord,
    indexedFor: number,
  ): Promise<Reply> {
    const values = [record.version, fromNow(record.expiresAt), fromNow(record.lastSeenAt), indexedFor];
    return this.scripts.run(operation, touchScript, [this.keyOf(key)], values);
  }

  /** What save and rename write: see redis-scripts.ts. */
  private writtenValues(key: string, changes: SessionChanges, record: SessionRecord): (string | number)[] {
    const line = encodeLogLine(changes);
    const snapshot = line === '' ? '' : encodeSnapshot(record.data);
    return [
      record.version,
      newWriteId(),
      fromNow(record.expiresAt),
      changes.expiry === undefined ? '' : JSON.stringify(changes.expiry),
      changes.userId === undefined ? '' : encodeUser(changes.userId),
      entryTime(record),
      line !== '' && this.folds(key, snapshot, line) ? snapshot : '',
      line,
    ];
  }

  private folds(key: string, snapshot: string, line: string): boolean {
    return this.longLogs.delete(key) || shouldFold(snapshot.length, line.length);
  }

  private rememberLongLog(key: string): void {
    if (this.longLogs.size >= REMEMBERED_LOGS) this.longLogs.clear();
    this.longLogs.add(key);
  }

  /** Whoever meets a session on its way between two servers brings it home, should its carrier have died. */
  private async stored(operation: string, key: string): Promise<StoredValue | null> {
    const stored = decodeValue(await this.read(operation, key));
    if (stored?.kind !== 'pending') return stored;
    await this.move.complete(operation, stored.from, key);
    return decodeValue(await this.read(operation, key));
  }

  /** Like `stored`; one corrupt record must not hide the others. */
  private async readable(key: string): Promise<StoredValue | null> {
    try {
      return await this.stored('list', key);
    } catch (error) {
      if (error instanceof SessionRecordCorruptError) return null;
      throw error;
    }
  }

  private read(operation: string, key: string): Promise<Reply> {
    return this.scripts.run(operation, loadScript, [this.keyOf(key)], []);
  }

  /** The braces make the store key alone decide on the slot. */
  private keyOf(key: string): string {
    return `${this.prefix}{${key}}`;
  }
}

/** Milliseconds from now, for Redis to add to its own clock. */
function fromNow(moment: number): number {
  return Math.round(Math.min(moment, LAST_MOMENT) - Date.now());
}

function entryTime({ expiresAt }: SessionRecord): number {
  return Math.max(SHORTEST_ENTRY, 2 * fromNow(expiresAt));
}

/** Twelve characters that no other write has. */
function newWriteId(): string {
  return randomUUID().slice(-12);
}

async function inBatches<Item, Result>(
  items: readonly Item[],
  work: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = [];
  for (let start = 0; start < items.length; start += AT_A_TIME) {
    results.push(...(await Promise.all(items.slice(start, start + AT_A_TIME).map(work))));
  }
  return results;
}
