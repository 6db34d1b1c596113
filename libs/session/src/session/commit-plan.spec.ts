import * as fc from 'fast-check';
import {
  type CommitFacts,
  type CookieFacts,
  type CookieStep,
  planCookie,
  planStore,
  type StoreStep,
} from './commit-plan.js';

/** A request whose handler did nothing. */
const NOTHING: CommitFacts = {
  live: false,
  gone: false,
  accessed: false,
  failed: false,
  rotated: false,
  changed: false,
  renewed: false,
  empty: true,
  touchDue: false,
  renewalDue: false,
};

/** A request with the cookie of a live session, which the store was asked for. */
const LIVE: CommitFacts = { ...NOTHING, live: true, empty: false };
const READ: CommitFacts = { ...LIVE, accessed: true };
const CHANGED: CommitFacts = { ...READ, changed: true };
/** A session that the handler has just begun to fill. */
const FRESH: CommitFacts = { ...NOTHING, accessed: true, changed: true, empty: false };

/** The browser sent no cookie, and there is no session. */
const NO_COOKIE: CookieFacts = {
  presented: false,
  live: false,
  ended: false,
  tokenChanged: false,
  deadlineMoved: false,
};
/** It sent the cookie of a session that is live, and as it knows it. */
const KNOWN: CookieFacts = { ...NO_COOKIE, presented: true, live: true };
/** It sent a cookie that opens nothing, or nothing any more. */
const DEAD: CookieFacts = { ...NO_COOKIE, presented: true, tokenChanged: true };
const CREATED: CookieFacts = { ...NO_COOKIE, live: true, tokenChanged: true };

const situations: Record<
  string,
  [facts: CommitFacts, store: StoreStep, afterwards: CookieFacts, cookie: CookieStep]
> = {
  'no cookie, untouched': [NOTHING, 'nothing', NO_COOKIE, 'keep'],
  'no cookie, read': [{ ...NOTHING, accessed: true }, 'nothing', NO_COOKIE, 'keep'],
  'no cookie, logout': [{ ...NOTHING, accessed: true }, 'nothing', { ...NO_COOKIE, ended: true }, 'keep'],
  'a live session, loaded but not looked at': [LIVE, 'nothing', KNOWN, 'keep'],
  'a live session, not looked at, touch due': [{ ...LIVE, touchDue: true }, 'nothing', KNOWN, 'keep'],
  'a live session, read': [READ, 'nothing', KNOWN, 'keep'],
  'a live session, read, touch due': [
    { ...READ, touchDue: true },
    'touch',
    { ...KNOWN, deadlineMoved: true },
    'set',
  ],
  'a live session, read, touch due, but somebody else has moved it': [
    { ...READ, touchDue: true },
    'touch',
    KNOWN,
    'keep',
  ],
  'a live session, to be renewed without a change': [
    { ...LIVE, renewed: true },
    'touch',
    { ...KNOWN, deadlineMoved: true },
    'set',
  ],
  'a live session, changed': [CHANGED, 'save', { ...KNOWN, deadlineMoved: true }, 'set'],
  'a live session, changed within the same second': [CHANGED, 'save', KNOWN, 'keep'],
  'a live session, emptied': [{ ...CHANGED, empty: true }, 'save', KNOWN, 'keep'],
  'no record yet, changed': [FRESH, 'create', CREATED, 'set'],
  'no record yet, changed and empty again': [{ ...FRESH, empty: true }, 'nothing', NO_COOKIE, 'keep'],
  'no record yet, only rotated': [
    { ...NOTHING, accessed: true, rotated: true },
    'nothing',
    NO_COOKIE,
    'keep',
  ],
  'an unknown, expired, malformed or replaced key, untouched': [NOTHING, 'nothing', DEAD, 'keep'],
  'such a key, read': [{ ...NOTHING, accessed: true }, 'nothing', DEAD, 'keep'],
  'such a key, changed': [FRESH, 'create', { ...CREATED, presented: true }, 'set'],
  'such a key, logout': [{ ...NOTHING, accessed: true }, 'nothing', { ...DEAD, ended: true }, 'remove'],
  'flush or logout': [{ ...READ, live: false, empty: true }, 'nothing', { ...DEAD, ended: true }, 'remove'],
  'flush, and written again': [FRESH, 'create', { ...CREATED, presented: true, ended: true }, 'set'],
  login: [FRESH, 'create', { ...CREATED, presented: true }, 'set'],
  cycleKey: [{ ...READ, rotated: true }, 'rotate', { ...KNOWN, tokenChanged: true }, 'set'],
  'cycleKey and a change': [{ ...CHANGED, rotated: true }, 'rotate', { ...KNOWN, tokenChanged: true }, 'set'],
  'a secret that is due for its renewal': [
    { ...READ, renewalDue: true },
    'renew',
    { ...KNOWN, tokenChanged: true },
    'set',
  ],
  'a server error after a change': [{ ...READ, failed: true }, 'nothing', KNOWN, 'keep'],
  'a server error after a rotation': [{ ...READ, failed: true, rotated: true }, 'nothing', KNOWN, 'keep'],
  'a server error after a first write': [
    { ...FRESH, failed: true, changed: false },
    'nothing',
    NO_COOKIE,
    'keep',
  ],
  'a server error after a login': [{ ...FRESH, failed: true, changed: false }, 'nothing', DEAD, 'keep'],
  'a server error after a logout': [
    { ...READ, live: false, empty: true, failed: true },
    'nothing',
    { ...DEAD, ended: true },
    'remove',
  ],
  'a server error after an explicit save': [{ ...READ, failed: true }, 'nothing', CREATED, 'set'],
  'the record went away while the request changed it': [CHANGED, 'save', DEAD, 'keep'],
  'the record went away before the commit': [
    { ...CHANGED, live: false, gone: true },
    'nothing',
    DEAD,
    'keep',
  ],
};

