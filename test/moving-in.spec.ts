import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo } from 'node:net';
import fastifyCookie from '@fastify/cookie';
import fastifySession, { type FastifySessionOptions } from '@fastify/session';
import { Controller, Get, Post, Query, Req, UseGuards } from '@nestjs/common';
import { TypeOrmModule, type TypeOrmModuleOptions } from '@nestjs/typeorm';
import createPostgresStore from 'connect-pg-simple';
import { RedisStore } from 'connect-redis';
import express from 'express';
import expressSession from 'express-session';
import createFastify from 'fastify';
import {
  type AcceptedSessions,
  RequireSession,
  Session,
  SessionGuard,
  type SessionLimit,
  type SessionOptions,
  Sessions,
} from 'nest-sessions';
import { cookieEngine } from 'nest-sessions/cookie';
import { databaseEngine } from 'nest-sessions/database';
import { acceptExpressSession, acceptFastifySession, type CallbackStore } from 'nest-sessions/express-store';
import { redisEngine } from 'nest-sessions/redis';
import { testingEngine } from 'nest-sessions/testing';
import { Pool } from 'pg';
import { createClient } from 'redis';
import { type AppSetup, platforms, type RunningApp, silent, startApp } from './support/app.js';
import { testDatabase } from './support/data-source.js';
import { HeldStore } from './support/held-store.js';
import { type Barrier, barrier } from './support/recording-store.js';
import { testRedis } from './support/redis-store-bench.js';
import { describeWithService, type ServiceName } from './support/services.js';
import { testsAll } from './support/test-all.js';
import { Checkpoint, Checkpoints } from './suites/checkpoint.js';

/**
 * Users who are logged in with another library come to an application of ours, which has `accept`: nobody is logged out,
 * nothing is lost, and of the old session nothing is left.
 */

const SECRET = 'keyboard cat, and thirty-two characters';
const HOUR = 3_600_000;

type OldData = { passport?: { user: string } | undefined; stamp?: string };
const userId = ({ passport }: OldData): string | undefined => passport?.user;

/** What an old application has put into the session of a user. */
function dataOf(user: string) {
  return {
    passport: { user },
    cart: [{ id: 7, name: `Schrödinger's 📦 of ${user}` }],
    visits: 3,
    none: null,
  };
}

const checkpoints = new Checkpoints();

@Controller()
class SiteController {
  @Get('look')
  async look(@Session() session: Session, @Query('at') at?: string) {
    await checkpoints.get(at ?? '')?.wait();
    return { userId: session.userId, data: { ...session } };
  }

  @Post('count')
  async count(@Session() session: Session, @Query('key') key: string, @Query('at') at?: string) {
    await checkpoints.get(at ?? '')?.wait();
    (session as Session<Record<string, number>>).increment(key);
    return { userId: session.userId };
  }

  @Post('login')
  login(@Session() session: Session, @Query('user') user: string) {
    session.login(user);
  }

  @Post('logout')
  logout(@Session() session: Session) {
    session.logout();
  }

  @Post('again')
  async again(@Session() session: Session) {
    await session.regenerate();
  }

  @Post('destroy')
  async destroy(@Session() session: Session) {
    await session.destroy();
  }

  @Get('fresh')
  @UseGuards(SessionGuard)
  @RequireSession({ authenticatedWithin: '1h' })
  fresh() {
    return 'fresh';
  }

  /** Asks again after a failure. */
  @Get('stubborn')
  async stubborn(@Req() request: { raw?: { session: Session }; session: Session }) {
    const { session } = request.raw ?? request;
    await session.load().catch(() => checkpoints.get('failed')?.wait());
    await session.load();
    return { userId: session.userId };
  }

  @Get('untouched')
  untouched() {
    return 'untouched';
  }
}

interface Answer {
  status: number;
  body: unknown;
  /** The cookies that it sets; an empty text removes one. */
  cookies: Map<string, string>;
  cacheControl: string | null;
}

async function ask(url: string, cookies: Map<string, string>, target: string): Promise<Answer> {
  const [method = '', path = ''] = target.split(' ');
  const Cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ');
  const answer = await fetch(`${url}${path}`, { method, headers: Cookie === '' ? {} : { Cookie } });
  const text = await answer.text();
  const given = answer.headers.getSetCookie().map((line): [string, string] => {
    const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? [];
    return [name, value];
  });
  return {
    status: answer.status,
    body: text.startsWith('{') ? (JSON.parse(text) as unknown) : text,
    cookies: new Map(given),
    cacheControl: answer.headers.get('cache-control'),
  };
}

/** A browser: keeps what the answers set. */
class Browser {
  readonly cookies = new Map<string, string>();

  take({ cookies }: Answer): void {
    for (const [name, value] of cookies) {
      if (value === '') this.cookies.delete(name);
      else this.cookies.set(name, value);
    }
  }

