import { createHash } from 'node:crypto';
import { EventEmitter } from 'node:events';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { inspect } from 'node:util';
import { jest } from '@jest/globals';
import { Controller, Get, Logger, Module, Post } from '@nestjs/common';
import createPostgresStore from 'connect-pg-simple';
import { RedisStore } from 'connect-redis';
import createSequelizeStore from 'connect-session-sequelize';
import createMysqlStore from 'express-mysql-session';
import { MemoryStore } from 'express-session';
import createMemoryStore from 'memorystore';
import { Session, type SessionRecord } from 'nest-sessions';
import {
  type CallbackStore,
  expressSession,
  ExpressStore,
  expressStoreEngine,
} from 'nest-sessions/express-store';
import { describeSessionStore, type StoreUnderTest } from 'nest-sessions/testing';
import { createPool } from 'mysql2/promise';
import { Pool } from 'pg';
import { createClient } from 'redis';
import { Sequelize } from 'sequelize';
import createFileStore from 'session-file-store';
import {
  assertNear,
  HOUR,
  newId,
  newKeyHash,
  newRecord,
  save,
} from '../libs/session/src/testing/store-bench.js';
import { platforms, type RunningApp, silent, startApp } from './support/app.js';
import { testDatabase } from './support/data-source.js';
import { testRedis } from './support/redis-store-bench.js';
import { describeWithService, type ServiceName } from './support/services.js';
import { byThisClock, withoutOtherClocks } from './support/store-kit.js';
import { startTcpProxy } from './support/tcp-proxy.js';
import { rowsOf } from './support/test-all.js';
import { describeEncryption } from './suites/encryption.suite.js';
import { describeUserMarks } from './suites/user-marks.suite.js';

const DAY = 24 * HOUR;

interface OpenStore extends Omit<StoreUnderTest, 'store'> {
  store: CallbackStore;
}

const PostgresStore = createPostgresStore(expressSession);
const FileStore = createFileStore(expressSession);
const ProcessStore = createMemoryStore(expressSession);
const MysqlStore = createMysqlStore(expressSession as never);
const SequelizeStore = createSequelizeStore(expressSession.Store);

async function openMemory(): Promise<OpenStore> {
  const store = new ProcessStore({});
  return {
    store,
    corrupt: async (id) => store.set(id, { cookie: {}, nestSession: { id: 1 } } as never),
    dispose: async () => {},
  };
}

async function openFiles(): Promise<OpenStore> {
  const path = await mkdtemp(join(tmpdir(), 'express-store-'));
  return {
    store: new FileStore({ path, retries: 0, reapInterval: -1, logFn: () => {} }),
    // What is no JSON, this store deletes.
    corrupt: (id) =>
      writeFile(join(path, `${id}.json`), '{"cookie":{"originalMaxAge":3600000},"__lastAccess":9e15}'),
    dispose: () => rm(path, { recursive: true }),
  };
}

/** The server of a test database, behind a wire that can be cut. */
async function openWire(kind: 'postgres' | 'mysql') {
  const { options, dispose } = await testDatabase(kind);
  const { url, extra } = options as { url: string; extra?: { options: string } };
  const target = new URL(url);
  const proxy = await startTcpProxy(target.hostname, Number(target.port || (kind === 'mysql' ? 3306 : 5432)));
  target.hostname = '127.0.0.1';
  target.port = String(proxy.port);
  return {
    url: target,
    extra,
    cut: async () => proxy.cut(),
    mend: async () => proxy.mend(),
    dispose: async () => {
      await proxy.close();
      await dispose();
    },
  };
}

async function openPostgres(): Promise<OpenStore & { pool: Pool }> {
  const { url, extra, dispose, ...wire } = await openWire('postgres');
  const pool = new Pool({ connectionString: url.href, ...extra });
  pool.on('error', () => {});
  const store = new PostgresStore({
    pool,
    tableName: 'visits',
    createTableIfMissing: true,
    pruneSessionInterval: false,
  });
  return {
    store,
    pool,
    corrupt: async (id) => {
      await pool.query(`UPDATE visits SET sess = '{"cookie":{}}' WHERE sid = $1`, [id]);
    },
    ...wire,
    dispose: async () => {
      await pool.end();
      await dispose();
    },
  };
}

