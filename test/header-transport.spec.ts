import {
  Body,
  Controller,
  Get,
  HttpCode,
  type INestApplication,
  InternalServerErrorException,
  Post,
} from '@nestjs/common';
import type express from 'express';
import {
  mountSessions,
  Session,
  type SessionOptions,
  SessionStoreUnavailableError,
  type SessionTransport,
} from 'nest-sessions';
import { loggedInCookie, loggedInHeader } from 'nest-sessions/testing';
import passport from 'passport';
import { type AppSetup, platforms, type RunningApp, silent, startApp } from './support/app.js';
import { type EngineSetup, enginesOnDatabases, otherEngines } from './support/engines.js';
import { RecordingStore } from './support/recording-store.js';
import { describeWithService } from './support/services.js';
import { type Answer, exchange, sessionCookie } from './support/wire.js';

interface Visit {
  name: string;
}

@Controller()
class AccountController {
  @Post('login')
  @HttpCode(200)
  login(@Session() session: Session<Visit>, @Body('user') user = 'ada') {
    session.login(user);
  }

  @Post('logout')
  @HttpCode(200)
  logout(@Session() session: Session<Visit>) {
    session.logout();
  }

  @Post('cycle')
  @HttpCode(200)
  cycle(@Session() session: Session<Visit>) {
    session.cycleKey();
  }

  @Post('write')
  @HttpCode(200)
  write(@Session() session: Session<Visit>, @Body('name') name = 'Ada') {
    session.name = name;
  }

  @Post('fail')
  fail(@Session() session: Session<Visit>) {
    session.name = 'lost';
    throw new InternalServerErrorException();
  }

  @Get('me')
  me(@Session() session: Session<Visit>) {
    return { userId: session.userId, name: session.name ?? null };
  }

  @Get('untouched')
  untouched() {
    return 'ok';
  }
}

const NOBODY = { userId: null, name: null };
const AUTHORIZATION: SessionTransport = { header: 'authorization' };
const OWN: SessionTransport = { header: 'X-Session-Key' };

type Headers = Record<string, string>;

const send = (app: RunningApp, call: string, headers: Headers = {}, body?: object): Promise<Answer> => {
  const [method = '', path = ''] = call.split(' ');
  return exchange(`${app.url}${path}`, {
    method,
    headers: { ...headers, ...(body && { 'Content-Type': 'application/json' }) },
    ...(body && { body: JSON.stringify(body) }),
  }).answer;
};

const jsonOf = ({ body }: Answer): unknown => JSON.parse(body.toString());

/** An application on a phone: keeps no cookies, and the key for as long as the header does not say otherwise. */
class Phone {
  key = '';

  constructor(
    readonly app: RunningApp,
    private readonly answerHeader = 'session-key',
  ) {}

  async send(call: string, body?: object, key = this.key): Promise<Answer> {
    const bearer = this.answerHeader === 'session-key';
    const headers = bearer ? { Authorization: `Bearer ${key}` } : { [this.answerHeader]: key };
    const answer = await send(this.app, call, key === '' ? {} : headers, body);
    if ('set-cookie' in answer.headers) throw new Error(`${call} has set a cookie.`);
    const given = answer.headers[this.answerHeader] as string | undefined;
    if (given !== undefined && key === this.key) this.key = given;
    return answer;
  }

  async me(key = this.key): Promise<unknown> {
    return jsonOf(await this.send('GET /me', undefined, key));
  }
}

/** A browser that has logged in: its Cookie header. */
const browser = async (app: RunningApp, user: string): Promise<string> => {
  const cookie = sessionCookie(await send(app, 'POST /login', {}, { user }));
  if (cookie === undefined) throw new Error('The login has set no cookie.');
  return cookie;
};

/** A client that has logged in by a header of its own: its key. */
const phoneOf = async (app: RunningApp, user: string): Promise<string> => {
  const answer = await send(app, 'POST /login', { 'X-Session-Key': '' }, { user });
  return answer.headers['x-session-key'] as string;
};

const ENGINES = ['memory', 'database (postgres)', 'redis (ioredis)', 'cookie'];

