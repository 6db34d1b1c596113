import { setTimeout } from 'node:timers/promises';
import { SessionRecordCorruptError } from '../session.errors.js';
import { changedRecord } from './changed-record.js';
import { KeyLock } from './key-lock.js';
import { type SessionChanges, type SessionMoved, type SessionRecord, SessionStore } from './session-store.js';
import { stillServe, UserMarks } from './user-marks.js';
import { type UserRevocation } from './user-revocation.js';

/** How long it is remembered that a session ended or moved: longer than any request that may not know it yet. */
export const REMEMBERED_FOR = 120_000;

type Found = SessionRecord | SessionMoved | null;

/** Of a session that cannot be read (null), it may be unknown. */
type Condition = (record: SessionRecord | null) => boolean | Promise<boolean>;

/**
 * A store over something that can only get and put a session whole, and nothing in one step. Within this process the
 * work on one session runs one at a time: read, merge the changes of this request, write. What holds between processes
 * is up to `counts` and `leave`, and for the end of all sessions of a user to `UserMarks`.
 */
export abstract class WholeRecordStore extends SessionStore {
  override readonly remembersMoves = true;
  protected readonly lock = new KeyLock();
  private readonly marks = new UserMarks({
    getMark: (operation, name) => this.getMark(operation, name),
    putMark: (operation, name, text, lifetime) => this.putMark(operation, name, text, lifetime),
  });

  /** What is under this key, if it has not expired; a session also when all those of its user were ended. */
  protected abstract look(operation: string, key: string): Promise<Found>;

  /** Ends what is under this key, and where it was moved to. False: there was nothing. */
  protected abstract remove(key: string, id?: string): Promise<boolean>;

  /** The text under a name that no session has; null when there is none. */
  protected abstract getMark(operation: string, name: string): Promise<string | null>;

  /** @param lifetime milliseconds */
  protected abstract putMark(operation: string, name: string, text: string, lifetime: number): Promise<void>;

  /** Is there anything under this key, if only something that cannot be read? */
  protected abstract isTaken(operation: string, key: string): Promise<boolean>;

  /** Inserts or replaces. */
  protected abstract put(operation: string, key: string, record: SessionRecord): Promise<void>;

  /** Leads from the old key to the new one, where the record is already. False: it came too late, and is taken back. */
  protected abstract leave(key: string, newKey: string, id: string): Promise<boolean>;

  /** Does a write count that has just been made? If not, it is taken back. */
  protected counts(_operation: string, _key: string, _id: string): Promise<boolean> {
    return Promise.resolve(true);
  }

  load(key: string): Promise<SessionRecord | null> {
    return this.read('load', key);
  }

  override async find(key: string): Promise<Found> {
    return this.admitted('load', await this.look('load', key));
  }

  create(key: string, record: SessionRecord): Promise<boolean> {
    return this.lock.run(key, async () => {
      if (await this.isTaken('create', key)) return false;
      await this.put('create', key, record);
      await this.enter('create', key, record);
      return true;
    });
  }

  save(key: string, changes: SessionChanges, record: SessionRecord): Promise<boolean> {
    return this.update('save', key, (current) => changedRecord(current, changes, record, Date.now()));
  }

  override touch(key: string, { version, expiresAt, lastSeenAt }: SessionRecord): Promise<boolean> {
    return this.update('touch', key, (current) =>
      current.version === version && current.expiresAt < expiresAt
        ? { ...current, expiresAt, lastSeenAt }
        : null,
    );
  }

  override rename(
    key: string,
    newKey: string,
    changes: SessionChanges,
    record: SessionRecord,
  ): Promise<boolean> {
    return this.lock.run(key, async () => {
      const current = await this.read('rename', key);
      if (!current || (await this.isTaken('rename', newKey))) return false;
      const next = changedRecord(current, changes, record, Date.now());
      await this.put('rename', newKey, next);
      if (!(await this.leave(key, newKey, current.id))) return false;
      // Last, for another process may have been faster. Until then the old key leads on.
      await this.enter('rename', newKey, next, key);
      return true;
    });
  }