async function openRedis(): Promise<OpenStore> {
  const { url, prefix } = testRedis();
  const { hostname, port } = new URL(url);
  const proxy = await startTcpProxy(hostname, Number(port || 6379));
  const client = createClient({
    url: `redis://127.0.0.1:${proxy.port}`,
    disableOfflineQueue: true,
    socket: { reconnectStrategy: 20 },
  });
  client.on('error', () => {});
  await client.connect();
  return {
    store: new RedisStore({ client, prefix }),
    corrupt: async (id) => void (await client.set(prefix + id, 'not ours', { KEEPTTL: true })),
    cut: async () => proxy.cut(),
    mend: async () => {
      proxy.mend();
      while (!client.isReady) await setTimeout(20);
    },
    dispose: async () => {
      client.destroy();
      await proxy.close();
    },
  };
}

async function openMysql(): Promise<OpenStore> {
  const { url, dispose, ...wire } = await openWire('mysql');
  const pool = createPool({ uri: url.href });
  const store = new MysqlStore({ clearExpired: false }, pool as never);
  await store.onReady();
  return {
    store,
    corrupt: async (id) => {
      await pool.query(`UPDATE sessions SET data = '{"cookie":{}}' WHERE session_id = ?`, [id]);
    },
    ...wire,
    dispose: async () => {
      await pool.end();
      await dispose();
    },
  };
}

/** With the model that it has by default, whose sids have 36 characters at most. */
async function openSequelize(): Promise<OpenStore> {
  const { url, extra, cut, mend, dispose } = await openWire('postgres');
  const db = new Sequelize(url.href, { logging: false, dialectOptions: extra ?? {} });
  const store = new SequelizeStore({ db, checkExpirationInterval: -1 });
  await db.sync();
  return {
    store,
    corrupt: async (id) => {
      await db.query(`UPDATE "Sessions" SET data = '{"cookie":{}}' WHERE sid = ?`, { replacements: [id] });
    },
    cut,
    // A connection of its pool that was cut fails once more.
    mend: async () => {
      await mend();
      while (!(await db.query('SELECT 1').catch(() => null))) await setTimeout(20);
    },
    dispose: async () => {
      await db.close();
      await dispose();
    },
  };
}

const stores: Record<string, { open: () => Promise<OpenStore>; service?: ServiceName; outages?: false }> = {
  memorystore: { open: openMemory, outages: false },
  'session-file-store': { open: openFiles, outages: false },
  'connect-pg-simple': { open: openPostgres, service: 'postgres' },
  'connect-redis': { open: openRedis, service: 'redis' },
  'express-mysql-session': { open: openMysql, service: 'mysql' },
  'connect-session-sequelize': { open: openSequelize, service: 'postgres' },
};

@Controller()
class VisitController {
  @Post('login')
  login(@Session() session: Session): void {
    session.login('Ann');
  }

  @Post('logout')
  logout(@Session() session: Session): void {
    session.logout();
  }

  @Get('visit')
  visit(@Session() session: Session<{ visits?: number }>) {
    session.increment('visits');
    return { userId: session.userId, visits: session.visits };
  }

  @Get('look')
  look(@Session() session: Session<{ visits?: number }>) {
    return { userId: session.userId, visits: session.visits ?? null };
  }

  @Post('hurry')
  hurry(@Session() session: Session): void {
    session.setExpiry(1);
  }
}

for (const [name, { open, service, outages }] of rowsOf(stores, ['memorystore', 'connect-redis'])) {
  const describeStore = service ? describeWithService.bind(null, service) : describe;

  describeStore(`ExpressStore on ${name}`, () => {
    describeSessionStore(
      'conforms',
      async () => {
        const opened = await open();
        const underTest = { ...opened, store: new ExpressStore(opened.store) };
        // For one of them real time passes.
        return name === 'memorystore' ? underTest : { ...underTest, ...byThisClock(() => opened.dispose()) };
      },
      {
        capabilities: {
          severalProcesses: false,
          clearsExpired: false,
          ownClock: false,
          outages: outages ?? true,
        },
        ...(name === 'memorystore' && withoutOtherClocks),
      },
    );

    describe.each(platforms)('behind %s', (platform) => {
      let opened: OpenStore;
      let app: RunningApp;
      beforeAll(async () => {
        opened = await open();
        app = await startApp(platform, {
          engine: expressStoreEngine(opened.store),
          controllers: [VisitController],
        });
      });
      afterAll(async () => {
        await app.close();
        await opened.dispose();
      });

      const look = async (cookie: string) =>
        (await app.request.get('/look').set('Cookie', cookie)).body as unknown;
      const nobody = { userId: null, visits: null };

      it('keeps a session through visits, login and parallel requests, and ends it', async () => {
        const browser = app.browser();
        await browser.get('/visit').expect({ userId: null, visits: 1 });
        const login = await browser.post('/login').expect(201);
        await browser.get('/visit').expect({ userId: 'Ann', visits: 2 });
        await Promise.all(Array.from({ length: 10 }, () => browser.get('/visit').expect(200)));
        const looked = await browser.get('/look');
        expect([looked.body, looked.header['set-cookie']]).toEqual([
          { userId: 'Ann', visits: 12 },
          undefined,
        ]);

        await browser.post('/logout').expect(201);
        expect(await look(cookieOf(login))).toEqual(nobody);
      });

      it('ends a session at its deadline', async () => {
        const browser = app.browser();
        const login = await browser.post('/login').expect(201);
        const hurried = performance.now();
        await browser.post('/hurry').expect(201);
        const seen = await look(cookieOf(login));
        // On a machine that took longer for these lines its time may be over.
        const late = performance.now() - hurried > 900;
        expect([{ userId: 'Ann', visits: null }, ...(late ? [nobody] : [])]).toContainEqual(seen);
        await setTimeout(1100);
        expect(await look(cookieOf(login))).toEqual(nobody);
      });
    });
  });
}

