import { randomUUID } from 'node:crypto';
import { IncomingMessage, type ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import {
  All,
  Controller,
  Get,
  type MiddlewareConsumer,
  Module,
  type NestModule,
  Post,
  Req,
  Res,
} from '@nestjs/common';
import { type NestFastifyApplication } from '@nestjs/platform-fastify';
import flash from 'connect-flash';
import cookieParser from 'cookie-parser';
import { doubleCsrf } from 'csrf-csrf';
import type * as express from 'express';
import grant from 'grant';
import {
  mountSessions,
  Session,
  SessionCommittedError,
  SessionGoneError,
  Sessions,
  SessionStoreUnavailableError,
} from 'nest-sessions';
import passport from 'passport';
import { Server } from 'socket.io';
import { io as connect } from 'socket.io-client';
import { type HttpEnvironment } from '../libs/session/src/http/request-session.js';
import {
  createSessionMiddleware,
  type SessionMiddleware,
} from '../libs/session/src/http/session-middleware.js';
import { HTTP_ENVIRONMENT } from '../libs/session/src/session.tokens.js';
import { type AppSetup, type Platform, platforms, type RunningApp, silent, startApp } from './support/app.js';
import { RecordingStore } from './support/recording-store.js';
import { type Answer, exchange, sessionCookie } from './support/wire.js';

/** The session as code that was written for express-session sees it. */
type RawRequest = IncomingMessage & { session?: Session | null; sessionID?: string };

const store = new RecordingStore();
const apps: RunningApp[] = [];

async function start(platform: Platform, setup: Partial<AppSetup>): Promise<RunningApp> {
  const app = await startApp(platform, { engine: { useFactory: () => store }, logger: silent, ...setup });
  apps.push(app);
  return app;
}

beforeEach(() => store.reset());
afterEach(() => Promise.all(apps.splice(0).map((app) => app.close())));

const nothing = (): void => {};
const fault = (): never => {
  throw new Error('a stand-in that fails');
};

/** The middleware alone, as it is handed to what is no application of Nest. */
const middleware = async (options: AppSetup['options'] = {}): Promise<SessionMiddleware> =>
  createSessionMiddleware((await start('express', { options })).app.get<HttpEnvironment>(HTTP_ENVIRONMENT));

const dataOf = (): unknown[] => [...store.records.values()].map(({ data }) => data);

/** Calls a method with a callback, and tells how it was called. */
const called = async (call: (callback: (...given: unknown[]) => void) => unknown) => {
  const calls: unknown[][] = [];
  let sooner = true;
  let returned: unknown;
  await new Promise<void>((resolve) => {
    returned = call((...given) => {
      if (sooner) throw new Error('called back before the call had returned');
      calls.push(given);
      // A second call would come within these turns.
      setImmediate(() => setImmediate(resolve));
    });
    sooner = false;
  });
  return { calls, returned };
};

/** A browser that does not follow redirects. */
class Visitor {
  cookie: string | undefined;
  constructor(private readonly app: RunningApp) {}

  async get(path: string, cookie = this.cookie): Promise<Answer> {
    const answer = await exchange(`${this.app.url}${path}`, { headers: cookie ? { Cookie: cookie } : {} })
      .answer;
    const set = sessionCookie(answer);
    if (set !== undefined) this.cookie = set === 'sessionid=' ? undefined : set;
    return answer;
  }

  async json(path: string, cookie = this.cookie): Promise<unknown> {
    return JSON.parse((await this.get(path, cookie)).body.toString());
  }
}

describe('passport', () => {
  interface User {
    id: number;
  }
  const users = new Set<number>();

  /** Logs in whoever names himself by a number. */
  class NamedStrategy extends passport.Strategy {
    override name = 'named';
    override authenticate(request: express.Request): void {
      const id = Number(request.query['as']);
      if (Number.isInteger(id)) this.success({ id });
      else this.fail({ message: `no ${request.query['as'] as string}` });
    }
  }

  function mount(app: { use(...handlers: unknown[]): unknown }): void {
    const authenticator = new passport.Passport();
    authenticator.use(new NamedStrategy());
    authenticator.serializeUser((user, done) => setImmediate(done, null, (user as User).id));
    authenticator.deserializeUser((id: number, done) => done(null, users.has(id) && { id }));
    app.use(authenticator.initialize());
    app.use(authenticator.session());
    const failing = { failureRedirect: '/failed', failureMessage: true };
    app.use('/login', authenticator.authenticate('named', { successRedirect: '/me', ...failing }));
    app.use(
      '/return',
      authenticator.authenticate('named', {
        successReturnToOrRedirect: '/me',
        keepSessionInfo: true,
        ...failing,
      }),
    );
    app.use('/logout', (request: express.Request, response: express.Response, next: express.NextFunction) => {
      const { keep } = request.query;
      request.logout({ keepSessionInfo: keep !== undefined }, (error) =>
        error ? next(error) : response.redirect('/me'),
      );
    });
    app.use('/put', (request: express.Request & { session: Session }, response: express.Response) => {
      Object.assign(request.session, request.query);
      response.send('put');
    });
    app.use('/me', (request: express.Request & { session: Session }, response: express.Response) => {
      response.json({ user: request.user ?? null, session: request.session });
    });
  }

  const boot = async (): Promise<Visitor> =>
    new Visitor(
      await start('express', {
        options: { loading: 'eager' },
        prepare: (app) => {
          mountSessions(app);
          mount(app);
        },
      }),
    );

  beforeEach(() => [1, 2].forEach((id) => users.add(id)));

  it('logs in under a new key, in one write', async () => {
    const visitor = await boot();
    await visitor.get('/put?cart=full');
    const before = visitor.cookie as string;
    store.calls = [];

    const answer = await visitor.get('/login?as=1');
    expect(answer).toMatchObject({ status: 302, headers: { location: '/me' } });
    expect(store.calls).toEqual(['load', 'delete', 'create']);
    expect(visitor.cookie).not.toBe(before);
    expect(await visitor.json('/me')).toEqual({ user: { id: 1 }, session: { passport: { user: 1 } } });
    expect(await new Visitor(apps[0] as RunningApp).json('/me', before)).toEqual({ user: null, session: {} });
  });

  it('keeps what the session held, and returns to where the visitor was, with keepSessionInfo', async () => {
    const visitor = await boot();
    await visitor.get('/put?cart=full&returnTo=/checkout');
    const before = visitor.cookie;

    expect((await visitor.get('/return?as=2')).headers.location).toBe('/checkout');
    expect(visitor.cookie).not.toBe(before);
    expect(await visitor.json('/me')).toEqual({
      user: { id: 2 },
      session: { cart: 'full', passport: { user: 2 } },
    });
  });

  it('tells of failures in messages, each on top of the last', async () => {
    const visitor = await boot();
    expect((await visitor.get('/login?as=eve')).headers.location).toBe('/failed');
    await visitor.get('/login?as=mallory');
    expect(await visitor.json('/me')).toEqual({
      user: null,
      session: { messages: ['no eve', 'no mallory'] },
    });
  });

  it('forgets a user who is gone', async () => {
    const visitor = await boot();
    await visitor.get('/login?as=1');
    users.delete(1);
    expect(await visitor.json('/me')).toEqual({ user: null, session: { passport: {} } });
    users.add(1);
    expect(await visitor.json('/me')).toEqual({ user: null, session: { passport: {} } });
  });

  it('logs out for good', async () => {
    const visitor = await boot();
    await visitor.get('/login?as=1');
    const before = visitor.cookie as string;
    expect((await visitor.get('/logout')).headers.location).toBe('/me');
    expect(visitor.cookie).not.toBe(before);
    expect(await visitor.json('/me')).toEqual({ user: null, session: {} });
    expect(await visitor.json('/me', before)).toEqual({ user: null, session: {} });
    expect(store.records.size).toBe(0);
  });

  it('logs out and keeps the rest, with keepSessionInfo', async () => {
    const visitor = await boot();
    await visitor.get('/put?cart=full');
    await visitor.get('/return?as=1');
    await visitor.get('/logout?keep');
    expect(await visitor.json('/me')).toEqual({ user: null, session: { cart: 'full', passport: {} } });
  });

  it('does not redirect to the inside when the login could not be stored', async () => {
    const visitor = await boot();
    store.fail('create', new Error('no'));
    const answer = await visitor.get('/login?as=1');
    expect(answer.status).toBe(500);
    expect(answer.headers).not.toHaveProperty('location');
    expect(visitor.cookie).toBeUndefined();

    store.heal();
    expect((await visitor.get('/login?as=1')).status).toBe(302);
  });
});

describe('grant', () => {
  it('finds the method that it waits for before it redirects', async () => {
    const visitor = new Visitor(
      await start('express', {
        options: { loading: 'eager' },
        prepare: (app) => {
          mountSessions(app);
          const provider = {
            oauth: 2,
            authorize_url: 'https://id.example/authorize',
            access_url: 'https://id.example/token',
            key: 'k',
            secret: 's',
            state: true,
          };
          app.use(
            (grant as unknown as { express(config: object): unknown }).express({
              defaults: { origin: 'http://localhost', transport: 'session' },
              demo: provider,
            }),
          );
        },
      }),
    );
    const answer = await visitor.get('/connect/demo');
    expect(answer.status).toBe(302);
    const { searchParams } = new URL(answer.headers.location as string);
    const [record] = store.records.values();
    expect(record?.data).toMatchObject({ grant: { provider: 'demo', state: searchParams.get('state') } });
    expect(store.writes).toEqual(['create']);
  });
});

describe('csrf-csrf', () => {
  type SessionRequest = express.Request & { session: Session<{ csrfSecret?: string }> };
  const { doubleCsrfProtection, generateCsrfToken } = doubleCsrf({
    getSecret: () => 'of this test alone',
    getSessionIdentifier: (request) => ((request as SessionRequest).session.csrfSecret ??= randomUUID()),
    cookieName: 'csrf',
    cookieOptions: { secure: false },
  });

  @Controller()
  class PaymentController {
    @Get('token')
    token(@Req() request: SessionRequest, @Res({ passthrough: true }) response: express.Response) {
      return generateCsrfToken(request, response, { overwrite: true });
    }

    @Post('login')
    login(@Session() session: Session) {
      session.login('ada');
    }

    @Post('pay')
    pay() {
      return 'paid';
    }
  }

  it('takes a token in the session that it was made in, and not after a login', async () => {
    const app = await start('express', {
      options: { loading: 'eager' },
      controllers: [PaymentController],
      prepare(application) {
        mountSessions(application);
        application.use(cookieParser());
        application.use(doubleCsrfProtection);
      },
    });
    const browser = app.browser();
    const post = (path: string, token: string) => browser.post(path).set('x-csrf-token', token);
    const { text: planted } = await browser.get('/token');
    expect((await post('/pay', 'made up')).status).toBe(403);
    await post('/pay', planted).expect(201);
    await post('/login', planted).expect(201);
    expect((await post('/pay', planted)).status).toBe(403);
    const { text: token } = await browser.get('/token');
    await post('/pay', token).expect(201);
  });
});

describe('middleware of a module', () => {
  @Controller()
  class VisitController {
    @Get('visits')
    visits(@Session('visits') visits: number) {
      return { visits };
    }
  }

  @Module({ controllers: [VisitController] })
  class VisitModule implements NestModule {
    configure(consumer: MiddlewareConsumer): void {
      consumer
        .apply((request: { session: { visits?: number } }, _response: unknown, next: () => void) => {
          request.session.visits = (request.session.visits ?? 0) + 1;
          next();
        })
        .forRoutes('{*splat}');
    }
  }

  @Module({ controllers: [VisitController] })
  class LoadingModule implements NestModule {
    configure(consumer: MiddlewareConsumer): void {
      consumer
        .apply(
          async ({ session }: { session: Session<{ visits: number }> }, _: unknown, next: () => void) => {
            await session.load();
            session.increment('visits');
            next();
          },
        )
        .forRoutes('{*splat}');
    }
  }

  it.each(
    platforms.flatMap((platform) => [
      [platform, 'eager', VisitModule] as const,
      [platform, 'lazy', LoadingModule] as const,
    ]),
  )('reads and writes request.session on %s, with %s loading', async (platform, loading, module) => {
    const visitor = new Visitor(await start(platform, { imports: [module], options: { loading } }));
    for (const visits of [1, 2, 3]) expect(await visitor.json('/visits')).toEqual({ visits });
  });

  it.each(platforms)('comes after the session on %s, also where main.ts mounts it', async (platform) => {
    const seen: unknown[] = [];
    const app = await start(platform, {
      prepare: (prepared) => {
        mountSessions(prepared);
        prepared.use((request: { session?: Session }, _: unknown, next: () => void) => {
          seen.push(request.session?.loaded);
          next();
        });
      },
      imports: [LoadingModule],
    });
    await new Visitor(app).json('/visits');
    expect(seen).toEqual([false]);
  });
});

it('plugins of Fastify that were registered early have sessions, in their middleware as well', async () => {
  const seen: unknown[] = [];
  const app = await start('fastify', {
    prepare: async (prepared) => {
      await (prepared as NestFastifyApplication).register((instance, _options, done) => {
        instance.get('/plugin', async ({ raw }) => {
          const { session } = raw as unknown as { session: Session<{ visits: number }> };
          await session.load();
          return { visits: session.increment('visits') };
        });
        (instance as unknown as { use(middleware: unknown): void }).use(
          (request: { session?: Session }, _response: unknown, next: () => void) => {
            seen.push(request.session?.loaded);
            next();
          },
        );
        done();
      });
      prepared.use((_request: unknown, _response: unknown, next: () => void) => next());
    },
  });
  const visitor = new Visitor(app);
  for (const visits of [1, 2]) expect(await visitor.json('/plugin')).toEqual({ visits });
  expect(seen).toEqual([false, false]);
});

describe.each(platforms)('connect-flash on %s', (platform) => {
  type FlashRequest = IncomingMessage & { flash: (...given: unknown[]) => unknown };

  it('takes messages to the next page and no further', async () => {
    const visitor = new Visitor(
      await start(platform, {
        options: { loading: 'eager' },
        prepare: (app) => {
          mountSessions(app);
          app.use(flash());
          app.use((request: FlashRequest, response: ServerResponse, next: () => void) => {
            if (request.url === '/leave') {
              request.flash('info', 'one');
              request.flash('info', 'two');
              request.flash('error', ['three']);
              response.statusCode = 302;
              response.setHeader('Location', '/show');
              response.end();
            } else if (request.url === '/show') {
              response.end(JSON.stringify({ info: request.flash('info'), rest: request.flash() }));
            } else next();
          });
        },
      }),
    );
    await visitor.get('/leave');
    expect(await visitor.json('/show')).toEqual({ info: ['one', 'two'], rest: { error: ['three'] } });
    expect(await visitor.json('/show')).toEqual({ info: [], rest: {} });
  });
});

describe.each(platforms)("express-session's contract on %s", (platform) => {
  type Scenario = (session: Session, request: RawRequest) => unknown;
  let scenario: Scenario;

  @Controller()
  class ScenarioController {
    @All('run')
    async run(@Session() session: Session, @Req() request: RawRequest & { raw?: RawRequest }) {
      return { result: (await scenario(session, request.raw ?? request)) ?? null };
    }

    /** When the response has begun. */
    @All('late')
    async late(
      @Session() session: Session,
      @Req() request: RawRequest & { raw?: RawRequest },
      @Res() reply: ServerResponse & { raw?: ServerResponse },
    ) {
      const response = reply.raw ?? reply;
      response.writeHead(200, { 'Content-Type': 'application/json' });
      response.write(' ');
      response.end(JSON.stringify({ result: (await scenario(session, request.raw ?? request)) ?? null }));
    }
  }

  let visitor: Visitor;
  beforeEach(async () => {
    visitor = new Visitor(await start(platform, { controllers: [ScenarioController] }));
  });

  /** Runs code inside of a handler; what it returns went through JSON. */
  async function inHandler(code: Scenario, path = '/run'): Promise<Answer> {
    scenario = code;
    return visitor.get(path);
  }
  const resultOf = async (code: Scenario): Promise<unknown> => {
    const answer = await inHandler(code);
    expect(answer.status).toBe(200);
    return (JSON.parse(answer.body.toString()) as { result: unknown }).result;
  };

  describe('save', () => {
    it('calls back once, later, and returns the session', async () => {
      await resultOf(async (session) => {
        session['name'] = 'Ada';
        const { calls, returned } = await called((callback) => session.save(callback));
        expect(calls).toEqual([[]]);
        expect(returned).toBe(session);
        expect(dataOf()).toEqual([{ name: 'Ada' }]);
      });
      expect(store.writes).toEqual(['create']);
      expect(visitor.cookie).toBeDefined();
    });

    it('passes the error of the store', async () => {
      const error = new Error('no');
      const answer = await inHandler(async (session) => {
        session['name'] = 'Ada';
        store.fail('create', error);
        expect((await called((callback) => session.save(callback))).calls).toEqual([[error]]);
        store.heal();
      });
      expect(answer.status).toBe(200);
      expect(dataOf()).toEqual([{ name: 'Ada' }]);
    });

    it('is a promise without a callback', async () => {
      await resultOf(async (session) => {
        session['name'] = 'Ada';
        await expect(session.save()).resolves.toBeUndefined();
      });
      await resultOf(async (session) => {
        session['name'] = 'Bob';
        store.fail('save', new Error('no'));
        await expect(session.save()).rejects.toThrow('no');
        store.heal();
      });
      expect(dataOf()).toEqual([{ name: 'Bob' }]);
    });

    it('may be forgotten', async () => {
      store.fail('create', new Error('no'));
      const answer = await inHandler((session) => {
        session['name'] = 'Ada';
        void session.save();
      });
      // An unhandled rejection would have ended the process, and this spec with it.
      expect(answer.status).toBe(500);
      expect(answer.headers).not.toHaveProperty('set-cookie');
    });

    it('sits on the prototype and shows its callback, which some packages look for', async () => {
      await resultOf((session) => {
        const prototype = Object.getPrototypeOf(session) as Session;
        expect(Object.hasOwn(prototype, 'save')).toBe(true);
        expect(prototype.save.length).toBeGreaterThan(0);
      });
    });

    it('rejects when the session ended elsewhere', async () => {
      await resultOf((session) => void (session['name'] = 'Ada'));
      await resultOf(async (session) => {
        session['name'] = 'Bob';
        store.records.clear();
        await expect(session.save()).rejects.toThrow(SessionGoneError);
      });
      expect(dataOf()).toEqual([]);
    });
  });

  describe('regenerate', () => {
    beforeEach(() => resultOf((session) => void Object.assign(session, { name: 'Ada', cart: [1] })));

    it('puts another, empty session on the request, and the old one can still be read', async () => {
      const before = visitor.cookie;
      await resultOf(async (session, request) => {
        const { id } = session;
        const { calls } = await called((callback) => session.regenerate(callback));
        expect(calls).toEqual([[]]);
        const successor = request.session as Session;
        expect(successor).not.toBe(session);
        expect(successor.id).not.toBe(id);
        expect(request.sessionID).toBe(successor.id);
        expect(Object.keys(successor)).toEqual([]);
        expect({ ...session }).toEqual({ name: 'Ada', cart: [1] });
        expect(() => (session['name'] = 'Eve')).toThrow(SessionCommittedError);
        successor['name'] = 'Bob';
      });
      expect(visitor.cookie).not.toBe(before);
      expect(dataOf()).toEqual([{ name: 'Bob' }]);
    });

    it('ends the session when nothing is written to the new one', async () => {
      await resultOf((session) => session.regenerate());
      expect(visitor.cookie).toBeUndefined();
      expect(dataOf()).toEqual([]);
    });

    it('takes over the values that are named', async () => {
      await resultOf((session) => session.regenerate(['cart']));
      expect(dataOf()).toEqual([{ cart: [1] }]);
    });

    it.each([
      ['names', ['cart'], [{ cart: [1] }]],
      ['no names', undefined, []],
    ])("calls back after %s, as @fastify/session's does", async (_what, keep, kept) => {
      await resultOf(async (session) => {
        const { calls, returned } = await called((callback) => session.regenerate(keep, callback));
        expect(calls).toEqual([[]]);
        expect(returned).toBe(session);
      });
      expect(dataOf()).toEqual(kept);
    });
  });

  describe('reload', () => {
    beforeEach(() => resultOf((session) => void (session['name'] = 'Ada')));

    it('forgets what was not saved and shows what others have', async () => {
      await resultOf(async (session) => {
        session['name'] = 'Bob';
        for (const record of store.records.values()) record.data['other'] = true;
        expect((await called((callback) => session.reload(callback))).calls).toEqual([[]]);
        expect({ ...session }).toEqual({ name: 'Ada', other: true });
      });
      expect(store.writes).toEqual(['create']);
    });

    it('says when the session is gone', async () => {
      await resultOf(async (session) => {
        store.records.clear();
        const { calls } = await called((callback) => session.reload(callback));
        expect(calls).toEqual([
          [expect.objectContaining({ message: expect.stringContaining('failed to load session') })],
        ]);
        await expect(session.reload()).rejects.toThrow(SessionGoneError);
      });
    });
  });

  describe('destroy', () => {
    beforeEach(() => resultOf((session) => void (session['name'] = 'Ada')));

    it('takes the session off the request at once, and deletes it', async () => {
      const answer = await inHandler(async (session, request) => {
        const { calls } = await called((callback) => {
          const returned = session.destroy(callback);
          expect(request.session).toBeUndefined();
          return returned;
        });
        expect(calls).toEqual([[]]);
        expect(dataOf()).toEqual([]);
      });
      expect(answer.status).toBe(200);
      expect(answer.headers['set-cookie']).toEqual([expect.stringMatching(/^sessionid=; Max-Age=0;/)]);
      expect(store.writes).toEqual(['create', 'delete']);
    });

    it('is a promise without a callback', async () => {
      await resultOf((session) => session.destroy());
      expect(dataOf()).toEqual([]);
    });
  });

  describe.each<[name: string, call: (session: Session, callback: (error?: unknown) => void) => unknown]>([
    ['save', (session, callback) => session.save(callback)],
    ['reload', (session, callback) => session.reload(callback)],
    ['regenerate', (session, callback) => session.regenerate(callback)],
    ['regenerate with names', (session, callback) => session.regenerate(['name'], callback)],
    ['destroy', (session, callback) => session.destroy(callback)],
  ])('%s', (_name, call) => {
    it('calls back whatever is wrong: the session is not loaded', async () => {
      const app = await start(platform, {
        prepare(preparing) {
          mountSessions(preparing);
          preparing.use((request: RawRequest, response: ServerResponse) => {
            void called((callback) => call(request.session as Session, callback)).then(({ calls }) =>
              response.end(JSON.stringify(calls)),
            );
          });
        },
      });
      expect(await new Visitor(app).json('/')).toEqual([
        [expect.objectContaining({ code: 'SESSION_NOT_LOADED' })],
      ]);
    });

    it('calls back whatever is wrong: the response has begun, the store is away', async () => {
      await resultOf((session) => void (session['name'] = 'Ada'));
      const { status } = await inHandler(async (session) => {
        store.fail('load', new Error('no'));
        store.fail('save', new Error('no'));
        const { calls, returned } = await called((callback) => call(session, callback));
        store.heal();
        expect(calls).toHaveLength(1);
        expect(returned).toBe(session);
      }, '/late');
      expect(status).toBe(200);
    });
  });

  describe('touch and the cookie', () => {
    beforeEach(() => resultOf((session) => void (session['name'] = 'Ada')));

    it('touch() and resetMaxAge() chain', async () => {
      await resultOf(async (session) => {
        expect(session.touch()).toBe(session);
        expect(session.resetMaxAge()).toBe(session);
        await session.touch().save();
      });
      expect(store.writes).toEqual(['create', 'touch']);
    });

    it('sets and shows its age in milliseconds', async () => {
      const answer = await inHandler((session) => {
        expect(session.cookie.originalMaxAge).toBe(14 * 86_400_000);
        expect(session.cookie).toMatchObject({ path: '/', httpOnly: true, sameSite: 'lax', secure: 'auto' });
        session.cookie.maxAge = 60_000;
        expect(session.cookie.originalMaxAge).toBe(60_000);
        expect(Math.abs((session.cookie.maxAge ?? 0) - 60_000)).toBeLessThan(5000);
      });
      expect(answer.headers['set-cookie']?.[0]).toContain('Max-Age=60;');
    });

    it('ends with the browser without an age', async () => {
      for (const end of [
        (session: Session) => void (session.cookie.expires = false as unknown as null),
        (session: Session) => void (session.cookie.maxAge = null),
      ]) {
        await resultOf((session) => session.setExpiry(60));
        const answer = await inHandler(end);
        expect(answer.headers['set-cookie']?.[0]).not.toMatch(/Max-Age|Expires/);
        await resultOf((session) => expect(session.cookie.expires).toBeNull());
      }
    });

    it('takes a moment', async () => {
      const moment = new Date(Date.now() + 3_600_000);
      const answer = await inHandler((session) => {
        session.cookie.expires = moment;
        expect(session.cookie.expires).toEqual(moment);
      });
      expect(answer.headers['set-cookie']?.[0]).toContain(`Expires=${moment.toUTCString()}`);
    });

    it('takes over the age of another one, and never the object', async () => {
      await resultOf((session) => {
        session.cookie.maxAge = 60_000;
        const other = session.cookie;
        session.cookie.maxAge = 30_000;
        Object.assign(session, { cookie: { originalMaxAge: 90_000 } });
        expect(session.cookie.originalMaxAge).toBe(90_000);
        expect(session.cookie).not.toBe(other);
      });
    });
  });

  describe('the object', () => {
    it('shows its data and nothing else', async () => {
      await resultOf((session) => {
        Object.assign(session, { name: 'Ada', list: [1] });
        const names: string[] = [];
        for (const name in session) names.push(name);
        expect(names).toEqual(['name', 'list']);
        expect(Object.keys(session)).toEqual(['name', 'list']);
        expect(JSON.parse(JSON.stringify(session))).toEqual({ name: 'Ada', list: [1] });
        expect({ ...session }).toEqual({ name: 'Ada', list: [1] });
      });
    });

    it('has an id that is no secret, the same on every request and on the request itself', async () => {
      const first = await resultOf((session, request) => {
        session['name'] = 'Ada';
        expect(request.sessionID).toBe(session.id);
        return session.id;
      });
      expect(first).toEqual(expect.any(String));
      expect(first).toMatch(/^[\w-]{22}$/);
      expect(visitor.cookie).toMatch(new RegExp(`=${String(first)}\\.[\\w-]{43}$`));
      expect(await resultOf((session) => session.id)).toBe(first);
    });

    it('keeps its methods whatever the data are called', async () => {
      await resultOf((session) => {
        session.set('save', 'data');
        expect(() => Object.assign(session, { reload: 1 })).toThrow(/session\.set\("reload"/);
      });
      await resultOf((session) => {
        expect(session.save).toEqual(expect.any(Function));
        expect(session.get('save')).toBe('data');
      });
    });
  });

  describe.each<[name: string, drop: (request: RawRequest) => unknown]>([
    ['request.session = null', (request) => void (request.session = null)],
    ['delete request.session', (request) => delete request.session],
  ])('%s', (_name, drop) => {
    it('does not call off what was ended before', async () => {
      await resultOf((session) => void (session['name'] = 'Ada'));
      const held = store.hold('delete');
      let answered = false;
      const answer = inHandler((session, request) => {
        void session.destroy();
        drop(request);
      }).finally(() => (answered = true));
      await held.reached;
      await exchange(`${(apps[0] as RunningApp).url}/elsewhere`).answer;
      expect(answered).toBe(false);
      held.release();
      expect((await answer).status).toBe(200);
      expect(dataOf()).toEqual([]);
    });

    it('keeps the stored session, and what was done is not saved', async () => {
      await resultOf((session) => void (session['name'] = 'Ada'));
      const answer = await inHandler((session, request) => {
        session['name'] = 'Bob';
        drop(request);
        expect(request.session ?? null).toBeNull();
      });
      expect(answer.status).toBe(200);
      expect(answer.headers).not.toHaveProperty('set-cookie');
      expect(store.writes).toEqual(['create']);
      expect(await resultOf((session) => session['name'])).toBe('Ada');
    });
  });
});

/** Middleware calls of engine.io and of the example of `ws` come with what only stands in for a response. */
describe('stand-ins for responses', () => {
  type Call = (...given: unknown[]) => unknown;
  type StandIn = Partial<
    Record<'writeHead' | 'write' | 'end' | 'flushHeaders' | 'destroy' | 'setHeader', Call>
  >;
  const headers = new Map<unknown, unknown>();
  const engineIo = {
    writeHead: nothing,
    write: nothing,
    end: nothing,
    setHeader: (name: unknown, value: unknown) => void headers.set(name, value),
    getHeader: (name: unknown) => headers.get(name),
    removeHeader: (name: unknown) => void headers.delete(name),
  };

  const standIns: Record<string, () => StandIn> = {
    'an empty object': () => ({}),
    'one of engine.io': () => ({ ...engineIo }),
    'one that takes no headers': () => ({
      writeHead: nothing,
      write: nothing,
      end: nothing,
      flushHeaders: nothing,
    }),
    'a frozen one': () => Object.freeze({ ...engineIo }),
    'one that takes no new properties': () => Object.preventExtensions({ ...engineIo }),
    'one whose headers fail': () => ({ ...engineIo, setHeader: fault }),
    'one that fails at everything': () => ({
      writeHead: fault,
      write: fault,
      end: fault,
      flushHeaders: fault,
      setHeader: fault,
      getHeader: fault,
      getHeaderNames: fault,
      destroy: fault,
    }),
    'one that can do nothing but fail': () => ({ writeHead: nothing, destroy: fault }),
  };

  const calls: [what: string, name: keyof StandIn, given: unknown[]][] = [
    ['writeHead()', 'writeHead', []],
    ['writeHead of texts', 'writeHead', ['200', 7, Symbol('x')]],
    ['writeHead of headers alone', 'writeHead', [{ a: undefined }]],
    ['writeHead of an odd list', 'writeHead', [200, ['a']]],
    ['write()', 'write', []],
    ['write of no text', 'write', [7, 'nothing']],
    ['end of an object', 'end', [{}]],
    ['flushHeaders()', 'flushHeaders', []],
  ];

  /** The session of a request that came with such a response, loaded. */
  const sessionWith = async (mount: SessionMiddleware, response: StandIn): Promise<Session> => {
    const request = Object.assign(new IncomingMessage(new Socket()), { url: '/' }) as RawRequest;
    await new Promise<void>((resolve) => mount(request, response as ServerResponse, () => resolve()));
    const session = request.session as Session;
    await session.load();
    return session;
  };

  describe.each(Object.entries(standIns))('%s', (_name, make) => {
    it.each(calls)('does no harm by %s', async (_what, name, given) => {
      const mount = await middleware();
      for (const failing of [false, true]) {
        for (const writes of [false, true]) {
          store.reset();
          if (failing) store.fail('create', new Error('no'));
          const response = make();
          const session = await sessionWith(mount, response);
          if (writes) session['name'] = 'Ada';
          let thrown: unknown;
          try {
            response[name]?.(...given);
          } catch (error) {
            thrown = error;
          }
          // Nothing but its own fault, in the call of its owner. An unhandled rejection would fail this test.
          expect([undefined, 'a stand-in that fails']).toContain((thrown as Error | undefined)?.message);
          await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
          const reaches = response[name] !== undefined && !Object.isFrozen(response);
          expect(dataOf()).toEqual(reaches && writes && !failing ? [{ name: 'Ada' }] : []);
        }
      }
    });

    it('does no harm when the store is away', async () => {
      store.fail('load', new SessionStoreUnavailableError('load', 'it is away.'));
      const response = make();
      const request = Object.assign(new IncomingMessage(new Socket()), { url: '/' });
      request.headers.cookie = `sessionid=${'i'.repeat(22)}.${'k'.repeat(43)}`;
      const mount = await middleware({ loading: 'eager' });
      const error = await new Promise((resolve) => mount(request, response as ServerResponse, resolve));
      expect(error).toMatchObject({ status: 503 });
    });
  });

  it('tells engine.io of the cookie, when there is nothing to wait for', async () => {
    headers.clear();
    const response: StandIn = { ...engineIo };
    const session = await sessionWith(await middleware(), response);
    session['name'] = 'Ada';
    await session.save();
    response.writeHead?.();
    expect(headers.get('Set-Cookie')).toEqual([
      expect.stringContaining(`sessionid=${String(session.sessionKey())}; `),
    ]);
    expect(headers.get('Vary')).toBe('Cookie');
  });
});

describe.each(platforms)('io.engine.use of socket.io on %s', (platform) => {
  type SocketRequest = RawRequest & Record<'_query', { sid?: string }>;
  let app: RunningApp;
  let io: Server;
  beforeEach(async () => {
    app = await start(platform, {});
    io = new Server(app.app.getHttpServer());
    io.engine.use(createSessionMiddleware(app.app.get<HttpEnvironment>(HTTP_ENVIRONMENT)));
    io.engine.use((request: SocketRequest, _response: unknown, next: (error?: unknown) => void) => {
      const { session } = request;
      if (!session || request['_query'].sid !== undefined) return next();
      session.load().then(() => {
        session.increment('visits');
        next();
      }, next);
    });
    io.on('connection', (socket) => {
      const { session } = socket.request as RawRequest;
      socket.emit('visits', session?.get('visits'));
    });
  });
  afterEach(() => io.close());

  const visit = (transport: 'polling' | 'websocket', cookie: string) =>
    new Promise<number>((resolve, reject) => {
      const client = connect(app.url, {
        transports: [transport],
        extraHeaders: { Cookie: cookie },
        reconnection: false,
        forceNew: true,
      });
      client.on('connect_error', reject);
      client.on('disconnect', reject);
      client.on('visits', (visits: number) => {
        client.off('disconnect');
        client.close();
        resolve(visits);
      });
    });

  it('loads and saves the session of a handshake, by polling and by upgrade', async () => {
    const session = await app.app.get(Sessions).create({ visits: 10 });
    const cookie = `sessionid=${String(session.sessionKey())}`;
    expect(await visit('polling', cookie)).toBe(11);
    expect(await visit('websocket', cookie)).toBe(12);
    while ((dataOf() as { visits: number }[])[0]?.visits !== 12)
      await new Promise((resolve) => setImmediate(resolve));
  });

  it('ends the connection when the session cannot be saved, and nothing else', async () => {
    const session = await app.app.get(Sessions).create({ visits: 10 });
    const cookie = `sessionid=${String(session.sessionKey())}`;
    store.fail('save', new Error('no'));
    await expect(visit('polling', cookie)).rejects.toBeDefined();
    await visit('websocket', cookie).catch(() => {});
    store.heal();
    expect(await visit('websocket', cookie)).toBe(11);
  });
});
