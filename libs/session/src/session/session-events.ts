/** Why a session ended before its time. */
export type EndReason =
  /** `logout`, `flush`, `destroy` or `regenerate` was called. */
  | 'logout'
  /** A login started another session in its place. */
  | 'login'
  /** Another user logged in in the same browser. */
  | 'user-changed'
  /** `setExpiry` was given a moment that has passed. */
  | 'expiry'
  /** `Sessions.revoke` or `revokeAll` ended it. */
  | 'revoked'
  /** The user had more sessions than the limit allows. */
  | 'limit'
  /** The credential that it was opened with is no longer the user's. */
  | 'stamp'
  /** A key that a renewal had replaced came back. */
  | 'reuse';

/** Why a session got a new secret. */
export type RotationReason = 'cycle' | 'renewal';

/** The session that an event is about. The id is public; keys are never part of an event. */
interface OfSession {
  sessionId: string;
  userId: string | null;
}

/**
 * Something worth knowing happened to a session. `type` says what; `sessionId` is the public id, and `userId` the user that
 * `login` bound, or null. The emitter of the application gets it under the name `session.<type>`.
 *
 * @example
 * ```ts
 * @OnEvent('session.ended')
 * onEnded({ sessionId, userId, reason }: SessionEventOf<'ended'>) { … }
 * ```
 */
export type SessionEvent =
  /** The first record of a session was saved. */
  | ({ type: 'created' } & OfSession)
  /** A request found its session in the store. */
  | ({ type: 'loaded' } & OfSession)
  /** A user logged in: this session is theirs. */
  | ({ type: 'login' } & OfSession)
  /** It got a new key, by `cycleKey` or by a renewal. */
  | ({ type: 'rotated'; reason: RotationReason } & OfSession)
  /** It was ended before its time. */
  | ({ type: 'ended'; reason: EndReason } & OfSession)
  /** A request came with a session that today's options consider expired, though the store still had it. */
  | ({ type: 'expired' } & OfSession)
  /**
   * The idle clock could not be restarted by a request that only read. Its answer went out all the same, and for some
   * seconds no other request tries.
   */
  | ({ type: 'touch-failed'; problem: string } & OfSession)
  /** A request changed a session that had already ended; its changes were dropped. */
  | { type: 'write-after-end'; sessionId: string }
  /** A key that a renewal had replaced came back after the overlap: a copy of the cookie may be in use elsewhere. */
  | ({ type: 'reuse' } & OfSession)
  /** A login met the limit of sessions per user. */
  | { type: 'limit'; userId: string }
  /** A record could not be decoded, or an old session not be moved in. It is treated as absent and left where it is. */
  | { type: 'corrupt'; error: Error }
  /** A sweep of expired records has finished: how many went, and how long it took, in milliseconds. */
  | { type: 'cleared'; count: number; duration: number };

export type SessionEventListener = (event: SessionEvent) => void;
