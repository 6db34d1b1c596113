import type { Cache } from 'cache-manager';
import { type EncryptionOptions } from '../record-cipher.js';
import { RecordCodec } from '../record-codec.js';
import { type SessionMoved, type SessionRecord } from '../session-store.js';
import { isUserMark } from '../user-marks.js';
import { REMEMBERED_FOR, WholeRecordStore } from '../whole-record-store.js';
import { CacheEntries } from './cache-entries.js';
import { decodeRecord, encodeRecord, idIn } from './record-text.js';

export interface CacheStoreOptions {
  /**
   * Set before every key, so that sessions and other entries of the cache never meet.
   * @default 'session:'
   */
  prefix?: string;
  /**
   * Encrypts data and metadata. Session id, user id and times stay readable.
   * @default off
   */
  encryption?: EncryptionOptions;
}

/**
 * Keeps sessions in a cache of cache-manager, and nowhere else: what the cache forgets is gone.
 *
 * A cache can neither compare nor merge in one step. Within this process the work on one session runs one at a time,
 * so that nothing is lost; of two processes that save one session at once, the later one wins. What was ended stays
 * ended across processes as well: every write looks afterwards whether it came too late, and takes itself back.
 */
export class CacheStore extends WholeRecordStore {
  private readonly entries: CacheEntries;
  private readonly codec: RecordCodec;

  /** @throws SessionConfigError when this is no cache of cache-manager, or a secret is weak */
  constructor(cache: Cache, { prefix = 'session:', encryption }: CacheStoreOptions = {}) {
    super();
    this.codec = new RecordCodec(encryption);
    this.entries = new CacheEntries(cache, prefix);
  }

  /** Only a cache in this process's memory has something to clear; others let entries expire by themselves. */
  override clearExpired(batchSize: number): Promise<number> {
    return this.entries.clearExpired(batchSize, (name) => !isMark(name));
  }

  override close(): Promise<void> {
    this.entries.release();
    return Promise.resolve();
  }

  protected async look(operation: string, key: string): Promise<SessionRecord | SessionMoved | null> {
    const stored = await this.entries.get(operation, key);
    if (stored !== undefined) {
      const record = decodeRecord(stored, this.codec);
      if (record.expiresAt > Date.now()) return record;
    }
    // The mark is there before the entry goes.
    const movedTo = await this.entries.get(operation, moveOf(key));
    return typeof movedTo === 'string' ? { movedTo } : null;
  }

  protected async remove(key: string, id?: string): Promise<boolean> {
    const stored = await this.entries.get('delete', key);
    const ended = id ?? idIn(stored);
    // First, so that whoever writes from now on finds it afterwards.
    if (ended !== undefined) await this.remember('delete', endOf(ended), '1');
    await this.entries.delete('delete', key);
    const movedTo = await this.entries.get('delete', moveOf(key));
    const deletedThere = typeof movedTo === 'string' && (await this.delete(movedTo, ended));
    return stored !== undefined || deletedThere;
  }

  protected async getMark(operation: string, name: string): Promise<string | null> {
    const text = await this.entries.get(operation, name);
    return typeof text === 'string' ? text : null;
  }

  protected putMark(operation: string, name: string, text: string, lifetime: number): Promise<void> {
    return this.entries.set(operation, name, text, lifetime);
  }

  protected async isTaken(operation: string, key: string): Promise<boolean> {
    return (await this.entries.get(operation, key)) !== undefined;
  }

  protected put(operation: string, key: string, record: SessionRecord): Promise<void> {
    return this.entries.set(operation, key, encodeRecord(record, this.codec), record.expiresAt - Date.now());
  }

  /** False: another process has ended the session meanwhile, or moved it. */
  protected override async counts(operation: string, key: string, id: string): Promise<boolean> {
    const [ended, movedTo] = await this.traces(operation, key, id);
    if (ended === undefined && movedTo === undefined) return true;
    await this.entries.delete(operation, key);
    return false;
  }

  /** False: another process has ended the session meanwhile, or moved it elsewhere. */
  protected async leave(key: string, newKey: string, id: string): Promise<boolean> {
    if ((await this.entries.get('rename', moveOf(key))) === undefined) {
      await this.remember('rename', moveOf(key), newKey);
      await this.entries.delete('rename', key);
      const [ended, movedTo] = await this.traces('rename', key, id);
      if (ended === undefined && movedTo === newKey) return true;
    }
    await this.entries.delete('rename', newKey);
    return false;
  }

  private traces(operation: string, key: string, id: string): Promise<[ended: unknown, movedTo: unknown]> {
    return Promise.all([this.entries.get(operation, endOf(id)), this.entries.get(operation, moveOf(key))]);
  }

  private remember(operation: string, mark: string, text: string): Promise<void> {
    return this.entries.set(operation, mark, text, REMEMBERED_FOR);
  }
}

const endOf = (id: string): string => `ended:${id}`;
const moveOf = (key: string): string => `moved:${key}`;
const isMark = (name: string): boolean => /^(?:ended|moved):/.test(name) || isUserMark(name);