function cookieOf({ header }: { header: Record<string, unknown> }): string {
  const [cookie = ''] = (header['set-cookie'] as string[] | undefined) ?? [];
  return cookie.split(';', 1)[0] ?? '';
}

type Give = (error?: unknown, session?: unknown) => void;

/** A store in memory that answers as it is told. */
class OddStore extends EventEmitter implements CallbackStore {
  readonly kept = new Map<string, string>();
  /** How `get`, `set` and `destroy` pass on what they have to say. */
  answer: (give: Give, ...said: Parameters<Give>) => unknown = (give, ...said) => give(...said);

  get(sid: string, callback: Give): unknown {
    const text = this.kept.get(sid);
    return this.answer(callback, null, text === undefined ? undefined : JSON.parse(text));
  }

  set(sid: string, session: unknown, callback: Give): unknown {
    this.kept.set(sid, JSON.stringify(session));
    return this.answer(callback);
  }

  destroy(sid: string, callback: Give): unknown {
    this.kept.delete(sid);
    return this.answer(callback);
  }
}

async function holding(store: CallbackStore, overrides: Partial<SessionRecord> = {}) {
  const sessions = new ExpressStore(store);
  const record = newRecord({ a: 1 }, overrides);
  await sessions.create(record.id, record);
  return { sessions, id: record.id, loaded: (await sessions.load(record.id))! };
}