  delete(key: string, id?: string): Promise<boolean> {
    return this.lock.run(key, () => this.remove(key, id));
  }

  override async listByUser(userId: string): Promise<SessionRecord[]> {
    const found = await this.marks.list('list', userId, (key) => this.findOf(userId, key));
    const records = found.filter((record) => record !== 'corrupt');
    return [...new Map(records.map((record) => [record.id, record])).values()];
  }

  /** The revocation ends the sessions, wherever they are; deleting those that the index knows makes room, and counts them. */
  override async deleteByUser(userId: string, exceptIds: readonly string[] = []): Promise<number> {
    const [before, after] = await this.marks.revoke('delete', userId, exceptIds);
    const isMeant: Condition = (record) =>
      record === null || (record.userId === userId && !exceptIds.includes(record.id));
    let count = 0;
    for (const key of await this.marks.keys('delete', userId)) {
      if (await this.end(key, isMeant, before)) count += 1;
    }
    // Whoever logs in after this must not be taken for somebody who did so before.
    if (Date.now() < after.at) await setTimeout(2);
    return count;
  }

  override async deleteById(id: string, userId?: string): Promise<boolean> {
    const key = await this.marks.keyOf('delete', id);
    if (key === null) return false;
    return this.end(key, async (record) => {
      if (record === null) return userId === undefined;
      if (record.id !== id || (userId !== undefined && record.userId !== userId)) return false;
      return this.marks.admits('delete', record);
    });
  }

  /** The live record under this key. */
  protected async read(operation: string, key: string): Promise<SessionRecord | null> {
    const found = await this.admitted(operation, await this.look(operation, key));
    return found !== null && 'movedTo' in found ? null : found;
  }

  private async admitted(operation: string, found: Found): Promise<Found> {
    if (found === null || 'movedTo' in found) return found;
    return (await this.marks.admits(operation, found)) ? found : null;
  }

  private enter(operation: string, key: string, record: SessionRecord, formerKey?: string): Promise<void> {
    return this.marks.enter(
      operation,
      key,
      record,
      async (other, userId) => {
        const found = await this.look(operation, other).catch(ifCorrupt);
        return found === 'corrupt' || (found !== null && 'id' in found && found.userId === userId);
      },
      formerKey,
    );
  }

  /** This user's live session under this key, or where a rotation has just moved it. */
  private async findOf(userId: string, key: string): Promise<SessionRecord | 'corrupt' | null> {
    const found = await this.look('list', key).catch(ifCorrupt);
    if (found === null || found === 'corrupt') return found;
    if ('movedTo' in found) return this.findOf(userId, found.movedTo);
    return found.userId === userId && (await this.marks.admits('list', found)) ? found : null;
  }

  /** @param before what counted for a session, of which all have been ended since; false: it was none that did */
  private end(key: string, isMeant: Condition, before?: UserRevocation): Promise<boolean> {
    return this.lock.run(key, async () => {
      const found = await this.look('delete', key).catch(ifCorrupt);
      if (found === null) return false;
      if (found !== 'corrupt' && 'movedTo' in found) return this.end(found.movedTo, isMeant, before);
      const record = found === 'corrupt' ? null : found;
      if (!(await isMeant(record))) return false;
      const ended = await this.remove(key, record?.id);
      return ended && (record === null || (before?.admits(record) ?? true));
    });
  }

  /** @param change null: nothing is to be written */
  private update(
    operation: string,
    key: string,
    change: (current: SessionRecord) => SessionRecord | null,
  ): Promise<boolean> {
    return this.lock.run(key, async () => {
      const current = await this.read(operation, key);
      const next = current && change(current);
      if (!current || !next) return false;
      await this.put(operation, key, next);
      if (!(await this.counts(operation, key, next.id))) return false;
      if (!stillServe(current, next)) await this.enter(operation, key, next);
      return true;
    });
  }
}

function ifCorrupt(error: unknown): 'corrupt' {
  if (error instanceof SessionRecordCorruptError) return 'corrupt';
  throw error;
}
