import { SessionRecordCorruptError } from '../../session.errors.js';
import { applyChanges } from '../session-log.js';
import { type SessionChanges, type SessionRecord, SessionStore } from '../session-store.js';
import {
  type CallbackStore,
  checkCallbackStore,
  destroyIn,
  getFrom,
  pruneIn,
  setIn,
} from './callback-store.js';
import { KeyLock } from '../key-lock.js';
import { type Content, fromPayload, toPayload } from './payload.js';

const STORE_KEY = /^v\d+-[0-9a-f]{64}$/;

/** How long an old key leads to the new one: longer than any request that may not know it yet. */
const FORWARDED_FOR = 120_000;

/**
 * Keeps sessions in a store that was written for express-session, under their store keys.
 *
 * Such a store can only get, set and destroy. Within this process the work on one session runs one at a time, so that
 * nothing is lost and nothing dead is revived. Across processes, a write that falls between another one's get and set is
 * lost; if it was the end of the session, the session comes back.
 *
 * @throws SessionConfigError when it is no such store
 */
export class ExpressStore extends SessionStore {
  private readonly lock = new KeyLock();

  constructor(private readonly store: CallbackStore) {
    super();
    checkCallbackStore(store);
  }

  load(key: string): Promise<SessionRecord | null> {
    return this.readRecord('load', key);
  }

  create(key: string, record: SessionRecord): Promise<boolean> {
    return this.lock.run(key, async () => {
      if (await this.isTaken('create', key)) return false;
      await this.put('create', key, record);
      return true;
    });
  }

  save(key: string, changes: SessionChanges, record: SessionRecord): Promise<boolean> {
    return this.update('save', key, (current) => withChanges(current, changes, record));
  }

  delete(key: string): Promise<boolean> {
    return this.lock.run(key, async () => {
      const content = await this.read('delete', key).catch(ifCorrupt('corrupt' as const));
      if (content !== null && content !== 'corrupt' && 'movedTo' in content)
        return this.delete(content.movedTo);
      // Even if there is nothing: a process with another clock may see something.
      await destroyIn(this.store, 'delete', key);
      return content !== null;
    });
  }

  /** By way of `set`: a store's own `touch` moves its deadline, and with many of them not the one in the record. */
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
      const current = await this.readRecord('rename', key);
      if (!current || (await this.isTaken('rename', newKey))) return false;
      await this.put('rename', newKey, withChanges(current, changes, record));
      await this.put('rename', key, { movedTo: newKey, expiresAt: Date.now() + FORWARDED_FOR });
      return true;
    });
  }

  /** Leaves it to the store, which does not tell how many there were. */
  override async clearExpired(_batchSize: number): Promise<number> {
    await pruneIn(this.store);
    return 0;
  }

  /** @param change null: nothing is to be written */
  private update(
    operation: string,
    key: string,
    change: (current: SessionRecord) => SessionRecord | null,
  ): Promise<boolean> {
    return this.lock.run(key, async () => {
      const current = await this.readRecord(operation, key);
      const next = current && change(current);
      if (next) await this.put(operation, key, next);
      return next !== null;
    });
  }

  private isTaken(operation: string, key: string): Promise<boolean> {
    return this.read(operation, key)
      .then((content) => content !== null)
      .catch(ifCorrupt(true));
  }

  private async readRecord(operation: string, key: string): Promise<SessionRecord | null> {
    const content = await this.read(operation, key);
    return content === null || 'movedTo' in content ? null : content;
  }

  private async read(operation: string, key: string): Promise<Content | null> {
    // Stores make file names and queries of it.
    if (!STORE_KEY.test(key)) throw new TypeError('This is no store key, so no store is asked for it.');
    const content = fromPayload(await getFrom(this.store, operation, key));
    return content !== null && content.expiresAt > Date.now() ? content : null;
  }

  private put(operation: string, key: string, content: Content): Promise<void> {
    // Of a deadline that has passed, every store thinks something else; some take it for none.
    if (content.expiresAt <= Date.now()) return destroyIn(this.store, operation, key);
    return setIn(this.store, operation, key, toPayload(content));
  }
}

function ifCorrupt<Answer>(answer: Answer): (error: unknown) => Answer {
  return (error) => {
    if (error instanceof SessionRecordCorruptError) return answer;
    throw error;
  };
}

/** Whoever wrote since the load has set the deadline; only a `setExpiry` of this request goes above that. */
function withChanges(current: SessionRecord, changes: SessionChanges, record: SessionRecord): SessionRecord {
  const { userId = current.userId, expiry = current.expiry, meta = current.meta } = changes;
  const decides = current.version === record.version || changes.expiry !== undefined;
  return {
    ...current,
    data: applyChanges(current.data, changes),
    userId,
    expiry,
    meta,
    expiresAt: decides ? record.expiresAt : current.expiresAt,
    lastSeenAt: Date.now(),
    version: current.version + 1,
  };
}
