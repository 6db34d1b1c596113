import { randomBytes } from 'node:crypto';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { CACHE_MANAGER, CacheModule } from '@nestjs/cache-manager';
import { type INestApplicationContext } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { TypeOrmModule } from '@nestjs/typeorm';
import { type Cache, createCache } from 'cache-manager';
import { Redis } from 'ioredis';
import { SessionModule, SessionStore, type SessionRecord } from 'nest-sessions';
import {
  cachedDatabaseEngine,
  type CachedDatabaseEngineOptions,
  CachedDatabaseStore,
  type RecordCache,
} from 'nest-sessions/cached-database';
import { DatabaseStore, SessionEntity } from 'nest-sessions/database';
import { describeSessionStore, type StoreUnderTest } from 'nest-sessions/testing';
import { createClient } from 'redis';
import { DataSource } from 'typeorm';
import { ManagerCache } from '../libs/session/src/stores/cached-database/manager-cache.js';
import { ProcessCache } from '../libs/session/src/stores/cached-database/process-cache.js';
import { RedisCache } from '../libs/session/src/stores/cached-database/redis-cache.js';
import { assertNear, changed, HOUR, newKey, newRecord } from '../libs/session/src/testing/store-bench.js';
import { testDatabase } from './support/data-source.js';
import { DatabaseStoreBench } from './support/database-store-bench.js';
import { describeWithKillableRedis } from './support/killable-redis.js';
import { type DatabaseKind, describeWithService, serviceUrl } from './support/services.js';
import { rowsOf } from './support/test-all.js';

/** The clients and caches of the test that is running. */
const opened: RecordCache[] = [];
afterEach(async () => {
  for (const cache of opened.splice(0)) await cache.close?.();
});

function opening<Made extends RecordCache>(cache: Made): Made {
  opened.push(cache);
  return cache;
}

/** As processes make it that share one place: every call is another process, or else the one and only. */
type MakeCache = () => RecordCache;

type Front = 'redis' | 'manager' | 'process';

function sharedCache(front: Front): MakeCache {
  const prefix = `${new URL(serviceUrl('redis') ?? 'redis://none#none').hash.slice(1)}:${randomBytes(4).toString('hex')}:`;
  if (front === 'redis') {
    let library: 'ioredis' | 'redis' = 'redis';
    return () => {
      library = library === 'redis' ? 'ioredis' : 'redis'; // each sees what the other wrote
      return new RedisCache({ url: serviceUrl('redis') as string, library }, prefix);
    };
  }
  const only = front === 'process' ? new ProcessCache(1000) : new ManagerCache(createCache(), prefix);
  return () => only;
}

class Log {
  readonly lines: string[] = [];
  warn(line: string): void {
    this.lines.push(`warn ${line}`);
  }
  log(line: string): void {
    this.lines.push(`log ${line}`);
  }
  error(line: string): void {
    this.lines.push(`error ${line}`);
  }
}

function cached(
  database: SessionStore,
  cache: RecordCache,
  dataSource: DataSource,
  { revocationBound = 5000, cacheTimeout = 2000, logger = new Log() } = {},
): CachedDatabaseStore {
  const keysOf = async (owner: { userId: string } | { sessionId: string }): Promise<string[]> => {
    const rows = await dataSource.getRepository(SessionEntity).findBy(owner);
    return rows.map(({ sessionKey }) => sessionKey);
  };
  return new CachedDatabaseStore(
    database,
    cache,
    {
      revocationBound,
      cacheTimeout,
      keysOfUser: (userId) => keysOf({ userId }),
      keysOfSession: (sessionId) => keysOf({ sessionId }),
    },
    logger,
  );
}

async function load(from: SessionStore, key: string): Promise<SessionRecord> {
  const record = await from.load(key);
  if (record === null) throw new Error('The record is gone.');
  return record;
}

/**
 * Two loads of one record. A database says how long ago a moment was, and how long that took to arrive differs from
 * load to load.
 */
