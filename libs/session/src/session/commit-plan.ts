/** What a commit has to know, and nothing of how it is known. */
export interface CommitFacts {
  /**
   * What the request came with. `nothing`: no cookie. `malformed`: a cookie that is no session key. `unasked`: a
   * key that the store was not asked about. `unknown`: a key that the store does not know, or no longer. `live`: a
   * record.
   */
  presented: 'nothing' | 'malformed' | 'unasked' | 'unknown' | 'live';
  /** There is a record now: the presented one, or one that an explicit save has made or moved since. */
  live: boolean;
  /** There was a record, and it went away while the request worked on it. */
  gone: boolean;
  /** The application touched the session. */
  accessed: boolean;
  /** The response is a server error. */
  failed: boolean;
  /** flush or logout was called while there was a record. */
  ended: boolean;
  /** cycleKey or login was called. */
  rotated: boolean;
  /** Data, expiry or user differ from the record. */
  changed: boolean;
  /** The deadline is to be moved although nothing differs: touch(), `modified = true`, saveEveryRequest. */
  renewed: boolean;
  /** No data, no expiry of its own, no user. */
  empty: boolean;
  /** The idle clock is due for a touch. */
  touchDue: boolean;
  /** The session key is due for its renewal. */
  renewalDue: boolean;
}

/** How the live record differs from what the browser knows of it. */
export interface CookieFacts {
  /** It lives under another key than the presented one. */
  keyChanged: boolean;
  /** Its deadline, or whether it ends with the browser, is another. */
  deadlineMoved: boolean;
}

/** The one write that brings the store up to date, after the deletion of ended records. */
export type StoreStep = 'nothing' | 'create' | 'save' | 'rename' | 'renew' | 'touch';

export function planStore(facts: CommitFacts): StoreStep {
  // What is gone is not made again, under no key: whoever ended the session meant all of it.
  if (facts.failed || facts.gone) return 'nothing';
  if (!facts.live) return facts.changed && !facts.empty ? 'create' : 'nothing';
  if (facts.rotated) return 'rename';
  if (facts.renewalDue && facts.accessed) return 'renew';
  if (facts.changed) return 'save';
  return facts.renewed || (facts.touchDue && facts.accessed) ? 'touch' : 'nothing';
}

export type CookieStep = 'keep' | 'set' | 'remove';

/** What becomes of the cookie, from the facts as they are when the store has done its part. */
export function planCookie(facts: CommitFacts & CookieFacts): CookieStep {
  if (facts.live) return facts.keyChanged || facts.deadlineMoved ? 'set' : 'keep';
  // Whoever took the record away has answered with a cookie of his own, perhaps a new one. A removal from here could
  // arrive after it and log the visitor out. If the key is really dead, the next request finds that out.
  if (facts.gone) return 'keep';
  if (facts.presented === 'nothing' || facts.presented === 'unasked') return 'keep';
  return facts.accessed || facts.ended ? 'remove' : 'keep';
}

/** Does the answer depend on the cookie, so that a shared cache must not give it to others? */
export function variesByCookie(facts: CommitFacts, cookie: CookieStep): boolean {
  return facts.accessed || cookie !== 'keep';
}
