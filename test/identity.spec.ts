import { Body, Controller, Get, HttpCode, Post, UseGuards } from '@nestjs/common';
import {
  type JsonObject,
  type LoginOptions,
  RequireSession,
  Session,
  type SessionEvent,
  SessionGuard,
  type SessionOptions,
  Sessions,
  SessionStore,
  SessionStoreUnavailableError,
} from 'nest-sessions';
import { testingEngine } from 'nest-sessions/testing';
import { type HttpEnvironment } from '../libs/session/src/http/request-session.js';
import { HTTP_ENVIRONMENT } from '../libs/session/src/session.tokens.js';
import { type AppSetup, platforms, type RunningApp, startApp } from './support/app.js';
import { sessionKeyIn } from './support/database-app.js';
import { setClockAhead, setClockRight } from './support/elapse.js';
import {
  type EngineSetup,
  enginesOnDatabases,
  type EngineUnderTest,
  otherEngines,
} from './support/engines.js';
import { barrier, RecordingStore } from './support/recording-store.js';
import { describeWithService, type ServiceName } from './support/services.js';

type Data = JsonObject;

@Controller()
class IdentityController {
  @Get('who')
  who(@Session() session: Session<Data>) {
    return {
      userId: session.userId,
      id: session.id,
      data: { ...session },
      authenticatedAt: session.authenticatedAt,
      expiresAt: session.expiresAt,
    };
  }

  @Post('set')
  @HttpCode(200)
  set(@Session() session: Session<Data>, @Body() data: Data) {
    session.update(data);
    return { userId: session.userId };
  }

  /** The first that anybody does with the session in this request. */
  @Post('login')
  @HttpCode(200)
  login(@Session() session: Session<Data>, @Body() body: { userId: string; options?: LoginOptions }) {
    session.login(body.userId, body.options);
    return {};
  }

  @Post('logout')
  @HttpCode(200)
  logout(@Session() session: Session<Data>) {
    session.logout();
    return {};
  }

  @Post('cycle')
  @HttpCode(200)
  cycle(@Session() session: Session<Data>) {
    session.cycleKey();
    return {};
  }

  @Get('private')
  @UseGuards(SessionGuard)
  secret() {
    return 'secret';
  }

  @Get('fresh')
  @UseGuards(SessionGuard)
  @RequireSession({ authenticatedWithin: '10m' })
  fresh() {
    return 'fresh';
  }

  @Get('confirmed')
  @UseGuards(SessionGuard)
  @RequireSession({ authenticatedWithin: '10m', redirectTo: '/confirm' })
  confirmed() {
    return 'confirmed';
  }
}

interface Identified extends RunningApp {
  /** One request with this session key, and what came of it. */
  send(
    method: 'get' | 'post',
    path: string,
    key?: string,
    body?: object,
  ): Promise<{
    status: number;
    headers: Record<string, unknown>;
    body: {
      userId: string | null;
      id: string;
      data: Data;
      authenticatedAt: string | null;
      expiresAt: string | null;
    };
    /** The key that the cookie holds afterwards; undefined when the response leaves it alone. */
    key: string | undefined;
  }>;
  /** A key under which these data are kept, of a visitor who has not logged in unless `userId` says so. */
  visitor(data?: Data, userId?: string, options?: LoginOptions): Promise<string>;
  events: SessionEvent[];
}

async function identified(
  platform: (typeof platforms)[number],
  setup: Pick<AppSetup, 'engine' | 'imports' | 'options' | 'logger'>,
): Promise<Identified> {
  const running = await startApp(platform, { ...setup, controllers: [IdentityController] });
  const events: SessionEvent[] = [];
  const { sessions } = running.app.get<HttpEnvironment>(HTTP_ENVIRONMENT);
  const { emit } = sessions;
  sessions.emit = (event) => {
    events.push(event);
    emit(event);
  };
  const send: Identified['send'] = async (method, path, key, body) => {
    const response = await running.request[method](path)
      .set('Cookie', key === undefined ? [] : [`sessionid=${key}`])
      .send(body);
    return {
      status: response.status,
      headers: response.headers,
      body: response.body as never,
      key: sessionKeyIn(response),
    };
  };
  return {
    ...running,
    send,
    events,
    async visitor(data = { cart: ['tea'] }, userId, options) {
      const { key } = await send('post', '/set', undefined, data);
      if (userId === undefined) return key as string;
      return (await send('post', '/login', key, { userId, options })).key as string;
    },
  };
}