function expectSame(actual: SessionRecord, expected: SessionRecord): void {
  const { createdAt, lastSeenAt, expiresAt, ...rest } = expected;
  expect(actual).toMatchObject(rest);
  expect(Object.keys(actual).toSorted()).toEqual(Object.keys(expected).toSorted());
  assertNear(actual.createdAt, createdAt, 'createdAt');
  assertNear(actual.lastSeenAt, lastSeenAt, 'lastSeenAt');
  assertNear(actual.expiresAt, expiresAt, 'expiresAt');
}

/** Forgets everything at a word, and fails at another. */
class TestCache implements RecordCache {
  private epoch = 0;
  failing = false;

  constructor(private readonly cache: RecordCache) {}

  forgetAll(): void {
    this.epoch += 1;
  }

  get = (key: string) => this.on(key, (own) => this.cache.get(own));
  add = (key: string, value: string, ttl: number) => this.on(key, (own) => this.cache.add(own, value, ttl));
  replace = (key: string, beginning: string, value: string) =>
    this.on(key, (own) => this.cache.replace(own, beginning, value));
  set = (key: string, value: string, ttl: number) => this.on(key, (own) => this.cache.set(own, value, ttl));
  delete = (key: string) => this.on(key, (own) => this.cache.delete(own));
  close = async () => this.cache.close?.();

  private async on<Answer>(key: string, operation: (key: string) => Promise<Answer>): Promise<Answer> {
    if (this.failing) throw new Error(`no cache for ${key}`);
    return operation(`${this.epoch}:${key}`);
  }
}

function describeConforming(front: Front, kind: DatabaseKind): void {
  const makeStore = async (): Promise<StoreUnderTest> => {
    const bench = new DatabaseStoreBench(kind);
    const underTest = await bench.underTest();
    const make = sharedCache(front);
    const caches = [new TestCache(make()), new TestCache(make())] as const;
    const forgetAll = (): void => caches.forEach((cache) => cache.forgetAll());
    const [store, sibling] = [underTest.store, await underTest.sibling?.()] as [SessionStore, SessionStore];
    return {
      ...underTest,
      store: cached(store, caches[0], bench.dataSource),
      sibling: () => cached(sibling, caches[1], bench.dataSource),
      // What is done behind the back of the store shows after the bound, for which the kit does not wait.
      elapse: async (ms) => {
        await underTest.elapse?.(ms);
        forgetAll();
      },
      corrupt: async (key) => {
        await underTest.corrupt?.(key);
        forgetAll();
      },
      cut: async () => {
        await underTest.cut?.();
        forgetAll();
      },
      dispose: async () => {
        for (const cache of caches) await cache.close();
        await underTest.dispose();
      },
    };
  };
  describeSessionStore('conforms', makeStore, {
    capabilities: {
      outages: kind !== 'sqljs',
      ownClock: kind !== 'sqljs',
      severalProcesses: front === 'redis',
    },
  });
}

/** What keeps the records in front of which database. */
const pairs: Record<string, [front: Front, kind: DatabaseKind]> = {
  'process in front of sqljs': ['process', 'sqljs'],
  'process in front of postgres': ['process', 'postgres'],
  'manager in front of postgres': ['manager', 'postgres'],
  'redis in front of postgres': ['redis', 'postgres'],
  'redis in front of mysql': ['redis', 'mysql'],
};

for (const [name, [front, kind]] of rowsOf(pairs, [
  'process in front of sqljs',
  'redis in front of postgres',
])) {
  const suite = (): void => {
    // A process conforms in front of one database as in front of another.
    if (name !== 'process in front of postgres') describeConforming(front, kind);
    describeCaching(front, kind);
  };
  const suiteOnDatabase = (): void => {
    if (kind === 'sqljs') suite();
    else describeWithService(kind, `on ${kind}`, suite);
  };
  describe(`CachedDatabaseStore with ${name}`, () => {
    if (front === 'redis') describeWithService('redis', 'and Redis', suiteOnDatabase);
    else suiteOnDatabase();
  });
}

