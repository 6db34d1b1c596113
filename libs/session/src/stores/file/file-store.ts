import { SessionConfigError, SessionRecordCorruptError } from '../../session.errors.js';
import { type EncryptionOptions } from '../record-cipher.js';
import { RecordCodec } from '../record-codec.js';
import {
  type SessionChanges,
  type SessionMoved,
  type SessionRecord,
  SessionStore,
} from '../session-store.js';
import { checkDirectory } from './directory-check.js';
import { toStoreError } from './file-errors.js';
import { encodeNew, type FileState, isLive, movedFrom, toRecord } from './file-state.js';
import { SessionDirectory } from './session-directory.js';
import { type NewEntry } from './session-file.js';
import { SessionWrites } from './session-writes.js';
import { Sweep } from './sweep.js';
import { sessionsOf, sessionWithId } from './user-scan.js';

export interface FileStoreOptions {
  /** Where the files go. It has to exist, on a local disk, closed to other users: `mkdir -m 700`. */
  directory: string;
  /**
   * Acknowledge nothing before it is on the disk itself, so that a power failure takes nothing back. Without it,
   * the last seconds before one may be lost; the end of the process loses nothing either way.
   * @default false
   */
  fsync?: boolean;
  /**
   * Encrypts data and metadata. Session id, user id and times stay readable.
   * @default off: the files are as readable as their owner allows
   */
  encryption?: EncryptionOptions;
}

/**
 * Keeps every session in a file of its own, for the processes of one machine.
 *
 * A write is one append to that file, which the operating system puts in order with those of all other processes; what
 * it amounts to follows from what precedes it. So nothing is locked, and nobody waits but for a file that is being folded.
 *
 * @throws SessionConfigError when the directory is missing, or not fit for sessions, or a secret is weak
 */
export class FileStore extends SessionStore {
  override readonly remembersMoves = true;
  private readonly codec: RecordCodec;
  private readonly directory: SessionDirectory;
  private readonly writes: SessionWrites;
  private readonly sweep: Sweep;

  constructor({ directory, fsync = false, encryption }: FileStoreOptions) {
    super();
    if (typeof fsync !== 'boolean') throw new SessionConfigError('fsync', 'must be true or false.');
    this.codec = new RecordCodec(encryption);
    this.directory = new SessionDirectory(checkDirectory(directory), fsync);
    this.writes = new SessionWrites(this.directory, this.codec);
    this.sweep = new Sweep(this.directory, (name) => this.writes.end(name, { onlyExpired: true }));
  }

  load(key: string): Promise<SessionRecord | null> {
    return this.attempt('load', () => {
      const name = this.directory.nameOf(key);
      const state = this.stateOf(name);
      return state && isLive(state, name) ? toRecord(state, this.codec) : null;
    });
  }

  override find(key: string): Promise<SessionRecord | SessionMoved | null> {
    return this.attempt('load', () => {
      const name = this.directory.nameOf(key);
      const state = this.stateOf(name);
      if (state === null) return null;
      if (isLive(state, name)) return toRecord(state, this.codec);
      const newName = movedFrom(state, name);
      const movedTo = newName && this.directory.keyOf(newName);
      return movedTo ? { movedTo } : null;
    });
  }

  /** An expired session that has not been cleared yet counts as taken, too. */
  create(key: string, record: SessionRecord): Promise<boolean> {
    return this.attempt('create', async () => {
      const name = this.directory.nameOf(key);
      const temporary = await this.directory.writeTemporary(
        encodeNew(name, record, this.codec),
        record.expiresAt,
      );
      try {
        return await this.directory.publish(temporary, name);
      } finally {
        this.directory.removeTemporary(temporary);
      }
    });
  }

  save(key: string, changes: SessionChanges, record: SessionRecord): Promise<boolean> {
    return this.attempt('save', () =>
      this.writes.change(
        this.directory.nameOf(key),
        this.saveEntry(changes, record),
        this.codec.encodeLogLine(changes, record.id),
      ),
    );
  }