/** Holds back loads of the store until there are two of them. */
function holdUntilBoth(store: SessionStore): { restore: () => void } {
  const load = store.load.bind(store);
  const both = barrier();
  let loads = 0;
  store.load = async (id) => {
    const record = await load(id);
    loads += 1;
    if (loads === 2) both.open();
    await both.passed;
    return record;
  };
  return { restore: () => (store.load = load) };
}

/** Engines that keep sessions on the server and know where a rotation has moved one. */
const engines = { ...enginesOnDatabases, ...otherEngines };
const table = ['memory', 'database (postgres)', 'database (mysql)', 'redis (ioredis)', 'file'].map(
  (name): [string, EngineUnderTest] => [name, engines[name] as EngineUnderTest],
);

for (const [name, engine] of table) {
  const [service] = engine.services as [ServiceName?];
  const describeIt = service === undefined ? describe : describeWithService.bind(null, service);

  describeIt(`identity on ${name}`, () => {
    describe.each(platforms)('and %s', (platform) => {
      let setup: EngineSetup;
      let app: Identified;
      beforeAll(async () => {
        setup = await engine.make();
        app = await identified(platform, {
          ...setup.wire(),
          options: { renewAfter: '10m', login: { neverKeep: ['isAdmin'] } },
        });
      });
      afterAll(async () => {
        await app.close();
        await setup.dispose();
      });

      it('S13: a login gives a new key, and the old one is anonymous from then on', async () => {
        const before = await app.visitor();
        const { key: after } = await app.send('post', '/login', before, { userId: 'ann' });
        expect(after).toMatch(/^[\w-]{22}\.[\w-]{43}$/);
        expect(after).not.toBe(before);
        for (let i = 0; i < 3; i += 1) {
          expect((await app.send('get', '/who', before)).body).toMatchObject({ userId: null, data: {} });
        }
        expect((await app.send('get', '/who', after)).body).toMatchObject({
          userId: 'ann',
          data: { cart: ['tea'] },
        });
      });

      it('S14: nobody who has the old key gets anything of a login, nor disturbs its cookie', async () => {
        const before = await app.visitor();
        const seen: Awaited<ReturnType<Identified['send']>>[] = [];
        const rounds = { left: Infinity };
        const poll = async (path: 'who' | 'set'): Promise<void> => {
          while (rounds.left > 0) {
            rounds.left -= 1;
            seen.push(
              await (path === 'who'
                ? app.send('get', '/who', before)
                : app.send('post', '/set', before, { late: seen.length })),
            );
          }
        };
        const polls = [poll('who'), poll('set'), poll('who')];
        const login = await app.send('post', '/login', before, { userId: 'ann' });
        rounds.left = 0;
        await Promise.all(polls);
        const afterwards = [
          await app.send('get', '/who', before),
          await app.send('post', '/set', before, { late: true }),
          await app.send('post', '/cycle', before),
          await app.send('get', '/private', before),
        ];
        // The browser that asks for the end is told to forget its cookie. The session of the login goes on.
        expect((await app.send('post', '/logout', before)).status).toBe(200);
        for (const { body, key } of [...seen, ...afterwards]) {
          expect(body.userId ?? null).toBeNull();
          expect(key).toBeUndefined();
        }
        expect((await app.send('get', '/who', login.key)).body.data).not.toMatchObject({ late: true });
        expect(app.events).toContainEqual(expect.objectContaining({ type: 'write-after-end' }));
      });

      it('S15: a login before anything else in the request changes the key, too', async () => {
        const planted = await app.visitor({});
        const valid = planted ?? (await app.visitor({ planted: true }));
        const { key } = await app.send('post', '/login', valid, { userId: 'ann' });
        expect(key).toBeDefined();
        expect(key).not.toBe(valid);
        expect((await app.send('get', '/private', valid)).status).toBe(401);
      });

      it.each(['login', 'cycle', 'logout'])('S21: %s changes the key', async (action) => {
        const before = await app.visitor({ a: 1 }, 'ann');
        const { key: after } = await app.send('post', `/${action}`, before, { userId: 'ann' });
        expect(after).toBeDefined();
        expect(after).not.toBe(before);
        expect((await app.send('get', '/private', before)).status).toBe(401);
      });

      it('S21: a login of another user starts another session', async () => {
        const before = await app.visitor({ private: 'of Ann' }, 'ann');
        const { id } = (await app.send('get', '/who', before)).body;
        const { key: after } = await app.send('post', '/login', before, { userId: 'bob' });
        const { body } = await app.send('get', '/who', after);
        expect(body).toMatchObject({ userId: 'bob', data: {} });
        expect(body.id).not.toBe(id);
        expect(app.events).toContainEqual({
          type: 'ended',
          reason: 'user-changed',
          sessionId: id,
          userId: 'ann',
        });
      });

      it.each(['login', 'cycle'])('S22: secrets of the session go with %s', async (action) => {
        const before = await app.visitor({
          csrfSecret: 'planted',
          _csrf: 'planted',
          csrfToken: 'planted',
          a: 1,
        });
        const { key } = await app.send('post', `/${action}`, before, { userId: 'ann' });
        expect((await app.send('get', '/who', key)).body.data).toEqual({ a: 1 });
      });

      it.each<[keep: LoginOptions['keep'], data: Data]>([
        [undefined, { cart: ['tea'], theme: 'dark' }],
        [true, { cart: ['tea'], theme: 'dark' }],
        [['cart', 'missing'], { cart: ['tea'] }],
        [false, {}],
      ])('S23: a login with keep: %j takes over what it says', async (keep, data) => {
        const before = await app.visitor({ cart: ['tea'], theme: 'dark', isAdmin: true });
        const { key } = await app.send('post', '/login', before, {
          userId: 'ann',
          options: keep === undefined ? {} : { keep },
        });
        expect((await app.send('get', '/who', key)).body.data).toEqual(data);
      });

      it('remembers who asked for it although another request wrote at the same time', async () => {
        const sessions = app.app.get(Sessions);
        const before = await app.visitor();
        const [login, writer] = [await sessions.open<Data>(before), await sessions.open<Data>(before)];
        writer?.set('written', true);
        await writer?.save();
        login?.login('ann', { remember: true });
        await login?.save();
        const after = await sessions.open<Data>(login?.sessionKey() ?? '');
        expect(after?.get('written')).toBe(true);
        const days = (Number(after?.expiresAt) - Date.now()) / 86_400_000;
        expect(Math.round(days)).toBe(30);
      });

      it('tells of a login once, and of the session that ended with it', async () => {
        const before = await app.visitor();
        const { id } = (await app.send('get', '/who', before)).body;
        app.events.length = 0;
        const { key } = await app.send('post', '/login', before, { userId: 'ann' });
        const started = key?.slice(0, 22);
        expect(app.events.filter(({ type }) => type !== 'loaded')).toEqual([
          { type: 'created', sessionId: started, userId: 'ann' },
          { type: 'ended', reason: 'login', sessionId: id, userId: null },
          { type: 'login', sessionId: started, userId: 'ann' },
        ]);
      });
    });
  });
}

