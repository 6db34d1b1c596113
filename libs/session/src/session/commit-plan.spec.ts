import * as fc from 'fast-check';
import {
  type CommitFacts,
  type CookieFacts,
  type CookieStep,
  planCookie,
  planStore,
  type StoreStep,
  variesByCookie,
} from './commit-plan.js';

type Facts = CommitFacts & CookieFacts;

/** A request without a cookie whose handler did nothing. */
const NOTHING: Facts = {
  presented: 'nothing',
  live: false,
  gone: false,
  accessed: false,
  failed: false,
  ended: false,
  rotated: false,
  changed: false,
  renewed: false,
  empty: true,
  touchDue: false,
  renewalDue: false,
  keyChanged: false,
  deadlineMoved: false,
};

/** A request with the cookie of a live session, which the store was asked for. */
const LIVE: Facts = { ...NOTHING, presented: 'live', live: true, empty: false };
const READ: Facts = { ...LIVE, accessed: true };
const CHANGED: Facts = { ...READ, changed: true };
/** A session that the handler has just begun to fill. */
const FRESH: Facts = { ...NOTHING, accessed: true, changed: true, empty: false };

/**
 * Facts before the store has done its part and what it has to do; the facts it leaves, what becomes of the cookie, and
 * whether caches have to tell visitors apart.
 */
interface Situation {
  before: Facts;
  store: StoreStep;
  /** What differs afterwards. Default: nothing. */
  after?: Partial<Facts>;
  cookie: CookieStep;
  varies: boolean;
}

const created = { live: true, changed: false, keyChanged: true };
const ended = { live: false, empty: true, keyChanged: true };

const situations: Record<string, Situation> = {
  'no cookie, untouched': { before: NOTHING, store: 'nothing', cookie: 'keep', varies: false },
  'no cookie, read': {
    before: { ...NOTHING, accessed: true },
    store: 'nothing',
    cookie: 'keep',
    varies: true,
  },
  'a live session, untouched': {
    before: { ...NOTHING, presented: 'unasked' },
    store: 'nothing',
    cookie: 'keep',
    varies: false,
  },
  'a live session, loaded but not looked at': {
    before: LIVE,
    store: 'nothing',
    cookie: 'keep',
    varies: false,
  },
  'a live session, loaded but not looked at, touch due': {
    before: { ...LIVE, touchDue: true },
    store: 'nothing',
    cookie: 'keep',
    varies: false,
  },
  'a live session, read': { before: READ, store: 'nothing', cookie: 'keep', varies: true },
  'a live session, read, touch due': {
    before: { ...READ, touchDue: true },
    store: 'touch',
    after: { touchDue: false, deadlineMoved: true },
    cookie: 'set',
    varies: true,
  },
  'a live session, read, touch due, but somebody else has moved it': {
    before: { ...READ, touchDue: true },
    store: 'touch',
    cookie: 'keep',
    varies: true,
  },
  'a live session, to be renewed without a change': {
    before: { ...LIVE, renewed: true },
    store: 'touch',
    after: { renewed: false, deadlineMoved: true },
    cookie: 'set',
    varies: true,
  },
  'a live session, changed': {
    before: CHANGED,
    store: 'save',
    after: { changed: false, deadlineMoved: true },
    cookie: 'set',
    varies: true,
  },
  'a live session, changed within the same second': {
    before: CHANGED,
    store: 'save',
    after: { changed: false },
    cookie: 'keep',
    varies: true,
  },
  'a live session, emptied': {
    before: { ...CHANGED, empty: true },
    store: 'save',
    after: { changed: false },
    cookie: 'keep',
    varies: true,
  },
  'no record yet, changed': { before: FRESH, store: 'create', after: created, cookie: 'set', varies: true },
  'no record yet, changed and empty again': {
    before: { ...FRESH, empty: true },
    store: 'nothing',
    cookie: 'keep',
    varies: true,
  },
  'no record yet, only rotated': {
    before: { ...NOTHING, accessed: true, rotated: true },
    store: 'nothing',
    cookie: 'keep',
    varies: true,
  },
  'an unknown key, untouched': {
    before: { ...NOTHING, presented: 'unknown', keyChanged: true },
    store: 'nothing',
    cookie: 'keep',
    varies: false,
  },
  'an unknown key, read': {
    before: { ...NOTHING, presented: 'unknown', keyChanged: true, accessed: true },
    store: 'nothing',
    cookie: 'remove',
    varies: true,
  },
  'a malformed key, untouched': {
    before: { ...NOTHING, presented: 'malformed', keyChanged: true },
    store: 'nothing',
    cookie: 'keep',
    varies: false,
  },
  'a malformed key, read': {
    before: { ...NOTHING, presented: 'malformed', keyChanged: true, accessed: true },
    store: 'nothing',
    cookie: 'remove',
    varies: true,
  },
  'an unknown key, changed': {
    before: { ...FRESH, presented: 'unknown', keyChanged: true },
    store: 'create',
    after: created,
    cookie: 'set',
    varies: true,
  },
  'flush or logout': {
    before: { ...READ, ...ended, ended: true },
    store: 'nothing',
    cookie: 'remove',
    varies: true,
  },
  'flush, and written again': {
    before: { ...FRESH, presented: 'live', ended: true, keyChanged: true },
    store: 'create',
    after: created,
    cookie: 'set',
    varies: true,
  },
  'cycleKey or login': {
    before: { ...READ, rotated: true },
    store: 'rename',
    after: { rotated: false, keyChanged: true },
    cookie: 'set',
    varies: true,
  },
  'cycleKey and a change': {
    before: { ...CHANGED, rotated: true },
    store: 'rename',
    after: { rotated: false, changed: false, keyChanged: true },
    cookie: 'set',
    varies: true,
  },
  'a server error after a change': {
    before: { ...READ, failed: true },
    store: 'nothing',
    cookie: 'keep',
    varies: true,
  },
  'a server error after a rotation': {
    before: { ...READ, failed: true, rotated: true },
    store: 'nothing',
    cookie: 'keep',
    varies: true,
  },
  'a server error after a first write': {
    before: { ...FRESH, failed: true, changed: false },
    store: 'nothing',
    cookie: 'keep',
    varies: true,
  },
  'a server error after a logout': {
    before: { ...READ, ...ended, ended: true, failed: true },
    store: 'nothing',
    cookie: 'remove',
    varies: true,
  },
  'a server error after an explicit save': {
    before: { ...READ, presented: 'nothing', failed: true, keyChanged: true },
    store: 'nothing',
    cookie: 'set',
    varies: true,
  },
  // Kept, and not removed: whoever took the record away has answered with a cookie of his own, and a removal might
  // reach the browser after that one.
  'the record went away while the request changed it': {
    before: CHANGED,
    store: 'save',
    after: { live: false, gone: true, keyChanged: true },
    cookie: 'keep',
    varies: true,
  },
  'the record went away before the commit': {
    before: { ...CHANGED, live: false, gone: true, keyChanged: true },
    store: 'nothing',
    cookie: 'keep',
    varies: true,
  },
};

