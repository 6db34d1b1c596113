import { type INestApplication } from '@nestjs/common';
import {
  Body,
  Controller,
  Get,
  Inject,
  InternalServerErrorException,
  Param,
  Post,
  Query,
  Redirect,
} from '@nestjs/common';
import { Session } from 'nest-sessions';
import { SessionEntity } from 'nest-sessions/database';
import { platforms } from './support/app.js';
import { age, type DatabaseApp, startDatabaseApp } from './support/database-app.js';
import { describeOnEveryDatabase } from './support/services.js';

interface Visit {
  secret: string;
  count: number;
  items: number[];
  [key: `key${number}`]: number;
}

/** Holds requests in their handlers, with the session loaded and nothing done yet, until the test lets them go on. */
class Checkpoint {
  #waiting = 0;
  #announce!: () => void;
  /** Lets all of them go on, those to come as well. */
  open!: () => void;
  /** Resolves when as many wait as were expected. */
  readonly reached = new Promise<void>((resolve) => {
    this.#announce = resolve;
  });
  readonly #opened = new Promise<void>((resolve) => {
    this.open = resolve;
  });

  constructor(private readonly expected = 1) {}

  wait(): Promise<void> {
    this.#waiting += 1;
    if (this.#waiting === this.expected) this.#announce();
    return this.#opened;
  }
}

class Checkpoints extends Map<string, Checkpoint> {}

interface Given {
  key?: `key${number}`;
  user?: string;
  expiry?: number;
  item?: number;
}

const actions: Record<string, (session: Session<Visit>, given: Given) => unknown> = {
  start: (session) => (session.secret = 'of ada'),
  login: (session, { user = 'ada' }) => session.login(user),
  logout: (session) => session.logout(),
  read: (session) => session.secret,
  write: (session, { key = 'key0', item = 1 }) => session.set(key, item),
  rotate: (session) => session.cycleKey(),
  expire: (session, { expiry = 0 }) => session.setExpiry(expiry),
  increment: (session) => session.increment('count'),
  push: (session, { item = 0 }) => session.push('items', item),
  'rotate and fail': (session) => {
    session.cycleKey();
    session.secret = 'lost';
    throw new InternalServerErrorException();
  },
  'logout and fail': (session) => {
    session.logout();
    throw new InternalServerErrorException();
  },
};

@Controller()
class RaceController {
  constructor(@Inject(Checkpoints) private readonly checkpoints: Checkpoints) {}

  @Get()
  look(@Session() session: Session<Visit>) {
    return { ...session.toJSON(), userId: session.userId };
  }

  @Post('act/:action')
  async act(
    @Session() session: Session<Visit>,
    @Param('action') action: string,
    @Query('at') checkpoint: string,
    @Body() given: Given,
  ) {
    await this.checkpoints.get(checkpoint)?.wait();
    actions[action]?.(session, given);
    return {};
  }

  @Post('redirect')
  @Redirect('/', 303)
  writeAndRedirect(@Session() session: Session<Visit>, @Body() { item = 0 }: Given) {
    session.key1 = item;
  }
}