describe('ExpressStore on an odd store', () => {
  it.each<[string, OddStore['answer']]>([
    ['at once', (give, ...said) => give(...said)],
    ['twice', (give, ...said) => [give(...said), give(new Error('again')), give(null, { cookie: {} })]],
    [
      'and throws afterwards',
      (give, ...said) => {
        give(...said);
        throw new Error('Something else went wrong.');
      },
    ],
    [
      'after its promise',
      (give, ...said) => {
        setImmediate(() => give(...said));
        return Promise.resolve();
      },
    ],
    [
      'before its promise fails',
      (give, ...said) => {
        give(...said);
        return Promise.reject(new Error('late'));
      },
    ],
  ])('takes what it answers %s', async (_, answer) => {
    const store = new OddStore();
    store.answer = answer;
    const { sessions, id, loaded } = await holding(store);
    expect(await save(sessions, loaded, { set: { b: 2 } })).toBe(true);
    expect((await sessions.load(id))?.data).toEqual({ a: 1, b: 2 });
    expect(await sessions.delete(id)).toBe(true);
    expect(await sessions.load(id)).toBeNull();
  });

  it('takes what promises answer when there are no callbacks', async () => {
    const kept = new Map<string, unknown>();
    const { sessions, id, loaded } = await holding({
      get: async (sid: string) => kept.get(sid),
      set: async (sid: string, session: unknown) => void kept.set(sid, session),
      destroy: async (sid: string) => void kept.delete(sid),
    });
    expect(await save(sessions, loaded, { set: { b: 2 } })).toBe(true);
    expect((await sessions.load(id))?.data).toEqual({ a: 1, b: 2 });
    expect(await sessions.delete(id)).toBe(true);
    expect(await sessions.load(id)).toBeNull();
  });

  it.each<[string, OddStore['answer']]>([
    [
      'throws',
      () => {
        throw new Error('down at redis://bob:hunter2@db');
      },
    ],
    [
      'throws nothing',
      () => {
        throw undefined;
      },
    ],
    ['calls back with an error', (give) => give(new Error('down at redis://bob:hunter2@db'))],
    ['calls back with a list of errors', (give) => give([new Error('down')])],
    ['returns a promise that fails', () => Promise.reject(new Error('down'))],
    [
      'finds no socket',
      (give) => give(Object.assign(new Error('down'), { code: 'ENOENT', syscall: 'connect' })),
    ],
  ])('takes it for an outage when it %s', async (_, answer) => {
    const store = new OddStore();
    const { sessions, id, loaded } = await holding(store);
    store.answer = answer;
    const unavailable = { code: 'SESSION_STORE_UNAVAILABLE' };
    await expect(sessions.create(newId(), newRecord())).rejects.toMatchObject(unavailable);
    await expect(save(sessions, loaded, {})).rejects.toMatchObject(unavailable);
    await expect(sessions.touch(id, { ...loaded, expiresAt: Date.now() + 2 * HOUR })).rejects.toMatchObject(
      unavailable,
    );
    await expect(sessions.delete(id)).rejects.toMatchObject(unavailable);
    const error: unknown = await sessions.load(id).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject(unavailable);
    expect(inspect(error)).not.toMatch(/hunter2/);
    await expect(sessions.take(id)).rejects.toMatchObject(unavailable);
  });

  it.each<[string, Parameters<Give>]>([
    ['ENOENT', [Object.assign(new Error('no such file'), { code: 'ENOENT' })]],
    ['null', [null, null]],
    ['undefined', []],
    ['an empty object', [null, {}]],
    ['what some stores make of an expired session', [null, { __lastAccess: 1 }]],
  ])('takes %s for no session', async (_, said) => {
    const store = new OddStore();
    const { sessions, id, loaded } = await holding(store);
    store.answer = (give) => give(...said);
    expect(await sessions.load(id)).toBeNull();
    expect(await sessions.take(id)).toBeNull();
    expect(await save(sessions, loaded, { set: { b: 2 } })).toBe(false);
    expect(await sessions.delete(id)).toBe(false);
  });

  it('takes an ENOENT of a write for an outage', async () => {
    const store = new OddStore();
    const { sessions, loaded } = await holding(store);
    store.set = (_sid, _session, callback) =>
      callback(Object.assign(new Error('no directory'), { code: 'ENOENT' }));
    await expect(save(sessions, loaded, { set: { b: 2 } })).rejects.toMatchObject({
      code: 'SESSION_STORE_UNAVAILABLE',
    });
  });

  it.each([
    ['no object', 'text'],
    ['a session that is not ours', { cookie: {}, user: 1 }],
    ['a damaged one', { cookie: {}, nestSession: { id: 'a', expiresAt: Date.now() + HOUR } }],
  ])('takes %s for a corrupt record', async (_, session) => {
    const store = new OddStore();
    const { sessions, id } = await holding(store);
    store.answer = (give, error) => give(error, session);
    await expect(sessions.load(id)).rejects.toMatchObject({ code: 'SESSION_RECORD_CORRUPT' });
  });

  it('forgets a call that is never answered, so that the session can be used again', async () => {
    const store = new OddStore();
    const { sessions, id, loaded } = await holding(store);
    jest.useFakeTimers({ now: Date.now(), doNotFake: ['nextTick', 'setImmediate', 'queueMicrotask'] });
    try {
      const { answer } = store;
      store.answer = () => undefined;
      const lost = save(sessions, loaded, { set: { lost: 1 } });
      const failure = lost.catch((error: unknown) => error);
      store.answer = answer;
      const next = save(sessions, loaded, { set: { b: 2 } });
      await jest.advanceTimersByTimeAsync(30_000);
      expect(await failure).toMatchObject({ code: 'SESSION_STORE_UNAVAILABLE' });
      expect(await next).toBe(true);
    } finally {
      jest.useRealTimers();
    }
    expect((await sessions.load(id))?.data).toEqual({ a: 1, b: 2 });
  });

  it('asks again after it said that it has no connection', async () => {
    const store = new OddStore();
    const { sessions, id } = await holding(store);
    store.emit('disconnect');
    expect(await sessions.load(id)).not.toBeNull();
  });

  it('shows stores a session as express-session does, and takes nothing that they add', async () => {
    const store = new OddStore();
    const { sessions, id } = await holding(store, { expiresAt: Date.now() + HOUR });
    const [session] = [JSON.parse(store.kept.get(id) ?? '')] as [{ cookie: object }];
    expect(session.cookie).toEqual({
      originalMaxAge: expect.any(Number),
      expires: expect.stringMatching(/Z$/),
      httpOnly: true,
      path: '/',
    });
    let seen: unknown;
    store.set = (sid, given, callback) => {
      if (sid === id) seen = given;
      Object.assign(given as object, { __lastAccess: 1, lastModified: new Date() });
      store.kept.set(sid, JSON.stringify({ ...(given as object), cookie: { expires: new Date(0) } }));
      callback();
    };
    expect(await save(sessions, (await sessions.load(id))!, { set: { cookie: 'mine' } })).toBe(true);
    const { cookie } = seen as { cookie: Record<string, unknown> };
    expect(cookie).toMatchObject({
      expires: expect.any(Date),
      maxAge: expect.any(Number),
      originalMaxAge: cookie['maxAge'],
    });
    expect(cookie['_expires']).toBe(cookie['expires']);
    assertNear(cookie['maxAge'] as number, HOUR, 'maxAge');
    // The cookie in it has expired long ago, and says nothing.
    expect((await sessions.load(id))?.data).toEqual({ a: 1, cookie: 'mine' });
  });

  it('is never asked for what is no session id', async () => {
    const store = new OddStore();
    await expect(new ExpressStore(store).create('../../etc/passwd', newRecord())).rejects.toThrow(TypeError);
    expect(store.kept.size).toBe(0);
  });

  it.each(['pruneSessions', 'prune', 'clearExpiredSessions', 'reap'])(
    'lets it clear by %s',
    async (method) => {
      for (const prune of [
        jest.fn(),
        jest.fn((callback: Give) => void setImmediate(callback)),
        jest.fn(async () => {}),
      ]) {
        // A mock's own length is 0.
        const pruning = prune.getMockImplementation();
        const store = Object.assign(new OddStore(), {
          [method]: pruning?.length ? (callback: Give) => prune(callback) : () => prune(undefined as never),
        });
        expect(await new ExpressStore(store).clearExpired(100)).toBe(0);
        expect(prune).toHaveBeenCalledTimes(1);
      }
    },
  );

  it('says so when clearing fails', async () => {
    const store = Object.assign(new OddStore(), { prune: (callback: Give) => callback(new Error('down')) });
    await expect(new ExpressStore(store).clearExpired(100)).rejects.toMatchObject({
      operation: 'clearExpired',
    });
  });
});

