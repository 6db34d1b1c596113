import { type SessionChanges, type SessionMeta, type SessionRecord } from '../stores/session-store.js';

/** What a token leads to. */
export type Found =
  /** A live record. `token` is the one that it has now: after a renewal perhaps another than was asked for. */
  | { standing: 'live'; token: string; record: SessionRecord }
  /** Somebody rotated the session a moment ago, and has told the client of its new token. */
  | { standing: 'replaced'; sessionId: string | null }
  /** A renewal has replaced the token, so long ago that nobody should have it any more. */
  | { standing: 'reused'; token: string; record: SessionRecord };

/**
 * Where sessions are kept, by their **tokens**: what the cookie holds. For stores on the server a token is a session key,
 * for the cookie engine it is the sealed record itself. This is the one place where the two differ.
 *
 * A write resolves with the token under which the record is to be found from then on. If that is another one, the
 * client has to be told.
 */
export interface RecordKeeper {
  /** Could this text be a token? Whatever could not is never looked up. */
  readonly isToken: (text: string) => boolean;
  /** Has a write that is not a rotation a new token, too, so that only a response can deliver it? */
  readonly everyWriteMoves: boolean;
  /** Null: there is no live record. */
  load(token: string): Promise<Found | null>;
  create(record: SessionRecord): Promise<string>;
  /** Null: the record is gone. */
  save(token: string, changes: SessionChanges, record: SessionRecord): Promise<string | null>;
  /** A save under which the old token dies, at once. Null: the record is gone. */
  rename(token: string, changes: SessionChanges, record: SessionRecord): Promise<Renamed | null>;
  /** A save under which the old token is replaced, but goes on to lead to the record for a while. */
  renew(token: string, changes: SessionChanges, record: SessionRecord): Promise<Renamed | null>;
  /** Restarts the idle clock. Null: it was not moved. */
  touch(token: string, record: SessionRecord): Promise<string | null>;
  /**
   * False: there was no such record any more.
   * @param id the session id of the record, to find it by if it has moved
   */
  end(token: string, id: string): Promise<boolean>;
}

/** The new token, and the record's `meta`, which tells of the rotation. */
export interface Renamed {
  token: string;
  meta: SessionMeta;
}
