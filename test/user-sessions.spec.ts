import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import {
  Body,
  Controller,
  Delete,
  Get,
  HttpCode,
  Inject,
  Injectable,
  NotFoundException,
  Param,
  Post,
  Query,
  Sse,
  UseGuards,
} from '@nestjs/common';
import { type NestExpressApplication } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { createCache } from 'cache-manager';
import createMemoryStore from 'memorystore';
import { NEVER, startWith, takeUntil } from 'rxjs';
import {
  type JsonObject,
  type LoginOptions,
  type LogoutOptions,
  Session,
  type SessionEvent,
  SessionGuard,
  type SessionLimit,
  type SessionOptions,
  type SessionRecord,
  Sessions,
  SessionStore,
  type UserSession,
} from 'nest-sessions';
import { CacheStore } from 'nest-sessions/cache';
import { cookieEngine } from 'nest-sessions/cookie';
import { expressSession, ExpressStore } from 'nest-sessions/express-store';
import { MemoryStore } from 'nest-sessions/memory';
import { type HttpEnvironment } from '../libs/session/src/http/request-session.js';
import { HTTP_ENVIRONMENT } from '../libs/session/src/session.tokens.js';
import { Checkpoint, Checkpoints } from './suites/checkpoint.js';
import { type AppSetup, type Platform, platforms, type RunningApp, startApp } from './support/app.js';
import { sessionKeyIn } from './support/database-app.js';
import {
  type EngineSetup,
  enginesOnDatabases,
  type EngineUnderTest,
  otherEngines,
  QUICK_ENGINES,
} from './support/engines.js';
import { RecordingStore } from './support/recording-store.js';
import { describeWithService } from './support/services.js';
import { rowsOf } from './support/test-all.js';

type Data = JsonObject;
type Answer = Record<string, unknown>;

/** The users of an application, as far as sessions have to do with them. */
@Injectable()
class Accounts {
  readonly disabled = new Set<string>();
  readonly passwords = new Map<string, string>();

  stampOf(userId: string): string | null {
    return this.disabled.has(userId) ? null : (this.passwords.get(userId) ?? 'the first password');
  }
}

@Controller()
class DevicesController {
  constructor(
    private readonly sessions: Sessions,
    private readonly accounts: Accounts,
    @Inject(Checkpoints) private readonly checkpoints: Checkpoints,
  ) {}

  @Post('login')
  @HttpCode(200)
  login(@Session() session: Session<Data>, @Body() { user, ...options }: { user: string } & LoginOptions) {
    session.login(user, options);
    return { id: session.id };
  }

  @Post('login-and-save')
  @HttpCode(200)
  async loginAndSave(@Session() session: Session<Data>, @Body('user') user: string) {
    session.login(user);
    await session.save();
    return { id: session.id };
  }

  @Post('cycle')
  @HttpCode(200)
  cycle(@Session() session: Session<Data>) {
    session.cycleKey();
    return {};
  }

  @Post('logout')
  @HttpCode(200)
  logout(@Session() session: Session<Data>, @Body() options: LogoutOptions) {
    session.logout(options);
    return {};
  }

  @Get('me')
  @UseGuards(SessionGuard)
  me(@Session() session: Session<Data>) {
    return { id: session.id, userId: session.userId, data: { ...session } };
  }

  @Post('change')
  @HttpCode(200)
  async change(
    @Session() session: Session<Data>,
    @Body() { set = {}, unset = [] }: { set?: Data; unset?: string[] },
    @Query('at') checkpoint: string,
  ) {
    await this.checkpoints.get(checkpoint)?.wait();
    session.update(set);
    for (const key of unset) session.delete(key);
    return {};
  }

  @Get('devices')
  @UseGuards(SessionGuard)
  list(@Session('userId') userId: string) {
    return this.sessions.listByUser(userId);
  }

  @Delete('devices/:id')
  @UseGuards(SessionGuard)
  async end(@Session() session: Session<Data>, @Param('id') id: string) {
    session['lastDeed'] = 'ending a session';
    if (!(await this.sessions.revoke(id, { userId: session.userId }))) throw new NotFoundException();
    return {};
  }

  @Post('devices/end-others')
  @HttpCode(200)
  @UseGuards(SessionGuard)
  async endOthers(@Session() session: Session<Data>) {
    return { count: await this.sessions.revokeAll(session.userId ?? '', { except: session }) };
  }

  @Post('password')
  @HttpCode(200)
  @UseGuards(SessionGuard)
  async changePassword(@Session() session: Session<Data>, @Body('password') password: string) {
    const userId = session.userId ?? '';
    this.accounts.passwords.set(userId, password);
    const count = await this.sessions.revokeAll(userId, { except: session });
    session.login(userId, { stamp: password });
    return { count };
  }

  @Sse('news')
  @UseGuards(SessionGuard)
  news(@Session() session: Session<Data>) {
    return NEVER.pipe(
      startWith({ data: 'hello' }),
      takeUntil(this.sessions.whenEnded(session, { every: '100ms' })),
    );
  }
}