for (const [name, engine] of table.filter(([, { services }]) => services.length > 0)) {
  describeWithService(engine.services[0] as ServiceName, `servers whose clocks disagree, on ${name}`, () => {
    afterEach(setClockRight);

    it.each([600, -600])('end nothing early and nothing late when one is %d s ahead', async (ahead) => {
      const setup = await engine.make();
      const options = { idleTimeout: '5m', absoluteTimeout: '1h' };
      const app = await identified('express', { ...setup.wire(), options });
      const lifetime = async (key: string | undefined): Promise<number> => {
        const { body } = await app.send('get', '/who', key);
        expect(body.userId).toBe('ann');
        return (Date.parse(body.expiresAt as string) - Date.now()) / 1000;
      };
      try {
        const key = await app.visitor({ n: 1 }, 'ann');
        expect(Math.abs((await lifetime(key)) - 300)).toBeLessThan(30);
        setClockAhead(ahead); // the next request meets the other server
        expect(Math.abs((await lifetime(key)) - 300)).toBeLessThan(30);
        expect((await app.send('get', '/fresh', key)).status).toBe(200);
        expect((await app.send('post', '/set', key, { n: 2 })).key).toBeUndefined();
        const { key: rotated } = await app.send('post', '/cycle', key);
        const { key: other } = await app.send('post', '/login', await app.visitor(), { userId: 'ann' });
        setClockRight();
        for (const each of [rotated, other]) {
          expect(Math.abs((await lifetime(each)) - 300)).toBeLessThan(30);
          expect((await app.send('get', '/fresh', each)).status).toBe(200);
        }
      } finally {
        setClockRight();
        await app.close();
        await setup.dispose();
      }
    });
  });
}