/** What is logged at the start, and the store as the engine makes it. */
async function started(store: CallbackStore): Promise<{ sessions: ExpressStore; log: string[] }> {
  const log: string[] = [];
  const spies = (['log', 'warn'] as const).map((level) =>
    jest
      .spyOn(Logger.prototype, level)
      .mockImplementation((line: string) => void log.push(`${level} ${line}`)),
  );
  const { useFactory } = expressStoreEngine(store);
  const sessions = (await useFactory()) as ExpressStore;
  for (const spy of spies) spy.mockRestore();
  return { sessions, log };
}

/** Clears by itself, so that there is nothing to say about that. */
class PrunedStore extends OddStore {
  prune(): void {}
}

/** How long an express-session store is told to keep something. Milliseconds. */
const maxAgeOf = (session: unknown): number => (session as { cookie: { maxAge: number } }).cookie.maxAge;

describe('ExpressStore at the start', () => {
  it('tries out the longest sid and the longest life, and leaves nothing behind', async () => {
    const store = new PrunedStore();
    const seen: [sid: string, days: number][] = [];
    const set = store.set.bind(store);
    store.set = (sid, session, callback) => {
      seen.push([sid, Math.round(maxAgeOf(session) / DAY)]);
      return set(sid, session, callback);
    };
    const { log } = await started(store);
    expect(log).toEqual([]);
    expect(seen).toEqual([[expect.stringMatching(/^m[\w-]{32}$/), 400]]);
    expect(store.kept.size).toBe(0);
  });

  it('says what a store complains of', async () => {
    const store = new PrunedStore();
    // A column for UUIDs without hyphens.
    store.set = (sid, _session, callback) =>
      callback(sid.length > 32 ? new Error('value too long for type character varying(32)') : null);
    const { log } = await started(store);
    expect(log).toEqual([
      expect.stringMatching(/^warn The express-session store failed a trial at the start\..*varying\(32\)/),
    ]);
  });

  it('says that a store stores nothing', async () => {
    const store = new PrunedStore();
    store.set = (_sid, _session, callback) => callback();
    const { log } = await started(store);
    expect(log).toEqual([expect.stringMatching(/^warn .*reported that it stored an entry.* its own log/)]);
  });

  it('is not held up by a store that does not answer', async () => {
    const store = new PrunedStore();
    store.answer = () => undefined;
    jest.useFakeTimers({ now: Date.now(), doNotFake: ['nextTick', 'setImmediate', 'queueMicrotask'] });
    try {
      const start = started(store);
      await jest.advanceTimersByTimeAsync(5000);
      expect((await start).sessions).toBeInstanceOf(ExpressStore);
    } finally {
      jest.useRealTimers();
    }
  });

  it('keeps sessions and marks for less in a store that keeps nothing for long, so that ends hold', async () => {
    const store = new PrunedStore();
    const set = store.set.bind(store);
    // As memcached: what lives for more than 30 days is over at once.
    store.set = (sid, session, callback) =>
      maxAgeOf(session) > 30 * DAY ? callback() : set(sid, session, callback);
    const { sessions, log } = await started(store);
    expect(log).toEqual([
      expect.stringMatching(/^warn .*keeps nothing for 400 days\. Sessions end.* 29 days/),
    ]);

    const record = newRecord({ a: 1 }, { userId: 'Ann', expiresAt: Date.now() + 90 * DAY });
    expect(await sessions.create(record.id, record)).toBe(true);
    expect(await sessions.load(record.id)).toMatchObject({ data: { a: 1 } });
    const copy = store.kept.get(record.id) ?? '';
    expect(await sessions.deleteByUser('Ann')).toBe(1);
    // Somebody puts it back, or it was not on the list.
    store.kept.set(record.id, copy);
    for (const notice of store.kept.keys()) {
      if ((store.kept.get(notice) ?? '').includes('"mark":"1"')) store.kept.delete(notice);
    }
    expect(await sessions.load(record.id)).toBeNull();
  });

  it('tells a store of no deadline that its columns cannot hold', async () => {
    const store = new PrunedStore();
    const record = newRecord({ a: 1 }, { expiresAt: Date.UTC(2500, 0) });
    const { sessions } = await started(store);
    await sessions.create(record.id, record);
    const { cookie } = JSON.parse(store.kept.get(record.id) ?? '') as { cookie: { expires: string } };
    // Unsigned 32 bits of seconds.
    expect(Date.parse(cookie.expires)).toBeLessThan(2 ** 32 * 1000);
    expect((await sessions.load(record.id))?.expiresAt).toBe(record.expiresAt);
  });

  it('says once that nothing deletes what has expired, where that is so', async () => {
    const { log } = await started(new OddStore());
    expect(log).toEqual([expect.stringMatching(/^log .*no method to delete expired sessions/)]);
  });
});