interface Site extends RunningApp {
  sessions: Sessions;
  store: SessionStore;
  events: SessionEvent[];
  /** One request with this session key. `key` is what the cookie holds afterwards; undefined: it was left alone. */
  send(
    method: 'get' | 'post' | 'delete',
    path: string,
    key?: string,
    body?: object,
    headers?: Record<string, string>,
  ): Promise<{ status: number; body: Answer; headers: Answer; key: string | undefined }>;
  /** The session id and the session key of a new login. */
  logIn(user: string, options?: LoginOptions, headers?: Record<string, string>): Promise<LoggedIn>;
}

interface LoggedIn {
  id: string;
  key: string;
}

const running: RunningApp[] = [];
const streams: IncomingMessage[] = [];
const closeAll = async (): Promise<void> => {
  for (const stream of streams.splice(0)) stream.destroy();
  for (const site of running.splice(0)) await site.close();
};

const environmentOf = (app: RunningApp['app']) => app.get<HttpEnvironment>(HTTP_ENVIRONMENT).sessions;

async function start(
  platform: Platform,
  setup: Partial<AppSetup> = {},
  accounts = new Accounts(),
): Promise<Site> {
  const app = await startApp(platform, {
    engine: { useFactory: () => new MemoryStore() },
    controllers: [DevicesController],
    ...setup,
    providers: [
      { provide: Accounts, useValue: accounts },
      { provide: Checkpoints, useValue: checkpoints },
    ],
    options: { currentStamp: (userId) => accounts.stampOf(userId), ...setup.options },
  });
  running.push(app);
  const events: SessionEvent[] = [];
  const sessions = environmentOf(app.app);
  const { emit } = sessions;
  sessions.emit = (event) => {
    events.push(event);
    emit(event);
  };
  const send: Site['send'] = async (method, path, key, body, headers = {}) => {
    const response = await app.request[method](path)
      .set({ ...headers, ...(key !== undefined && { Cookie: `sessionid=${key}` }) })
      .send(body);
    return {
      status: response.status,
      body: response.body as Answer,
      headers: response.headers,
      key: sessionKeyIn(response),
    };
  };
  return {
    ...app,
    sessions: app.app.get(Sessions),
    store: app.app.get(SessionStore),
    events,
    send,
    async logIn(user, options = {}, headers = {}) {
      const { status, body, key } = await send('post', '/login', undefined, { user, ...options }, headers);
      expect(status).toBe(200);
      return { id: body['id'] as string, key: key as string };
    },
  };
}

const checkpoints = new Checkpoints();
const otherPlatform = { express: 'fastify', fastify: 'express' } as const;

let users = 0;
const newUser = (): string => `user ${(users += 1)}`;
const alive = async (site: Site, { key }: { key: string }): Promise<boolean> =>
  (await site.send('get', '/me', key)).status === 200;
const idsOf = (sessions: readonly { id: string }[]): string[] => sessions.map(({ id }) => id).toSorted();

interface EngineOfTwo extends Pick<EngineUnderTest, 'services'> {
  /** How an application on the same store is set up, each time it is asked. */
  make: () => Promise<Pick<EngineSetup, 'wire' | 'dispose'>>;
  /** Sessions that were ended elsewhere may go on for so many milliseconds. */
  bound: number;
}

/** In one process: both applications have the same store. */
const onOne = (makeStore: () => SessionStore): EngineOfTwo => ({
  services: [],
  bound: 0,
  make() {
    const store = makeStore();
    return Promise.resolve({
      wire: () => ({ engine: { useFactory: () => store } }),
      dispose: async () => {},
    });
  },
});
const known: Record<string, EngineUnderTest> = { ...enginesOnDatabases, ...otherEngines };
const named = (name: string, bound = 0): EngineOfTwo => ({ ...(known[name] as EngineUnderTest), bound });

const engines: Record<string, EngineOfTwo> = {
  memory: onOne(() => new MemoryStore()),
  cache: onOne(() => new CacheStore(createCache())),
  'express-session store': onOne(() => new ExpressStore(new (createMemoryStore(expressSession))({}))),
  'database (postgres)': named('database (postgres)'),
  'database (mysql)': named('database (mysql)'),
  'redis (ioredis)': named('redis (ioredis)'),
  file: named('file'),
  'cached database (postgres, redis)': named('cached database (postgres, redis)', 5000),
  'cached database (postgres, in process)': named('cached database (postgres, in process)', 5000),
};

/** The same suite on every engine, with the services that it needs; in the quick run on those that stand for the others. */
function describeOnEveryEngine(subject: string, suite: (engine: EngineOfTwo) => void): void {
  for (const [name, engine] of rowsOf(engines, QUICK_ENGINES)) {
    const withServices = engine.services.reduceRight<() => void>(
      (inner, service) => () => describeWithService(service, `with ${service}`, inner),
      () => suite(engine),
    );
    describe(`${subject}, ${name}`, () => {
      withServices();
    });
  }
}