describeOnEveryDatabase('races', (kind) => {
  describe.each(platforms)('on %s', (platform) => {
    let site: DatabaseApp;
    let checkpoints: Checkpoints;

    beforeAll(async () => {
      site = await startDatabaseApp(platform, kind, {
        controllers: [RaceController],
        providers: [Checkpoints],
        // What is meant to fail need not be told.
        prepare: (app: INestApplication) => app.useLogger(false),
      });
      checkpoints = site.app.get(Checkpoints);
    });
    beforeEach(() => site.dataSource.getRepository(SessionEntity).clear());
    afterAll(() => site.close());

    /** A request by whoever has this key. `key` of the answer is what its Set-Cookie says, if it says anything. */
    const send = async (method: string, path: string, key?: string, given?: Given) => {
      const response = await fetch(site.url + path, {
        method,
        redirect: 'manual',
        headers: {
          'content-type': 'application/json',
          ...(key !== undefined && { cookie: `sessionid=${key}` }),
        },
        ...(given && { body: JSON.stringify(given) }),
      });
      const set = response.headers.getSetCookie().map((line) => /^sessionid=([^;]*)/.exec(line)?.[1]);
      expect(set.length).toBeLessThan(2);
      return { status: response.status, key: set[0], body: (await response.text()) || '{}' };
    };
    const act = (action: string, key?: string, given: Given = {}, checkpoint = '') =>
      send('POST', `/act/${action}?at=${checkpoint}`, key, given);
    const look = async (key: string | undefined) =>
      JSON.parse((await send('GET', '/', key)).body) as Record<string, unknown>;
    const rows = () => site.dataSource.getRepository(SessionEntity).find();
    const onlyRow = async () => {
      const all = await rows();
      expect(all).toHaveLength(1);
      return all[0] as SessionEntity;
    };

    /** Sends a request that stops in its handler; the answer comes after `proceed`. */
    const hold = async (action: string, key: string | undefined, given: Given = {}) => {
      const name = `${checkpoints.size}`;
      const checkpoint = new Checkpoint();
      checkpoints.set(name, checkpoint);
      const answer = act(action, key, given, name);
      await checkpoint.reached;
      return () => {
        checkpoint.open();
        return answer;
      };
    };

    /** Sends requests that all have loaded the session before the first of them goes on. */
    const allAtOnce = async (count: number, action: string, key: string, given: (index: number) => Given) => {
      const checkpoint = new Checkpoint(count);
      checkpoints.set('all', checkpoint);
      const answers = Array.from({ length: count }, (_, index) => act(action, key, given(index), 'all'));
      await checkpoint.reached;
      checkpoint.open();
      return Promise.all(answers);
    };

    const visit = async (): Promise<string> => (await act('start')).key as string;
    const visitAsAda = async (): Promise<string> => (await act('login', await visit())).key as string;

    /** Somebody about to log out, while a rival request has loaded the session as well. */
    const setOut = async (rival: string, action: string) => {
      const key = await (rival === 'a first login' ? visit() : visitAsAda());
      const { sessionId } = await onlyRow();
      if (rival === 'a touch') await age(site.dataSource, 3 * 24 * 60 * 60);
      return { key, sessionId, logout: await hold('logout', key), rival: await hold(action, key) };
    };
    /** What still opens a session, and the rows that are left of it: nothing, if it has ended. */
    const remainsOf = async (sessionId: string, keys: (string | undefined)[]): Promise<unknown[]> => {
      const seen = await Promise.all(keys.map((key) => look(key)));
      const left = await rows();
      return [
        ...seen.filter((session) => session['userId'] !== null || 'secret' in session),
        ...left.filter((row) => row.sessionId === sessionId || row.userId === 'ada'),
      ];
    };

    describe('parallel writers lose nothing', () => {
      it('keeps 50 different keys of 50 requests', async () => {
        const key = await visit();
        const answers = await allAtOnce(50, 'write', key, (index) => ({ key: `key${index}`, item: index }));

        expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([201]));
        const written = Array.from({ length: 50 }, (_, index) => [`key${index}`, index]);
        expect(await look(key)).toEqual({ userId: null, secret: 'of ada', ...Object.fromEntries(written) });
      });

      it('counts 200 increments of 200 requests', async () => {
        const key = await visit();
        await allAtOnce(200, 'increment', key, () => ({}));
        expect((await look(key))['count']).toBe(200);
      });

      it('keeps 100 items pushed by 100 requests', async () => {
        const key = await visit();
        await allAtOnce(100, 'push', key, (item) => ({ item }));
        const items = (await look(key))['items'] as number[];
        expect(items.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, item) => item));
      });
    });

    describe('ended stays ended', () => {
      /** What else is under way while somebody logs out. */
      const rivals = {
        'a slow writer': 'write',
        'a reader': 'read',
        'a touch': 'read',
        'a new expiry': 'expire',
        'a rotation': 'rotate',
        'a login': 'login',
        'a first login': 'login',
        'another logout': 'logout',
      };

      describe.each(Object.entries(rivals))('logout against %s', (name, action) => {
        const race = async (order: 'logout first' | 'logout last' | 'both at once'): Promise<unknown[]> => {
          const { key, sessionId, logout, rival } = await setOut(name, action);
          const answers =
            order === 'both at once'
              ? await Promise.all([rival(), logout()])
              : order === 'logout first'
                ? [await logout(), await rival()]
                : [await rival(), await logout()];
          expect(answers.map(({ status }) => status)).toEqual([201, 201]);
          return remainsOf(sessionId, [key, ...answers.map((answer) => answer.key)]);
        };

        it('logout first', async () => {
          expect(await race('logout first')).toEqual([]);
        });

        it('logout last', async () => {
          expect(await race('logout last')).toEqual([]);
        });

        it('both at once', async () => {
          for (let time = 0; time < 10; time++) {
            expect(await race('both at once')).toEqual([]);
            await site.dataSource.getRepository(SessionEntity).clear();
          }
        });
      });

      it('a login as somebody else is a session of its own, whoever logs out', async () => {
        const key = await visitAsAda();
        const { sessionId } = await onlyRow();
        const logout = await hold('logout', key);
        const grace = await (await hold('login', key, { user: 'grace' }))();
        await logout();

        expect(await look(grace.key)).toEqual({ userId: 'grace' });
        expect(await remainsOf(sessionId, [key])).toEqual([]);
      });

      it('two rotations leave one key, and the session', async () => {
        const key = await visitAsAda();
        const rotations = [await hold('rotate', key), await hold('rotate', key)];
        const answers = await Promise.all(rotations.map((rotate) => rotate()));

        const keys = answers.map((answer) => answer.key).filter((set) => set !== undefined);
        expect(keys).toHaveLength(1);
        expect(await look(keys[0])).toMatchObject({ userId: 'ada', secret: 'of ada' });
        expect(await look(key)).toEqual({ userId: null });
      });

      it('drops the changes of a request whose session was deleted meanwhile, and answers it', async () => {
        const key = await visitAsAda();
        for (const action of ['write', 'rotate', 'login', 'expire', 'increment', 'push']) {
          const late = await hold(action, key);
          const saved = await rows();
          await site.dataSource.query('DELETE FROM nest_session');

          expect(await late()).toEqual({ status: 201, key: undefined, body: '{}' });

          expect(await rows()).toEqual([]);
          await site.dataSource.getRepository(SessionEntity).insert(saved);
        }
      });

      it('S112: a late writer restores neither user nor expiry', async () => {
        const key = await visitAsAda();
        const late = await hold('write', key);
        await act('expire', key, { expiry: 60 });
        await site.dataSource.query(`UPDATE nest_session SET user_id = 'grace'`);
        await late();

        const row = await onlyRow();
        expect(row).toMatchObject({ userId: 'grace', expiry: '60' });
        expect(row.expireDate - row.lastSeenAt).toBeLessThanOrEqual(60_000);
        expect(row.getDecoded()).toMatchObject({ key0: 1 });
      });

      it('S112: a late writer restores no key', async () => {
        const key = await visitAsAda();
        const late = await hold('write', key);
        const rotated = await act('rotate', key);

        expect(await late()).toMatchObject({ status: 201, key: undefined });

        expect(await look(key)).toEqual({ userId: null });
        expect(await look(rotated.key)).toEqual({ userId: 'ada', secret: 'of ada' });
      });
    });

    it('gives two first requests with the same stale cookie a session each, and neither its key', async () => {
      const stale = 'A'.repeat(43);
      const first = [await hold('start', stale), await hold('start', stale)];
      const keys = (await Promise.all(first.map((go) => go()))).map((answer) => answer.key);

      expect(new Set([stale, ...keys]).size).toBe(3);
      expect(await rows()).toHaveLength(2);
      expect(await look(stale)).toEqual({ userId: null });
      for (const key of keys) expect(await look(key)).toMatchObject({ secret: 'of ada' });
    });

    it('keeps a user logged in whose key was to be rotated by a request that failed', async () => {
      const key = await visitAsAda();
      expect(await act('rotate and fail', key)).toMatchObject({ status: 500, key: undefined });
      expect(await look(key)).toEqual({ userId: 'ada', secret: 'of ada' });
    });

    it('logs a user out even by a request that fails', async () => {
      const key = await visitAsAda();
      expect(await act('logout and fail', key)).toMatchObject({ status: 500, key: '' });
      expect(await look(key)).toEqual({ userId: null });
      expect(await rows()).toEqual([]);
    });

    it('has saved before a redirect can be followed, 250 times', async () => {
      const key = await visit();
      for (let item = 1; item <= 250; item++) {
        const written = await fetch(`${site.url}/redirect`, {
          method: 'POST',
          redirect: 'manual',
          headers: { 'content-type': 'application/json', cookie: `sessionid=${key}` },
          body: JSON.stringify({ item }),
        });
        // `fetch` resolves with the headers: the next request goes out before the body of this one has been read.
        const followed = await look(key);
        expect([written.status, followed['key1']]).toEqual([303, item]);
        await written.text();
      }
    });
  });
});
