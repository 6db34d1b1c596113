import { setTimeout } from 'node:timers/promises';
import { SessionRecordCorruptError, SessionStoreUnavailableError } from '../session.errors.js';
import { KeyLock } from './key-lock.js';
import { type EncodedRecord, fromRecordText, RecordCodec, toRecordText } from './record-codec.js';
import { changedRecord, checkRecordSize } from './record-log.js';
import { type EncryptionOptions } from './sealing.js';
import { type SessionChanges, type SessionRecord, SessionStore } from './session-store.js';
import { outlivesList, UserMarks } from './user-marks.js';

/** How long a notice stays: longer than any write that cannot know of it yet. Milliseconds. */
const NOTICE_LASTS = 120_000;

/**
 * A store over something that can only get and put a session whole, and does nothing in one step.
 *
 * Within this process the work on one session runs one at a time: read, apply the changes of this request, write.
 *
 * For other processes, the end of a session and a change of its key first leave a **notice** beside it. Every write looks
 * for notices afterwards, and takes itself back if it came too late. How the sessions of a user are found and ended is in
 * `UserMarks`.
 */
export abstract class WholeRecordStore extends SessionStore {
  private readonly codec: RecordCodec;
  private readonly lock = new KeyLock();
  private readonly users = new UserMarks({
    getMark: (operation, name) => this.getMark(operation, name),
    putMark: (operation, name, text, lifetime) => this.putMark(operation, name, text, lifetime),
  });

  /** @throws SessionConfigError when a secret is weak */
  constructor(encryption?: EncryptionOptions) {
    super();
    this.codec = new RecordCodec(encryption);
  }

  /**
   * What is kept under this id, expired or not.
   * @throws SessionRecordCorruptError
   */
  protected abstract get(operation: string, id: string): Promise<EncodedRecord | null>;

  /** Inserts or replaces. */
  protected abstract put(operation: string, id: string, record: EncodedRecord): Promise<void>;

  /** False, where that can be told: there was nothing. */
  protected abstract remove(operation: string, id: string): Promise<boolean>;

  /** The small text under this name, which is no session id. */
  protected abstract getMark(operation: string, name: string): Promise<string | null>;

  /** @param lifetime milliseconds */
  protected abstract putMark(operation: string, name: string, text: string, lifetime: number): Promise<void>;

  load(id: string): Promise<SessionRecord | null> {
    return this.read('load', id);
  }

  async create(id: string, record: SessionRecord): Promise<boolean> {
    const encoded = this.codec.encode(record);
    const created = await this.lock.run(id, async () => {
      if ((await unlessCorrupt(() => this.live('create', id))) !== null) return false;
      await this.put('create', id, encoded);
      return true;
    });
    if (created) await this.enterInList('create', encoded);
    return created;
  }

  save(id: string, keyHash: string, changes: SessionChanges, record: SessionRecord): Promise<boolean> {
    const ownChanges = JSON.parse(JSON.stringify(changes)) as SessionChanges;
    const seen = { ...record };
    return this.update('save', id, (current) =>
      current.keyHash === keyHash
        ? this.encodeWithinLimits(changedRecord(this.codec.decode(current), ownChanges, seen, Date.now()))
        : null,
    );
  }

  override touch(id: string, { version, expiresAt, lastSeenAt }: SessionRecord): Promise<boolean> {
    return this.update('touch', id, (current) =>
      current.version === version && current.expiresAt < expiresAt
        ? { ...current, expiresAt, lastSeenAt }
        : null,
    );
  }

  delete(id: string): Promise<boolean> {
    return this.lock.run(id, async () => {
      const found = await unlessCorrupt(() => this.live('delete', id));
      return found !== null && this.end('delete', id);
    });
  }

  override take(id: string): Promise<SessionRecord | null> {
    return this.lock.run(id, async () => {
      if (!(await this.live('take', id))) return null;
      await this.announceEnd('take', id);
      // Again, for what another process wrote until it could see the notice.
      const record = await this.read('take', id);
      return record && (await this.remove('take', id)) ? record : null;
    });
  }

  override async listByUser(userId: string): Promise<SessionRecord[]> {
    const revocation = await this.users.revocationOf('listByUser', userId);
    const sessions = await this.users.forEach('listByUser', userId, (id) =>
      this.sessionOf('listByUser', userId, id),
    );
    const readable = sessions.filter((session) => session !== 'corrupt');
    const live = readable.filter((session) => revocation.admits(session));
    const records = await Promise.all(live.map((session) => unlessCorrupt(() => this.codec.decode(session))));
    return records.filter((record) => record !== 'corrupt');
  }

  /** The revocation ends the sessions, on the list or not. Deleting those on the list makes room, and counts them. */
  override async deleteByUser(userId: string, exceptIds: readonly string[] = []): Promise<number> {
    const [before, after] = await this.users.revoke('deleteByUser', userId, exceptIds);
    let count = 0;
    await this.users.forEach('deleteByUser', userId, async (id) => {
      if (exceptIds.includes(id)) return id;
      await this.lock.run(id, async () => {
        const session = await this.sessionOf('deleteByUser', userId, id);
        if (session === null || !(await this.end('deleteByUser', id))) return;
        if (session === 'corrupt' || before.admits(session)) count += 1;
      });
      return null;
    });
    // A session that starts after this must not look as if it had started before.
    if (Date.now() < after.at) await setTimeout(2);
    return count;
  }

