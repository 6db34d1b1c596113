import { SessionConfigError, SessionError, SessionRecordCorruptError } from '../../session.errors.js';
import { RecordCodec } from '../record-codec.js';
import { checkRecordSize } from '../record-log.js';
import { type EncryptionOptions } from '../sealing.js';
import {
  type RecordPage,
  type SessionChanges,
  type SessionCount,
  type SessionRecord,
  SessionStore,
} from '../session-store.js';
import { checkDirectory } from './directory-check.js';
import {
  applySave,
  encodeFile,
  type FileState,
  isLive,
  type NewEntry,
  type NewSave,
  toRecord,
  wantsFolding,
} from './file-format.js';
import {
  noteDeadline,
  SessionDirectory,
  statsOf,
  systemErrorCode,
  toStoreError,
} from './session-directory.js';
import { APPEND, newTag, READ, SessionFile } from './session-file.js';
import { inTurns, LEFTOVER_KEPT, Sweep } from './sweep.js';

/** What `fileEngine` and `FileStore` take. Only `directory` is required. */
export interface FileStoreOptions {
  /** The directory for the files. It has to exist on a local disk and be closed to other users: `mkdir -m 700`. */
  directory: string;
  /**
   * Acknowledge a write only when it is on the disk, so that a power failure loses nothing. Without it, a power failure
   * may lose the last seconds; the end of the process never loses anything.
   * @default false
   */
  fsync?: boolean;
  /**
   * Encrypts data and metadata. Session id, key hash, user id and times stay readable.
   * @default off: the files are as readable as their owner allows
   */
  encryption?: EncryptionOptions;
}

/**
 * Keeps every session in a file of its own, for the processes of one machine.
 *
 * A write is one append to that file, which the operating system puts in order with those of all other processes. What
 * becomes of it follows from what precedes it. So there are no locks, and nobody waits but for a file that is being folded.
 *
 * @throws SessionConfigError when the directory is missing, or not fit for sessions, or a secret is weak
 *
 * @example
 * ```ts
 * const store = new FileStore({ directory: '/var/lib/shop/sessions' });
 * ```
 */
export class FileStore extends SessionStore {
  private readonly codec: RecordCodec;
  private readonly directory: SessionDirectory;
  private readonly sweep: Sweep;

  constructor({ directory, fsync = false, encryption }: FileStoreOptions) {
    super();
    if (typeof fsync !== 'boolean') throw new SessionConfigError('fsync', 'must be true or false.');
    this.codec = new RecordCodec(encryption);
    this.directory = new SessionDirectory(checkDirectory(directory), fsync);
    this.sweep = new Sweep(this.directory, async (id) => Boolean(await this.end(id, hasExpired, 'expired')));
  }

  load(id: string): Promise<SessionRecord | null> {
    return this.attempt('load', () => this.live(id));
  }

  /** An expired session that has not been cleared yet counts as taken, too. */
  create(id: string, record: SessionRecord): Promise<boolean> {
    return this.attempt('create', async () => {
      const { userId, expiresAt } = record;
      const text = encodeFile({ ...record, version: 1 }, this.codec);
      const [tag, startedAt] = [newTag(), Date.now()];
      try {
        await this.directory.writeTemporary(tag, text, expiresAt);
        if (userId !== null) await this.directory.addUserEntry(userId, id);
        const isFree = await this.directory.publish(tag, id);
        // If the process was stopped in between, clearing may have removed the entry.
        const isLate = Date.now() - startedAt > LEFTOVER_KEPT / 2;
        if (isFree && isLate && userId !== null) await this.directory.addUserEntry(userId, id);
        return isFree;
      } finally {
        this.directory.removeTemporary(tag);
      }
    });
  }

  save(id: string, keyHash: string, changes: SessionChanges, record: SessionRecord): Promise<boolean> {
    return this.attempt('save', () => {
      const line = this.codec.encodeLogLine(changes, id).trimEnd();
      const save = this.saveEntry(id, keyHash, changes, record);
      return this.onFile(id, false, (file) => {
        const entry: NewSave = { ...save, at: Date.now() };
        const isLarge = file.mayExceed(this.limits.size, line);
        return isLarge ? this.saveLarge(file, entry, line) : this.write(file, entry, line);
      });
    });
  }

