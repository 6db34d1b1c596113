import assert from 'node:assert/strict';
import {
  createSecret,
  createSessionId,
  formatSessionKey,
} from '../../libs/session/src/session/session-key.js';
import { Checkpoint, Checkpoints } from './checkpoint.js';
import { type EngineRow } from './engine-row.js';
import { type Given } from './races.pages.js';

const DAY = 24 * 60 * 60;

/** What a visitor does with pages that the test can hold back. */
class Races {
  #users = 0;

  constructor(readonly row: EngineRow) {}

  get checkpoints(): Checkpoints {
    return this.row.site.app.get(Checkpoints);
  }

  /** Of this test alone, for the sessions of all tests of a row are kept together. */
  newUser(): string {
    return `ada${(this.#users += 1)}`;
  }

  /** A request by whoever has this key. `key` of the answer is what its Set-Cookie says, if it says anything. */
  async send(method: string, path: string, key?: string, given?: Given) {
    const response = await fetch(`${this.row.site.url}/races${path}`, {
      method,
      redirect: 'manual',
      headers: {
        'content-type': 'application/json',
        ...(key !== undefined && { cookie: `sessionid=${key}` }),
      },
      ...(given && { body: JSON.stringify(given) }),
    });
    const set = response.headers.getSetCookie().map((line) => /^sessionid=([^;]*)/.exec(line)?.[1]);
    assert.ok(set.length < 2, 'the cookie was set twice');
    return { status: response.status, key: set[0], body: (await response.text()) || '{}' };
  }

  act(action: string, key?: string, given: Given = {}, checkpoint = '') {
    return this.send('POST', `/act/${action}?at=${checkpoint}`, key, given);
  }

  async look(key: string | undefined): Promise<Record<string, unknown>> {
    return JSON.parse((await this.send('GET', '', key)).body) as Record<string, unknown>;
  }

  /** Sends a request that stops in its handler; the answer comes after `proceed`. */
  async hold(action: string, key: string | undefined, given: Given = {}) {
    const name = `${this.checkpoints.size}`;
    const checkpoint = new Checkpoint();
    this.checkpoints.set(name, checkpoint);
    const answer = this.act(action, key, given, name);
    await checkpoint.reached;
    return () => {
      checkpoint.open();
      return answer;
    };
  }

  /** Sends requests that all have loaded the session before the first of them goes on. */
  async allAtOnce(count: number, action: string, key: string, given: (index: number) => Given) {
    const checkpoint = new Checkpoint(count);
    this.checkpoints.set('all', checkpoint);
    const answers = Array.from({ length: count }, (_, index) => this.act(action, key, given(index), 'all'));
    await checkpoint.reached;
    checkpoint.open();
    return Promise.all(answers);
  }

  async visit(): Promise<string> {
    return (await this.act('start')).key as string;
  }

  async visitAs(user: string): Promise<string> {
    return (await this.act('login', await this.visit(), { user })).key as string;
  }

  async idOf(key: string): Promise<string> {
    const record = await this.row.record(key);
    if (!record) throw new Error('The session is gone.');
    return record.id;
  }

  /** Ends the session behind the back of all requests, as an administrator does. */
  async end(key: string): Promise<void> {
    assert.ok(await this.row.store.delete(await this.idOf(key)));
  }

  /** What still opens a session or is left of it: nothing, if it has ended. */
  async remainsOf(sessionId: string, user: string, keys: (string | undefined)[]): Promise<unknown[]> {
    const seen = await Promise.all(keys.map((key) => this.look(key)));
    return [
      ...seen.filter((session) => session['userId'] !== null || 'secret' in session),
      ...(this.row.lacks('listing') ? [] : await this.row.store.listByUser(user)),
      ...(await this.row.rowsOf(sessionId)),
    ];
  }
}

/** Requests that meet, on an engine of the table. */
export function describeRaces(row: EngineRow): void {
  describe('races', () => {
    const races = new Races(row);
    if (row.lacks('server')) describeClientsOwn(races);
    else describeOnServer(races);
  });
}

function unknownKey(): string {
  return formatSessionKey({ id: createSessionId(), secret: createSecret() });
}

/** What else is under way while somebody logs out. */
const rivals = {
  'a slow writer': 'write',
  'a reader': 'read',
  'a touch': 'read',
  'a new expiry': 'expire',
  'a rotation': 'rotate',
  'another logout': 'logout',
};

