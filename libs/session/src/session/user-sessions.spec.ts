import { SessionsPerUserError } from '../session.errors.js';
import { type SessionRecord } from '../stores/session-store.js';
import { newRecord } from '../testing/store-bench.js';
import { type SessionEnvironment } from './session-environment.js';
import { type SessionEvent } from './session-events.js';
import { limitSessions, type SessionLimit } from './user-sessions.js';

const NOW = Date.now();
const policy = {
  cookieAge: 1e9,
  idleTimeout: 1e9,
  absoluteTimeout: null,
  expireAtBrowserClose: false,
  sliding: true,
};

const refuse = (): never => {
  throw new Error('nobody is asked');
};

/** A session of ann's that logged in and was last used so many seconds ago. */
function session(id: string, login: number, use = login): SessionRecord {
  return newRecord(
    {},
    {
      id,
      userId: 'ann',
      createdAt: NOW - login * 1000,
      lastSeenAt: NOW - use * 1000,
      expiresAt: NOW + 1e9,
    },
  );
}

/** What the login of `newcomer` does when these sessions are there, and no deletion of another login. */
async function enforce(
  limit: SessionLimit,
  live: SessionRecord[],
  newcomer: string,
  already: string[] = [],
  replacedId?: string,
) {
  const events: SessionEvent[] = [];
  const asked: string[] = [];
  const store = {
    listByUser: async () => live,
    delete: async (id: string) => {
      asked.push(id);
      return !already.includes(id);
    },
  };
  const environment = {
    tokens: { isOwn: () => true },
    policy,
    rememberedPolicy: policy,
    now: () => NOW,
    emit: (event: SessionEvent) => events.push(event),
  } as unknown as SessionEnvironment;
  const outcome = await limitSessions(
    store,
    environment,
    limit,
  )(session(newcomer, 0), replacedId).then(
    () => 'let in',
    (error: unknown) => error,
  );
  return { outcome, asked, events };
}

const four = [session('c', 20, 1), session('a', 40, 2), session('d', 10, 30), session('b', 30, 40)];

describe.each(['evict-oldest', 'evict-idle', 'reject'] as const)('%s', (name) => {
  it('does nothing up to the limit', async () => {
    expect(await enforce({ max: 4, policy: name }, four, 'd')).toEqual({
      outcome: 'let in',
      asked: [],
      events: [],
    });
  });

  it('lets everybody in who has no user to count for', async () => {
    const login = limitSessions({ listByUser: refuse, delete: refuse }, {} as SessionEnvironment, {
      max: 1,
      policy: name,
    });
    await expect(login(newRecord())).resolves.toBeUndefined();
  });
});

it('ends those of the oldest logins, whichever login looks', async () => {
  for (const newcomer of ['a', 'd']) {
    const { outcome, asked } = await enforce({ max: 2, policy: 'evict-oldest' }, four, newcomer);
    expect([outcome, asked]).toEqual(['let in', ['b', 'a']]);
  }
});

it('orders logins of the same moment in one way', async () => {
  const same = [session('y', 5), session('x', 5), session('z', 5)];
  const { asked } = await enforce({ max: 1, policy: 'evict-oldest' }, same, 'x');
  expect((await enforce({ max: 1, policy: 'evict-oldest' }, same.toReversed(), 'z')).asked).toEqual(asked);
});

it('ends those of the oldest use, but not the latest login', async () => {
  const { asked } = await enforce({ max: 3, policy: 'evict-idle' }, four, 'd');
  expect(asked).toEqual(['b']);
  expect((await enforce({ max: 1, policy: 'evict-idle' }, four, 'd')).asked).toEqual(['c', 'a', 'b']);
});

it('refuses a login, and ends nothing that was there before it', async () => {
  const { outcome, asked, events } = await enforce({ max: 2, policy: 'reject' }, four, 'd');
  expect(outcome).toEqual(new SessionsPerUserError(2));
  expect(asked).toEqual(['d']);
  expect(events).toEqual([
    { type: 'limit', userId: 'ann' },
    { type: 'ended', reason: 'limit', sessionId: 'd', userId: 'ann' },
  ]);
});

it('S89: refuses later logins that were let in before this one could be counted', async () => {
  const { outcome, asked } = await enforce({ max: 2, policy: 'reject' }, four, 'b');
  expect([outcome, asked]).toEqual(['let in', ['c', 'd']]);
});

it('S89: refuses a login that another one has ended while it waited to be counted', async () => {
  const two = [session('a', 40), session('b', 30)];
  const { outcome, asked } = await enforce({ max: 2, policy: 'reject' }, two, 'gone');
  expect([outcome, asked]).toEqual([new SessionsPerUserError(2), []]);
  expect((await enforce({ max: 3, policy: 'reject' }, two, 'gone')).outcome).toBe('let in');
});

it('refuses no session that is moved in, and ends none for a login', async () => {
  const moved = ['m', 'n', 'o'].map((id) => ({ ...session(id, 0), meta: { moved: true as const } }));
  const { outcome, asked } = await enforce({ max: 2, policy: 'reject' }, [session('a', 10), ...moved], 'a');
  expect([outcome, asked]).toEqual([new SessionsPerUserError(2), ['a']]);
  const login = limitSessions({ listByUser: refuse, delete: refuse }, {} as SessionEnvironment, {
    max: 2,
    policy: 'reject',
  });
  await expect(login(moved[0] as SessionRecord)).resolves.toBeUndefined();
});

it('tells once of a session that several logins end', async () => {
  const { events } = await enforce({ max: 3, policy: 'evict-oldest' }, four, 'd', ['a']);
  expect(events).toEqual([{ type: 'limit', userId: 'ann' }]);
});

it('does not count the session that this login takes the place of', async () => {
  const { outcome, asked } = await enforce(
    { max: 1, policy: 'reject' },
    [session('a', 40), session('b', 0)],
    'b',
    [],
    'a',
  );
  expect([outcome, asked]).toEqual(['let in', []]);
});