  /** Also removes what is no session, or none that can be decoded. */
  delete(id: string): Promise<boolean> {
    return this.attempt('delete', () => this.endOrRemove(id, () => true));
  }

  /** A session that cannot be decoded stays. */
  override take(id: string): Promise<SessionRecord | null> {
    return this.attempt('take', async () => {
      const canBeTaken = (state: FileState): boolean => isLive(state) && Boolean(toRecord(state, this.codec));
      const ended = await this.end(id, canBeTaken, 'live');
      return ended && toRecord(ended, this.codec);
    });
  }

  override touch(id: string, { version, expiresAt, lastSeenAt }: SessionRecord): Promise<boolean> {
    const touch = { op: 'touch', loadedVersion: version, expiresAt, lastSeenAt } as const;
    return this.attempt('touch', () =>
      this.onFile(id, false, (file) => this.write(file, { ...touch, at: Date.now() })),
    );
  }

  override listByUser(userId: string): Promise<SessionRecord[]> {
    return this.attempt('list the sessions of a user', async () => {
      const found: SessionRecord[] = [];
      for await (const id of inTurns(this.directory.sessionsOf(userId))) {
        const record = this.readable(id);
        if (record?.userId === userId) found.push(record);
      }
      return found;
    });
  }

  override deleteByUser(userId: string, exceptIds: readonly string[] = []): Promise<number> {
    return this.attempt('end the sessions of a user', async () => {
      let count = 0;
      for await (const id of inTurns(this.directory.sessionsOf(userId))) {
        if (exceptIds.includes(id)) continue;
        if (await this.endOrRemove(id, (state) => isLiveOf(state, userId))) count += 1;
      }
      return count;
    });
  }

  /** By the deadlines that are noted in the time stamps, without a look into the files. */
  override count(): Promise<SessionCount> {
    return this.attempt('count the sessions', async () => {
      let live = 0;
      for await (const { path } of inTurns(this.directory.sessionsAfter(null))) {
        if ((statsOf(path)?.mtimeMs ?? 0) > Date.now()) live += 1;
      }
      return { live, loggedIn: null };
    });
  }

  override list(after: string | null, limit: number): Promise<RecordPage> {
    return this.attempt('list the sessions', async () => {
      const records: SessionRecord[] = [];
      for await (const { id } of inTurns(this.directory.sessionsAfter(after))) {
        const record = this.readable(id);
        if (record) records.push(record);
        if (records.length >= limit) return { records, next: id };
      }
      return { records, next: null };
    });
  }

  override clearExpired(batchSize: number): Promise<number> {
    return this.attempt('clear expired sessions', () => this.sweep.next(batchSize));
  }

  private live(id: string): SessionRecord | null {
    const state = this.read(id);
    return state && isLive(state) ? toRecord(state, this.codec) : null;
  }

  /** The live session; null also for what cannot be decoded, which in a list must not hide the others. */
  private readable(id: string): SessionRecord | null {
    try {
      return this.live(id);
    } catch (error) {
      if (error instanceof SessionRecordCorruptError) return null;
      throw error;
    }
  }

  private read(id: string): FileState | null {
    const file = SessionFile.open(this.directory, this.codec, id, READ);
    try {
      return file && file.read();
    } finally {
      file?.close();
    }
  }

  /** Takes a step on the file of a session. When that is sealed, again on the file that replaces it. */
  private async onFile<Result>(
    id: string,
    absent: Result,
    step: (file: SessionFile) => Promise<Result | 'sealed'>,
  ): Promise<Result> {
    for (;;) {
      const file = SessionFile.open(this.directory, this.codec, id, APPEND);
      if (file === null) return absent;
      try {
        const result = await step(file);
        if (result !== 'sealed') return result;
        await file.untilReplaced();
      } finally {
        file.close();
      }
    }
  }