describe.each(platforms)('clocks on %s', (platform) => {
  const engine = testingEngine();
  let app: Identified;
  afterEach(() => app.close());
  const start = async (options: SessionOptions): Promise<void> => {
    app = await identified(platform, { engine, options });
  };

  describe('renewal', () => {
    const renew: SessionOptions = { renewAfter: '10m', absoluteTimeout: '30d', idleTimeout: '1d' };

    it('S17: the old key leads to the same session for a moment, and is an event afterwards', async () => {
      await start(renew);
      const old = await app.visitor({ n: 1 }, 'ann');
      engine.clock.advance('11m');
      const renewed = await app.send('get', '/who', old);
      expect(renewed.key).toMatch(/^[\w-]{22}\.[\w-]{43}$/);
      expect(renewed.body.userId).toBe('ann');
      engine.clock.advance(5);
      const parallel = await app.send('post', '/set', old, { late: true });
      expect(parallel.body.userId).toBe('ann');
      // The response to the renewal may have been lost: this one tells again.
      expect(parallel.key).toBe(renewed.key);
      const used = await app.send('get', '/who', renewed.key);
      expect(used.body).toMatchObject({ userId: 'ann', data: { n: 1, late: true } });
      engine.clock.advance(5);
      expect((await app.send('get', '/who', old)).body.userId).toBe('ann');
      engine.clock.advance(6);
      app.events.length = 0;
      expect((await app.send('get', '/who', old)).body.userId).toBeNull();
      expect(app.events).toEqual([{ type: 'reuse', sessionId: used.body.id, userId: 'ann' }]);
      expect((await app.send('get', '/who', renewed.key)).body.userId).toBe('ann');
    });

    it('S17: without any use of the new key the overlap ends after a minute', async () => {
      await start(renew);
      const old = await app.visitor({ n: 1 }, 'ann');
      engine.clock.advance('11m');
      await app.send('get', '/who', old);
      engine.clock.advance(59);
      expect((await app.send('get', '/who', old)).body.userId).toBe('ann');
      engine.clock.advance(2);
      expect((await app.send('get', '/who', old)).body.userId).toBeNull();
    });

    it('S17: reuse can end the session for everybody', async () => {
      await start({ ...renew, onReuse: 'revoke' });
      const old = await app.visitor({ n: 1 }, 'ann');
      engine.clock.advance('11m');
      const { key } = await app.send('get', '/who', old);
      engine.clock.advance(70);
      await app.send('get', '/who', old);
      expect((await app.send('get', '/who', key)).body.userId).toBeNull();
      expect(app.events).toContainEqual(expect.objectContaining({ type: 'ended', reason: 'reuse' }));
    });

    it('S16: of fifty requests at once, all get the same new key or none', async () => {
      await start(renew);
      const old = await app.visitor({ n: 1 }, 'ann');
      engine.clock.advance('11m');
      const responses = await Promise.all(
        Array.from({ length: 50 }, (_, n) =>
          n % 2 ? app.send('get', '/who', old) : app.send('post', '/set', old, { [`k${n}`]: n }),
        ),
      );
      const given = new Set(responses.map(({ key }) => key).filter((key) => key !== undefined));
      expect(given.size).toBe(1);
      expect(responses.every(({ body }) => body.userId === 'ann')).toBe(true);
      const { data } = (await app.send('get', '/who', [...given][0])).body;
      expect(Object.keys(data)).toHaveLength(26);
    });

    it('S16: of two that have both loaded the session, neither loses what it wrote', async () => {
      await start(renew);
      const old = await app.visitor({ n: 1 }, 'ann');
      engine.clock.advance('11m');
      const loads = holdUntilBoth(app.app.get(SessionStore));
      const [one, other] = await Promise.all([
        app.send('post', '/set', old, { one: 1 }),
        app.send('post', '/set', old, { other: 2 }),
      ]);
      loads.restore();
      const given = [one, other].map(({ key }) => key).filter((key) => key !== undefined);
      expect(new Set(given).size).toBe(1);
      expect([one.status, other.status]).toEqual([200, 200]);
      for (const key of [given[0], old]) {
        const { body } = await app.send('get', '/who', key);
        expect(body).toMatchObject({ userId: 'ann', data: { n: 1, one: 1, other: 2 } });
      }
    });

    it('S14: after a login there is no overlap, not even one of an earlier renewal', async () => {
      await start(renew);
      const first = await app.visitor({ n: 1 });
      engine.clock.advance('11m');
      const second = (await app.send('get', '/who', first)).key;
      const { key: third } = await app.send('post', '/login', second, { userId: 'ann' });
      for (const key of [first, second]) {
        const { body, key: given } = await app.send('get', '/who', key);
        expect(body.userId).toBeNull();
        expect(given).toBeUndefined();
      }
      expect((await app.send('get', '/who', third)).body.userId).toBe('ann');
    });

    it('S18: a hundred renewals leave the absolute deadline where it was', async () => {
      await start({ ...renew, idleTimeout: '2d', absoluteTimeout: '2d' });
      let key = await app.visitor({ n: 1 }, 'ann');
      for (let n = 0; n < 100; n += 1) {
        engine.clock.advance('11m');
        const response = await app.send('get', '/who', key);
        expect(response.body.userId).toBe('ann');
        key = response.key as string;
      }
      engine.clock.advance(48 * 3600 - 100 * 660 - 60);
      const last = await app.send('get', '/who', key);
      expect(last.body.userId).toBe('ann');
      key = last.key as string;
      engine.clock.advance(120);
      expect((await app.send('get', '/who', key)).body.userId).toBeNull();
    });

    it('is not done for what does not touch the session, nor with a failing response', async () => {
      await start(renew);
      const key = await app.visitor({ n: 1 }, 'ann');
      engine.clock.advance('11m');
      expect((await app.send('get', '/nowhere', key)).key).toBeUndefined();
      expect((await app.send('get', '/who', key)).key).toBeDefined();
    });
  });

  it('S24: an idle session is over on the server, whatever the cookie says', async () => {
    await start({ idleTimeout: '30m' });
    const key = await app.visitor({ n: 1 }, 'ann');
    engine.clock.advance(30 * 60 + 1);
    const { body, key: left } = await app.send('get', '/who', key);
    expect(body.userId).toBeNull();
    expect(left).toBeUndefined();
  });

  it('S25: the absolute timeout ends a session that is always in use', async () => {
    await start({ idleTimeout: '30m', absoluteTimeout: '2h' });
    const key = await app.visitor({ n: 1 }, 'ann');
    for (let minute = 0; minute < 119; minute += 1) {
      engine.clock.advance('1m');
      expect((await app.send('get', '/who', key)).body.userId).toBe('ann');
    }
    engine.clock.advance('61s');
    expect((await app.send('get', '/who', key)).body.userId).toBeNull();
  });

  it('S25: a login starts the absolute timeout anew, a rotation does not', async () => {
    await start({ absoluteTimeout: '2h' });
    let key = await app.visitor();
    engine.clock.advance('110m');
    key = (await app.send('post', '/cycle', key)).key as string;
    key = (await app.send('post', '/login', key, { userId: 'ann' })).key as string;
    engine.clock.advance('110m');
    for (let n = 0; n < 3; n += 1) key = (await app.send('post', '/cycle', key)).key as string;
    expect((await app.send('get', '/who', key)).body.userId).toBe('ann');
    engine.clock.advance('11m');
    expect((await app.send('get', '/who', key)).body.userId).toBeNull();
  });

  it('S26: nothing that a client says about time has an effect', async () => {
    await start({ idleTimeout: '30m' });
    const key = await app.visitor({ n: 1 }, 'ann');
    const whoAt = async (moment: number): Promise<unknown> => {
      const { body } = await app.request
        .get('/who')
        .set('Cookie', `sessionid=${key}; Expires=${new Date(moment).toUTCString()}; Max-Age=${moment}`)
        .set('Date', new Date(moment).toUTCString())
        .set('X-Now', String(moment));
      return (body as { userId: unknown }).userId;
    };
    engine.clock.advance('1m');
    for (const moment of [0, Date.UTC(9999, 11, 31)]) expect(await whoAt(moment)).toBe('ann');
    engine.clock.advance('31m');
    for (const moment of [0, Date.UTC(9999, 11, 31)]) expect(await whoAt(moment)).toBeNull();
  });

  it('S27: a busy session is touched once in a tenth of its idle time, up to the absolute deadline', async () => {
    await start({ idleTimeout: '30m', absoluteTimeout: '1h' });
    const key = await app.visitor({ n: 1 }, 'ann');
    const { store } = engine;
    const touch = store.touch.bind(store);
    let touches = 0;
    store.touch = (...args) => {
      touches += 1;
      return touch(...args);
    };
    try {
      for (let n = 0; n < 100; n += 1) await app.send('get', '/who', key);
      expect(touches).toBe(0);
      engine.clock.advance('4m');
      for (let n = 0; n < 100; n += 1) await app.send('get', '/who', key);
      expect(touches).toBe(1);
      const begunAt = engine.clock.now() - 4 * 60_000;
      for (let n = 0; n < 10; n += 1) {
        engine.clock.advance('5m');
        await app.send('get', '/who', key);
      }
      const { expiresAt } = (await app.send('get', '/who', key)).body;
      expect(Math.abs(Date.parse(expiresAt as string) - begunAt - 3_600_000)).toBeLessThan(60_000);
    } finally {
      store.touch = touch;
    }
  });

  it('S28: shorter options shorten the sessions that there are', async () => {
    await start({ idleTimeout: '30m' });
    const key = await app.visitor({ n: 1 }, 'ann');
    await app.close();
    await start({ idleTimeout: '5m' });
    engine.clock.advance('4m');
    expect((await app.send('get', '/who', key)).body.userId).toBe('ann');
    engine.clock.advance('6m');
    expect((await app.send('get', '/who', key)).body.userId).toBeNull();
  });

  it.each([{ idleTimeout: '5m' }, { absoluteTimeout: '5m' }] as const)(
    'S28: a session that rested for longer than %j lets it is over, though its record lives on',
    async (shorter) => {
      await start({ idleTimeout: '30m' });
      const key = await app.visitor({ n: 1 }, 'ann');
      await app.close();
      await start(shorter);
      engine.clock.advance('6m');
      expect(await app.app.get(SessionStore).load(key.slice(0, 22))).not.toBeNull();
      expect((await app.send('get', '/who', key)).body.userId).toBeNull();
    },
  );

  it('remembers who asked for it, by a longer pair of timeouts and a cookie that stays', async () => {
    await start({
      idleTimeout: '30m',
      absoluteTimeout: '8h',
      expireAtBrowserClose: true,
      remember: { idleTimeout: '7d', absoluteTimeout: '10d' },
    });
    const forgotten = await app.visitor({ n: 1 }, 'ann');
    const visitor = await app.visitor({ n: 2 });
    const login = await app.send('post', '/login', visitor, { userId: 'ann', options: { remember: true } });
    expect(String(login.headers['set-cookie'])).toContain(`Max-Age=${7 * 86_400};`);
    engine.clock.advance('6d');
    expect((await app.send('get', '/who', forgotten)).body.userId).toBeNull();
    expect((await app.send('get', '/who', login.key)).body.userId).toBe('ann');
    engine.clock.advance('3d');
    expect((await app.send('get', '/who', login.key)).body.userId).toBe('ann');
    // A user who confirms who they are is still remembered, from then on.
    const { key } = await app.send('post', '/login', login.key, { userId: 'ann' });
    for (const days of ['6d', '3d']) {
      engine.clock.advance(days);
      expect((await app.send('get', '/who', key)).body.userId).toBe('ann');
    }
    engine.clock.advance(86_400 + 60);
    expect((await app.send('get', '/who', key)).body.userId).toBeNull();
  });

  it('S31: a session that is remembered has to be confirmed where it matters', async () => {
    await start({ idleTimeout: '30m', absoluteTimeout: '8h', remember: { idleTimeout: '7d' } });
    const [key, forgotten] = [
      await app.visitor({ n: 1 }, 'ann', { remember: true }),
      await app.visitor({ n: 1 }, 'ann'),
    ];
    engine.clock.advance('6d');
    expect((await app.send('get', '/private', forgotten)).status).toBe(401);
    expect((await app.send('get', '/private', key)).status).toBe(200);
    expect((await app.send('get', '/fresh', key)).status).toBe(401);
  });

  it('S32: what demands a fresh login gets 401, or is sent to make one', async () => {
    await start({ idleTimeout: '1h' });
    let key = await app.visitor({ n: 1 }, 'ann');
    engine.clock.advance('9m');
    expect((await app.send('get', '/fresh', key)).status).toBe(200);
    engine.clock.advance('2m');
    expect((await app.send('get', '/fresh', key)).status).toBe(401);
    const sent = await app.send('get', '/confirmed', key);
    expect([sent.status, sent.headers['location']]).toEqual([302, '/confirm']);
    // A rotation is no proof of identity, a login is.
    key = (await app.send('post', '/cycle', key)).key as string;
    expect((await app.send('get', '/fresh', key)).status).toBe(401);
    key = (await app.send('post', '/login', key, { userId: 'ann' })).key as string;
    expect((await app.send('get', '/fresh', key)).status).toBe(200);
    const outside = await app.app.get(Sessions).open(key);
    expect(Math.abs(Number(outside?.authenticatedAt) - engine.clock.now())).toBeLessThan(60_000);
  });

  it('nobody is fresh who has not logged in', async () => {
    await start({});
    expect((await app.send('get', '/fresh', await app.visitor())).status).toBe(401);
  });
});

