import { type JsonObject } from './session-store.js';

/** What a session of another library holds. */
export interface AcceptedContent {
  /** Without what the library keeps for itself, such as `cookie`. */
  data: JsonObject;
  /** What the application says of its owner. Null or undefined: it has none. */
  userId: unknown;
  /**
   * The stamp of its owner's credential when it was opened, as the option `currentStamp` would have told it then. Null: it
   * has none, and so is over. Undefined: the application does not tell stamps.
   */
  stamp?: string | null;
}

/**
 * The sessions of another library, for as long as they are moved in: what the option `accept` takes, and what
 * `acceptExpressSession()` and `acceptFastifySession()` return.
 *
 * @example
 * ```ts
 * const accept: AcceptedSessions = acceptExpressSession({ secret, store });
 * ```
 */
export abstract class AcceptedSessions {
  /** @internal The cookie of the other library, and where browsers keep it. */
  abstract readonly cookie: { name: string; path: string; domain?: string };
  /** @internal Does the application tell the stamps that old sessions are bound to? */
  abstract readonly tellsStamps: boolean;
  /** @internal The id in a cookie that is signed as it has to be; null in any other. */
  abstract open(cookie: string): string | null;
  /** @internal 32 bytes that belong to this id and purpose, and that only the holder of the secret can tell. */
  abstract derive(sid: string, purpose: string): Buffer;
  /** @internal Null: there is no such session, or it has expired. */
  abstract read(sid: string): Promise<AcceptedContent | null>;
  /** @internal That there is none is no error. */
  abstract destroy(sid: string): Promise<void>;
}
