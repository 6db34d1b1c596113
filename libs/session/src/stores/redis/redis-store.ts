import { setTimeout } from 'node:timers/promises';
import { SessionRecordCorruptError, SessionStoreUnavailableError } from '../../session.errors.js';
import { KeyLock } from '../key-lock.js';
import { RecordCodec } from '../record-codec.js';
import { checkRecordSize } from '../record-log.js';
import {
  type RecordPage,
  type SessionChanges,
  type SessionCount,
  type SessionRecord,
  SessionStore,
} from '../session-store.js';
import { inBatches, RedisCommands, ServerClock, UnansweredError } from './redis-commands.js';
import { type RedisConnection } from './redis-connection.js';
import { hasRoomFor, type RecentLoad, RedisLoads, SMALL } from './redis-loads.js';
import { type RedisStoreOptions, resolveStoreOptions } from './redis-options.js';
import {
  encodeHead,
  encodeLine,
  encodeMoment,
  encodeWrite,
  type EncodedWrite,
  isHeadOf,
  keyHashIn,
  LAST_MOMENT,
  moveClock,
  newWriteId,
} from './redis-record.js';
import { createScript, endScript, replaceScript, saveScript, touchScript } from './redis-scripts.js';
import { SessionScan } from './redis-scan.js';
import { UserIndex } from './redis-users.js';

/** A key is kept for a twentieth of the session's life longer than the session, but for no more than an hour. */
const KEPT_LONGER = { part: 1 / 20, most: 60 * 60 * 1000 };

/** How often a save that has to replace the snapshot tries while others are faster. */
const TRIES = 100;

/** Answers of the save script. */
const [SAVED, TOO_LARGE, UNSURE] = [1, 2, 3];

/** A save that is under way. */
interface Save {
  id: string;
  keyHash: string;
  newKeyHash: string | undefined;
  write: EncodedWrite;
  /** How many keys the record gains at most. */
  newKeys: number;
  /** When the session is to end, on the clock of this process. */
  expiresAt: number;
  /** Redis keeps the key exactly as long as this save says, and not at least. */
  exactly: boolean;
  line: string;
  /** Milliseconds for which Redis keeps the key from now on. */
  keep: number;
  /** The write id of the head before this save was first sent. */
  headId: string;
  /** It was sent before, and the connection broke before the answer. */
  lost?: UnansweredError;
}

/**
 * Keeps sessions in Redis, each in one list: see redis-record.ts. A load is one command, an ordinary save is another. Both
 * go to the primary, because a replica may still have a session that was ended.
 *
 * @example
 * ```ts
 * // `redisEngine()` makes one. In a test, to look at what is kept:
 * const store = app.get<RedisStore>(SessionStore);
 * ```
 */
export class RedisStore extends SessionStore {
  private readonly prefix: string;
  private readonly codec: RecordCodec;
  private readonly commands: RedisCommands;
  private readonly users: UserIndex;
  private readonly sessions: SessionScan;
  private readonly clock: ServerClock;
  private readonly loads: RedisLoads;
  private readonly wholeSaves = new KeyLock();

  /**
   * @param connection connected already; `close()` closes it
   * @throws SessionConfigError when an option is wrong
   */
  constructor(connection: RedisConnection, options: RedisStoreOptions = {}) {
    super();
    const { prefix, waitForReplicas } = resolveStoreOptions(options);
    this.prefix = prefix;
    this.codec = new RecordCodec(options.encryption);
    this.commands = new RedisCommands(connection, waitForReplicas);
    this.users = new UserIndex(this.commands, prefix);
    this.sessions = new SessionScan(this.commands, prefix);
    this.clock = new ServerClock(this.commands, prefix);
    const { codec, commands, users, clock } = this;
    this.loads = new RedisLoads({ prefix, codec, commands, users, clock, store: this });
  }

  load(id: string): Promise<SessionRecord | null> {
    return this.loads.load('load', id);
  }