describe('the stamp of a credential', () => {
  const engine = testingEngine();
  const stamps = new Map([['ann', 'hash of her first password']]);
  const asked: string[] = [];
  let app: Identified;
  beforeAll(async () => {
    app = await identified('express', {
      engine,
      options: {
        currentStamp: (userId) => {
          asked.push(userId);
          return Promise.resolve(stamps.get(userId) ?? null);
        },
      },
    });
  });
  afterAll(() => app.close());

  it('ends sessions that were opened with a former one', async () => {
    const stamp = stamps.get('ann') as string;
    const [explicit, implicit] = [
      await app.visitor({ n: 1 }, 'ann', { stamp }),
      await app.visitor({ n: 2 }, 'ann'),
    ];
    for (const key of [explicit, implicit]) {
      expect((await app.send('get', '/who', key)).body.userId).toBe('ann');
    }
    stamps.set('ann', 'hash of her second password');
    for (const key of [explicit, implicit]) {
      const { body, key: left } = await app.send('get', '/who', key);
      expect([body.userId, left]).toEqual([null, undefined]);
    }
    stamps.set('ann', stamp);
    expect((await app.send('get', '/who', explicit)).body.userId).toBeNull();
    expect(app.events.filter((event) => event.type === 'ended' && event.reason === 'stamp')).toHaveLength(2);
  });

  it('lets nobody in with one that was good only when the password was checked', async () => {
    const key = await app.visitor({ n: 1 }, 'ann', { stamp: 'hash of a password that was just changed' });
    expect((await app.send('get', '/who', key)).body.userId).toBeNull();
  });

  it('is not asked for visitors without a user', async () => {
    asked.length = 0;
    await app.send('get', '/who', await app.visitor());
    expect(asked).toEqual([]);
  });

  it('is kept as a hash only', async () => {
    const key = await app.visitor({ n: 1 }, 'ann');
    const outside = await app.app.get(Sessions).open(key);
    const [record] = await app.app.get(SessionStore).listByUser('ann');
    expect(outside).not.toBeNull();
    expect(JSON.stringify(record)).not.toContain(stamps.get('ann'));
  });
});