function describeCaching(front: Front, kind: DatabaseKind): void {
  const bench = new DatabaseStoreBench(kind);
  beforeAll(() => bench.open());
  afterAll(() => bench.close());

  /** Stores of so many processes; of caches for one process, so many handles on it. */
  function stores(count: number, options?: Parameters<typeof cached>[3]): CachedDatabaseStore[] {
    const make = sharedCache(front);
    return Array.from({ length: count }, () =>
      cached(new DatabaseStore(bench.dataSource), opening(make()), bench.dataSource, options),
    );
  }

  function store(options?: Parameters<typeof cached>[3]): CachedDatabaseStore {
    return stores(1, options)[0] as CachedDatabaseStore;
  }

  it('asks the database once, and not again after a save', async () => {
    const sessions = store();
    const key = await bench.create({ a: 1 });
    const statements = await bench.statementsOf(async () => {
      const loaded = await load(sessions, key);
      expectSame(await load(sessions, key), loaded);
      const changes = { set: { b: 2 } };
      await sessions.save(key, changes, changed(loaded, changes));
      expect(await load(sessions, key)).toMatchObject({ data: { a: 1, b: 2 }, version: 2 });
      await sessions.exists(key);
    });
    expect(statements.map((text) => text.slice(0, 6))).toEqual(['SELECT', 'UPDATE']);
    const { lastSeenAt, ...fromCache } = await load(sessions, key);
    expect(fromCache).toMatchObject({
      id: (await bench.load(key)).id,
      version: (await bench.load(key)).version,
    });
    assertNear(lastSeenAt, (await bench.load(key)).lastSeenAt, 'lastSeenAt');
  });

  it('shows at once what changes more than the data', async () => {
    const sessions = store();
    const key = await bench.create({ a: 1 });
    const loaded = await load(sessions, key);
    await sessions.save(key, { userId: 'Ann' }, changed(loaded, { userId: 'Ann' }));
    const saved = await load(sessions, key);
    expect(saved.userId).toBe('Ann');
    const expiresAt = saved.expiresAt + HOUR;
    await sessions.touch(key, { ...saved, expiresAt });
    assertNear((await load(sessions, key)).expiresAt, expiresAt, 'expiresAt');
  });

  it('S85: is not filled by a reader that was slower than a logout', async () => {
    const [one, other] = stores(2) as [CachedDatabaseStore, CachedDatabaseStore];
    for (const end of ['delete', 'deleteByUser', 'deleteById', 'save'] as const) {
      const key = await bench.create({}, { userId: 'Ann' });
      const held = holdLoads(one);
      const reading = one.load(key);
      await held.read;
      const loaded = await load(other, key); // finds the lease of the reader, and leaves it alone
      if (end === 'delete') await other.delete(key, loaded.id);
      else if (end === 'deleteByUser') await other.deleteByUser('Ann');
      else if (end === 'deleteById') await other.deleteById(loaded.id);
      else await other.save(key, { set: { b: 2 } }, changed(loaded, { set: { b: 2 } }));
      held.release();
      expect(await reading).not.toBeNull(); // it read before
      const left = [await one.load(key), await other.load(key)].map((record) => record?.data ?? null);
      const expected = end === 'save' ? { b: 2 } : null;
      expect(left).toEqual([expected, expected]);
    }
  });

  it('ends what has moved and is cached under its new key', async () => {
    const [one, other] = stores(2) as [CachedDatabaseStore, CachedDatabaseStore];
    const [key, next, last] = [await bench.create(), newKey(), newKey()];
    const loaded = await load(one, key);
    await one.rename(key, next, {}, loaded);
    await one.rename(next, last, {}, await load(one, next));
    await load(one, last);
    expect(await other.delete(key, loaded.id)).toBe(true);
    expect([await one.load(key), await one.load(next), await one.load(last)]).toEqual([null, null, null]);
  });

  it.each([undefined, 'Ann'])('ends by its id what has moved and is cached (user: %s)', async (userId) => {
    const [one, other] = stores(2) as [CachedDatabaseStore, CachedDatabaseStore];
    const [key, next] = [await bench.create({}, { userId: 'Ann' }), newKey()];
    const loaded = await load(one, key);
    await one.rename(key, next, {}, loaded);
    await load(one, next);
    expect(await other.deleteById(loaded.id, 'Bob')).toBe(false);
    await load(one, next);
    expect(await other.deleteById(loaded.id, userId)).toBe(true);
    expect([await one.load(key), await one.load(next), await one.find(key)]).toEqual([null, null, null]);
  });

  it('finds a session in the cache, and in the database where it has moved to', async () => {
    const [one, other] = stores(2) as [CachedDatabaseStore, CachedDatabaseStore];
    const [key, next] = [await bench.create({ a: 1 }), newKey()];
    const statements = await bench.statementsOf(async () => {
      for (let time = 0; time < 3; time++) expect(await one.find(key)).toMatchObject({ data: { a: 1 } });
    });
    expect(statements).toHaveLength(1);
    await one.rename(key, next, {}, await load(one, key));
    expect(one.remembersMoves).toBe(true);
    for (const own of [one, other, one, other]) {
      expect(await own.find(key)).toEqual({ movedTo: next });
      expect(await own.load(key)).toBeNull();
    }
    expect(await one.find(next)).toMatchObject({ data: { a: 1 } });
  });

  it('never stays stale, and shows no session that was logged out, whoever races', async () => {
    const all = stores(4);
    let [stale, alive, fromCache, lost] = [0, 0, 0, 0];
    for (let trial = 0; trial < 60; trial++) {
      const key = await bench.create({ n: 0 });
      const logout = trial % 2 === 1;
      const writer = async (n: number): Promise<boolean> => {
        const own = all[n % all.length] as CachedDatabaseStore;
        const record = await own.load(key);
        if (!record) return false;
        const changes = { set: { [`w${n}`]: n }, increment: { n: 1 } };
        return own.save(key, changes, changed(record, changes));
      };
      const reader = async (n: number): Promise<boolean> => {
        const own = all[n % all.length] as CachedDatabaseStore;
        for (let time = 0; time < 3; time++) await own.load(key);
        return false;
      };
      const work = Array.from({ length: 12 }, (_, n) => [() => writer(n), () => reader(n)]).flat();
      const end = async (): Promise<boolean> => {
        await setImmediate();
        return (all[trial % all.length] as CachedDatabaseStore).delete(key);
      };
      if (logout) work.splice(trial % 24, 0, end);
      const outcomes = await Promise.all(work.map((start) => start()));
      const truth = await bench.store.load(key);
      const statements = await bench.statementsOf(async () => {
        for (const own of all) {
          const seen = await own.load(key);
          if (logout && seen !== null) alive += 1;
          else if (JSON.stringify(seen?.data) !== JSON.stringify(truth?.data)) stale += 1;
        }
      });
      fromCache += all.length - statements.length;
      if (!logout) lost += outcomes.filter(Boolean).length - (truth?.data['n'] as number);
    }
    expect({ stale, alive, lost }).toEqual({ stale: 0, alive: 0, lost: 0 });
    expect(fromCache).toBeGreaterThan(60);
  });

  it('S85: shows a deletion by SQL within the bound, however busy the session is', async () => {
    const revocationBound = 300;
    const sessions = store({ revocationBound });
    for (const busy of [false, true]) {
      const key = await bench.create();
      const cachedAt = performance.now();
      await load(sessions, key);
      await bench.dataSource.getRepository(SessionEntity).delete({ sessionKey: key });
      const deleted = performance.now();
      const shown = await sessions.load(key);
      // The price of not asking. On a machine that took longer for these lines the bound has passed.
      const inTime = performance.now() - cachedAt < revocationBound;
      expect(inTime && shown === null).toBe(false);
      while ((await sessions.load(key)) !== null) {
        if (!busy) await setTimeout(5);
        // Whatever put the bound off would put it off for as long as it is loaded.
        if (performance.now() - deleted > 60_000) throw new Error('It never shows.');
      }
      expect(await sessions.load(key)).toBeNull();
    }
  });

  it('does not let saves put the bound off', async () => {
    const revocationBound = 300;
    const sessions = store({ revocationBound });
    const key = await bench.create({ n: 0 });
    let record = await load(sessions, key);
    // Somebody writes around the cache, which a save cannot see.
    await bench.save(key, record, { set: { theirs: 1 } });
    const written = performance.now();
    while (record.data['theirs'] === undefined) {
      const changes = { increment: { n: 1 } };
      await sessions.save(key, changes, changed(record, changes));
      record = await load(sessions, key);
      // A save that put the bound off would do so with every turn of this loop.
      if (performance.now() - written > 60_000) throw new Error('It never shows.');
    }
    expect(record.data['theirs']).toBe(1);
  });

  it('asks the database where the clocks of processes disagree', async () => {
    const [one, other] = stores(2) as [CachedDatabaseStore, CachedDatabaseStore];
    const key = await bench.create();
    await load(one, key);
    const real = Date.now;
    for (const minutes of kind === 'sqljs' ? [] : [-90, 90]) {
      Date.now = () => real() + minutes * 60_000;
      try {
        expect(Math.abs((await load(other, key)).expiresAt - Date.now() - HOUR)).toBeLessThan(10_000);
      } finally {
        Date.now = real;
      }
    }
  });
}

