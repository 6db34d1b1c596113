import { createHash } from 'node:crypto';
import { SessionRecordCorruptError } from '../../session.errors.js';
import { type EncryptionOptions } from '../record-cipher.js';
import { RecordCodec } from '../record-codec.js';
import { type SessionMoved, type SessionRecord } from '../session-store.js';
import { REMEMBERED_FOR, WholeRecordStore } from '../whole-record-store.js';
import {
  type CallbackStore,
  checkCallbackStore,
  destroyIn,
  getFrom,
  pruneIn,
  setIn,
} from './callback-store.js';
import { type Content, fromPayload, toPayload } from './payload.js';

export interface ExpressStoreOptions {
  /**
   * Encrypts data and metadata. Session id, user id and times stay readable.
   * @default off
   */
  encryption?: EncryptionOptions;
}

const STORE_KEY = /^v\d+-[0-9a-f]{64}$/;

/**
 * Keeps sessions in a store that was written for express-session, under their store keys.
 *
 * Such a store can only get, set and destroy. Within this process the work on one session runs one at a time, so that
 * nothing is lost and nothing dead is revived. Across processes, a write that falls between another one's get and set is
 * lost; if it was the end of the session, the session comes back.
 *
 * A touch goes by way of `set`: a store's own `touch` moves its deadline, and with many of them not the one in the record.
 *
 * @throws SessionConfigError when it is no such store, or a secret is weak
 */
export class ExpressStore extends WholeRecordStore {
  private readonly codec: RecordCodec;

  constructor(
    private readonly store: CallbackStore,
    { encryption }: ExpressStoreOptions = {},
  ) {
    super();
    checkCallbackStore(store);
    this.codec = new RecordCodec(encryption);
  }

  /** Leaves it to the store, which does not tell how many there were. */
  override async clearExpired(_batchSize: number): Promise<number> {
    await pruneIn(this.store);
    return 0;
  }

  protected async look(operation: string, key: string): Promise<SessionRecord | SessionMoved | null> {
    const content = await this.get(operation, key);
    if (content !== null && 'mark' in content) return null;
    return content !== null && 'movedTo' in content ? { movedTo: content.movedTo } : content;
  }

  protected async remove(key: string): Promise<boolean> {
    const content = await this.get('delete', key).catch(ifCorrupt('corrupt' as const));
    if (content !== null && content !== 'corrupt' && 'movedTo' in content)
      return this.delete(content.movedTo);
    // Even if there is nothing: a process with another clock may see something.
    await destroyIn(this.store, 'delete', key);
    return content !== null;
  }

  protected async getMark(operation: string, name: string): Promise<string | null> {
    const content = await this.get(operation, storeKeyOf(name));
    return content !== null && 'mark' in content ? content.mark : null;
  }

  protected putMark(operation: string, name: string, text: string, lifetime: number): Promise<void> {
    return this.put(operation, storeKeyOf(name), { mark: text, expiresAt: Date.now() + lifetime });
  }

  protected isTaken(operation: string, key: string): Promise<boolean> {
    return this.get(operation, key)
      .then((content) => content !== null)
      .catch(ifCorrupt(true));
  }

  protected put(operation: string, key: string, content: Content): Promise<void> {
    // Of a deadline that has passed, every store thinks something else; some take it for none.
    if (content.expiresAt <= Date.now()) return destroyIn(this.store, operation, key);
    return setIn(this.store, operation, key, toPayload(content, this.codec));
  }

  protected async leave(key: string, newKey: string): Promise<boolean> {
    await this.put('rename', key, { movedTo: newKey, expiresAt: Date.now() + REMEMBERED_FOR });
    return true;
  }

  private async get(operation: string, key: string): Promise<Content | null> {
    // Stores make file names and queries of it.
    if (!STORE_KEY.test(key)) throw new TypeError('This is no store key, so no store is asked for it.');
    const content = fromPayload(await getFrom(this.store, operation, key), this.codec);
    return content !== null && content.expiresAt > Date.now() ? content : null;
  }
}

/** Where stores keep a mark. No session key begins like that, so that none has this store key. */
function storeKeyOf(name: string): string {
  return `v1-${createHash('sha256').update(`nest-sessions mark ${name}`).digest('hex')}`;
}

function ifCorrupt<Answer>(answer: Answer): (error: unknown) => Answer {
  return (error) => {
    if (error instanceof SessionRecordCorruptError) return answer;
    throw error;
  };
}
