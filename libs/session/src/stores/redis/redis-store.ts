import { SessionRecordCorruptError } from '../../session.errors.js';
import { RecordCodec } from '../record-codec.js';
import {
  type SessionChanges,
  type SessionMoved,
  type SessionRecord,
  SessionStore,
} from '../session-store.js';
import { type RedisConnection } from './redis-connection.js';
import { type RedisStoreOptions, resolveStoreOptions } from './redis-options.js';
import { createScript, endScript, loadScript, saveScript, touchScript } from './redis-scripts.js';
import { decodeValue, encodeLines, type StoredValue } from './redis-value.js';
import { type Reply, ScriptRunner } from './script-runner.js';
import { SessionMove } from './session-move.js';
import { keysOfSession } from './session-search.js';
import { UserIndex } from './user-index.js';
import { entryTime, fromNow, newWriteId, WrittenValues } from './written-values.js';

/** How many sessions of a user are asked for at a time. */
const AT_A_TIME = 50;

/** What a session has to be to be ended. */
interface EndConditions {
  userId?: string | undefined;
  id?: string;
  spared?: readonly string[];
  /** Not only under this key, but also under the one that it was moved to. */
  follow: boolean;
}

interface EndedSession {
  key: string;
  id: string;
  userId: string | null;
  bound: number;
}

/**
 * Keeps sessions in Redis, each in one string. A load is one script, a save is one script; both on the primary, for a
 * replica may still have a session that was ended. Redis expires what nobody uses, by its own clock.
 */
export class RedisStore extends SessionStore {
  override readonly remembersMoves = true;
  private readonly prefix: string;
  private readonly codec: RecordCodec;
  private readonly scripts: ScriptRunner;
  private readonly users: UserIndex;
  private readonly move: SessionMove;
  private readonly written: WrittenValues;

  /**
   * @param connection connected already; `close()` closes it
   * @throws SessionConfigError when an option is wrong
   */
  constructor(connection: RedisConnection, options: RedisStoreOptions = {}) {
    super();
    const { prefix, waitForReplicas } = resolveStoreOptions(options);
    this.prefix = prefix;
    this.codec = new RecordCodec(options.encryption);
    this.written = new WrittenValues(this.codec);
    this.scripts = new ScriptRunner(connection, waitForReplicas);
    this.users = new UserIndex(this.scripts, prefix);
    this.move = new SessionMove(
      this.scripts,
      this.users,
      (key) => this.keyOf(key),
      (operation, key) => this.read(operation, key, ''),
    );
  }

  async load(key: string): Promise<SessionRecord | null> {
    const found = await this.find(key);
    return found === null || 'movedTo' in found ? null : found;
  }

  override async find(key: string): Promise<SessionRecord | SessionMoved | null> {
    const stored = await this.stored('load', key, this.users.epochs);
    if (stored?.kind === 'moved') return { movedTo: stored.to };
    if (stored?.kind !== 'session') return null;
    const { record, bound } = stored;
    if (this.scripts.cluster && record.userId !== null) {
      const epoch = await this.users.epoch('load', record.userId);
      if (!epoch.admits({ id: record.id, bound })) return null;
    }
    if (stored.longLog) this.written.rememberLongLog(key);
    return record;
  }