/** Two applications on one store: `here` on the platform, `there` on the other one. */
async function startTwo(
  platform: Platform,
  engine: EngineOfTwo,
  options: SessionOptions = {},
): Promise<{ here: Site; there: Site; accounts: Accounts; dispose: () => Promise<void> }> {
  const setup = await engine.make();
  const accounts = new Accounts();
  // One after the other: each creates the table where there is none.
  const here = await start(platform, { ...setup.wire(), options }, accounts);
  const there = await start(otherPlatform[platform], { ...setup.wire(), options }, accounts);
  return {
    here,
    there,
    accounts,
    async dispose() {
      await closeAll();
      await setup.dispose();
    },
  };
}

/** What some database would refuse, cut off or take for something else. */
const impossible = ['', 'a'.repeat(256), 'a\0b', '\0', '\ud800', 'ann\udc00', '\ude00\ud83d'];

describeOnEveryEngine('the sessions of a user', (engine) => {
  describe.each(platforms)('asked on %s', (platform) => {
    let here: Site;
    let there: Site;
    let accounts: Accounts;
    let dispose: () => Promise<void>;
    beforeAll(async () => {
      ({ here, there, accounts, dispose } = await startTwo(platform, engine));
    });
    afterAll(() => dispose());

    /** It opens nothing here, at once, and nothing there, at once or within the bound of the engine. */
    async function expectEnded(session: LoggedIn): Promise<void> {
      expect(await alive(here, session)).toBe(false);
      const deadline = Date.now() + engine.bound;
      while (engine.bound > 0 && Date.now() < deadline && (await alive(there, session)));
      expect(await alive(there, session)).toBe(false);
    }

    it('S33: a logout ends the session on the server, for every copy of the cookie', async () => {
      const session = await here.logIn(newUser());
      expect([await alive(here, session), await alive(there, session)]).toEqual([true, true]);
      expect((await here.send('post', '/logout', session.key)).key).toBe('');
      await expectEnded(session);
    });

    it('S41: a user sees the own sessions, and nothing in the list opens one', async () => {
      const [ann, bob] = [newUser(), newUser()];
      const mine = [await here.logIn(ann), await there.logIn(ann, { remember: true }), await here.logIn(ann)];
      const others = await here.logIn(bob);
      const [first, second, third] = mine as [LoggedIn, LoggedIn, LoggedIn];
      await there.send('post', '/change', first.key, { set: { used: true } });
      await here.send('post', '/logout', third.key);

      const { body } = await here.send('get', '/devices', second.key);
      const list = body as unknown as Record<keyof UserSession, unknown>[];
      expect(list.map(({ id }) => id)).toEqual([first.id, second.id]);
      expect(list.map(({ remembered }) => remembered)).toEqual([false, true]);
      for (const listed of list) {
        expect(Object.keys(listed).toSorted()).toEqual(
          [
            'authenticatedAt',
            'createdAt',
            'expiresAt',
            'id',
            'lastSeenAt',
            'remembered',
            'userId',
          ].toSorted(),
        );
        expect(listed.userId).toBe(ann);
        expect(Date.parse(String(listed.expiresAt))).toBeGreaterThan(Date.now());
      }
      for (const { key } of [...mine, others]) {
        expect(JSON.stringify(body)).not.toContain(key);
        expect(JSON.stringify(body)).not.toContain(key.slice(23));
      }
    });

    it('S41: a user ends one session, on every replica, and those of nobody else', async () => {
      const [ann, bob] = [newUser(), newUser()];
      const [mine, stolen, others] = [await here.logIn(ann), await there.logIn(ann), await here.logIn(bob)];
      expect([await alive(there, stolen), await alive(there, others)]).toEqual([true, true]);

      expect((await here.send('delete', `/devices/${others.id}`, mine.key)).status).toBe(404);
      expect((await here.send('delete', '/devices/nothing', mine.key)).status).toBe(404);
      expect([await alive(here, others), await alive(there, others)]).toEqual([true, true]);

      here.events.length = 0;
      expect((await here.send('delete', `/devices/${stolen.id}`, mine.key)).status).toBe(200);
      await expectEnded(stolen);
      expect(here.events.filter(({ type }) => type === 'ended')).toEqual([
        { type: 'ended', reason: 'revoked', sessionId: stolen.id, userId: ann },
      ]);
      expect((await here.send('delete', `/devices/${stolen.id}`, mine.key)).status).toBe(404);
      expect(idsOf(await there.sessions.listByUser(ann))).toEqual([mine.id]);
    });

    it('S41: an administrator ends any session, also one that a login has just started', async () => {
      const session = await here.logIn(newUser());
      const started = await there.send('post', '/login', session.key, { user: newUser() });
      expect(await here.sessions.revoke(session.id)).toBe(false);
      expect(await here.sessions.revoke(started.body['id'] as string)).toBe(true);
      await expectEnded({ id: session.id, key: started.key as string });
    });

    it('S67: ids of users are kept apart as they are', async () => {
      const ids = [
        'a'.repeat(255),
        `${'a'.repeat(254)}b`,
        '🔑'.repeat(127),
        'Ann',
        'ann',
        ' ann',
        'ann ',
        'ann\n',
        'ánn',
        'a\u0301nn',
        "o'neill",
        'a\\b',
        'a%',
        'a_',
        'a:b',
        '../ann',
        '__proto__',
        'constructor',
        '0',
        '1',
        '1.0',
        '1e3',
        'null',
        'undefined',
        '*',
        '{ann}',
        'a,b',
        '"ann"',
      ];
      const started = new Map<string, LoggedIn>();
      for (const id of ids) started.set(id, await here.logIn(id));
      for (const [id, session] of started) {
        expect((await there.send('get', '/me', session.key)).body).toMatchObject({ userId: id });
        const listed = await there.sessions.listByUser(id);
        expect(listed.map(({ userId }) => userId)).toEqual([id]);
        expect(idsOf(listed)).toEqual([session.id]);
      }
      for (const [id, session] of started) {
        expect([id, await there.sessions.revokeAll(id)]).toEqual([id, 1]);
        await expectEnded(session);
      }
    });

    it.each(impossible)(
      'S67: no user has the id %j: a login is refused, and nothing is found or ended',
      async (id) => {
        const before = await here.logIn(newUser());
        const { status, key } = await here.send('post', '/login', before.key, { user: id });
        expect([status, key]).toEqual([500, undefined]);
        expect(await alive(here, before)).toBe(true);
        expect(await here.sessions.listByUser(id)).toEqual([]);
        expect(await here.sessions.revokeAll(id)).toBe(0);
        expect(await here.sessions.revoke(before.id, { userId: id })).toBe(false);
        expect(await alive(here, before)).toBe(true);
      },
    );

    it('S41: an id that no session can have is one that is not there', async () => {
      const session = await here.logIn(newUser());
      for (const id of [
        '%00',
        'x'.repeat(22),
        `${session.id}%00`,
        `${session.id}.`,
        'x'.repeat(90),
        '%F0%9F%94%91',
      ]) {
        expect((await here.send('delete', `/devices/${id}`, session.key)).status).toBe(404);
      }
      expect(await alive(here, session)).toBe(true);
    });

    it('S41: revoking the session of a user who is not there ends nobody’s', async () => {
      const session = await here.logIn(newUser());
      expect(await here.sessions.revoke(session.id, { userId: null })).toBe(false);
      expect(await alive(here, session)).toBe(true);
    });

    it('ends the session of its own request, which does not bring it back', async () => {
      const session = await here.logIn(newUser());
      const response = await here.send('delete', `/devices/${session.id}`, session.key);
      expect([response.status, response.key]).toEqual([200, undefined]);
      await expectEnded(session);
      expect((await here.send('get', '/me', session.key)).key).toBeUndefined();
    });

    it('S39: sessions of a disabled account open nothing from the next request on, on every replica', async () => {
      const ann = newUser();
      const sessions = [await here.logIn(ann), await there.logIn(ann)];
      for (const session of sessions) expect(await alive(there, session)).toBe(true);
      accounts.disabled.add(ann);
      expect(await here.sessions.listByUser(ann)).toEqual([]);
      for (const { key } of sessions) {
        expect((await there.send('get', '/me', key)).status).toBe(401);
        expect((await here.send('get', '/me', key)).status).toBe(401);
      }
      accounts.disabled.delete(ann);
      for (const session of sessions) expect(await alive(there, session)).toBe(false);
    });

    it('S40: a new password ends the other sessions, and starts a new one in place of this one', async () => {
      const ann = newUser();
      const [mine, ...others] = [await here.logIn(ann), await here.logIn(ann), await there.logIn(ann)];
      for (const session of others) expect(await alive(there, session)).toBe(true);
      const changed = await here.send('post', '/password', mine.key, { password: `another of ${ann}` });
      expect([changed.status, changed.body]).toEqual([200, { count: 2 }]);
      expect(changed.key).not.toBe(mine.key);
      for (const session of [...others, mine]) await expectEnded(session);
      for (const site of [here, there]) {
        const { body } = await site.send('get', '/me', changed.key);
        expect(body['userId']).toBe(ann);
        expect(body['id']).not.toBe(mine.id);
      }
    });

    it('ends all but some', async () => {
      const ann = newUser();
      const all = [
        await here.logIn(ann),
        await there.logIn(ann),
        await here.logIn(ann),
        await here.logIn(ann),
      ];
      const [mine, second, third, fourth] = all as [LoggedIn, LoggedIn, LoggedIn, LoggedIn];
      const opened = await here.sessions.open(mine.key);
      here.events.length = 0;
      expect(await here.sessions.revokeAll(ann, { except: [opened ?? '', second.id] })).toBe(2);
      expect(
        here.events.flatMap((event) => ('sessionId' in event ? event.sessionId : [])).toSorted(),
      ).toEqual(idsOf([third, fourth]));
      expect(idsOf(await there.sessions.listByUser(ann))).toEqual(idsOf([mine, second]));
      expect((await here.send('post', '/devices/end-others', mine.key)).body).toEqual({ count: 1 });
      await expectEnded(second);
      expect(await here.sessions.revokeAll(ann)).toBe(1);
      await expectEnded(mine);
      expect(await here.sessions.revokeAll(ann)).toBe(0);
    });

    it('S45: a key that is removed while another is written is gone', async () => {
      const session = await here.logIn(newUser());
      await here.send('post', '/change', session.key, { set: { user: 'ada', other: 0 } });
      for (const [remover, writer] of [
        [here, there],
        [there, here],
      ] as const) {
        await here.send('post', '/change', session.key, { set: { user: 'ada' } });
        const at = new Checkpoint(2);
        checkpoints.set('S45', at);
        const both = [
          remover.send('post', '/change?at=S45', session.key, { unset: ['user'] }),
          writer.send('post', '/change?at=S45', session.key, { set: { other: 1 } }),
        ];
        await at.reached;
        at.open();
        expect((await Promise.all(both)).map(({ status }) => status)).toEqual([200, 200]);
        const read = async () => (await here.send('get', '/me', session.key)).body['data'];
        const written = JSON.stringify({ other: 1 });
        const deadline = Date.now() + engine.bound;
        while (Date.now() < deadline && JSON.stringify(await read()) !== written);
        expect(await read()).toEqual({ other: 1 });
      }
    });

    it('S44: an event stream on the other replica ends with its session', async () => {
      const ann = newUser();
      const [ended, goesOn] = [await here.logIn(ann), await here.logIn(ann)];
      const [stream, other] = [await listen(there, ended), await listen(there, goesOn)];
      // A new key is no end.
      const { key } = await here.send('post', '/cycle', goesOn.key);
      await here.sessions.revoke(ended.id);
      await stream.ended;
      expect(other.isOpen()).toBe(true);
      expect(await alive(there, { key: key as string })).toBe(true);
      await here.sessions.revokeAll(ann);
      await other.ended;
    });
  });
});