function describeOnServer(races: Races): void {
  const { row } = races;
  const { rounds } = row.engine;

  describe('parallel writers lose nothing', () => {
    it('keeps 50 different keys of 50 requests', async () => {
      const key = await races.visit();
      const answers = await races.allAtOnce(50, 'write', key, (index) => ({
        key: `key${index}`,
        item: index,
      }));

      expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([201]));
      const written = Array.from({ length: 50 }, (_, index) => [`key${index}`, index]);
      expect(await races.look(key)).toEqual({
        userId: null,
        secret: 'of ada',
        ...Object.fromEntries(written),
      });
    });

    it('S110: counts 200 increments of 200 requests', async () => {
      const key = await races.visit();
      await races.allAtOnce(200, 'increment', key, () => ({}));
      expect((await races.look(key))['count']).toBe(200);
    });

    it('S65: lets 20 requests of 30,000 characters make no record of more than twice the limit', async () => {
      const key = await races.visit();
      const text = 'x'.repeat(30_000) as unknown as number;
      const answers = await races.allAtOnce(20, 'write', key, (n) => ({ key: `key${n}`, item: text }));
      const statuses = answers.map(({ status }) => status);
      const written = statuses.filter((status) => status === 201).length;
      expect(statuses.filter((status) => status === 413)).toHaveLength(20 - written);
      // All that was acknowledged is there.
      expect(written).toBeGreaterThanOrEqual(2);
      const seen = await races.look(key);
      expect(Object.keys(seen).filter((name) => name.startsWith('key'))).toHaveLength(written);
      expect(JSON.stringify(seen).length).toBeLessThanOrEqual(2 * 65_536);
    });

    it('keeps 100 items pushed by 100 requests', async () => {
      const key = await races.visit();
      await races.allAtOnce(100, 'push', key, (item) => ({ item }));
      const items = (await races.look(key))['items'] as number[];
      expect(items.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, item) => item));
    });
  });

  describe('ended stays ended', () => {
    describe.each(Object.entries(rivals))('logout against %s', (name, action) => {
      const race = async (order: 'logout first' | 'logout last' | 'both at once'): Promise<unknown[]> => {
        const user = races.newUser();
        const key = await races.visitAs(user);
        const sessionId = await races.idOf(key);
        if (name === 'a touch') await row.elapse(3 * DAY);
        const [logout, rival] = [await races.hold('logout', key), await races.hold(action, key, { user })];
        const answers =
          order === 'both at once'
            ? await Promise.all([rival(), logout()])
            : order === 'logout first'
              ? [await logout(), await rival()]
              : [await rival(), await logout()];
        expect(answers.map(({ status }) => status)).toEqual([201, 201]);
        return races.remainsOf(sessionId, user, [key, ...answers.map((answer) => answer.key)]);
      };

      it('logout first', async () => {
        expect(await race('logout first')).toEqual([]);
      });

      it('logout last', async () => {
        expect(await race('logout last')).toEqual([]);
      });

      it('both at once', async () => {
        for (let time = 0; time < rounds.logouts; time++) expect(await race('both at once')).toEqual([]);
      });
    });

    describe.each(['a visitor', 'the same user', 'another user'] as const)(
      'a login from the session of %s stands, though somebody logs out of that one',
      (before) => {
        const race = async (order: 'logout first' | 'login first' | 'both at once'): Promise<void> => {
          const [user, other] = [races.newUser(), races.newUser()];
          const key = await (before === 'a visitor'
            ? races.visit()
            : races.visitAs(before === 'the same user' ? user : other));
          const sessionId = await races.idOf(key);
          const [logout, login] = [await races.hold('logout', key), await races.hold('login', key, { user })];
          if (order === 'logout first') await logout();
          const answer = login();
          if (order === 'login first') await answer;
          const [{ status, key: started }] = await Promise.all([
            answer,
            order === 'logout first' ? undefined : logout(),
          ]);

          expect(status).toBe(201);
          expect(await races.look(started)).toMatchObject({ userId: user });
          expect(await races.look(key)).toEqual({ userId: null });
          if (!row.lacks('listing')) expect(await row.store.listByUser(user)).toHaveLength(1);
          expect(await row.rowsOf(sessionId)).toEqual([]);
        };

        it.each(['logout first', 'login first', 'both at once'] as const)('%s', (order) => race(order));
      },
    );

    it('a login whose session from before is deleted at the same time stands, without its data', async () => {
      const user = races.newUser();
      const key = await races.visit();
      const login = await races.hold('login', key, { user });
      await races.end(key);
      const { status, key: started } = await login();
      expect(status).toBe(201);
      expect(await races.look(started)).toEqual({ userId: user });
    });

    it('both of two logins at once stand', async () => {
      const user = races.newUser();
      const key = await races.visit();
      const logins = [await races.hold('login', key, { user }), await races.hold('login', key, { user })];
      const answers = await Promise.all(logins.map((login) => login()));
      expect(new Set([key, ...answers.map((answer) => answer.key)]).size).toBe(3);
      for (const answer of answers) expect(await races.look(answer.key)).toMatchObject({ userId: user });
      expect(await races.look(key)).toEqual({ userId: null });
    });

    it('two rotations leave one key, and the session', async () => {
      const user = races.newUser();
      const key = await races.visitAs(user);
      const rotations = [await races.hold('rotate', key), await races.hold('rotate', key)];
      const answers = await Promise.all(rotations.map((rotate) => rotate()));

      const keys = answers.map((answer) => answer.key).filter((set) => set !== undefined);
      expect(keys).toHaveLength(1);
      expect(await races.look(keys[0])).toMatchObject({ userId: user, secret: 'of ada' });
      expect(await races.look(key)).toEqual({ userId: null });
    });

    it.each(['write', 'rotate', 'expire', 'increment', 'push'])(
      'drops the changes of a request (%s) whose session was deleted meanwhile, and answers it',
      async (action) => {
        const user = races.newUser();
        const key = await races.visitAs(user);
        const sessionId = await races.idOf(key);
        const late = await races.hold(action, key, { user });
        await races.end(key);

        expect(await late()).toEqual({ status: 201, key: undefined, body: '{}' });

        expect(await races.remainsOf(sessionId, user, [key])).toEqual([]);
      },
    );

    it('S112: a late writer does not restore the expiry', async () => {
      const key = await races.visitAs(races.newUser());
      const late = await races.hold('write', key);
      await races.act('expire', key, { expiry: 60 });
      await late();

      const kept = (await row.record(key))!;
      expect(kept).toMatchObject({ expiry: 60, data: { key0: 1 } });
      // A minute, and what a busy machine takes between the reading of two clocks.
      expect(kept.expiresAt - kept.lastSeenAt).toBeLessThan(70_000);
    });

    it('S112: a late writer restores no key', async () => {
      const user = races.newUser();
      const key = await races.visitAs(user);
      const late = await races.hold('write', key);
      const rotated = await races.act('rotate', key);

      expect(await late()).toMatchObject({ status: 201, key: undefined });

      expect(await races.look(key)).toEqual({ userId: null });
      expect(await races.look(rotated.key)).toEqual({ userId: user, secret: 'of ada' });
    });
  });

  it('gives two first requests with the same stale cookie a session each, and neither its key', async () => {
    const stale = unknownKey();
    const first = [await races.hold('start', stale), await races.hold('start', stale)];
    const keys = (await Promise.all(first.map((go) => go()))).map((answer) => answer.key);

    expect(new Set([stale, ...keys]).size).toBe(3);
    expect(await races.look(stale)).toEqual({ userId: null });
    for (const key of keys) expect(await races.look(key)).toMatchObject({ secret: 'of ada' });
  });

  describeFailures(races);

  it('logs a user out even by a request that fails', async () => {
    const user = races.newUser();
    const key = await races.visitAs(user);
    const sessionId = await races.idOf(key);
    expect(await races.act('logout and fail', key)).toMatchObject({ status: 500, key: '' });
    expect(await races.remainsOf(sessionId, user, [key])).toEqual([]);
  });

  it(`has saved before a redirect can be followed, ${rounds.redirects} times`, async () => {
    const key = await races.visit();
    for (let item = 1; item <= rounds.redirects; item++) {
      const written = await fetch(`${row.site.url}/races/redirect`, {
        method: 'POST',
        redirect: 'manual',
        headers: { 'content-type': 'application/json', cookie: `sessionid=${key}` },
        body: JSON.stringify({ item }),
      });
      // `fetch` resolves with the headers: the next request goes out before the body of this one has been read.
      const followed = await races.look(key);
      expect([written.status, followed['key1']]).toEqual([303, item]);
      await written.text();
    }
  });
}

