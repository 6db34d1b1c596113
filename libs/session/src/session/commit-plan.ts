/** What a commit has to know, and nothing of how it is known. */
export interface CommitFacts {
  /** There is a record: the presented one, or one that an explicit save has made. */
  live: boolean;
  /** There was a record, and somebody else took it away or replaced its token. */
  gone: boolean;
  /** The application touched the session. */
  accessed: boolean;
  /** The response is a server error. */
  failed: boolean;
  /** `cycleKey` was called. */
  rotated: boolean;
  /** Data, expiry or user differ from the record. */
  changed: boolean;
  /** The deadline is to be moved although nothing differs: touch(), `modified = true`, saveEveryRequest. */
  renewed: boolean;
  /** No data, no expiry of its own, no user. */
  empty: boolean;
  /** The idle clock is due for a touch. */
  touchDue: boolean;
  /** The token is due for its renewal. */
  renewalDue: boolean;
}

/** The one write that brings the store up to date, after the deletion of ended records. */
export type StoreStep = 'nothing' | 'create' | 'save' | 'rotate' | 'renew' | 'touch';

export function planStore(facts: CommitFacts): StoreStep {
  // What is gone is not made again: the request that ended the session meant all of it.
  if (facts.failed || facts.gone) return 'nothing';
  // A login is one of these: it starts a session of its own.
  if (!facts.live) return facts.changed && !facts.empty ? 'create' : 'nothing';
  if (facts.rotated) return 'rotate';
  if (facts.renewalDue && facts.accessed) return 'renew';
  if (facts.changed) return 'save';
  return facts.renewed || (facts.touchDue && facts.accessed) ? 'touch' : 'nothing';
}

/** What the client has to be told, from the facts as they are when the store has done its part. */
export interface CookieFacts {
  /** Did a session key come with the request, in the cookie or a header, whatever it was worth? */
  presented: boolean;
  live: boolean;
  /** The request asked for the end: flush, logout, destroy, regenerate, an expiry in the past. */
  ended: boolean;
  /** The record has another token than the presented one. */
  tokenChanged: boolean;
  /** Its deadline, or whether it ends with the browser, is another. */
  deadlineMoved: boolean;
}

export type CookieStep = 'keep' | 'set' | 'remove';

export function planCookie(facts: CookieFacts): CookieStep {
  if (facts.live) return facts.tokenChanged || facts.deadlineMoved ? 'set' : 'keep';
  // Only the request that asked for the end removes the cookie. Any other could take away a newer one, which another
  // response has set. A dead cookie does no harm: the next request finds out that it opens nothing.
  return facts.ended && facts.presented ? 'remove' : 'keep';
}