/** Holds back the next load of the database behind this store, after it has read. */
function holdLoads(store: CachedDatabaseStore): { read: Promise<void>; release: () => void } {
  const { database } = store as unknown as { database: SessionStore };
  const gate = { read: (): void => {}, release: (): void => {} };
  const read = new Promise<void>((resolve) => (gate.read = resolve));
  const released = new Promise<void>((resolve) => (gate.release = resolve));
  database.load = async (key) => {
    Reflect.deleteProperty(database, 'load');
    const record = await database.load(key);
    gate.read();
    await released;
    return record;
  };
  return { read, release: () => gate.release() };
}

describe('CachedDatabaseStore without its cache', () => {
  const bench = new DatabaseStoreBench('sqljs');
  beforeAll(() => bench.open());
  afterAll(() => bench.close());

  it('does everything, warns once per outage, and says when it is over', async () => {
    const logger = new Log();
    const cache = new TestCache(new ProcessCache(100));
    const sessions = cached(bench.store, cache, bench.dataSource, { logger, revocationBound: 200 });
    for (let outage = 0; outage < 2; outage++) {
      const before = await bench.create({ a: 1 });
      await sessions.load(before);
      cache.failing = true;
      const key = newKey();
      await sessions.create(key, newRecord({ a: 1 }, { userId: 'Ann' }));
      const loaded = (await sessions.load(key)) as SessionRecord;
      const changes = { set: { b: 2 } };
      expect(await sessions.save(key, changes, changed(loaded, changes))).toBe(true);
      const saved = (await sessions.load(key)) as SessionRecord;
      expect(saved.data).toEqual({ a: 1, b: 2 });
      expect(await sessions.touch(key, { ...saved, expiresAt: saved.expiresAt + HOUR })).toBe(true);
      const next = newKey();
      expect(await sessions.rename(key, next, {}, saved)).toBe(true);
      expect(await sessions.listByUser('Ann')).toHaveLength(1);
      expect(await sessions.delete(key, saved.id)).toBe(true);
      expect(await sessions.deleteByUser('Ann')).toBe(0);
      expect(await sessions.clearExpired(10)).toBe(0);
      await sessions.save(before, changes, changed((await sessions.load(before)) as SessionRecord, changes));

      cache.failing = false;
      await setTimeout(1050);
      // The cache still has what the save could not take out of it, or it would not be a test of that.
      expect((await sessions.load(before))?.data).toEqual({ a: 1, b: 2 });
    }
    expect(logger.lines).toEqual([
      expect.stringMatching(/^warn .*does not answer \(no cache for …\)/),
      'log The cache of the sessions answers again.',
      expect.stringMatching(/^warn .*does not answer/),
      'log The cache of the sessions answers again.',
    ]);
  });

  it('does not believe the cache about what it could not take out of it', async () => {
    const cache = new TestCache(new ProcessCache(100));
    const sessions = cached(bench.store, cache, bench.dataSource, { revocationBound: 60_000 });
    const key = await bench.create({ a: 1 });
    const loaded = (await sessions.load(key)) as SessionRecord;
    cache.failing = true;
    await sessions.delete(key, loaded.id);
    cache.failing = false;
    await setTimeout(1050);
    expect(await cache.get(key)).not.toBeNull();
    expect(await sessions.load(key)).toBeNull();
  });

  it('waits for a cache that hangs no longer than it may, and not for every load', async () => {
    const hanging = new ProcessCache(100);
    let waits = 0;
    hanging.get = () => {
      waits += 1;
      return new Promise(() => {});
    };
    const logger = new Log();
    const sessions = cached(bench.store, hanging, bench.dataSource, { logger, cacheTimeout: 100 });
    const key = await bench.create({ a: 1 });
    const began = performance.now();
    for (let n = 0; n < 20; n++) expect(await sessions.load(key)).not.toBeNull();
    // It is tried once in a second.
    expect(waits).toBeLessThanOrEqual(1 + Math.floor((performance.now() - began) / 1000));
    expect(logger.lines).toEqual([expect.stringContaining('no answer within 100 ms')]);
  });

  it('keeps to the number of entries in the memory of the process', async () => {
    const cache = new ProcessCache(2);
    for (const key of ['a', 'b']) await cache.set(key, key, HOUR);
    await cache.get('a');
    await cache.set('c', 'c', HOUR);
    expect([await cache.get('a'), await cache.get('b'), await cache.get('c')]).toEqual(['a', null, 'c']);
  });
});