for (const name of ENGINES) {
  const engine = { ...enginesOnDatabases, ...otherEngines }[name];
  if (!engine) throw new Error(`There is no engine "${name}".`);
  const keptByServer = !('server' in engine.lacks);
  const [service] = engine.services;
  const describeEngine = service
    ? (title: string, suite: () => void) => describeWithService(service, title, suite)
    : describe;

  describeEngine(`keys in a header: ${name}`, () => {
    describe.each(platforms)('on %s', (platform) => {
      let setup: EngineSetup;
      let app: RunningApp;
      beforeAll(async () => {
        setup = await engine.make();
        app = await startApp(platform, {
          ...setup.wire(),
          options: { transport: AUTHORIZATION, ...(keptByServer && { renewAfter: '15m' }) },
          controllers: [AccountController],
          logger: silent,
        });
      });
      afterAll(async () => {
        await app?.close();
        await setup?.dispose();
      });

      it('a login brings the key, which opens the session', async () => {
        const phone = new Phone(app);
        const login = await phone.send('POST /login', { user: 'ada' });
        expect(login.headers).toMatchObject({ vary: 'Authorization', 'cache-control': 'no-store' });
        expect(phone.key).toMatch(/^[\w.-]{60,}$/);
        expect(await phone.me()).toEqual({ userId: 'ada', name: null });
        expect(await new Phone(app).me()).toEqual(NOBODY);
      });

      it('the key comes when it is new, and not with every answer', async () => {
        const phone = new Phone(app);
        await phone.send('POST /write', { name: 'Ada' });
        expect(phone.key).not.toBe('');
        for (const call of ['GET /untouched', 'GET /me']) {
          expect((await phone.send(call)).headers).not.toHaveProperty('session-key');
        }
        const written = await phone.send('POST /write', { name: 'Bob' });
        // The key of the cookie engine is the session itself.
        expect('session-key' in written.headers).toBe(!keptByServer);
        expect(await phone.me()).toEqual({ userId: null, name: 'Bob' });
      });

      it('a login and a rotation replace it', async () => {
        const phone = new Phone(app);
        await phone.send('POST /write', { name: 'Ada' });
        const anonymous = phone.key;
        await phone.send('POST /login', { user: 'ada' });
        const loggedIn = phone.key;
        await phone.send('POST /cycle');
        expect(new Set([anonymous, loggedIn, phone.key]).size).toBe(3);
        expect(await phone.me()).toEqual({ userId: 'ada', name: 'Ada' });
        if (!keptByServer) return;
        for (const former of [anonymous, loggedIn]) {
          expect(await phone.me(former)).toEqual(NOBODY);
          const late = await phone.send('POST /write', { name: 'Eve' }, former);
          expect(late.headers).not.toHaveProperty('session-key');
        }
        expect(await phone.me()).toEqual({ userId: 'ada', name: 'Ada' });
      });

      it('a logout says so by an empty header, and ends the session', async () => {
        const phone = new Phone(app);
        await phone.send('POST /login', { user: 'ada' });
        const { key } = phone;
        const logout = await phone.send('POST /logout');
        expect(logout.headers).toMatchObject({ 'session-key': '', 'cache-control': 'no-store' });
        expect(await phone.me()).toEqual(NOBODY);
        // A copy of what the cookie engine has sealed lives on.
        expect(await phone.me(key)).toEqual(keptByServer ? NOBODY : { userId: 'ada', name: null });
      });

      if (!keptByServer) return;
      it('a renewal by age brings a new one, and the former is told of it for a moment', async () => {
        const phone = new Phone(app);
        await phone.send('POST /login', { user: 'ada' });
        const former = phone.key;
        await setup.elapse(16 * 60, app.app);
        await phone.send('GET /me');
        expect(phone.key).not.toBe(former);
        const late = await phone.send('GET /me', undefined, former);
        expect(late.headers['session-key']).toBe(phone.key);
        expect(jsonOf(late)).toEqual({ userId: 'ada', name: null });
        await setup.elapse(120, app.app);
        expect(await phone.me(former)).toEqual(NOBODY);
        expect(await phone.me()).toEqual({ userId: 'ada', name: null });
      });
    });
  });
}