  private async read(operation: string, id: string): Promise<SessionRecord | null> {
    const record = await this.live(operation, id);
    return record && this.codec.decode(record);
  }

  /** The record under this id, if it has neither expired nor been revoked. */
  private async live(operation: string, id: string): Promise<EncodedRecord | null> {
    const record = await this.unexpired(operation, id);
    if (!record || record.userId === null) return record;
    return (await this.users.revocationOf(operation, record.userId)).admits(record) ? record : null;
  }

  private async unexpired(operation: string, id: string): Promise<EncodedRecord | null> {
    const record = await this.get(operation, id);
    if (!record || record.expiresAt <= Date.now()) return null;
    if (record.id === id) return record;
    throw new SessionRecordCorruptError(
      'A session record is under the id of another session. It is treated as absent and left in the store for inspection.',
    );
  }

  /** The session with this id, revoked or not, if it is this user's. */
  private async sessionOf(
    operation: string,
    userId: string,
    id: string,
  ): Promise<EncodedRecord | 'corrupt' | null> {
    const found = await unlessCorrupt(() => this.unexpired(operation, id));
    return found === null || found === 'corrupt' || found.userId === userId ? found : null;
  }

  /** @param change null: nothing is to be written */
  private async update(
    operation: string,
    id: string,
    change: (current: EncodedRecord) => EncodedRecord | null,
  ): Promise<boolean> {
    const written = await this.lock.run(id, async () => {
      const current = await this.live(operation, id);
      const next = current && change(current);
      if (!current || !next) return null;
      if (next.keyHash !== current.keyHash) {
        if (!(await this.stands(operation, id, current.keyHash))) return null;
        await this.putMark(operation, rotationOf(id), toRecordText(next), NOTICE_LASTS);
      }
      await this.put(operation, id, next);
      return (await this.stands(operation, id, next.keyHash)) ? { before: current, now: next } : null;
    });
    if (!written) return false;
    const { before, now } = written;
    if (outlivesList(before.expiresAt, now.expiresAt)) await this.enterInList(operation, now);
    return true;
  }

  private encodeWithinLimits(record: SessionRecord): EncodedRecord {
    const encoded = this.codec.encode(record);
    // Encrypted or not, the text is at least as long as the JSON in it. Only if it is too long, the JSON is measured.
    const { length } = encoded.data;
    checkRecordSize(record.data, this.limits, length <= this.limits.size ? length : undefined);
    return encoded;
  }

  private async end(operation: string, id: string): Promise<boolean> {
    await this.announceEnd(operation, id);
    return this.remove(operation, id);
  }

  private announceEnd(operation: string, id: string): Promise<void> {
    return this.putMark(operation, endOf(id), '1', NOTICE_LASTS);
  }

  /**
   * Does what has been read or written with this key hash still stand? If another process has ended the session or
   * changed its key in between, what that process did takes its place.
   */
  private async stands(operation: string, id: string, keyHash: string): Promise<boolean> {
    const [ended, rotated] = await Promise.all([
      this.getMark(operation, endOf(id)),
      this.getMark(operation, rotationOf(id)),
    ]);
    if (ended !== null) {
      await this.remove(operation, id);
      return false;
    }
    const rotatedRecord = rotated === null ? null : fromRecordText(rotated);
    if (!rotatedRecord || rotatedRecord.keyHash === keyHash) return true;
    await this.put(operation, id, rotatedRecord);
    // It may have ended since.
    await this.stands(operation, id, rotatedRecord.keyHash);
    return false;
  }

  private enterInList(operation: string, record: EncodedRecord): Promise<void> {
    return this.users.enter(
      operation,
      record,
      async (id, userId) => (await this.sessionOf(operation, userId, id)) !== null,
    );
  }
}

/** The error for a fault that the client of a store has reported. */
export function toUnavailable(
  operation: string,
  store: string,
  fault: unknown,
): SessionStoreUnavailableError {
  const { message } = (fault ?? {}) as { message?: unknown };
  const text = (typeof message === 'string' ? message : String(fault)).replaceAll(CREDENTIALS, '…');
  return new SessionStoreUnavailableError(
    operation,
    `the ${store} did not carry it out (${text}). Check that it is up and can be reached.`,
    // Only the message, because clients put the command and its arguments on their errors.
    { cause: new Error(text) },
  );
}

/** User and password of a URL. */
const CREDENTIALS = /(?<=:\/\/)[^\s/@]*(?=@)/g;

async function unlessCorrupt<Answer>(ask: () => Answer | Promise<Answer>): Promise<Answer | 'corrupt'> {
  try {
    return await ask();
  } catch (error) {
    if (error instanceof SessionRecordCorruptError) return 'corrupt';
    throw error;
  }
}

/** Name of the mark that a session has ended. */
export const endOf = (id: string): string => `ended:${id}`;
const rotationOf = (id: string): string => `rotated:${id}`;