  async create(id: string, record: SessionRecord): Promise<boolean> {
    const { codec, clock } = this;
    const copy = { ...record };
    const [snapshot, meta] = [codec.encodeSnapshot(record.data, id), codec.encodeMeta(record.meta, id)];
    await clock.ready('create');
    const stored = moveClock(copy, clock.offset);
    const lives = stored.expiresAt - clock.now();
    if (lives <= 0) return true;
    if (stored.userId !== null) await this.users.enter('create', stored.userId, id, lives);
    const keptUntil = this.keptUntil(stored.expiresAt);
    const head = encodeHead(stored, meta, keptUntil, newWriteId());
    const values = [stored.keyHash, head, snapshot, this.fromNow(keptUntil)];
    return (await this.commands.run('create', createScript, this.keyOf(id), values)) === 1;
  }

  save(id: string, keyHash: string, changes: SessionChanges, record: SessionRecord): Promise<boolean> {
    const save: Save = {
      id,
      keyHash,
      newKeyHash: changes.keyHash,
      write: encodeWrite(changes, record, id, this.codec),
      newKeys: keysIn(changes),
      expiresAt: record.expiresAt,
      exactly: changes.expiry !== undefined,
      line: '',
      keep: 0,
      headId: '',
    };
    const known = this.loads.recentLoad('save', id);
    return known instanceof Promise
      ? known.then((found) => this.saveIfLive(save, found))
      : this.saveIfLive(save, known);
  }

  private saveIfLive(save: Save, known: RecentLoad | null): Promise<boolean> {
    if (!known) return Promise.resolve(false);
    const deadline = this.onServer(save.expiresAt);
    const lasts = this.entryLasts('save', save.id, deadline, known);
    return lasts instanceof Promise
      ? lasts.then((itLasts) => itLasts && this.saveUntil(deadline, save, known))
      : this.saveUntil(deadline, save, known);
  }

  /** An ordinary save is one line, and one command. */
  private saveUntil(deadline: number, save: Save, known: RecentLoad): Promise<boolean> {
    const { id, keyHash, newKeyHash, write, newKeys, exactly } = save;
    const now = this.clock.now();
    const keptUntil = this.keptUntil(deadline, now);
    const tooManyKeys = known.keys + newKeys > this.limits.keys;
    const isOrdinary = !tooManyKeys && newKeyHash === undefined && !exactly && deadline <= known.keptUntil;
    save.keep = Math.round(keptUntil - now);
    save.headId = known.headId;
    const byScript = (): Promise<boolean> => {
      if (!save.lost) save.line = encodeLine(write, now, deadline, keptUntil);
      return this.saveOtherwise(save, tooManyKeys);
    };
    if (!isOrdinary) return byScript();
    save.line = encodeLine(write, now, deadline);
    if (!hasRoomFor(save.line.length, known, this.limits)) return byScript();
    known.written += save.line.length;
    known.keys += newKeys;
    return this.commands.send<boolean>(
      'save',
      ['linsert', this.keyOf(id), 'AFTER', keyHash, save.line],
      // -1: the key hash was replaced, or the record has become large.
      (length) => (length === -1 ? byScript() : Number(length) > 0),
      (error) => {
        if (!(error instanceof UnansweredError)) throw error;
        // Nobody knows whether the line is there.
        save.lost = error;
        return byScript();
      },
    );
  }

  private async saveOtherwise(save: Save, tooManyKeys: boolean): Promise<boolean> {
    this.loads.forget(save.id);
    const answer = tooManyKeys ? TOO_LARGE : await this.saveByScript(save);
    if (answer !== TOO_LARGE) return answer === SAVED;
    return this.wholeSaves.run(save.id, () => this.saveWhole(save, tooManyKeys));
  }