describe('ExpressStore on a store that reports no errors', () => {
  /** As prisma-session-store does while its database is away. */
  class SilentStore extends PrunedStore {
    away: 'not' | 'for writes' | 'for all' = 'not';

    override get(sid: string, callback: Give): unknown {
      return this.away === 'for all' ? callback() : super.get(sid, callback);
    }
    override set(sid: string, session: unknown, callback: Give): unknown {
      return this.away === 'not' ? super.set(sid, session, callback) : callback();
    }
    override destroy(sid: string, callback: Give): unknown {
      return this.away === 'not' ? super.destroy(sid, callback) : callback();
    }
  }

  const unavailable = { code: 'SESSION_STORE_UNAVAILABLE' };

  it.each(['for writes', 'for all'] as const)(
    'says itself that nothing was stored: away %s',
    async (away) => {
      const store = new SilentStore();
      const { sessions, id, loaded } = await holding(store, { userId: 'Ann' });
      store.away = away;
      const record = newRecord();
      // Where reads say nothing either, the session is not there, so nothing is tried on it.
      const onSession: (() => Promise<unknown>)[] = [
        () => save(sessions, loaded, { set: { b: 2 } }),
        () => save(sessions, loaded, { keyHash: newKeyHash() }),
        () => sessions.delete(id),
        () => sessions.take(id),
      ];
      for (const work of [
        () => sessions.create(record.id, record),
        () => sessions.deleteByUser('Ann'),
        ...(away === 'for writes' ? onSession : []),
      ]) {
        await expect(work()).rejects.toMatchObject(unavailable);
      }
      store.away = 'not';
      expect((await sessions.load(id))?.data).toEqual({ a: 1 });
    },
  );

  it.each(platforms)(
    'answers a login with 503, and not with a cookie that opens nothing (%s)',
    async (platform) => {
      const store = new SilentStore();
      const app = await startApp(platform, {
        engine: expressStoreEngine(store),
        controllers: [VisitController],
        logger: silent,
      });
      store.away = 'for all';
      const answer = await app.request.post('/login');
      expect([answer.status, answer.get('Set-Cookie')]).toEqual([503, undefined]);
      store.away = 'not';
      expect((await app.request.post('/login')).status).toBe(201);
      await app.close();
    },
  );

  it('waits for a store that reads from a copy', async () => {
    const store = new PrunedStore();
    const get = store.get.bind(store);
    const written = new Map<string, number>();
    store.set = (sid, session, callback) => {
      store.kept.set(sid, JSON.stringify(session));
      written.set(sid, 2);
      callback();
    };
    // The first looks come too early.
    store.get = (sid, callback) => {
      const early = written.get(sid) ?? 0;
      written.set(sid, early - 1);
      return early > 0 ? callback() : get(sid, callback);
    };
    const record = newRecord({ a: 1 });
    expect(await new ExpressStore(store).create(record.id, record)).toBe(true);
  });
});