describeWithService('postgres', 'CachedDatabaseStore in front of PostgreSQL', () => {
  describeWithKillableRedis('with a Redis that dies', (redis) => {
    const bench = new DatabaseStoreBench('postgres');
    beforeAll(() => bench.open());
    afterAll(() => bench.close());

    it.each(['ioredis', 'redis'] as const)(
      'loses nothing, revives nothing and is never stale (%s)',
      async (library) => {
        const logger = new Log();
        const sessions = cached(
          new DatabaseStore(bench.dataSource),
          opening(new RedisCache({ url: redis.url, library }, `${library}:`)),
          bench.dataSource,
          { logger, cacheTimeout: 1000, revocationBound: 1000 },
        );
        const keys = await Promise.all(Array.from({ length: 8 }, () => bench.create({ n: 0 })));
        const ended = new Map<string, number>();
        const written = new Map<string, number>();
        const faults: unknown[] = [];
        const traffic = { running: true, loads: 0 };

        const visit = async (slot: number): Promise<void> => {
          while (traffic.running) {
            const key = keys[slot] as string;
            const record = await sessions.load(key);
            traffic.loads += 1;
            const expected = written.get(key) ?? 0;
            if (record === null || record.data['n'] !== expected) {
              faults.push([record?.data['n'], expected]);
              return;
            }
            const changes = { increment: { n: 1 } };
            await sessions.save(key, changes, changed(record, changes));
            written.set(key, expected + 1);
            if (expected % 50 === 49) {
              await sessions.delete(key, record.id);
              ended.set(key, performance.now());
              keys[slot] = await bench.create({ n: 0 });
            }
            for (const dead of [...ended.keys()].slice(-3)) {
              if ((await sessions.load(dead)) !== null) faults.push('alive');
            }
          }
        };
        const visits = Promise.all(keys.map((_, slot) => visit(slot)));
        visits.catch((error: unknown) => faults.push(error));
        const serving = async (): Promise<void> => {
          const enough = traffic.loads + 200;
          while (traffic.loads < enough && faults.length === 0) await setTimeout(5);
        };
        const logging = async (level: 'warn' | 'log'): Promise<void> => {
          const said = (): boolean => logger.lines.at(-1)?.startsWith(level) ?? false;
          while (!said() && faults.length === 0) await setTimeout(5);
        };
        try {
          await serving();
          await redis.kill();
          await logging('warn');
          await serving();
          await redis.start(); // empty
          await logging('log');
          await serving();
          redis.freeze();
          await logging('warn');
          await serving();
          redis.thaw();
          await logging('log');
          await serving();
        } finally {
          redis.thaw();
          traffic.running = false;
          await visits;
        }
        expect(faults).toEqual([]);
        // By turns. On a machine that is busy enough Redis may be late without having been frozen.
        expect(logger.lines.length).toBeGreaterThanOrEqual(4);
        for (const [n, line] of logger.lines.entries()) {
          expect(line).toContain(
            n % 2 === 0
              ? 'warn The cache of the sessions does not answer'
              : 'log The cache of the sessions answers again.',
          );
        }
        expect(ended.size).toBeGreaterThan(0);
      },
    );
  });
});