  /** What is no session, or none that can be decoded, is removed, too. */
  delete(key: string, id?: string): Promise<boolean> {
    return this.attempt('delete', async () => {
      const name = this.directory.nameOf(key);
      try {
        return await this.writes.end(name, {}, id);
      } catch (error) {
        if (!(error instanceof SessionRecordCorruptError)) throw error;
        this.directory.remove(name);
        return true;
      }
    });
  }

  override touch(key: string, { version, expiresAt, lastSeenAt }: SessionRecord): Promise<boolean> {
    return this.attempt('touch', () =>
      this.writes.change(this.directory.nameOf(key), () => ({
        op: 'touch',
        at: Date.now(),
        loadedVersion: version,
        expiresAt,
        lastSeenAt,
      })),
    );
  }

  /** @throws an error when something has the new key; nothing has changed then */
  override rename(
    key: string,
    newKey: string,
    changes: SessionChanges,
    record: SessionRecord,
  ): Promise<boolean> {
    return this.attempt('rename', () => {
      const newName = this.directory.nameOf(newKey);
      const saved = this.saveEntry(changes, record);
      const entry = (): NewEntry => ({ ...saved(), moveTo: newName });
      const line = this.codec.encodeLogLine(changes, record.id);
      return this.writes.move(this.directory.nameOf(key), newName, entry, line);
    });
  }

  override listByUser(userId: string): Promise<SessionRecord[]> {
    return this.attempt('list the sessions of a user', async () => {
      // By session id, for one that is being renamed may be met twice.
      const found = new Map<string, SessionRecord>();
      for await (const { state } of sessionsOf(this.directory, userId)) {
        const record = unlessCorrupt(() => toRecord(state, this.codec));
        if (record) found.set(record.id, record);
      }
      return [...found.values()];
    });
  }

  override deleteByUser(userId: string, exceptIds: readonly string[] = []): Promise<number> {
    return this.attempt('end the sessions of a user', async () => {
      let count = 0;
      for await (const { name, state } of sessionsOf(this.directory, userId)) {
        const { id } = state.head;
        if (exceptIds.includes(id)) continue;
        if (await this.writes.end(name, { onlyUser: userId }, id)) count += 1;
      }
      return count;
    });
  }

  override deleteById(id: string, userId?: string): Promise<boolean> {
    return this.attempt('end a session by its id', async () => {
      const condition = userId === undefined ? {} : { onlyUser: userId };
      for await (const { name } of sessionWithId(this.directory, id, userId)) {
        if (await this.writes.end(name, condition, id)) return true;
      }
      return false;
    });
  }

  override clearExpired(batchSize: number): Promise<number> {
    return this.attempt('clear expired sessions', () => this.sweep.next(batchSize));
  }

  private stateOf(name: string): FileState | null {
    const file = this.directory.open(name, 'read');
    try {
      return file && file.read();
    } finally {
      file?.close();
    }
  }

  private saveEntry(
    { expiry, userId, meta }: SessionChanges,
    { id, version, expiresAt }: SessionRecord,
  ): () => NewEntry & { op: 'save' } {
    const given = {
      ...(expiry !== undefined && { expiry }),
      ...(userId !== undefined && { userId }),
      ...(meta !== undefined && { meta: this.codec.encodeMeta(meta, id) }),
    };
    return () => ({ op: 'save', at: Date.now(), loadedVersion: version, expiresAt, ...given });
  }

  private async attempt<Result>(operation: string, work: () => Result | Promise<Result>): Promise<Result> {
    try {
      return await work();
    } catch (error) {
      throw toStoreError(operation, this.directory.path, error);
    }
  }
}

function unlessCorrupt<Result>(work: () => Result): Result | undefined {
  try {
    return work();
  } catch (error) {
    if (error instanceof SessionRecordCorruptError) return undefined;
    throw error;
  }
}