/** An open event stream; its first event has arrived. */
async function listen(
  site: Site,
  { key }: LoggedIn,
): Promise<{ ended: Promise<unknown>; isOpen: () => boolean }> {
  const request = get(`${site.url}/news`, { headers: { cookie: `sessionid=${key}` } });
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  streams.push(response);
  expect(response.statusCode).toBe(200);
  // Waited for from the beginning: it may come before anybody asks.
  const ended = once(response, 'end');
  ended.catch(() => {});
  let text = '';
  response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  while (!text.includes('hello')) await once(response, 'data');
  return { ended, isOpen: () => !response.readableEnded };
}

/** An application, a session of a user in it, and what was seen of its end. */
async function watched() {
  const store = new RecordingStore();
  const accounts = new Accounts();
  const site = await start('express', { engine: { useFactory: () => store } }, accounts);
  const session = await site.logIn('ann');
  const seen: string[] = [];
  const subscription = site.sessions
    .whenEnded(session.key, { every: '5ms' })
    .subscribe({ next: () => seen.push('ended'), complete: () => seen.push('complete') });
  const looks = async (count: number): Promise<void> => {
    const enough = store.calls.length + count;
    while (store.calls.length < enough) await new Promise(setImmediate);
  };
  const over = async (): Promise<string[]> => {
    while (seen.length < 2) await new Promise(setImmediate);
    return seen;
  };
  return { store, accounts, site, session, seen, subscription, looks, over };
}