const anyOf = <Facts extends object>(names: Facts) =>
  fc.record(
    Object.fromEntries(Object.keys(names).map((name) => [name, fc.boolean()])),
  ) as unknown as fc.Arbitrary<Facts>;

/** The first counterexamples, or null. */
const againstStore = (holds: (facts: CommitFacts) => boolean) =>
  fc.check(fc.property(anyOf(NOTHING), holds)).counterexample;
const againstCookie = (holds: (facts: CookieFacts) => boolean) =>
  fc.check(fc.property(anyOf(NO_COOKIE), holds)).counterexample;

describe('the plan of a commit', () => {
  it.each(Object.entries(situations))('%s', (_name, [facts, store, afterwards, cookie]) => {
    expect(planStore(facts)).toBe(store);
    expect(planCookie(afterwards)).toBe(cookie);
  });

  it('never writes for a server error, nor when the record went away', () => {
    expect(againstStore((given) => planStore({ ...given, failed: true }) === 'nothing')).toBeNull();
    expect(againstStore((given) => planStore({ ...given, gone: true }) === 'nothing')).toBeNull();
  });

  it('creates only what is not there and holds something', () => {
    expect(
      againstStore(
        (given) => planStore(given) !== 'create' || (!given.live && given.changed && !given.empty),
      ),
    ).toBeNull();
  });

  it('writes to a record only when there is one', () => {
    expect(
      againstStore((given) => given.live || ['nothing', 'create'].includes(planStore(given))),
    ).toBeNull();
  });

  it('writes nothing without a cause', () => {
    expect(
      againstStore((given) =>
        given.changed || given.rotated || given.renewed || given.touchDue || given.renewalDue
          ? true
          : planStore(given) === 'nothing',
      ),
    ).toBeNull();
  });

  it('renews a secret that is due, of sessions that are used, and never instead of a rotation', () => {
    expect(
      againstStore((given) => {
        const due = given.live && !given.failed && !given.gone && given.renewalDue && given.accessed;
        return (planStore(given) === 'renew') === (due && !given.rotated);
      }),
    ).toBeNull();
  });

  it('sets a cookie only for a record that the browser does not know as it is', () => {
    expect(
      againstCookie(
        (given) => planCookie(given) !== 'set' || (given.live && (given.tokenChanged || given.deadlineMoved)),
      ),
    ).toBeNull();
  });

  it('removes a cookie only when one came, and this very request asked for the end', () => {
    expect(
      againstCookie(
        (given) => planCookie(given) !== 'remove' || (!given.live && given.presented && given.ended),
      ),
    ).toBeNull();
  });
});