  async delete(id: string): Promise<boolean> {
    try {
      return (await this.end(id)) !== null;
    } catch (error) {
      // It is deleted, although nobody can say what it was.
      if (error instanceof SessionRecordCorruptError) return true;
      throw error;
    }
  }

  override async take(id: string): Promise<SessionRecord | null> {
    // Loaded first, because a corrupt record is left alone.
    return (await this.load(id)) && this.end(id);
  }

  override async touch(id: string, record: SessionRecord): Promise<boolean> {
    const { version, lastSeenAt, expiresAt } = record;
    const known = await this.loads.recentLoad('touch', id, version);
    const deadline = this.onServer(expiresAt);
    if (known?.version !== version || deadline <= known.expiresAt) return false;
    if (!(await this.entryLasts('touch', id, deadline, known))) return false;
    const keptUntil = Math.max(known.keptUntil, this.keptUntil(deadline));
    const times = [this.onServer(lastSeenAt), deadline, keptUntil].map(encodeMoment);
    const values = [version, ...times, this.fromNow(keptUntil)];
    return (await this.commands.run('touch', touchScript, this.keyOf(id), values)) === 1;
  }

  override async listByUser(userId: string): Promise<SessionRecord[]> {
    const records = await this.records(await this.users.members('list', userId));
    return records.filter((record) => record.userId === userId);
  }

  /** Counts keys, which are kept somewhat longer than their sessions live. */
  override count(): Promise<SessionCount> {
    return this.sessions.count('count');
  }

  override async list(after: string | null, limit: number): Promise<RecordPage> {
    const { ids, next } = await this.sessions.page('list', after, limit);
    const records = await this.records(ids);
    const ofUsers = records.flatMap(({ id, userId }) => (userId === null ? [] : [{ id, userId }]));
    const entered = await this.users.entered('list', ofUsers);
    return { records: records.filter(({ id, userId }) => userId === null || entered.has(id)), next };
  }

  /**
   * The records first, then their entries: should it fail halfway, the next try still finds the entries. And once more
   * the records, because a login that was under way may have created one while its entry was still there.
   */
  override async deleteByUser(userId: string, exceptIds: readonly string[] = []): Promise<number> {
    const spared = new Set(exceptIds);
    const ids = (await this.users.members('delete', userId)).filter((id) => !spared.has(id));
    this.loads.forgetUser(userId);
    if (ids.length === 0) return 0;
    const keys = ids.map((id) => this.keyOf(id));
    const count = await this.commands.deleteForGood('delete', keys);
    await this.users.remove('delete', userId, ids);
    // A load may have seen an entry in between, and would trust that it is there.
    this.loads.forgetUser(userId);
    return count + (await this.commands.deleteForGood('delete', keys));
  }

  override close(): Promise<void> {
    return this.commands.close();
  }

  /** Those of these sessions that have not expired and can be decoded. */
  private async records(ids: readonly string[]): Promise<SessionRecord[]> {
    await this.clock.ready('list');
    const records: SessionRecord[] = [];
    for (const batch of inBatches(ids)) {
      const replies = await this.commands.sendAll(
        'list',
        batch.map((id) => ['lrange', this.keyOf(id), '0', '-1']),
      );
      for (const [place, id] of batch.entries()) {
        const decoded = this.loads.decodeListed(replies[place], id);
        if (decoded) records.push(moveClock(decoded.record, -this.clock.offset));
      }
    }
    return records;
  }

  /** Makes the entry in the index last as long as the session is to live. False: there is none. */
  private entryLasts(
    operation: string,
    id: string,
    deadline: number,
    { userId, entry }: RecentLoad,
  ): true | Promise<boolean> {
    if (userId === null || deadline <= entry.until) return true;
    return this.users.prolong(operation, userId, id, this.fromNow(deadline)).then((until) => {
      if (until === null) this.loads.forget(id);
      else entry.until = until;
      return until !== null;
    });
  }