  private saveEntry(
    id: string,
    keyHash: string,
    { expiry, meta, keyHash: newKeyHash, set = {}, increment = {}, push = {} }: SessionChanges,
    { version, expiresAt }: SessionRecord,
  ): Omit<NewSave, 'at'> {
    const increments = Object.keys(increment).length;
    const keys = Object.keys(set).length + increments + Object.keys(push).length;
    const { limits } = this;
    return {
      op: 'save',
      keyHash,
      loadedVersion: version,
      expiresAt,
      ...(newKeyHash !== undefined && { newKeyHash }),
      ...(expiry !== undefined && { expiry }),
      ...(meta !== undefined && { meta: this.codec.encodeMeta(meta, id) }),
      ...(increments > 0 && { increments }),
      ...(keys > 0 && { keys }),
      ...(Math.min(limits.size, limits.keys) < Infinity && { limits }),
    };
  }

  private async write(file: SessionFile, entry: NewEntry, line = ''): Promise<boolean | 'sealed'> {
    const { outcome, state } = file.append(entry, line);
    if (outcome === 'oversized') return this.saveLarge(file, entry as NewSave, line);
    if (outcome !== 'applied') return outcome === 'sealed' && outcome;
    await this.directory.flush(file.fd);
    noteDeadline(file.fd, state.head.expiresAt);
    await foldIfLong(file, state);
    return true;
  }

  /** Writes nothing before it is clear that the record stays within the limits. */
  private async saveLarge(file: SessionFile, entry: NewSave, line: string): Promise<boolean | 'sealed'> {
    const state = file.read();
    if (state.seals.length > 0) return 'sealed';
    const outcome = applySave(state, entry, line);
    if (outcome !== 'oversized') return outcome === 'applied' && this.write(file, entry, line);
    // It is more than the limit with all that the log holds and the line adds. Some of that may have been replaced.
    const { limits, ...unlimited } = entry;
    applySave(state, unlimited, line);
    const record = toRecord(state, this.codec);
    checkRecordSize(record.data, limits ?? this.limits);
    return (await file.replace(encodeFile(record, this.codec), state)) || 'sealed';
  }

  private async endOrRemove(id: string, isMeant: (state: FileState) => boolean): Promise<boolean> {
    try {
      return (await this.end(id, isMeant)) !== null;
    } catch (error) {
      if (!(error instanceof SessionRecordCorruptError)) throw error;
      this.directory.remove(id);
      return true;
    }
  }

  /** @returns the session as it ended; null: none did */
  private end(
    id: string,
    isMeant: (state: FileState, file: SessionFile) => boolean,
    only?: 'live' | 'expired',
  ): Promise<FileState | null> {
    return this.onFile(id, null, async (file) => {
      const before = file.read();
      if (before.ended) this.remove(id, before);
      if (before.ended || !isMeant(before, file)) return null;
      const { outcome, state } = file.append({ op: 'end', at: Date.now(), ...(only && { only }) });
      if (outcome !== 'applied') return outcome === 'sealed' ? outcome : null;
      await this.directory.flush(file.fd);
      this.remove(id, state);
      return state;
    });
  }

  /** Of a session that has ended. The entry first: a file that is left is found by clearing. */
  private remove(id: string, { head: { userId } }: FileState): void {
    if (userId !== null) this.directory.removeUserEntry(userId, id);
    this.directory.remove(id);
  }

  private async attempt<Result>(operation: string, work: () => Result | Promise<Result>): Promise<Result> {
    try {
      return await work();
    } catch (error) {
      throw toStoreError(operation, this.directory.path, error);
    }
  }
}

/** Else the file gets its deadline noted anew, so that it is not opened in vain again. */
function hasExpired(state: FileState, file: SessionFile): boolean {
  if (isLive(state)) noteDeadline(file.fd, state.head.expiresAt);
  return !isLive(state);
}

function isLiveOf(state: FileState, userId: string): boolean {
  return isLive(state) && state.head.userId === userId;
}

/** Comes after a write and can wait for the next one: if it fails, that must not look like a failure of the write. */
async function foldIfLong(file: SessionFile, state: FileState): Promise<void> {
  if (!wantsFolding(state)) return;
  try {
    await file.fold(state);
  } catch (error) {
    if (systemErrorCode(error) === undefined && !(error instanceof SessionError)) throw error;
  }
}
