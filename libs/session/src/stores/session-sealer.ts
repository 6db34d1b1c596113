import { type SessionRecord } from './session-store.js';

/**
 * Keeps no records: the cookie holds the record itself, sealed so that nobody can make or change one. An engine returns
 * either a store or a sealer.
 *
 * @example
 * ```ts
 * constructor(@Inject(SessionSealer) private readonly sealer: CookieSealer) {}
 * ```
 */
export abstract class SessionSealer {
  /** Could this text be a token of this sealer? Cheap, and no proof. */
  abstract isToken(text: string): boolean;

  /**
   * The token that carries this record.
   * @param purpose what the token is for; it opens for nothing else
   */
  abstract seal(record: SessionRecord, purpose: string): string;

  /**
   * What a token carries, expired or not; null when it was not sealed here for this purpose.
   * @throws SessionRecordCorruptError when it was, and the content makes no sense
   */
  abstract open(token: string, purpose: string): SessionRecord | null;

  /** Was this session ended, although its tokens still open? Without a place to note ends: never. */
  isRevoked(_record: SessionRecord): boolean | Promise<boolean> {
    return false;
  }

  /**
   * Notes that this session has ended, where there is a place to note it.
   * @param _until no token of this session opens after this moment; Infinity: there is no such moment
   */
  revoke(_record: SessionRecord, _until: number): Promise<void> {
    return Promise.resolve();
  }

  /** Deletes one batch of notes that are no longer needed, and returns how many. */
  clearExpired(_batchSize: number): Promise<number> {
    return Promise.resolve(0);
  }

  /** The clock that sessions live by, in epoch milliseconds. */
  now(): number {
    return Date.now();
  }

  /** Releases what was opened here. */
  close(): Promise<void> {
    return Promise.resolve();
  }
}