describe('ExpressStore on files', () => {
  it('has what has expired deleted, sessions and marks, by what the store lists', async () => {
    const path = await mkdtemp(join(tmpdir(), 'express-store-'));
    const { sessions, log } = await started(
      new FileStore({ path, retries: 0, reapInterval: -1, logFn: () => {} }),
    );
    expect(log).toEqual([]);
    const [soon, later] = [newRecord({}, { expiresAt: Date.now() + 200 }), newRecord()];
    for (const record of [soon, later]) await sessions.create(record.id, record);
    await writeFile(join(path, 'ours-is-not-this.json'), '{}');
    while (Date.now() <= soon.expiresAt) await setTimeout(20);
    const there = await readdir(path);
    expect(there.toSorted()).toEqual(
      [`${soon.id}.json`, `${later.id}.json`, 'ours-is-not-this.json'].toSorted(),
    );
    await sessions.clearExpired(100);
    expect((await readdir(path)).toSorted()).toEqual(
      [`${later.id}.json`, 'ours-is-not-this.json'].toSorted(),
    );
    expect(await sessions.load(later.id)).not.toBeNull();
    await rm(path, { recursive: true });
  });

  it('deletes marks whose time is over, and leaves alone what cannot be read', async () => {
    const store = Object.assign(new OddStore(), {
      list: (callback: Give) => callback(null, [...store.kept.keys()]),
    });
    const { sessions, id } = await holding(store, { userId: 'Ann' });
    const mark = `m${'A'.repeat(32)}`;
    store.kept.set(
      mark,
      JSON.stringify({ cookie: {}, nestSession: { mark: '1', expiresAt: Date.now() - 1 } }),
    );
    store.kept.set('B'.repeat(22), JSON.stringify({ cookie: {}, user: 1 }));
    const before = store.kept.size;
    expect(await sessions.clearExpired(100)).toBe(0);
    expect(store.kept.size).toBe(before - 1);
    expect(store.kept.has(mark)).toBe(false);
    expect(await sessions.load(id)).not.toBeNull();
  });
});

/** A store whose next `set` of this session waits for what the other process does meanwhile. */
function interrupted(store: OddStore, id: string, meanwhile: () => Promise<unknown>): void {
  const set = store.set.bind(store);
  store.set = (sid, session, callback) => {
    if (sid !== id) return set(sid, session, callback);
    store.set = set;
    return void meanwhile().then(() => set(sid, session, callback), callback);
  };
}

describe('ExpressStore in two processes', () => {
  const writes: [string, (sessions: ExpressStore, record: SessionRecord) => Promise<boolean>][] = [
    ['save', (sessions, record) => save(sessions, record, { set: { b: 2 } })],
    [
      'touch',
      (sessions, record) => sessions.touch(record.id, { ...record, expiresAt: Date.now() + 9 * HOUR }),
    ],
  ];

  it.each(writes)('keeps ended what one ends in the middle of a %s of the other', async (_, write) => {
    for (const end of ['delete', 'take'] as const) {
      const store = new OddStore();
      const { sessions, id, loaded } = await holding(store);
      const other = new ExpressStore(store);
      interrupted(store, id, () => other[end](id));
      expect(await write(sessions, loaded)).toBe(false);
      expect([await sessions.load(id), await other.load(id)]).toEqual([null, null]);
    }
  });

  it.each(writes)('keeps the key that one replaces in the middle of a %s of the other', async (_, write) => {
    const store = new OddStore();
    const { sessions, id, loaded } = await holding(store);
    const keyHash = newKeyHash();
    const other = new ExpressStore(store);
    interrupted(store, id, () => save(other, loaded, { keyHash, set: { theirs: 1 } }));
    expect(await write(sessions, loaded)).toBe(false);
    expect(await sessions.load(id)).toMatchObject({ keyHash, data: { a: 1, theirs: 1 } });
  });
});