  async send(url: string, target: string): Promise<Answer> {
    const answer = await ask(url, this.cookies, target);
    this.take(answer);
    return answer;
  }
}

// --- Live users, on real packages ---

interface OldStore {
  store: CallbackStore;
  /** How many sessions it has. */
  count(): Promise<number>;
  dispose(): Promise<void>;
}

/** An application of the other library, where `POST /login?user=` logs in. */
interface OldApplication {
  url: string;
  close(): Promise<void>;
}

async function openRedis(): Promise<OldStore & { engine: () => AppSetup['engine'] }> {
  const { url, prefix } = testRedis();
  const client = createClient({ url });
  await client.connect();
  const store = new RedisStore({ client, prefix: `${prefix}old:` });
  return {
    store,
    count: async () => (await client.keys(`${prefix}old:*`)).length,
    engine: () => redisEngine({ url, prefix: `${prefix}new:` }),
    dispose: async () => client.destroy(),
  };
}

async function openPostgres(): Promise<
  OldStore & Pick<AppSetup, 'imports'> & { engine: () => AppSetup['engine'] }
> {
  const { options, dispose } = await testDatabase('postgres');
  const { url, extra } = options as { url: string; extra?: object };
  const pool = new Pool({ connectionString: url, ...extra });
  const Store = createPostgresStore(expressSession);
  const store = new Store({ pool, createTableIfMissing: true, pruneSessionInterval: false });
  const database = { ...options, autoLoadEntities: true, synchronize: true } as TypeOrmModuleOptions;
  return {
    store,
    count: async () => {
      const { rows } = await pool.query<{ count: string }>('SELECT count(*) FROM session');
      return Number(rows[0]?.count);
    },
    engine: () => databaseEngine(),
    imports: [TypeOrmModule.forRoot(database)],
    dispose: async () => {
      await pool.end();
      await dispose();
    },
  };
}