/** A session that is made and read twice. */
async function roundTrip(store: SessionStore): Promise<string> {
  const key = newKey();
  await store.create(key, newRecord({ a: 1 }, { userId: 'Ann' }));
  expectSame(await load(store, key), await load(store, key));
  return key;
}

const newcomer = (name: string): SessionRecord =>
  newRecord({ name }, { meta: { stamp: `stamp of ${name}` } });

describe('cachedDatabaseEngine', () => {
  let app: INestApplicationContext | undefined;
  afterEach(async () => {
    await app?.close();
    app = undefined;
  });

  async function start(options?: CachedDatabaseEngineOptions, logger = new Log()): Promise<SessionStore> {
    const { options: database } = await testDatabase('sqljs');
    const testing = await Test.createTestingModule({
      imports: [
        CacheModule.register({ isGlobal: true }),
        TypeOrmModule.forRoot({ ...database, synchronize: true, autoLoadEntities: true }),
        SessionModule.forRoot(cachedDatabaseEngine(options), { clearExpired: false }),
      ],
    })
      .setLogger(logger)
      .compile();
    app = testing;
    return app.get(SessionStore);
  }

  it('caches in the memory of the process by default', async () => {
    const store = await start();
    const key = await roundTrip(store);
    const table = app?.get(DataSource).getRepository(SessionEntity);
    await table?.delete({ sessionKey: key });
    expect(await store.load(key)).not.toBeNull();
  });

  it("finds a user's sessions in the cache", async () => {
    const store = await start();
    const keys = [await roundTrip(store), await roundTrip(store)];
    const [kept] = await store.listByUser('Ann');
    expect(await store.deleteByUser('Ann', [kept?.id ?? ''])).toBe(1);
    const left = await Promise.all(keys.map((key) => store.load(key)));
    expect(left.filter(Boolean).map((record) => record?.id)).toEqual([kept?.id]);
  });

  it('takes the cache of the application', async () => {
    const store = await start({
      cache: { inject: [CACHE_MANAGER], useFactory: (cache: Cache) => ({ manager: cache, prefix: 'p:' }) },
    });
    const key = await roundTrip(store);
    expect(await app?.get<Cache>(CACHE_MANAGER).get(`p:${key}`)).toMatch(/^\d+ r1 /);
  });

  it('takes a cache of your own', async () => {
    const cache = new ProcessCache(10);
    const key = await roundTrip(await start({ cache: { custom: cache } }));
    expect(await cache.get(key)).toMatch(/^r1 /);
  });

  describe('with encryption', () => {
    const encryption = { secrets: randomBytes(32).toString('base64url') };

    it('S05: encrypts what it puts into the cache, as in the database', async () => {
      const cache = new ProcessCache(10);
      const store = await start({ encryption, cache: { custom: cache } });
      const key = newKey();
      await store.create(key, newcomer('Ann'));
      await load(store, key);
      const changes = { set: { name: 'Ann', city: 'Turin' } };
      const held = [await cache.get(key)];
      await store.save(key, changes, changed(await load(store, key), changes));
      held.push(await cache.get(key));

      const table = app?.get(DataSource).getRepository(SessionEntity);
      expect(JSON.stringify(await table?.find())).not.toMatch(/Ann|Turin|stamp/);
      expect(held).toEqual([expect.stringMatching(/^r1 .*e1\./s), expect.stringMatching(/^r2 .*e1\./s)]);
      expect(held.join('\n')).not.toMatch(/name|Ann|city|Turin|stamp/);
      await table?.delete({ sessionKey: key });
      expect(await load(store, key)).toMatchObject({
        data: { name: 'Ann', city: 'Turin' },
        meta: { stamp: 'stamp of Ann' },
      });
    });

    it('S71: asks the database where a text in the cache is of another session', async () => {
      const cache = new ProcessCache(10);
      const store = await start({ encryption, cache: { custom: cache } });
      const [ann, bob] = [newKey(), newKey()];
      await store.create(ann, newcomer('Ann'));
      await store.create(bob, newcomer('Bob'));
      await load(store, ann);
      await load(store, bob);
      const [head] = (await cache.get(ann))?.split(/\n(?=e1)/) ?? [];
      const [, dataOfBob] = (await cache.get(bob))?.split(/\n(?=e1)/) ?? [];
      await cache.set(ann, `${head}\n${dataOfBob}`, HOUR);
      expect((await load(store, ann)).data).toEqual({ name: 'Ann' });
      expect(await cache.get(ann)).toBe(`${head}\n${dataOfBob}`);
    });

    it('S78: does not start with a weak secret, nor with a cache in plain text', async () => {
      await expect(start({ encryption: { secrets: 'changeme' } })).rejects.toMatchObject({
        code: 'SESSION_CONFIG',
        option: 'encryption.secrets',
      });
      const database = { encryption } as object;
      expect(() => cachedDatabaseEngine({ database })).toThrow(
        expect.objectContaining({ option: 'database.encryption' }),
      );
    });
  });

  describeWithKillableRedis('in front of which Redis is late,', (redis) => {
    it('starts without Redis, and uses it when it comes', async () => {
      await redis.kill();
      const logger = new Log();
      const said = (words: string): number => logger.lines.filter((line) => line.includes(words)).length;
      const store = await start({ cache: { redis: { url: redis.url }, prefix: 'late:' } }, logger);
      const key = await roundTrip(store);
      expect([said('does not answer'), said('answers again')]).toEqual([1, 0]);

      await redis.start();
      for (; said('answers again') === 0; await setTimeout(20)) await load(store, key);
      const client = new Redis(redis.url);
      while ((await client.get(`late:${key}`)) === null) await load(store, key);
      client.disconnect();
    });
  });

  describeWithService('redis', 'with Redis', () => {
    it("takes clients of the application's own, and leaves them open", async () => {
      const url = serviceUrl('redis') as string;
      const [ioRedis, nodeRedis] = [new Redis(url), createClient({ url })];
      await nodeRedis.connect();
      const prefix = `${new URL(url).hash.slice(1)}:${randomBytes(4).toString('hex')}:`;
      try {
        for (const client of [ioRedis, nodeRedis]) {
          const key = await roundTrip(await start({ cache: { redis: { client }, prefix } }));
          expect(await ioRedis.get(prefix + key)).toMatch(/^r1 /);
          expect(await ioRedis.pttl(prefix + key)).toBeLessThanOrEqual(5000);
          await app?.close();
          expect(await nodeRedis.ping()).toBe('PONG');
        }
      } finally {
        ioRedis.disconnect();
        nodeRedis.destroy();
      }
    });
  });

  it.each<[string, CachedDatabaseEngineOptions]>([
    ['revocationBound', { revocationBound: 0 }],
    ['revocationBound', { revocationBound: 'soon' }],
    ['revocationBound', { revocationBound: '2d' }],
    ['cacheTimeout', { cacheTimeout: Number.NaN }],
    ['cache.maxEntries', { cache: { maxEntries: 0 } }],
    ['url', { cache: { redis: { url: 'localhost:6379' } } }],
  ])('refuses a bad %s at once', (option, options) => {
    expect(() => cachedDatabaseEngine(options)).toThrow(
      expect.objectContaining({ code: 'SESSION_CONFIG', option }),
    );
  });
});