describe('watching for the end', () => {
  afterEach(closeAll);

  it('S44: waits while the store is away, and has noticed the end when it is back', async () => {
    const { store, seen, looks, over } = await watched();
    await looks(2);
    store.fail('load', new Error('away'));
    store.records.clear();
    await looks(5);
    expect(seen).toEqual([]);
    store.heal();
    expect(await over()).toEqual(['ended', 'complete']);
  });

  it('looks only while somebody listens', async () => {
    const { store, subscription, looks, seen } = await watched();
    await looks(2);
    subscription.unsubscribe();
    store.records.clear();
    await new Promise(setImmediate);
    const { length } = store.calls;
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect([store.calls.length, seen]).toEqual([length, []]);
  });

  it('is no use of the session, and no event', async () => {
    const { store, site, looks } = await watched();
    const before = structuredClone([...store.records.values()]);
    site.events.length = 0;
    await looks(3);
    expect([...store.records.values()]).toEqual(before);
    expect(site.events).toEqual([]);
  });

  it('S39: notices a disabled account', async () => {
    const { accounts, looks, over } = await watched();
    await looks(2);
    accounts.disabled.add('ann');
    expect(await over()).toEqual(['ended', 'complete']);
  });

  it('knows a session of a cookie from its token', async () => {
    const site = await start('express', {
      engine: cookieEngine({ secrets: 'q8Zr1vN4xT7mC2pL9sB6wK3hF0jD5gYu' }),
    });
    const { key } = await site.logIn('ann');
    const seen: unknown[] = [];
    site.sessions.whenEnded(key, { every: '5ms' }).subscribe({ next: () => seen.push('real') });
    await new Promise<void>((ended) => site.sessions.whenEnded(`${key}x`).subscribe({ complete: ended }));
    expect(seen).toEqual([]);
  });

  it.each([0, -1, 'often', Number.NaN])('refuses to look every %p', async (every) => {
    const site = await start('express');
    expect(() => site.sessions.whenEnded('x', { every })).toThrow('"every"');
  });
});