describe('S19: a login that is interrupted', () => {
  it.each(['create', 'take'] as const)(
    'leaves the old key good, and no new session, when the store fails to %s',
    async (operation) => {
      const store = new RecordingStore();
      const app = await identified('express', {
        engine: { useFactory: () => store },
        logger: { log() {}, warn() {}, error() {} },
      });
      try {
        const key = await app.visitor({ n: 1 });
        store.fail(operation, new SessionStoreUnavailableError(operation, 'the connection broke.'));
        const failed = await app.send('post', '/login', key, { userId: 'ann' });
        store.heal();
        expect([failed.status, failed.key]).toEqual([503, undefined]);
        expect((await app.send('get', '/who', key)).body).toMatchObject({ userId: null, data: { n: 1 } });
        expect([...store.records.keys()]).toEqual([key.slice(0, 22)]);
      } finally {
        await app.close();
      }
    },
  );
});

describe('S19: a rotation that is interrupted', () => {
  it('leaves the old key good', async () => {
    const store = new RecordingStore();
    const app = await identified('express', {
      engine: { useFactory: () => store },
      logger: { log() {}, warn() {}, error() {} },
    });
    try {
      const key = await app.visitor({ n: 1 });
      store.fail('save', new SessionStoreUnavailableError('save', 'the connection broke.'));
      const failed = await app.send('post', '/cycle', key);
      store.heal();
      expect([failed.status, failed.key]).toEqual([503, undefined]);
      expect((await app.send('get', '/who', key)).body).toMatchObject({ data: { n: 1 } });
    } finally {
      await app.close();
    }
  });
});

describe('a login by hand', () => {
  it('is noticed in development, once, and not in production', async () => {
    const said: string[] = [];
    const logger = { log() {}, error() {}, warn: (line: string) => said.push(line) };
    const app = await identified('express', { engine: testingEngine(), logger });
    try {
      await app.visitor({ member_id: 7 });
      await app.visitor({ member_id: 8 });
      await app.visitor({ colour: 'green' });
      const { environment } = { environment: app.app.get<HttpEnvironment>(HTTP_ENVIRONMENT).sessions };
      delete environment.advise;
      await app.visitor({ account_id: 9 });
    } finally {
      await app.close();
    }
    expect(said.filter((line) => line.includes('session.login(userId)'))).toEqual([
      expect.stringContaining('"member_id"'),
    ]);
  });
});