async function startExpress(store: CallbackStore): Promise<OldApplication> {
  const app = express();
  app.use(
    expressSession({
      secret: [SECRET, 'an older secret'],
      store: store as expressSession.Store,
      resave: false,
      saveUninitialized: false,
      cookie: { maxAge: HOUR },
    }),
  );
  app.post('/login', (request, response) => {
    Object.assign(request.session, dataOf(request.query['user'] as string));
    response.end();
  });
  const server = createServer(app).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

async function startFastify(store: CallbackStore): Promise<OldApplication> {
  const app = createFastify();
  await app.register(fastifyCookie);
  await app.register(fastifySession, {
    secret: SECRET,
    store,
    saveUninitialized: false,
    cookie: { maxAge: HOUR, secure: false },
  } as FastifySessionOptions);
  app.post('/login', (request, reply) => {
    Object.assign(request.session, dataOf((request.query as { user: string }).user));
    return reply.send('');
  });
  return { url: await app.listen({ port: 0, host: '127.0.0.1' }), close: () => app.close() };
}

interface Move {
  service: ServiceName;
  open: () => Promise<OldStore & Pick<AppSetup, 'imports'> & { engine: () => AppSetup['engine'] }>;
  start: (store: CallbackStore) => Promise<OldApplication>;
  accept: (store: CallbackStore) => AcceptedSessions;
}

const moves: Record<string, Move> = {
  'express-session with connect-redis': {
    service: 'redis',
    open: openRedis,
    start: startExpress,
    accept: (store) => acceptExpressSession({ secret: SECRET, store, userId }),
  },
  'express-session with connect-pg-simple': {
    service: 'postgres',
    open: openPostgres,
    start: startExpress,
    accept: (store) => acceptExpressSession({ secret: ['a newer secret', SECRET], store, userId }),
  },
  '@fastify/session with connect-redis': {
    service: 'redis',
    open: openRedis,
    start: startFastify,
    accept: (store) => acceptFastifySession({ secret: SECRET, store, userId }),
  },
};

const USERS = testsAll ? 1000 : 50;
/** So many come at once, each with several requests. */
const AT_ONCE = 25;

for (const [name, { service, open, start, accept }] of Object.entries(moves)) {
  describeWithService(service, `${name}: ${USERS} live users`, () => {
    it.each(platforms)('move to two processes of ours on %s, and nobody is logged out', async (platform) => {
      const old = await open();
      const users = Array.from({ length: USERS }, (_, index) => ({
        id: `user ${index}`,
        browser: new Browser(),
      }));
      const inBatches = async (work: (user: (typeof users)[number]) => Promise<void>): Promise<void> => {
        for (let first = 0; first < users.length; first += AT_ONCE)
          await Promise.all(users.slice(first, first + AT_ONCE).map(work));
      };
      const oldApplication = await start(old.store);
      try {
        await inBatches(async ({ id, browser }) => {
          await browser.send(oldApplication.url, `POST /login?user=${encodeURIComponent(id)}`);
          expect(browser.cookies.size).toBe(1);
        });
        expect(await old.count()).toBe(USERS);
      } finally {
        await oldApplication.close();
      }

      const processes: RunningApp[] = [];
      try {
        for (let process = 0; process < 2; process += 1) {
          processes.push(
            await startApp(platform, {
              engine: old.engine(),
              ...(old.imports && { imports: old.imports }),
              controllers: [SiteController],
              options: { accept: accept(old.store) },
            }),
          );
        }
        const [one, other] = processes.map(({ url }) => url) as [string, string];
        await inBatches(async ({ id, browser }) => {
          // All of them are sent before an answer arrives.
          const answers = await Promise.all([
            browser.send(one, 'GET /look'),
            browser.send(other, 'POST /count?key=a'),
            browser.send(one, 'POST /count?key=b'),
            browser.send(other, 'POST /count?key=visits'),
          ]);
          for (const { status, body } of answers) {
            expect(status).toBeLessThan(300);
            expect(body).toMatchObject({ userId: id });
          }
          expect([...browser.cookies.keys()]).toEqual(['sessionid']);
          expect((await browser.send(one, 'GET /look')).body).toEqual({
            userId: id,
            data: { ...dataOf(id), visits: 4, a: 1, b: 1 },
          });
        });
        expect(await old.count()).toBe(0);
        const sessions = processes[0]?.app.get(Sessions) as Sessions;
        for (const { id } of users) expect(await sessions.listByUser(id)).toHaveLength(1);
      } finally {
        await Promise.all(processes.map((process) => process.close()));
        await old.dispose();
      }
    });
  });
}

// --- Races and edges, step by step ---

type Callback = (error?: unknown, session?: unknown) => void;

/** A store for express-session in memory that can be held back, and made to fail. */
class HeldOldStore implements CallbackStore {
  readonly kept = new Map<string, string>();
  calls: string[] = [];
  failing: string | undefined;
  readonly #held = new Map<string, { reached: Barrier; released: Barrier; skip: number }>();

  /** Holds back a call of this operation, after so many that pass. */
  hold(operation: 'get' | 'destroy', skip = 0): { reached: Promise<void>; release: () => void } {
    const held = { reached: barrier(), released: barrier(), skip };
    this.#held.set(operation, held);
    return { reached: held.reached.passed, release: held.released.open };
  }

  get(sid: string, callback: Callback): void {
    void this.#carryOut('get', callback, () => {
      let session: unknown;
      try {
        session = JSON.parse(this.kept.get(sid) ?? 'null');
      } catch (error) {
        return callback(error);
      }
      callback(null, session);
    });
  }

  set(sid: string, session: unknown, callback: Callback): void {
    this.kept.set(sid, JSON.stringify(session));
    callback();
  }

  destroy(sid: string, callback: Callback): void {
    void this.#carryOut('destroy', callback, () => {
      this.kept.delete(sid);
      callback();
    });
  }

  async #carryOut(operation: string, callback: Callback, work: () => void): Promise<void> {
    this.calls.push(operation);
    const held = this.#held.get(operation);
    if (held && held.skip-- === 0) {
      this.#held.delete(operation);
      held.reached.open();
      await held.released.passed;
    }
    if (this.failing === operation) callback(new Error('the old store is away'));
    else work();
  }
}

const SID = 'Vd3mZrY0mHbCqGZ8zq8f5xkzT3aE0o1D';

function signed(sid = SID, secret = SECRET): string {
  const signature = createHmac('sha256', secret).update(sid).digest('base64').replace(/=+$/, '');
  return encodeURIComponent(`s:${sid}.${signature}`);
}

function oldSession(
  data: object = dataOf('ann'),
  expires: Date | null = new Date(Date.now() + HOUR),
): string {
  return JSON.stringify({ ...data, cookie: { originalMaxAge: HOUR, expires, httpOnly: true, path: '/' } });
}