const FIFTY = Array.from({ length: 50 }, (_, index) => index);

describeWithService('postgres', 'S37: logins at the same time as the end of all sessions', () => {
  it.each(platforms)('S37: leave none that was there before, first asked on %s', async (platform) => {
    const { here, there, dispose } = await startTwo(platform, named('database (postgres)'));
    const ann = newUser();
    const before: LoggedIn[] = [];
    const all: LoggedIn[] = [];
    let revokedAt = Infinity;
    const some = new Promise<void>((resolve) => {
      void Promise.all(
        FIFTY.map(async (index) => {
          const session = await (index % 2 === 0 ? here : there).logIn(ann);
          if (revokedAt === Infinity) before.push(session);
          all.push(session);
          if (all.length === 10) resolve();
        }),
      ).then(() => finished());
    });
    let finished!: () => void;
    const everyLogin = new Promise<void>((resolve) => (finished = resolve));
    await some;
    revokedAt = performance.now();
    await there.sessions.revokeAll(ann);
    for (const session of before) expect(await alive(here, session)).toBe(false);
    await everyLogin;

    expect(all).toHaveLength(50);
    const left: LoggedIn[] = [];
    for (const session of all) if (await alive(there, session)) left.push(session);
    // Whatever is alive can be seen, and ended.
    expect(idsOf(await here.sessions.listByUser(ann))).toEqual(idsOf(left));
    expect(await here.sessions.revokeAll(ann)).toBe(left.length);
    for (const session of all) expect(await alive(there, session)).toBe(false);
    await dispose();
  });
});

const policies: SessionLimit['policy'][] = ['evict-oldest', 'evict-idle', 'reject'];
const limitedTo = (max: number, policy: SessionLimit['policy']): SessionOptions => ({
  sessionsPerUser: { max, policy },
});

describeOnEveryEngine('S89: a limit of sessions per user', (engine) => {
  describe.each(policies)('with %s', (policy) => {
    let here: Site;
    let there: Site;
    let dispose: () => Promise<void>;
    beforeAll(async () => {
      ({ here, there, dispose } = await startTwo('express', engine, limitedTo(3, policy)));
    });
    afterAll(() => dispose());

    const attempt = (site: Site, user: string) => site.send('post', '/login', undefined, { user });

    /** The session ids of the logins that still open something. */
    async function survivors(answers: Awaited<ReturnType<typeof attempt>>[]): Promise<string[]> {
      for (const { status } of answers) expect(policy === 'reject' ? [200, 409] : [200]).toContain(status);
      const live: string[] = [];
      for (const { key, body } of answers) {
        if (key && (await alive(here, { key }))) live.push(String(body['id']));
      }
      return live.toSorted();
    }

    it('S89: holds under 50 parallel logins on both platforms', async () => {
      const ann = newUser();
      const answers = await Promise.all(FIFTY.map((index) => attempt(index % 2 === 0 ? here : there, ann)));
      const live = await survivors(answers);
      expect(live.length).toBeGreaterThanOrEqual(1);
      expect(live.length).toBeLessThanOrEqual(3);
      expect(idsOf(await there.sessions.listByUser(ann))).toEqual(live);
    });

    it('S89: holds when all have logged in before one of them counts', async () => {
      const ann = newUser();
      const all = new Checkpoint(10);
      const environments = [here, there].map((site) => environmentOf(site.app));
      const counts = environments.map(({ afterLogin }) => afterLogin);
      environments.forEach((environment, index) => {
        environment.afterLogin = async (...login) => {
          await all.wait();
          await counts[index]?.(...login);
        };
      });
      const logins = FIFTY.slice(0, 10).map((index) => attempt(index % 2 === 0 ? here : there, ann));
      await all.reached;
      all.open();
      const answers = await Promise.all(logins);
      environments.forEach((environment, index) => {
        environment.afterLogin = counts[index];
      });
      const live = await survivors(answers);
      expect(live.length).toBeGreaterThanOrEqual(1);
      expect(live.length).toBeLessThanOrEqual(3);
      expect(idsOf(await there.sessions.listByUser(ann))).toEqual(live);
    });
  });
});

const limitEvents = (site: Site) => site.events.filter(({ type }) => type === 'limit' || type === 'ended');

