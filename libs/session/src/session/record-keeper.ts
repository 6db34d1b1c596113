import { type SessionChanges, type SessionRecord } from '../stores/session-store.js';

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
  load(token: string): Promise<SessionRecord | null>;
  create(record: SessionRecord): Promise<string>;
  /** Null: the record is gone. */
  save(token: string, changes: SessionChanges, record: SessionRecord): Promise<string | null>;
  /** A save under which the old token dies. Null: the record is gone. */
  rename(token: string, changes: SessionChanges, record: SessionRecord): Promise<string | null>;
  /** Restarts the idle clock. Null: it was not moved. */
  touch(token: string, record: SessionRecord): Promise<string | null>;
  /** @param id the session id of the record, to find it by if it has moved */
  end(token: string, id: string): Promise<void>;
}