describe.each(platforms)('an old session on %s', (platform) => {
  let running: RunningApp | undefined;
  let old: HeldOldStore;
  let engine: ReturnType<typeof testingEngine>;
  let held: HeldStore;

  beforeEach(() => {
    old = new HeldOldStore();
    old.kept.set(SID, oldSession());
    engine = testingEngine();
    held = new HeldStore(engine.store);
  });
  afterEach(async () => {
    checkpoints.clear();
    await running?.close();
    running = undefined;
  });

  async function start(options: SessionOptions = {}, setup: Partial<AppSetup> = {}): Promise<string> {
    running = await startApp(platform, {
      engine,
      controllers: [SiteController],
      ...setup,
      options: { accept: acceptExpressSession({ secret: SECRET, store: old, userId }), ...options },
    });
    return running.url;
  }

  const oldCookie = (value = signed()): Map<string, string> => new Map([['connect.sid', value]]);
  const sessionsOfAnn = async () => (running as RunningApp).app.get(Sessions).listByUser('ann');
  const nobody = { userId: null, data: {} };

  describe('in a race', () => {
    it('makes one session of two requests that have both read it, and keeps what both write', async () => {
      const url = await start();
      const create = held.hold('create');
      const first = ask(url, oldCookie(), 'POST /count?key=first');
      await create.reached;
      const second = await ask(url, oldCookie(), 'POST /count?key=second');
      create.release();
      const answers = [await first, second];
      for (const { body } of answers) expect(body).toEqual({ userId: 'ann' });
      const [one, other] = answers.map(({ cookies }) => cookies.get('sessionid'));
      expect(one).toBe(other);
      const browser = new Browser();
      for (const answer of answers) browser.take(answer);
      expect((await browser.send(url, 'GET /look')).body).toMatchObject({ data: { first: 1, second: 1 } });
      expect(await sessionsOfAnn()).toHaveLength(1);
      expect(old.kept.size).toBe(0);
    });

    it('is found by a request that looked here before it was moved, and there afterwards', async () => {
      const url = await start();
      const get = old.hold('get');
      const late = ask(url, oldCookie(), 'POST /count?key=late');
      await get.reached;
      expect((await ask(url, oldCookie(), 'POST /count?key=early')).body).toEqual({ userId: 'ann' });
      expect(old.kept.size).toBe(0);
      get.release();
      expect((await late).body).toEqual({ userId: 'ann' });
      const browser = new Browser();
      browser.take(await late);
      expect((await browser.send(url, 'GET /look')).body).toMatchObject({ data: { late: 1, early: 1 } });
    });

    it('is not revived by a request that has read it before its user logged out', async () => {
      const url = await start();
      const create = held.hold('create');
      const late = ask(url, oldCookie(), 'POST /count?key=late');
      await create.reached;
      const browser = new Browser();
      browser.cookies.set('connect.sid', signed());
      await browser.send(url, 'GET /look');
      await browser.send(url, 'POST /logout');
      expect(await sessionsOfAnn()).toEqual([]);
      create.release();
      expect((await late).body).toEqual({ userId: null });
      expect(await sessionsOfAnn()).toEqual([]);
      expect((await ask(url, oldCookie(), 'GET /look')).body).toEqual(nobody);
    });

    it.each([
      ['looks whether it is still there', 'get', 1],
      ['ends it', 'destroy', 0],
    ] as const)('serves others while the request that moves it %s', async (_what, operation, skip) => {
      const url = await start();
      const moving = old.hold(operation, skip);
      const mover = ask(url, oldCookie(), 'POST /count?key=mover');
      await moving.reached;
      const browser = new Browser();
      browser.cookies.set('connect.sid', signed());
      expect((await browser.send(url, 'POST /count?key=other')).body).toEqual({ userId: 'ann' });
      // It has both cookies now, and the old session is not taken away from under the mover.
      expect((await browser.send(url, 'POST /count?key=both')).body).toEqual({ userId: 'ann' });
      moving.release();
      expect((await mover).body).toEqual({ userId: 'ann' });
      browser.take(await mover);
      expect([...browser.cookies.keys()]).toEqual(['sessionid']);
      expect((await browser.send(url, 'GET /look')).body).toMatchObject({
        data: { mover: 1, other: 1, both: 1 },
      });
      expect(old.kept.size).toBe(0);
    });

    it('takes along what the old application has written to it in the meantime', async () => {
      const url = await start();
      const create = held.hold('create');
      const late = ask(url, oldCookie(), 'GET /look');
      await create.reached;
      const { none: _, ...data } = dataOf('ann');
      old.kept.set(SID, oldSession({ ...data, cart: [], visits: 4 }));
      create.release();
      expect((await late).body).toEqual({ userId: 'ann', data: { ...data, cart: [], visits: 4 } });
      expect((await ask(url, (await late).cookies, 'GET /look')).body).toEqual((await late).body);
    });

    it('takes that along beside what others have written to the new session by then', async () => {
      const url = await start();
      const get = old.hold('get', 1);
      const mover = ask(url, oldCookie(), 'GET /look');
      await get.reached;
      await ask(url, oldCookie(), 'POST /count?key=here');
      const { none: _, ...data } = dataOf('ann');
      old.kept.set(SID, oldSession({ ...data, visits: 4 }));
      get.release();
      const { cookies } = await mover;
      expect((await ask(url, cookies, 'GET /look')).body).toMatchObject({
        data: { ...data, visits: 4, here: 1 },
      });
      expect((await ask(url, cookies, 'GET /look')).body).not.toHaveProperty('data.none');
    });

    it('becomes that of another user whom the old application has logged in in the meantime', async () => {
      const url = await start();
      const create = held.hold('create');
      const late = ask(url, oldCookie(), 'GET /look');
      await create.reached;
      old.kept.set(SID, oldSession(dataOf('bob')));
      create.release();
      expect((await late).body).toEqual({ userId: 'bob', data: dataOf('bob') });
      expect(await sessionsOfAnn()).toEqual([]);
    });

    it('takes no login away: a request with the old cookie that comes too late starts nothing', async () => {
      const url = await start();
      const checkpoint = new Checkpoint();
      checkpoints.set('late', checkpoint);
      const late = ask(url, oldCookie(), 'POST /count?key=late&at=late');
      await checkpoint.reached;
      const login = await ask(url, oldCookie(), 'POST /login?user=bob');
      checkpoint.open();
      const later = await ask(url, oldCookie(), 'POST /count?key=later');
      for (const { cookies } of [await late, later]) expect(cookies.has('sessionid')).toBe(false);
      expect((await ask(url, login.cookies, 'GET /look')).body).toMatchObject({ userId: 'bob' });
    });
  });

  it('is moved only when the session is used, and then at once', async () => {
    const url = await start();
    expect((await ask(url, oldCookie(), 'GET /untouched')).cookies.size).toBe(0);
    expect([old.calls, held.calls]).toEqual([[], []]);
    const answer = await ask(url, oldCookie(), 'GET /look');
    expect(answer.body).toEqual({ userId: 'ann', data: dataOf('ann') });
    expect([...answer.cookies.keys()].toSorted()).toEqual(['connect.sid', 'sessionid']);
    expect(answer.cookies.get('connect.sid')).toBe('');
    expect(old.kept.size).toBe(0);
  });

  it('is found again when the answer with the new cookie was lost', async () => {
    const url = await start();
    await ask(url, oldCookie(), 'POST /count?key=a');
    const again = await ask(url, oldCookie(), 'POST /count?key=a');
    expect(again.body).toEqual({ userId: 'ann' });
    expect((await ask(url, again.cookies, 'GET /look')).body).toMatchObject({ data: { a: 2 } });
    expect(await sessionsOfAnn()).toHaveLength(1);
  });

  it('opens nothing any more after a logout', async () => {
    const url = await start();
    await ask(url, oldCookie(), 'POST /logout');
    expect((await ask(url, oldCookie(), 'GET /look')).body).toEqual(nobody);
    expect(await sessionsOfAnn()).toEqual([]);
  });

  it('is left behind by a visitor who has a session of ours: ended, and its cookie removed', async () => {
    const url = await start();
    const { cookies } = await ask(url, new Map(), 'POST /login?user=bob');
    const answer = await ask(url, new Map([...cookies, ...oldCookie()]), 'GET /look');
    expect(answer.body).toEqual({ userId: 'bob', data: {} });
    expect([...answer.cookies]).toEqual([['connect.sid', '']]);
    expect(answer.cacheControl).toBe('no-store');
    expect(old.kept.size).toBe(0);
  });

  it('costs a visitor with a session of ours nothing when its store is away', async () => {
    const url = await start({}, { logger: silent });
    const { cookies } = await ask(url, new Map(), 'POST /login?user=bob');
    old.failing = 'destroy';
    const answer = await ask(url, new Map([...cookies, ...oldCookie()]), 'GET /look');
    expect([answer.body, answer.cookies.size]).toEqual([{ userId: 'bob', data: {} }, 0]);
  });

  it('without an owner becomes a session without a user, and an empty one becomes none', async () => {
    const url = await start();
    old.kept.set(SID, oldSession({ cart: [1] }));
    expect((await ask(url, oldCookie(), 'GET /look')).body).toEqual({ userId: null, data: { cart: [1] } });
    old.kept.set('empty', oldSession({}));
    const answer = await ask(url, oldCookie(signed('empty')), 'GET /look');
    expect([answer.body, [...answer.cookies]]).toEqual([nobody, [['connect.sid', '']]]);
    expect(old.kept.size).toBe(0);
  });

  it.each([
    ['has expired', () => oldSession(dataOf('ann'), new Date(Date.now() - 1))],
    ['has a deadline that is none', () => oldSession().replace(/"expires":"[^"]*"/, '"expires":"soon"')],
    ['has no cookie in it', () => JSON.stringify(dataOf('ann'))],
    ['is no object', () => '"ann"'],
  ])('that %s is not moved', async (_what, text) => {
    const url = await start();
    old.kept.set(SID, text());
    const answer = await ask(url, oldCookie(), 'GET /look');
    expect([answer.body, answer.cookies.size]).toEqual([nobody, 0]);
  });

  it('that cannot be read is absent for its visitor, and is told of', async () => {
    const errors: unknown[] = [];
    const url = await start({}, { logger: { ...silent, error: (line: unknown) => errors.push(line) } });
    old.kept.set(SID, '{"passport":');
    const answer = await ask(url, oldCookie(), 'GET /look');
    expect([answer.body, answer.cookies.size, old.kept.size]).toEqual([nobody, 0, 1]);
    expect(errors).toEqual([expect.stringContaining('could not be decoded')]);
  });

  it('that ends with the browser is moved', async () => {
    const url = await start();
    old.kept.set(SID, oldSession(dataOf('ann'), null));
    expect((await ask(url, oldCookie(), 'GET /look')).body).toMatchObject({ userId: 'ann' });
  });

  it.each([
    ['is not signed', encodeURIComponent(`s:${SID}`)],
    ['has no mark of a signature', encodeURIComponent(decodeURIComponent(signed()).slice(2))],
    ['is signed with another secret', signed(SID, 'another secret')],
    ['has the signature of another session', signed('another').replace('another', SID)],
    ['has an empty signature', encodeURIComponent(`s:${SID}.`)],
    ['cannot be decoded', `${signed()}%`],
  ])('is not even looked for when its cookie %s', async (_what, cookie) => {
    const url = await start();
    const answer = await ask(url, oldCookie(cookie), 'GET /look');
    expect([answer.body, answer.cookies.size]).toEqual([nobody, 0]);
    expect([old.calls, held.calls]).toEqual([[], []]);
  });

  it.each(['get', 'destroy'])('is still there after a failure to %s it', async (operation) => {
    const url = await start({}, { logger: silent });
    old.failing = operation;
    expect((await ask(url, oldCookie(), 'GET /look')).status).toBe(503);
    old.failing = undefined;
    expect((await ask(url, oldCookie(), 'GET /look')).body).toEqual({ userId: 'ann', data: dataOf('ann') });
    expect(await sessionsOfAnn()).toHaveLength(1);
  });

  it.each(['get', 'destroy'])(
    'is found by a request that asks again after a failure to %s it',
    async (operation) => {
      const url = await start({}, { logger: silent });
      const checkpoint = new Checkpoint();
      checkpoints.set('failed', checkpoint);
      old.failing = operation;
      const stubborn = ask(url, oldCookie(), 'GET /stubborn');
      await checkpoint.reached;
      old.failing = undefined;
      checkpoint.open();
      expect((await stubborn).body).toEqual({ userId: 'ann' });
    },
  );

  it('that could not be ended is ended later, when nobody can still be moving it', async () => {
    const url = await start({}, { logger: silent });
    old.failing = 'destroy';
    await ask(url, oldCookie(), 'GET /look');
    old.failing = undefined;
    const browser = new Browser();
    browser.cookies.set('connect.sid', signed());
    await browser.send(url, 'GET /look');
    expect([[...browser.cookies.keys()].toSorted(), old.kept.size]).toEqual([
      ['connect.sid', 'sessionid'],
      1,
    ]);
    engine.clock.advance('61s');
    expect((await browser.send(url, 'GET /look')).body).toMatchObject({ userId: 'ann' });
    expect([[...browser.cookies.keys()], old.kept.size]).toEqual([['sessionid'], 0]);
  });

  describe('of a user with a limit of sessions', () => {
    const sids = ['a', 'b', 'c'].map((letter) => letter.repeat(32));

    /** Who is still logged in of three browsers that come one after the other, and of one that logs in with us. */
    async function comeOneByOne(policy: SessionLimit['policy']): Promise<unknown> {
      for (const sid of sids) old.kept.set(sid, oldSession());
      const url = await start({ sessionsPerUser: { max: 2, policy } });
      const login = await ask(url, new Map(), 'POST /login?user=ann');
      const browsers = [new Browser(), ...sids.map(() => new Browser())];
      browsers[0]?.take(login);
      for (const [index, sid] of sids.entries()) {
        const browser = browsers[index + 1] as Browser;
        browser.cookies.set('connect.sid', signed(sid));
        expect((await browser.send(url, 'GET /look')).body).toMatchObject({ userId: 'ann' });
      }
      const answers = await Promise.all(browsers.map((browser) => browser.send(url, 'GET /look')));
      const next = await ask(url, new Map(), 'POST /login?user=ann');
      return { are: answers.map(({ body }) => (body as { userId: unknown }).userId), next: next.status };
    }

    it.each(['evict-oldest', 'evict-idle'] as const)('ends another, as a login does: %s', async (policy) => {
      expect(await comeOneByOne(policy)).toEqual({ are: [null, null, 'ann', 'ann'], next: 201 });
      expect(await sessionsOfAnn()).toHaveLength(2);
    });

    it('is not refused as a login is, and ends no other', async () => {
      expect(await comeOneByOne('reject')).toEqual({ are: ['ann', 'ann', 'ann', 'ann'], next: 409 });
      expect(await sessionsOfAnn()).toHaveLength(4);
    });
  });

  it('is no fresh login, because nobody knows how old it is', async () => {
    const url = await start();
    const { cookies } = await ask(url, oldCookie(), 'GET /look');
    expect((await ask(url, cookies, 'GET /fresh')).status).toBe(401);
    const login = await ask(url, cookies, 'POST /login?user=ann');
    expect((await ask(url, login.cookies, 'GET /fresh')).status).toBe(200);
  });

  it('is bound to the credential that its user has now', async () => {
    const stamps = new Map([['ann', 'old password']]);
    const url = await start({ currentStamp: (user) => stamps.get(user) ?? null });
    const { cookies } = await ask(url, oldCookie(), 'GET /look');
    expect((await ask(url, cookies, 'GET /look')).body).toMatchObject({ userId: 'ann' });
    stamps.set('ann', 'new password');
    expect((await ask(url, cookies, 'GET /look')).body).toEqual(nobody);
    old.kept.set('gone', oldSession(dataOf('a user who is gone')));
    expect((await ask(url, oldCookie(signed('gone')), 'GET /look')).body).toEqual(nobody);
    expect(old.kept.size).toBe(0);
  });

  it.each([
    ['whose owner can be no user', { userId: () => '' }, {}, 'accept.userId'],
    ['whose owner is no id', { userId: () => ({}) as string }, {}, 'accept.userId'],
    ['that is larger than ours may be', { userId }, { limits: { size: 50 } }, 'limits.size'],
    ['that has more keys than ours may have', { userId }, { limits: { keys: 2 } }, 'limits.keys'],
  ])('%s is absent for its visitor, told of, and stays', async (_what, functions, options, named) => {
    const errors: unknown[] = [];
    const accept = acceptExpressSession({ secret: SECRET, store: old, ...functions });
    const logger = { ...silent, error: (line: unknown) => errors.push(line) };
    const url = await start({ accept, ...options }, { logger });
    const answer = await ask(url, oldCookie(), 'GET /look');
    expect([answer.status, answer.body, answer.cookies.size, old.kept.size]).toEqual([200, nobody, 0, 1]);
    expect(errors).toEqual([expect.stringContaining(named)]);
    expect(held.calls.filter((call) => call !== 'load')).toEqual([]);
  });

  describe('that its store does not end', () => {
    const endings = ['logout', 'again', 'destroy', 'login?user=bob'];

    it.each(endings)('holds up %s by a visitor who is just moved in', async (ending) => {
      const url = await start({}, { logger: silent });
      const browser = new Browser();
      browser.cookies.set('connect.sid', signed());
      old.failing = 'destroy';
      expect((await browser.send(url, 'GET /look')).status).toBe(503);
      expect((await browser.send(url, `POST /${ending}`)).status).toBe(503);
      expect(await sessionsOfAnn()).toHaveLength(1);
      old.failing = undefined;
      expect((await browser.send(url, `POST /${ending}`)).status).toBe(201);
      expect([old.kept.size, browser.cookies.has('connect.sid')]).toEqual([0, false]);
      expect(await sessionsOfAnn()).toEqual([]);
      expect((await ask(url, oldCookie(), 'GET /look')).body).toEqual(nobody);
    });

    it.each(endings)('holds up %s by a visitor who has a session of ours, too', async (ending) => {
      const url = await start({}, { logger: silent });
      const browser = new Browser();
      await browser.send(url, 'POST /login?user=bob');
      browser.cookies.set('connect.sid', signed());
      old.failing = 'destroy';
      expect((await browser.send(url, `POST /${ending}`)).status).toBe(503);
      expect((await browser.send(url, 'GET /look')).body).toEqual({ userId: 'bob', data: {} });
      old.failing = undefined;
      expect((await browser.send(url, `POST /${ending}`)).status).toBe(201);
      expect([old.kept.size, browser.cookies.has('connect.sid')]).toEqual([0, false]);
    });

    it('is not asked for that by every visitor who could do without', async () => {
      const url = await start({}, { logger: silent });
      const { cookies } = await ask(url, new Map(), 'POST /login?user=bob');
      const both = new Map([...cookies, ...oldCookie()]);
      old.failing = 'destroy';
      for (let request = 0; request < 3; request += 1) await ask(url, both, 'GET /look');
      expect(old.calls).toEqual(['destroy']);
      old.failing = undefined;
      engine.clock.advance('6s');
      expect((await ask(url, both, 'GET /look')).cookies.get('connect.sid')).toBe('');
      expect(old.kept.size).toBe(0);
    });
  });

  it('is moved into a cookie where new keys go into a header, unless the request brings the header', async () => {
    const url = await start({ transport: [{ header: 'authorization' }, 'cookie'] });
    const headers = { Cookie: `connect.sid=${signed()}`, Authorization: 'Bearer' };
    expect(await (await fetch(`${url}/look`, { headers })).json()).toEqual(nobody);
    expect(old.calls).toEqual([]);
    const answer = await ask(url, oldCookie(), 'GET /look');
    expect(answer.body).toMatchObject({ userId: 'ann' });
    expect((await ask(url, answer.cookies, 'GET /look')).body).toMatchObject({ userId: 'ann' });
  });

  it('is ended and not moved when its user has got another credential since it was opened', async () => {
    const accept = acceptExpressSession({
      secret: SECRET,
      store: old,
      userId,
      stamp: (data: OldData) => data.stamp,
    });
    const url = await start({ accept, currentStamp: () => 'new password' });
    const bound = (stamp: object) => oldSession({ ...dataOf('ann'), ...stamp });
    for (const data of [bound({ stamp: 'old password' }), bound({})]) {
      old.kept.set(SID, data);
      const answer = await ask(url, oldCookie(), 'GET /look');
      expect([answer.body, answer.cookies.get('connect.sid'), old.kept.size]).toEqual([nobody, '', 0]);
    }
    old.kept.set(SID, bound({ stamp: 'new password' }));
    expect((await ask(url, oldCookie(), 'GET /look')).body).toMatchObject({ userId: 'ann' });
    old.kept.set('guest', oldSession({ cart: [] }));
    expect((await ask(url, oldCookie(signed('guest')), 'GET /look')).body).toMatchObject({
      data: { cart: [] },
    });
  });

  it('is ended and not moved when the number of its user has been raised', async () => {
    const numbers = new Map([['ann', 0]]);
    const url = await start({
      currentStamp: (user) => String(numbers.get(user)),
      accept: acceptExpressSession({ secret: SECRET, store: old, userId, stamp: () => '0' }),
    });
    const browser = new Browser();
    browser.cookies.set('connect.sid', signed());
    expect((await browser.send(url, 'GET /look')).body).toMatchObject({ userId: 'ann' });
    old.kept.set('another', oldSession());
    numbers.set('ann', 1);
    expect((await browser.send(url, 'GET /look')).body).toEqual(nobody);
    expect((await ask(url, oldCookie(signed('another')), 'GET /look')).body).toEqual(nobody);
    expect(old.kept.size).toBe(0);
  });

  it('is moved by one answer, whose cookies are asked for once', async () => {
    let asked = 0;
    const forRequest = () => {
      asked += 1;
      return {};
    };
    const url = await start({ cookie: { forRequest } });
    const answer = await fetch(`${url}/look`, { headers: { Cookie: `connect.sid=${signed()}` } });
    expect(answer.headers.getSetCookie()).toHaveLength(2);
    expect(asked).toBe(1);
  });

  it('has its cookie removed where it was set', async () => {
    const cookie = { path: '/shop', domain: 'example.com' };
    const accept = acceptExpressSession({ secret: SECRET, store: old, userId, name: 'shop', cookie });
    const url = await start({ accept });
    const answer = await fetch(`${url}/look`, { headers: { Cookie: `shop=${signed()}` } });
    expect(answer.headers.getSetCookie()).toContainEqual(
      expect.stringMatching(/^shop=; Max-Age=0; Domain=example\.com; Path=\/shop; Expires=Thu, 01 Jan 1970/),
    );
  });
});

describe('the option `accept`', () => {
  const store = new HeldOldStore();
  const accept = acceptExpressSession({ secret: SECRET, store });

  it.each<[string, () => unknown, { option: string; message: RegExp }]>([
    [
      'no secret',
      () => acceptExpressSession({ secret: undefined, store }),
      { option: 'accept.secret', message: /missing or empty/ },
    ],
    [
      'an empty one',
      () => acceptFastifySession({ secret: [SECRET, ''], store }),
      { option: 'accept.secret', message: /missing or empty/ },
    ],
    [
      'no store',
      () => acceptExpressSession({ secret: SECRET, store: {} as CallbackStore }),
      { option: 'accept.store', message: /get, set and destroy/ },
    ],
    [
      'an unknown algorithm',
      () => acceptFastifySession({ secret: SECRET, store, algorithm: 'sha-none' }),
      { option: 'accept.algorithm', message: /not a hash/ },
    ],
    [
      'something else',
      () =>
        startApp('express', { engine: testingEngine(), options: { accept: { secret: SECRET } as never } }),
      { option: 'accept', message: /acceptExpressSession\(\)/ },
    ],
    [
      'the cookie engine',
      () =>
        startApp('express', {
          engine: cookieEngine({ secrets: '7f1c0e5b9a3d4826b0c9e2d1f6a84735' }),
          options: { accept },
        }),
      { option: 'accept', message: /on the server/ },
    ],
    [
      'a stamp that nothing is compared with',
      () =>
        startApp('express', {
          engine: testingEngine(),
          options: { accept: acceptExpressSession({ secret: SECRET, store, stamp: () => 'stamp' }) },
        }),
      { option: 'accept.stamp', message: /currentStamp/ },
    ],
    [
      'the name of our cookie',
      () =>
        startApp('express', {
          engine: testingEngine(),
          options: { accept, cookie: { name: 'connect.sid' } },
        }),
      { option: 'cookie.name', message: /the old cookie/ },
    ],
  ])('refuses %s at the start', async (_what, make, { option, message }) => {
    const error: unknown = await (async () => make())().catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'SESSION_CONFIG', option, message: expect.stringMatching(message) });
    expect(String((error as Error).stack)).not.toContain(SECRET);
  });
});