function describeFailures(races: Races): void {
  it.each(['write and fail', 'rotate and fail'])(
    'forgets what a request did that failed (%s)',
    async (act) => {
      const user = races.newUser();
      const key = await races.visitAs(user);
      expect(await races.act(act, key)).toMatchObject({ status: 500, key: undefined });
      expect(await races.look(key)).toEqual({ userId: user, secret: 'of ada' });
    },
  );
}

/** As docs/engines/cookie.md says, where no server knows of the other requests. */
function describeClientsOwn(races: Races): void {
  it('the last response wins', async () => {
    const key = await races.visit();
    const first = await races.hold('write', key, { key: 'key1' });
    const last = await races.hold('write', key, { key: 'key2' });
    const answers = [await first(), await last()];

    expect(await races.look(answers[0]?.key)).toEqual({ userId: null, secret: 'of ada', key1: 1 });
    expect(await races.look(answers[1]?.key)).toEqual({ userId: null, secret: 'of ada', key2: 1 });
  });

  it('a slow request brings back what a faster one has removed', async () => {
    const user = races.newUser();
    const key = await races.visitAs(user);
    const slow = await races.hold('write', key);
    expect((await races.act('logout', key)).key).toBe('');
    expect(await races.look((await slow()).key)).toMatchObject({ userId: user, key0: 1 });
  });

  it('a logout does not reach a copy of the cookie', async () => {
    const user = races.newUser();
    const key = await races.visitAs(user);
    expect(await races.act('logout', key)).toMatchObject({ status: 201, key: '' });
    expect(await races.look(key)).toEqual({ userId: user, secret: 'of ada' });
  });

  it('removes the cookie of a user who logs out by a request that fails', async () => {
    const key = await races.visitAs(races.newUser());
    expect(await races.act('logout and fail', key)).toMatchObject({ status: 500, key: '' });
  });

  it('takes nobody for what a cookie says that the server has not sealed', async () => {
    expect(await races.look(unknownKey())).toEqual({ userId: null });
  });

  describeFailures(races);
}