  async create(key: string, record: SessionRecord): Promise<boolean> {
    const { userId } = record;
    const indexedFor = entryTime(record);
    const bound = userId === null ? 0 : await this.users.enrol('create', userId, key, indexedFor);
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
        bound,
        encodeLines(record, this.codec),
        this.codec.encodeSnapshot(record.data, record.id),
      ],
    );
    return created === 1;
  }

  async save(key: string, changes: SessionChanges, record: SessionRecord): Promise<boolean> {
    const { userId } = changes;
    const bound =
      typeof userId === 'string' ? await this.users.enrol('save', userId, key, entryTime(record)) : 0;
    const values = [this.users.epochs, ...this.written.of(key, changes, record), bound];
    const [status, user, version] = await this.scripts.run('save', saveScript, [this.keyOf(key)], values);
    if (status !== 1) return false;
    if (user) {
      const saved = { ...record, version: Number(version) };
      // It is saved, and to say otherwise would have it saved twice. The next use tries again.
      await this.prolong(key, JSON.parse(String(user)) as string, saved).catch(() => {});
    }
    return true;
  }

  async delete(key: string, id?: string): Promise<boolean> {
    return this.endOne(key, { follow: id !== undefined });
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
    const written = [this.users.epochs, ...this.written.of(key, changes, record)];
    return this.move.rename({ key, newKey, record, written, indexedFor: entryTime(record) });
  }

  override async listByUser(userId: string): Promise<SessionRecord[]> {
    const { keys, epoch } = await this.users.members('list', userId);
    const stored = await inBatches(keys, (key) => this.readable(key));
    return stored.flatMap((value) => {
      if (value?.kind !== 'session' || value.record.userId !== userId) return [];
      const { record, bound } = value;
      return epoch.admits({ id: record.id, bound }) ? [record] : [];
    });
  }

  /** The epoch ends the sessions, wherever they are; deleting those that the index knows makes room, and counts them. */
  override async deleteByUser(userId: string, exceptIds: readonly string[] = []): Promise<number> {
    const keys = await this.users.revoke('delete', userId, exceptIds);
    const ended = await inBatches(keys, async (key) => {
      const end = await this.end(key, { userId, spared: exceptIds, follow: true });
      if (end !== null) await this.users.leave(userId, [key, end.key]);
      return end !== null;
    });
    return ended.filter(Boolean).length;
  }

  /** With a user, through the index. What is not found there is looked for among all sessions of all users. */
  override async deleteById(id: string, userId?: string): Promise<boolean> {
    const conditions = { id, userId, follow: true };
    if (userId !== undefined) {
      // The index has all of them. To look on, whenever somebody makes up an id, would have Redis walk all its keys.
      const { keys } = await this.users.members('delete', userId);
      const ended = await inBatches(keys, (key) => this.endOne(key, conditions));
      return ended.some(Boolean);
    }
    for await (const key of keysOfSession(this.scripts, this.prefix, id)) {
      if (await this.endOne(key, conditions)) return true;
    }
    return false;
  }

  override close(): Promise<void> {
    return this.scripts.close();
  }

  /** False: there was none, or none that the epoch of its user had left alive. */
  private async endOne(key: string, conditions: EndConditions): Promise<boolean> {
    const ended = await this.end(key, conditions);
    if (ended === null) return false;
    if (ended.userId === null) return true;
    const epoch = await this.users.leave(ended.userId, [key, ended.key]);
    return epoch?.admits(ended) ?? true;
  }

  private async end(
    key: string,
    { userId, id, spared = [], follow }: EndConditions,
  ): Promise<EndedSession | null> {
    const [owner, only] = [userId, id].map((value) => (value === undefined ? '' : JSON.stringify(value)));
    const values = [owner, only, ...spared.map((sparedId) => JSON.stringify(sparedId))] as string[];
    for (let current = key; ;) {
      const reply = await this.scripts.end('delete', endScript, [this.keyOf(current)], values);
      const [status, detail] = reply;
      if (status === 1) return endedSession(current, reply);
      if (status === 2 && follow) current = String(detail);
      // Pending: alive only if it has left its old key already. Then it can be ended here.
      else if (status !== 3 || (await this.stored('delete', current, ''))?.kind !== 'session') return null;
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
    const { version, expiresAt, lastSeenAt } = record;
    const values = [this.users.epochs, version, fromNow(expiresAt), fromNow(lastSeenAt), indexedFor];
    return this.scripts.run(operation, touchScript, [this.keyOf(key)], values);
  }

  /** Whoever meets a session on its way between two servers brings it home, should its carrier have died. */
  private async stored(operation: string, key: string, epochs: string): Promise<StoredValue | null> {
    const stored = await this.read(operation, key, epochs);
    if (stored?.kind !== 'pending') return stored;
    await this.move.complete(operation, stored.from, key);
    return this.read(operation, key, epochs);
  }

  /** Like `stored`; one corrupt record must not hide the others. */
  private async readable(key: string): Promise<StoredValue | null> {
    try {
      return await this.stored('list', key, '');
    } catch (error) {
      if (error instanceof SessionRecordCorruptError) return null;
      throw error;
    }
  }

  /** @param epochs where a session's epoch is, if it may be missing because of that; '' if not */
  private async read(operation: string, key: string, epochs: string): Promise<StoredValue | null> {
    return decodeValue(
      await this.scripts.run(operation, loadScript, [this.keyOf(key)], [epochs]),
      this.codec,
    );
  }

  /** The braces make the store key alone decide on the slot. */
  private keyOf(key: string): string {
    return `${this.prefix}{${key}}`;
  }
}

function endedSession(key: string, [, user, id, bound]: Reply): EndedSession {
  return { key, userId: textIn(user), id: textIn(id) ?? '', bound: Number(bound) };
}

/** Null for what is no text: also of a record that could not be read one can say that it was ended. */
function textIn(line: unknown): string | null {
  try {
    const value: unknown = JSON.parse(String(line));
    return typeof value === 'string' ? value : null;
  } catch {
    return null;
  }
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