describe.each(platforms)('a limit of two sessions on %s', (platform) => {
  afterEach(closeAll);

  /** Logs in three times, with a use of the first session before the third login. */
  async function logInThrice(policy: SessionLimit['policy']) {
    const clock = { now: Date.now() };
    const store = new MemoryStore({ now: () => clock.now });
    const site = await start(platform, {
      engine: { useFactory: () => store },
      options: limitedTo(2, policy),
    });
    const first = await site.logIn('ann');
    clock.now += 1000;
    const second = await site.logIn('ann');
    clock.now += 1000;
    await site.send('post', '/change', first.key, { set: { used: true } });
    const visitor = await site.send('post', '/change', undefined, { set: { cart: 'tea' } });
    site.events.length = 0;
    const third = await site.send('post', '/login', visitor.key, { user: 'ann' });
    const left = { first: await alive(site, first), second: await alive(site, second) };
    return { site, first, second, third, visitor, left };
  }

  it('S89: ends the one of the oldest login', async () => {
    const { site, first, third, visitor, left } = await logInThrice('evict-oldest');
    expect([third.status, left]).toEqual([200, { first: false, second: true }]);
    expect(await alive(site, { key: third.key as string })).toBe(true);
    expect(limitEvents(site)).toEqual([
      { type: 'limit', userId: 'ann' },
      { type: 'ended', reason: 'limit', sessionId: first.id, userId: 'ann' },
      { type: 'ended', reason: 'login', sessionId: visitor.key?.slice(0, 22), userId: null },
    ]);
  });

  it('S89: ends the one that was not used for the longest time', async () => {
    const { site, third, left } = await logInThrice('evict-idle');
    expect([third.status, left]).toEqual([200, { first: true, second: false }]);
    expect(await alive(site, { key: third.key as string })).toBe(true);
  });

  it('S89: refuses the login, and leaves the cookie alone', async () => {
    const { site, third, visitor, left } = await logInThrice('reject');
    expect(left).toEqual({ first: true, second: true });
    expect([third.status, third.body, third.key]).toEqual([
      409,
      { statusCode: 409, message: 'Conflict' },
      undefined,
    ]);
    expect(third.headers['cache-control']).toBe('no-store');
    expect(limitEvents(site).map((event) => (event.type === 'ended' ? event.reason : event.type))).toEqual([
      'limit',
      'limit',
    ]);
    expect(await site.sessions.listByUser('ann')).toHaveLength(2);
    // The visitor's own session goes on.
    expect((await site.store.load(visitor.key?.slice(0, 22) ?? ''))?.data).toEqual({ cart: 'tea' });
  });

  it('S89: refuses a login that the handler saves itself', async () => {
    const { site } = await logInThrice('reject');
    const refused = await site.send('post', '/login-and-save', undefined, { user: 'ann' });
    expect([refused.status, refused.body, refused.key]).toEqual([
      409,
      { statusCode: 409, message: 'Conflict' },
      undefined,
    ]);
    expect(await site.sessions.listByUser('ann')).toHaveLength(2);
  });

  it('S89: does not count a login again, nor other users', async () => {
    const { site, first } = await logInThrice('reject');
    expect((await site.send('post', '/login', first.key, { user: 'ann' })).status).toBe(200);
    expect((await site.send('post', '/login', undefined, { user: 'bob' })).status).toBe(200);
    expect(await site.sessions.listByUser('ann')).toHaveLength(2);
  });
});

/** As a store of an application that says nothing about users. */
class FourMethodStore extends SessionStore {
  private readonly kept = new MemoryStore();

  load(key: string): Promise<SessionRecord | null> {
    return this.kept.load(key);
  }

  create(key: string, record: SessionRecord): Promise<boolean> {
    return this.kept.create(key, record);
  }

  save(...saved: Parameters<SessionStore['save']>): Promise<boolean> {
    return this.kept.save(...saved);
  }

  delete(key: string): Promise<boolean> {
    return this.kept.delete(key);
  }
}

const ofFourMethods = () => ({ useFactory: () => new FourMethodStore() });

