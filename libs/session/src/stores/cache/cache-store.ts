import type { Cache } from 'cache-manager';
import { applyChanges } from '../session-log.js';
import { type SessionChanges, type SessionRecord, SessionStore } from '../session-store.js';
import { CacheEntries } from './cache-entries.js';
import { KeyLock } from '../key-lock.js';
import { decodeRecord, encodeRecord } from './record-text.js';

export interface CacheStoreOptions {
  /**
   * Set before every key, so that sessions and other entries of the cache never meet.
   * @default 'session:'
   */
  prefix?: string;
}

/** How long it is remembered that a session ended or moved: longer than any request that may not know it yet. */
const REMEMBERED_FOR = 120_000;

/**
 * Keeps sessions in a cache of cache-manager, and nowhere else: what the cache forgets is gone.
 *
 * A cache can neither compare nor merge in one step. Within this process the work on one session runs one at a time,
 * so that nothing is lost; of two processes that save one session at once, the later one wins. What was ended stays
 * ended across processes as well: every write looks afterwards whether it came too late, and takes itself back.
 */
export class CacheStore extends SessionStore {
  private readonly entries: CacheEntries;
  private readonly lock = new KeyLock();

  /** @throws SessionConfigError when this is no cache of cache-manager */
  constructor(cache: Cache, { prefix = 'session:' }: CacheStoreOptions = {}) {
    super();
    this.entries = new CacheEntries(cache, prefix);
  }

  async load(key: string): Promise<SessionRecord | null> {
    return this.read('load', key);
  }

  create(key: string, record: SessionRecord): Promise<boolean> {
    return this.lock.run(key, async () => {
      if ((await this.entries.get('create', key)) !== undefined) return false;
      await this.put('create', key, { ...record, version: 1 });
      return true;
    });
  }

  save(key: string, changes: SessionChanges, record: SessionRecord): Promise<boolean> {
    return this.update('save', key, (current) => withChanges(current, changes, record));
  }

  delete(key: string, id?: string): Promise<boolean> {
    return this.lock.run(key, async () => {
      const stored = await this.entries.get('delete', key);
      const ended = id ?? idOf(stored);
      // First, so that whoever writes from now on finds it afterwards.
      if (ended !== undefined) await this.remember('delete', endOf(ended), '1');
      await this.entries.delete('delete', key);
      const movedTo = await this.entries.get('delete', moveOf(key));
      const deletedThere = typeof movedTo === 'string' && (await this.delete(movedTo, ended));
      return stored !== undefined || deletedThere;
    });
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
      if (!current || (await this.entries.get('rename', newKey)) !== undefined) return false;
      await this.put('rename', newKey, withChanges(current, changes, record));
      if (await this.move(key, newKey, current.id)) return true;
      await this.entries.delete('rename', newKey);
      return false;
    });
  }

  /** Only a cache in this process's memory has something to clear; others let entries expire by themselves. */
  override clearExpired(batchSize: number): Promise<number> {
    return this.entries.clearExpired(batchSize, (name) => !isMark(name));
  }

  override close(): Promise<void> {
    this.entries.release();
    return Promise.resolve();
  }

  /** Gives the old key up. False: another process has ended the session meanwhile, or moved it elsewhere. */
  private async move(key: string, newKey: string, id: string): Promise<boolean> {
    if ((await this.entries.get('rename', moveOf(key))) !== undefined) return false;
    await this.remember('rename', moveOf(key), newKey);
    await this.entries.delete('rename', key);
    const [ended, movedTo] = await Promise.all([
      this.entries.get('rename', endOf(id)),
      this.entries.get('rename', moveOf(key)),
    ]);
    return ended === undefined && movedTo === newKey;
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
      const [ended, movedTo] = await Promise.all([
        this.entries.get(operation, endOf(next.id)),
        this.entries.get(operation, moveOf(key)),
      ]);
      if (ended === undefined && movedTo === undefined) return true;
      await this.entries.delete(operation, key);
      return false;
    });
  }

  private async read(operation: string, key: string): Promise<SessionRecord | null> {
    const stored = await this.entries.get(operation, key);
    if (stored === undefined) return null;
    const record = decodeRecord(stored);
    return record.expiresAt > Date.now() ? record : null;
  }

  private put(operation: string, key: string, record: SessionRecord): Promise<void> {
    return this.entries.set(operation, key, encodeRecord(record), record.expiresAt - Date.now());
  }

  private remember(operation: string, mark: string, text: string): Promise<void> {
    return this.entries.set(operation, mark, text, REMEMBERED_FOR);
  }
}

const endOf = (id: string): string => `ended:${id}`;
const moveOf = (key: string): string => `moved:${key}`;
const isMark = (name: string): boolean => name.startsWith('ended:') || name.startsWith('moved:');

/** Whoever wrote since the load has set the deadline; only a `setExpiry` of this request goes above that. */
function withChanges(current: SessionRecord, changes: SessionChanges, record: SessionRecord): SessionRecord {
  const unchanged = current.version === record.version;
  return {
    ...current,
    data: applyChanges(current.data, changes),
    userId: changes.userId === undefined ? current.userId : changes.userId,
    expiry: changes.expiry === undefined ? current.expiry : changes.expiry,
    meta: changes.meta ?? current.meta,
    expiresAt: unchanged || changes.expiry !== undefined ? record.expiresAt : current.expiresAt,
    lastSeenAt: Date.now(),
    version: current.version + 1,
  };
}

/** Of a record that cannot be decoded, nobody knows. */
function idOf(stored: unknown): string | undefined {
  try {
    return stored === undefined ? undefined : decodeRecord(stored).id;
  } catch {
    return undefined;
  }
}