it('ExpressStore keeps marks where no session id leads, in sids of at most 36 characters', async () => {
  const store = new OddStore();
  const { sessions, id, loaded } = await holding(store, { userId: 'Ann' });
  await save(sessions, loaded, { keyHash: newKeyHash() });
  await sessions.delete(id);
  await sessions.deleteByUser('Ann');
  expect(store.kept.size).toBe(4);
  for (const sid of store.kept.keys()) expect(sid).toMatch(/^m[\w-]{32}$/);
});

describeEncryption('ExpressStore with encryption', () => {
  const store = new OddStore();
  return {
    open: (encryption) => new ExpressStore(store, { ...(encryption && { encryption }) }),
    textAt: (id) => store.kept.get(id) ?? '',
    putText: (id, text) => void store.kept.set(id, text),
  };
});

/** Under which sid the store is handed a mark. */
function sidOf(name: string): string {
  return `m${createHash('sha256').update(`nest-sessions mark ${name}`).digest('base64url').slice(0, 32)}`;
}

describeUserMarks('ExpressStore and the sessions of a user', () => {
  const store = new OddStore();
  return {
    one: new ExpressStore(store),
    other: new ExpressStore(store),
    async read(name) {
      const text = store.kept.get(sidOf(name));
      return text && (JSON.parse(text) as { nestSession: { mark: string } }).nestSession.mark;
    },
    async write(name, text) {
      store.kept.delete(sidOf(name));
      const payload = { cookie: {}, nestSession: { mark: text, expiresAt: Date.now() + HOUR } };
      if (text !== undefined) store.kept.set(sidOf(name), JSON.stringify(payload));
    },
  };
});

describeWithService('postgres', 'ExpressStore in SQL', () => {
  it('shows whose a session is', async () => {
    const { store, pool, dispose } = await openPostgres();
    const { id } = await holding(store, { userId: '42' });
    await holding(store, { userId: '43' });
    const { rows } = await pool.query(
      `SELECT sid FROM visits WHERE sess -> 'nestSession' ->> 'userId' = '42'`,
    );
    expect(rows).toEqual([{ sid: id }]);
    await dispose();
  });
});

describe('expressStoreEngine', () => {
  @Module({ providers: [{ provide: 'STORE', useValue: new MemoryStore() }], exports: ['STORE'] })
  class Stores {}

  it('takes a store from a factory, such as that of express-session itself', async () => {
    const app = await startApp('express', {
      engine: expressStoreEngine({
        imports: [Stores],
        inject: ['STORE'],
        useFactory: async (store: MemoryStore) => store,
      }),
      controllers: [VisitController],
    });
    const browser = app.browser();
    await browser.get('/visit').expect(200);
    expect((await browser.get('/visit')).body).toEqual({ userId: null, visits: 2 });
    await app.close();
  });

  it.each([
    ['a class', MemoryStore],
    ['nothing', null],
    ['text', 'redis'],
    ['a client', { get() {}, set() {} }],
  ])('refuses %s', async (_, store) => {
    expect(() => expressStoreEngine(store as unknown as CallbackStore)).toThrow(/"engine" needs a store/);
    const { useFactory } = expressStoreEngine({ useFactory: () => store as unknown as CallbackStore });
    await expect(useFactory()).rejects.toMatchObject({ code: 'SESSION_CONFIG' });
  });

  it.each(platforms)('answers 503 when the store does not answer in time (%s)', async (platform) => {
    const store = new OddStore();
    const app = await startApp(platform, {
      engine: expressStoreEngine(store),
      options: { storeTimeout: 0.1 },
      controllers: [VisitController],
      logger: silent,
    });
    const browser = app.browser();
    await browser.get('/visit').expect(200);
    store.answer = () => undefined;
    expect((await browser.get('/visit')).status).toBe(503);
    await app.close();
  });
});

it('expressSession is no middleware', () => {
  expect(() => expressSession({ secret: 's' })).toThrow(/express-session/);
});