describe.each(platforms)('keys in a header on %s', (platform) => {
  const store = new RecordingStore();
  const apps: RunningApp[] = [];
  beforeEach(() => store.reset());
  afterEach(() => Promise.all(apps.splice(0).map((app) => app.close())));

  const start = async (
    transport: SessionOptions['transport'],
    { options, ...setup }: Partial<AppSetup> = {},
  ): Promise<RunningApp> => {
    const app = await startApp(platform, {
      engine: { useFactory: () => store },
      options: { ...(transport && { transport }), ...options },
      controllers: [AccountController],
      logger: silent,
      ...setup,
    });
    apps.push(app);
    return app;
  };

  describe('of its own', () => {
    it('come and go by themselves under that name', async () => {
      const phone = new Phone(await start(OWN), 'x-session-key');
      const login = await phone.send('POST /login', { user: 'ada' });
      expect(login.headerLines.map(([name]) => name)).toContain('X-Session-Key');
      expect(phone.key).toMatch(/^[\w-]{22}\.[\w-]{43}$/);
      expect(login.headers).toMatchObject({ vary: 'X-Session-Key', 'cache-control': 'no-store' });
      expect(await phone.me()).toEqual({ userId: 'ada', name: null });
      expect((await phone.send('POST /logout')).headers['x-session-key']).toBe('');
    });

    it('are not read of any other header, nor with a word in front', async () => {
      const app = await start(OWN);
      const key = await phoneOf(app, 'ada');
      store.calls = [];
      const others: Headers[] = [
        { Authorization: `Bearer ${key}` },
        { 'X-Session-Key': `Bearer ${key}` },
        { 'X-Session-Keys': key },
        { 'Session-Key': key },
        { Cookie: `sessionid=${key}; x-session-key=${key}` },
      ];
      for (const headers of others) expect(jsonOf(await send(app, 'GET /me', headers))).toEqual(NOBODY);
      expect(store.calls).toEqual([]);
    });

    it('open nothing when they come twice', async () => {
      const app = await start(OWN);
      const keys = [await phoneOf(app, 'ada'), await phoneOf(app, 'bob')];
      store.calls = [];
      const answer = await send(app, 'GET /me', { 'X-Session-Key': keys as never });
      expect(jsonOf(answer)).toEqual(NOBODY);
      expect(store.calls).toEqual([]);
    });
  });

  describe('as bearer tokens', () => {
    let app: RunningApp;
    let key = '';
    beforeAll(async () => {
      app = await start(AUTHORIZATION);
      apps.pop();
    });
    afterAll(() => app?.close());
    beforeEach(async () => {
      const phone = new Phone(app);
      await phone.send('POST /login', { user: 'ada' });
      key = phone.key;
      store.calls = [];
    });

    it.each([
      ['Bearer KEY', true],
      ['bearer KEY', true],
      ['BEARER   KEY', true],
      ['KEY', false],
      ['BearerKEY', false],
      ['Basic KEY', false],
      ['Bearer', false],
      ['Bearer KEY KEY', false],
      ['Bearer "KEY"', false],
      ['Bearer\tKEY', false],
    ])('%s: %p', async (value, opens) => {
      const answer = await send(app, 'GET /me', { Authorization: value.replaceAll('KEY', key) });
      expect(jsonOf(answer)).toEqual(opens ? { userId: 'ada', name: null } : NOBODY);
      expect(store.calls).toEqual(opens ? ['load'] : []);
    });

    it('leave other schemes of Authorization to others', async () => {
      const both = await start(['cookie', AUTHORIZATION]);
      const cookie = await browser(both, 'ada');
      const answer = await send(both, 'GET /me', { Cookie: cookie, Authorization: 'Basic YTpi' });
      expect(jsonOf(answer)).toEqual({ userId: 'ada', name: null });
    });
  });

  describe('beside the cookie', () => {
    it('S100: a request with both has the session of the header; the cookie is neither read nor set nor removed', async () => {
      const app = await start(['cookie', OWN]);
      const Cookie = await browser(app, 'ada');
      const key = await phoneOf(app, 'bob');
      const both = { Cookie, 'X-Session-Key': key };
      store.calls = [];
      expect(jsonOf(await send(app, 'GET /me', both))).toEqual({ userId: 'bob', name: null });
      expect(store.calls).toEqual(['load']);

      const cycled = await send(app, 'POST /cycle', both);
      expect(cycled.headers).not.toHaveProperty('set-cookie');
      const renewed = { Cookie, 'X-Session-Key': cycled.headers['x-session-key'] as string };
      const logout = await send(app, 'POST /logout', renewed);
      expect(logout.headers['x-session-key']).toBe('');
      expect(logout.headers).not.toHaveProperty('set-cookie');
      expect(jsonOf(await send(app, 'GET /me', { Cookie }))).toEqual({ userId: 'ada', name: null });
    });

    it.each(['', 'new', 'null', `${'u'.repeat(22)}.${'u'.repeat(43)}`])(
      'S100: a page with a cookie gets no key by the header %p, which makes it a stranger',
      async (value) => {
        const app = await start(['cookie', OWN]);
        const Cookie = await browser(app, 'ada');
        const secret = Cookie.slice(-43);
        for (const call of ['GET /me', 'POST /write', 'POST /cycle', 'POST /logout']) {
          const answer = await send(app, call, { Cookie, 'X-Session-Key': value });
          expect(answer.status).toBe(200);
          expect(JSON.stringify(answer.headers)).not.toContain(secret);
          expect(answer.headers).not.toHaveProperty('set-cookie');
        }
        expect(jsonOf(await send(app, 'GET /me', { Cookie, 'X-Session-Key': value }))).toEqual(NOBODY);
        expect(jsonOf(await send(app, 'GET /me', { Cookie }))).toEqual({ userId: 'ada', name: null });
      },
    );

    it('S100: no cookie comes of a header, and no header of a cookie', async () => {
      const app = await start(['cookie', OWN]);
      const key = await phoneOf(app, 'ada');
      for (const call of ['POST /write', 'POST /cycle', 'POST /login', 'POST /logout']) {
        const { headers } = await send(app, call, { 'X-Session-Key': key });
        expect(headers).not.toHaveProperty('set-cookie');
      }
      const Cookie = await browser(app, 'bob');
      for (const call of ['POST /write', 'POST /cycle', 'POST /login', 'POST /logout']) {
        const { headers } = await send(app, call, { Cookie });
        expect(headers).not.toHaveProperty('x-session-key');
      }
    });

    it('answers clients that bring nothing as the first of the list says', async () => {
      const cookieFirst = await start(['cookie', AUTHORIZATION]);
      const one = await send(cookieFirst, 'POST /write');
      expect(sessionCookie(one)).toMatch(/^sessionid=./);
      expect(one.headers).not.toHaveProperty('session-key');
      const bearer = await send(cookieFirst, 'POST /write', { Authorization: 'Bearer' });
      expect(bearer.headers['session-key']).toMatch(/^[\w-]{22}\./);
      expect(bearer.headers).not.toHaveProperty('set-cookie');

      const headerFirst = await start([AUTHORIZATION, 'cookie']);
      const other = await send(headerFirst, 'POST /write');
      expect(other.headers['session-key']).toMatch(/^[\w-]{22}\./);
      expect(other.headers).not.toHaveProperty('set-cookie');
      const Cookie = sessionCookie(one) as string;
      expect(jsonOf(await send(headerFirst, 'GET /me', { Cookie }))).toEqual({ userId: null, name: 'Ada' });
      expect(sessionCookie(await send(headerFirst, 'POST /logout', { Cookie }))).toBe('sessionid=');
    });

    it('answers vary by all that a client can bring', async () => {
      const app = await start(['cookie', AUTHORIZATION, OWN]);
      const all = 'Cookie, Authorization, X-Session-Key';
      const Cookie = await browser(app, 'ada');
      const clients: Headers[] = [{}, { Cookie }, { Authorization: 'Bearer' }, { 'X-Session-Key': '' }];
      for (const headers of clients) {
        const read = await send(app, 'GET /me', headers);
        expect(read.headers.vary).toBe(all);
        expect(read.headers).not.toHaveProperty('cache-control');
        expect((await send(app, 'POST /write', headers)).headers.vary).toBe(all);
        expect((await send(app, 'GET /untouched', headers)).headers).not.toHaveProperty('vary');
      }
    });
  });

  describe('without the cookie', () => {
    it('S100: a page that brings only its cookie is nobody, and changes nothing', async () => {
      const app = await start(AUTHORIZATION);
      const phone = new Phone(app);
      await phone.send('POST /login', { user: 'ada' });
      store.calls = [];
      const Cookie = `sessionid=${phone.key}`;
      const forged = { Cookie, Origin: 'https://evil.example', 'Sec-Fetch-Site': 'cross-site' };
      for (const call of ['GET /me', 'POST /logout', 'POST /cycle']) {
        const answer = await send(app, call, forged);
        expect(answer.headers).not.toHaveProperty('set-cookie');
        expect(answer.headers).not.toHaveProperty('session-key');
      }
      expect(store.calls).toEqual([]);
      const written = await send(app, 'POST /write', forged, { name: 'Eve' });
      expect(written.headers['session-key']).not.toBe(phone.key);
      expect(await phone.me()).toEqual({ userId: 'ada', name: null });
    });
  });

  describe('and the response', () => {
    it('leaves with the key when the session is saved, and not before', async () => {
      const app = await start(AUTHORIZATION);
      const held = store.hold('create');
      const login = exchange(`${app.url}/login`, { method: 'POST' });
      await held.reached;
      expect(login.arrived()).toBe(false);
      held.release();
      expect((await login.answer).headers['session-key']).toMatch(/^[\w-]{22}\./);
    });

    it('brings no key when the session could not be saved', async () => {
      const app = await start(AUTHORIZATION);
      store.fail('create', new SessionStoreUnavailableError('create', 'it is away.'));
      const answer = await send(app, 'POST /login');
      expect(answer.status).toBe(503);
      expect(answer.headers).not.toHaveProperty('session-key');
      store.heal();
      expect((await send(app, 'POST /fail', { Authorization: 'Bearer' })).headers).not.toHaveProperty(
        'session-key',
      );
      expect(store.records.size).toBe(0);
    });

    it('has no need to repeat a key with saveEveryRequest', async () => {
      const app = await start(AUTHORIZATION, { options: { saveEveryRequest: true } });
      const phone = new Phone(app);
      await phone.send('POST /login');
      store.calls = [];
      expect((await phone.send('GET /untouched')).headers).not.toHaveProperty('session-key');
      expect(store.writes).toEqual(['touch']);
    });

    it('can be read by a page of another origin, without credentials', async () => {
      const app = await start(AUTHORIZATION, {
        prepare: (nest: INestApplication) =>
          nest.enableCors({
            origin: ['https://app.example.com'],
            allowedHeaders: ['Authorization', 'Content-Type'],
            exposedHeaders: ['Session-Key'],
          }),
      });
      const preflight = (Origin: string): Promise<Answer> =>
        send(app, 'OPTIONS /login', {
          Origin,
          'Access-Control-Request-Method': 'POST',
          'Access-Control-Request-Headers': 'authorization,content-type',
        });
      const allowed = await preflight('https://app.example.com');
      expect(allowed.status).toBe(204);
      expect(allowed.headers['access-control-allow-origin']).toBe('https://app.example.com');
      expect(allowed.headers['access-control-allow-headers']).toMatch(/Authorization/);
      expect(allowed.headers).not.toHaveProperty('access-control-allow-credentials');
      expect(store.calls).toEqual([]);
      const other = await preflight('https://evil.example');
      expect(other.headers).not.toHaveProperty('access-control-allow-origin');

      const login = await send(app, 'POST /login', { Origin: 'https://app.example.com' });
      expect(login.headers['access-control-expose-headers']).toBe('Session-Key');
      expect(login.headers.vary?.split(/, */).toSorted()).toEqual(['Authorization', 'Origin']);
      const key = login.headers['session-key'] as string;
      const me = await send(app, 'GET /me', {
        Origin: 'https://app.example.com',
        Authorization: `Bearer ${key}`,
      });
      expect(jsonOf(me)).toEqual({ userId: 'ada', name: null });
    });
  });

  it('are made for tests by loggedInHeader, and refused where they would not be read', async () => {
    const ada = { userId: 'ada', name: 'Ada' };
    const data = { name: 'Ada' };
    for (const transport of [AUTHORIZATION, OWN]) {
      const app = await start(transport);
      const header = await loggedInHeader<Visit>(app.app, 'ada', data);
      expect(jsonOf(await send(app, 'GET /me', header))).toEqual(ada);
      await expect(loggedInCookie(app.app, 'ada')).rejects.toMatchObject({ code: 'SESSION_UNSUPPORTED' });
    }
    const cookies = await start(undefined);
    await expect(loggedInHeader(cookies.app, 'ada')).rejects.toMatchObject({ code: 'SESSION_UNSUPPORTED' });
  });

  if (platform !== 'express') return;
  it('passport.session() logs in by header', async () => {
    const authenticator = new passport.Passport();
    class Named extends passport.Strategy {
      override name = 'named';
      override authenticate(request: express.Request): void {
        this.success({ id: request.query['as'] as string });
      }
    }
    authenticator.use(new Named());
    authenticator.serializeUser((user, done) => done(null, (user as { id: string }).id));
    authenticator.deserializeUser((id: string, done) => done(null, { id }));
    const app = await start(AUTHORIZATION, {
      options: { loading: 'eager' },
      prepare: (nest) => {
        mountSessions(nest);
        nest.use(authenticator.session());
        nest.use(
          '/enter',
          authenticator.authenticate('named'),
          (_request: unknown, response: express.Response) => response.json({}),
        );
        nest.use('/user', (request: express.Request, response: express.Response) =>
          response.json({ user: request.user ?? null }),
        );
      },
    });
    const phone = new Phone(app);
    await phone.send('POST /write', { name: 'Ada' });
    const anonymous = phone.key;
    await phone.send('POST /enter?as=ada');
    expect(phone.key).not.toBe(anonymous);
    expect(jsonOf(await phone.send('GET /user'))).toEqual({ user: { id: 'ada' } });
    expect(jsonOf(await phone.send('GET /user', undefined, anonymous))).toEqual({ user: null });
  });
});
