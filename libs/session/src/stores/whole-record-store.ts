import { changedRecord } from './changed-record.js';
import { KeyLock } from './key-lock.js';
import { type SessionChanges, type SessionMoved, type SessionRecord, SessionStore } from './session-store.js';

/** How long it is remembered that a session ended or moved: longer than any request that may not know it yet. */
export const REMEMBERED_FOR = 120_000;

/**
 * A store over something that can only get and put a session whole, and nothing in one step. Within this process the
 * work on one session runs one at a time: read, merge the changes of this request, write. What holds between processes
 * is up to `counts` and `leave`.
 */
export abstract class WholeRecordStore extends SessionStore {
  override readonly remembersMoves = true;
  protected readonly lock = new KeyLock();

  abstract override find(key: string): Promise<SessionRecord | SessionMoved | null>;

  /** The live record under this key. */
  protected abstract read(operation: string, key: string): Promise<SessionRecord | null>;

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

  create(key: string, record: SessionRecord): Promise<boolean> {
    return this.lock.run(key, async () => {
      if (await this.isTaken('create', key)) return false;
      await this.put('create', key, record);
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
      await this.put('rename', newKey, changedRecord(current, changes, record, Date.now()));
      return this.leave(key, newKey, current.id);
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
      if (!next) return false;
      await this.put(operation, key, next);
      return this.counts(operation, key, next.id);
    });
  }
}