  /** Tried once more when the connection breaks before the answer. */
  private async saveByScript(save: Save): Promise<unknown> {
    const { id, keyHash, newKeyHash, line, keep, exactly, headId, lost } = save;
    const limit = this.limits.size === Infinity ? '' : this.limits.size;
    const values = [keyHash, line, newKeyHash ?? keyHash, keep, exactly ? 1 : 0, limit, lost ? headId : ''];
    try {
      const answer = await (newKeyHash === undefined
        ? this.commands.run('save', saveScript, this.keyOf(id), values)
        : this.commands.runForGood('save', saveScript, this.keyOf(id), values));
      if (lost && answer === UNSURE) throw lost;
      return answer;
    } catch (error) {
      if (lost || !(error instanceof UnansweredError)) throw error;
      save.lost = error;
      return this.saveByScript(save);
    }
  }

  /**
   * Replaces the snapshot by one that holds this save, or finds that there is room again because another save did.
   * @throws SessionLimitError when the record would be too large
   */
  private async saveWhole(save: Save, tooManyKeys: boolean): Promise<boolean> {
    const { id, keyHash, newKeyHash, line, write, keep, exactly } = save;
    for (let time = 0; time < TRIES; time++) {
      const answer = tooManyKeys ? TOO_LARGE : await this.saveByScript(save);
      if (answer !== TOO_LARGE) return answer === SAVED;
      const elements = await this.loads.elements('save', id);
      if (elements.length === 0 || keyHashIn(elements) !== keyHash) return false;
      const decoded = this.loads.decode([keyHash, line, ...elements.slice(1)], id);
      if (decoded === null) return false;
      checkRecordSize(decoded.record.data, this.limits);
      const values = this.loads.foldValues(elements, decoded, write.writeId);
      const isLarge = String(values.at(-1)).length > this.limits.size * SMALL;
      values.push(elements[0] ?? '', (isLarge ? '!' : '') + (newKeyHash ?? keyHash), keep, exactly ? 1 : 0);
      if ((await this.commands.runForGood('save', replaceScript, this.keyOf(id), values)) === 1) return true;
      // Sent twice, it finds what it has done the first time.
      if (isHeadOf(await this.commands.send('save', ['lindex', this.keyOf(id), '-2']), write)) return true;
      await setTimeout(Math.random() * time);
    }
    throw new SessionStoreUnavailableError(
      'save',
      'the record is nearly as large as it may be, and too many others are writing to it. Try again.',
    );
  }

  /** What the record was, and null if it had ended before. Of two callers only one gets it. */
  private async end(id: string): Promise<SessionRecord | null> {
    this.loads.forget(id);
    await this.clock.ready('delete');
    const reply = await this.commands.runForGood('delete', endScript, this.keyOf(id), []);
    const elements = reply as string[];
    const decoded = elements.length > 0 ? this.loads.decode(elements, id) : null;
    if (decoded === null) return null;
    const { record } = decoded;
    // An entry that stays without a session is harmless.
    const leave = (userId: string) => this.users.remove('delete', userId, [id]).catch(() => 1);
    if (record.userId !== null && (await leave(record.userId)) === 0) return null;
    return moveClock(record, -this.clock.offset);
  }

  private keyOf(id: string): string {
    return this.prefix + id;
  }

  private onServer(moment: number): number {
    return Math.min(moment + this.clock.offset, LAST_MOMENT);
  }

  private keptUntil(deadline: number, now = this.clock.now()): number {
    const lives = Math.max(0, deadline - now);
    return deadline + Math.min(lives * KEPT_LONGER.part, KEPT_LONGER.most);
  }

  private fromNow(moment: number): number {
    return Math.round(moment - this.clock.now());
  }
}

/** How many keys a record gains at most by these changes. */
function keysIn({ set, increment, push }: SessionChanges): number {
  let count = 0;
  for (const part of [set, increment, push]) if (part) count += Object.keys(part).length;
  return count;
}