describe('the plan of a commit', () => {
  it.each(Object.entries(situations))('%s', (_name, { before, store, after, cookie, varies }) => {
    expect(planStore(before)).toBe(store);
    const facts = { ...before, ...after };
    expect(planCookie(facts)).toBe(cookie);
    expect(variesByCookie(facts, planCookie(facts))).toBe(varies);
  });

  const facts = fc.record({
    ...(Object.fromEntries(Object.keys(NOTHING).map((name) => [name, fc.boolean()])) as unknown as {
      [Name in keyof Facts]: fc.Arbitrary<Facts[Name]>;
    }),
    presented: fc.constantFrom('nothing', 'malformed', 'unasked', 'unknown', 'live'),
  });
  /** The first counterexample, or null. */
  const counterexample = (holds: (facts: Facts) => boolean) =>
    fc.check(fc.property(facts, holds)).counterexample;

  it('never writes for a server error', () => {
    expect(counterexample((given) => planStore({ ...given, failed: true }) === 'nothing')).toBeNull();
  });

  it('never writes, and leaves the cookie to others, when the record went away', () => {
    expect(
      counterexample((given) => planStore({ ...given, live: false, gone: true }) === 'nothing'),
    ).toBeNull();
    expect(
      counterexample((given) => planCookie({ ...given, live: false, gone: true }) === 'keep'),
    ).toBeNull();
  });

  it('creates only what is not there and holds something', () => {
    expect(
      counterexample(
        (given) => planStore(given) !== 'create' || (!given.live && given.changed && !given.empty),
      ),
    ).toBeNull();
  });

  it('writes to a record only when there is one', () => {
    expect(
      counterexample((given) => given.live || ['nothing', 'create'].includes(planStore(given))),
    ).toBeNull();
  });

  it('writes nothing without a cause', () => {
    expect(
      counterexample((given) =>
        given.changed || given.rotated || given.renewed || given.touchDue || given.renewalDue
          ? true
          : planStore(given) === 'nothing',
      ),
    ).toBeNull();
  });

  it('renews a key that is due, of sessions that are used, and never instead of a rotation', () => {
    expect(
      counterexample((given) => {
        const renewed = planStore(given) === 'renew';
        const due = given.live && !given.failed && !given.gone && given.renewalDue && given.accessed;
        return renewed === (due && !given.rotated);
      }),
    ).toBeNull();
  });

  it('sets a cookie only for a record that the browser does not know as it is', () => {
    expect(
      counterexample(
        (given) => planCookie(given) !== 'set' || (given.live && (given.keyChanged || given.deadlineMoved)),
      ),
    ).toBeNull();
  });

  it('removes a cookie only when one came that opens nothing, and the session was used', () => {
    expect(
      counterexample(
        (given) =>
          planCookie(given) !== 'remove' ||
          (!given.live &&
            given.presented !== 'nothing' &&
            given.presented !== 'unasked' &&
            (given.accessed || given.ended)),
      ),
    ).toBeNull();
  });

  it('lets no cache share an answer that sets or removes the cookie', () => {
    expect(
      counterexample((given) => planCookie(given) === 'keep' || variesByCookie(given, planCookie(given))),
    ).toBeNull();
  });
});
