import { type SessionRecord, SessionStore } from './session-store.js';

/** A record as it travels inside a token. */
export interface SealedRecord extends SessionRecord {
  /** When the user was bound by `login`, in epoch milliseconds; null without a user. */
  userSince: number | null;
}

/**
 * A store that keeps nothing: the token in the cookie is the record itself, sealed so that nobody can make or change one.
 * There is no record under any key, hence none of the operations that take one.
 */
export abstract class SealingStore extends SessionStore {
  /** Could this text be a token of this store? Cheap, no proof. */
  abstract isToken(text: string): boolean;

  /**
   * The token that carries this record.
   * @param purpose what the token is for; it opens for nothing else
   */
  abstract seal(record: SealedRecord, purpose: string): string;

  /**
   * What a token carries, expired or not; null when this store did not seal it for this purpose.
   * @throws SessionRecordCorruptError when it did, and the content makes no sense
   */
  abstract open(token: string, purpose: string): SealedRecord | null;

  /** Was this session ended, although its tokens still open? Without a place to note such ends: never. */
  isRevoked(_record: SealedRecord): Promise<boolean> {
    return Promise.resolve(false);
  }

  /** Notes that this session has ended, where there is a place to note it. */
  revoke(_record: SealedRecord): Promise<void> {
    return Promise.resolve();
  }

  /** @throws SessionUnsupportedError */
  load(_key: string): Promise<never> {
    return this.unsupported('load a session by its key: clients carry the sessions');
  }

  /** @throws SessionUnsupportedError */
  create(_key: string, _record: SessionRecord): Promise<never> {
    return this.unsupported('keep a session under a key: clients carry the sessions');
  }

  /** @throws SessionUnsupportedError */
  save(_key: string): Promise<never> {
    return this.unsupported('save a session under a key: clients carry the sessions');
  }

  /** @throws SessionUnsupportedError */
  delete(_key: string, _id?: string): Promise<never> {
    return this.unsupported('end a session from elsewhere: clients carry the sessions');
  }
}