it('S89: an engine that cannot list stops the start', async () => {
  const starting = start('express', { engine: ofFourMethods(), options: limitedTo(3, 'reject') });
  await expect(starting).rejects.toThrow(/"sessionsPerUser" needs an engine that lists a user's sessions/);
});

describe('ids from a client', () => {
  afterEach(closeAll);

  it.each<[what: string, ask: (sessions: Sessions, id: never) => Promise<unknown>, answer: unknown]>([
    ['revoke', (sessions, id) => sessions.revoke(id), false],
    ['revoke of a user', (sessions, id) => sessions.revoke('x'.repeat(22), { userId: id }), false],
    ['listByUser', (sessions, id) => sessions.listByUser(id), []],
    ['revokeAll', (sessions, id) => sessions.revokeAll(id), 0],
    ['open', (sessions, id) => sessions.open(id), null],
  ])('reach no store by %s, whatever they are', async (_what, ask, answer) => {
    const store = new MemoryStore();
    const asked: string[] = [];
    const observed = new Proxy(store, {
      get(target, name): unknown {
        const value: unknown = Reflect.get(target, name, target);
        if (typeof value !== 'function') return value;
        return (...given: unknown[]) => {
          if (!['now', 'close'].includes(String(name))) asked.push(String(name));
          return (value as (...given: unknown[]) => unknown).apply(target, given);
        };
      },
    });
    const { sessions } = await start('express', { engine: { useFactory: () => observed } });
    for (const id of [
      ...impossible,
      null,
      undefined,
      {},
      { id: 'ann' },
      ['ann'],
      true,
      Number.NaN,
      () => 'ann',
    ]) {
      expect(await ask(sessions, id as never)).toEqual(answer);
    }
    expect(asked).toEqual([]);
  });

  it('spare no session as exceptions, unless they are ids of sessions', async () => {
    const site = await start('express');
    const [one, other] = [await site.logIn('ann'), await site.logIn('ann')];
    const except = [one.id, 'a\0b', '', `${other.id}x`, {} as never];
    const spared: unknown[] = [];
    const deleteByUser = site.store.deleteByUser.bind(site.store);
    site.store.deleteByUser = (userId, exceptIds) => {
      spared.push(exceptIds);
      return deleteByUser(userId, exceptIds);
    };
    expect(await site.sessions.revokeAll('ann', { except })).toBe(1);
    expect(spared).toEqual([[one.id]]);
    expect([await alive(site, one), await alive(site, other)]).toEqual([true, false]);
  });
});

describe('an engine that cannot list', () => {
  afterEach(closeAll);

  it('S41: still ends a session by its id, of the right user only', async () => {
    const site = await start('express', { engine: ofFourMethods() });
    const session = await site.logIn('ann');
    expect(await site.sessions.revoke(session.id, { userId: 'bob' })).toBe(false);
    expect(await alive(site, session)).toBe(true);
    expect(await site.sessions.revoke(session.id, { userId: 'ann' })).toBe(true);
    expect(await alive(site, session)).toBe(false);
  });

  it('says so when it is asked', async () => {
    const { sessions } = await start('express', { engine: ofFourMethods() });
    const unsupported = expect.objectContaining({ code: 'SESSION_UNSUPPORTED' });
    await expect(sessions.listByUser('ann')).rejects.toEqual(unsupported);
    await expect(sessions.revokeAll('ann')).rejects.toEqual(unsupported);
  });
});

it.each(['listByUser', 'delete', 'deleteByUser'] as const)(
  'waits for a store that hangs in %s no longer than the option says',
  async (operation) => {
    const store = new MemoryStore();
    const { sessions } = await start('express', {
      engine: { useFactory: () => store },
      options: { storeTimeout: '20ms' },
    });
    store[operation] = () => new Promise<never>(() => {});
    const calls = {
      listByUser: () => sessions.listByUser('ann'),
      delete: () => sessions.revoke('x'.repeat(22)),
      deleteByUser: () => sessions.revokeAll('ann'),
    };
    await expect(calls[operation]()).rejects.toMatchObject({ code: 'SESSION_STORE_UNAVAILABLE', operation });
    await closeAll();
  },
);

describe.each(platforms)('at logout on %s', (platform) => {
  afterEach(closeAll);

  it.each<[LogoutOptions, string | undefined]>([
    [{}, undefined],
    [{ clearSiteData: true }, '"*"'],
    [{ clearSiteData: ['cache', 'storage'] }, '"cache", "storage"'],
  ])('S43: %j asks the browser to forget %s', async (options, header) => {
    const site = await start(platform);
    const { key } = await site.logIn('ann');
    const response = await site.send('post', '/logout', key, options);
    expect([response.status, response.key]).toEqual([200, '']);
    expect(response.headers['clear-site-data']).toBe(header);
  });
});

describe.each(platforms)('what is kept of where a user logged in from, on %s', (platform) => {
  afterEach(closeAll);

  const userAgent = `Browser/1.0 ${'x'.repeat(300)}`;
  async function deviceOf(options: SessionOptions, trusting = false): Promise<unknown> {
    const site = await start(platform, {
      options,
      ...(trusting && platform === 'fastify' && { adapter: new FastifyAdapter({ trustProxy: true }) }),
      ...(trusting &&
        platform === 'express' && {
          prepare: (app) => void (app as NestExpressApplication).set('trust proxy', true),
        }),
    });
    const headers = { 'User-Agent': userAgent, 'X-Forwarded-For': '2001:db8:1:2:3:4:5:6' };
    const { id } = await site.logIn('ann', {}, headers);
    const [session] = await site.sessions.listByUser('ann');
    expect(session?.id).toBe(id);
    return session?.device;
  }

  it('S97: is nothing, unless the application asks for it', async () => {
    expect(await deviceOf({})).toBeUndefined();
  });

  it('S97: is cut to the network and to 256 characters', async () => {
    expect(await deviceOf({ device: true })).toEqual({ ip: '127.0.0.0', userAgent: userAgent.slice(0, 256) });
  });

  it('S97: is only the part that was asked for', async () => {
    expect(await deviceOf({ device: { ip: true } })).toEqual({ ip: '127.0.0.0' });
    await closeAll();
    expect(await deviceOf({ device: { userAgent: true } })).toEqual({ userAgent: userAgent.slice(0, 256) });
  });

  it('S97: believes the proxies that the platform trusts', async () => {
    expect(await deviceOf({ device: { ip: true } }, true)).toEqual({ ip: '2001:db8:1::' });
  });
});
