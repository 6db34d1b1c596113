import { randomBytes } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { CACHE_MANAGER, CacheModule } from '@nestjs/cache-manager';
import { type INestApplicationContext } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { TypeOrmModule } from '@nestjs/typeorm';
import { type Cache, createCache } from 'cache-manager';
import { Redis } from 'ioredis';
import { type JsonObject, SessionModule, SessionStore, type SessionRecord } from 'nest-sessions';
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
import {
  ManagerCache,
  ProcessCache,
  RedisCache,
} from '../libs/session/src/stores/cached-database/record-cache.js';
import {
  assertNear,
  HOUR,
  newId,
  newKeyHash,
  newRecord,
  save,
} from '../libs/session/src/testing/store-bench.js';
import { testDatabase } from './support/data-source.js';
import { DatabaseStoreBench } from './support/database-store-bench.js';
import { describeWithKillableRedis } from './support/killable-redis.js';
import { type DatabaseKind, describeWithService, serviceUrl } from './support/services.js';
import { testsAll } from './support/test-all.js';

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
  { revocationBound = 5000, cacheTimeout = 2000, logger = new Log() } = {},
): CachedDatabaseStore {
  return new CachedDatabaseStore(database, cache, { revocationBound, cacheTimeout }, logger);
}

/** In the database alone. */
async function created(
  database: SessionStore,
  data: JsonObject = {},
  overrides: Partial<SessionRecord> = {},
): Promise<SessionRecord> {
  const record = newRecord(data, overrides);
  if (!(await database.create(record.id, record))) throw new Error('The id is taken.');
  return record;
}

async function load(from: SessionStore, id: string): Promise<SessionRecord> {
  const record = await from.load(id);
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

/** Forgets everything at a word, fails at another, and tells what it was asked. */
class TestCache implements RecordCache {
  private epoch = 0;
  failing = false;
  /** Of a cache that is full, everything fails that needs room. */
  full = false;
  readonly asked: string[] = [];

  constructor(private readonly cache: RecordCache) {}

  forgetAll(): void {
    this.epoch += 1;
  }

  get = (key: string) => this.on('get', key, (own) => this.cache.get(own));
  add = (key: string, value: string, ttl: number) =>
    this.on('add', key, (own) => this.cache.add(own, value, ttl));
  replace = (key: string, beginning: string, value: string, ttl: number) =>
    this.on('replace', key, (own) => this.cache.replace(own, beginning, value, ttl));
  set = (key: string, value: string, ttl: number) =>
    this.on('set', key, (own) => this.cache.set(own, value, ttl));
  delete = (key: string) => this.on('delete', key, (own) => this.cache.delete(own));
  close = async () => this.cache.close?.();

  private async on<Answer>(
    name: string,
    key: string,
    operation: (key: string) => Promise<Answer>,
  ): Promise<Answer> {
    this.asked.push(name);
    if (this.failing) throw new Error('no cache');
    if (this.full && name !== 'get' && name !== 'delete') throw new Error('OOM');
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
      store: cached(store, caches[0]),
      sibling: () => cached(sibling, caches[1]),
      // What is done behind the back of the store shows after the bound, for which the kit does not wait.
      elapse: async (ms) => {
        await underTest.elapse?.(ms);
        forgetAll();
      },
      corrupt: async (id) => {
        await underTest.corrupt?.(id);
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
  describeSessionStore(`with ${front} in front of ${kind}`, makeStore, {
    capabilities: {
      outages: kind !== 'sqljs',
      ownClock: kind !== 'sqljs',
      severalProcesses: front === 'redis',
    },
  });
}

describe('CachedDatabaseStore conforms', () => {
  describeConforming('process', 'sqljs');
  describeWithService('postgres', 'on PostgreSQL', () => {
    describeConforming('manager', 'postgres');
    describeWithService('redis', 'and Redis', () => describeConforming('redis', 'postgres'));
  });
  describeWithService('mysql', 'on MariaDB or MySQL', () => {
    describeWithService('redis', 'and Redis', () => describeConforming('redis', 'mysql'));
  });
});

const FRONTS_AND_DATABASES = [
  ['process', 'sqljs'],
  ['process', 'postgres'],
  ['manager', 'postgres'],
  ['redis', 'postgres'],
  ['redis', 'mysql'],
] as const;

for (const [front, kind] of FRONTS_AND_DATABASES) {
  const suite = (): void => describeCaching(front, kind);
  const suiteOnDatabase = (): void => {
    if (kind === 'sqljs') suite();
    else describeWithService(kind, `on ${kind}`, suite);
  };
  describe(`CachedDatabaseStore with ${front} in front of ${kind}`, () => {
    if (front === 'redis') describeWithService('redis', 'and Redis', suiteOnDatabase);
    else suiteOnDatabase();
  });
}

function describeCaching(front: Front, kind: DatabaseKind): void {
  const bench = new DatabaseStoreBench(kind);
  beforeAll(() => bench.open());
  afterAll(() => bench.close());

  /** Stores of so many processes; of caches for one process, so many handles on it. */
  function stores(count: number, options?: Parameters<typeof cached>[2]): CachedDatabaseStore[] {
    const make = sharedCache(front);
    return Array.from({ length: count }, () =>
      cached(new DatabaseStore(bench.dataSource), opening(make()), options),
    );
  }

  function store(options?: Parameters<typeof cached>[2]): CachedDatabaseStore {
    return stores(1, options)[0] as CachedDatabaseStore;
  }

  const kinds = async (work: () => Promise<unknown>): Promise<string[]> =>
    (await bench.statementsOf(work)).map((text) => text.slice(0, 6));

  it('asks the database once, and not again after a save', async () => {
    const sessions = store();
    const { id } = await created(bench.store, { a: 1 });
    const statements = await kinds(async () => {
      const loaded = await load(sessions, id);
      expectSame(await load(sessions, id), loaded);
      await save(sessions, loaded, { set: { b: 2 } });
      const saved = await load(sessions, id);
      expect(saved).toMatchObject({ data: { a: 1, b: 2 }, version: 2 });
      await save(sessions, saved, { keyHash: newKeyHash(), meta: { stamp: 's' } });
      await load(sessions, id);
    });
    expect(statements).toEqual(['SELECT', 'UPDATE', 'UPDATE']);
    expectSame(await load(sessions, id), await load(bench.store, id));
  });

  it('asks the database once after what the cache cannot know', async () => {
    const sessions = store();
    const { id } = await created(bench.store, { a: 1 });
    const loaded = await load(sessions, id);
    await save(sessions, loaded, { set: { b: 2 } });
    // Made from the same version, so only the database knows the sum.
    await save(sessions, loaded, { set: { c: 3 } });
    const statements = await kinds(async () => {
      expect((await load(sessions, id)).data).toEqual({ a: 1, b: 2, c: 3 });
      expect((await load(sessions, id)).version).toBe(3);
    });
    expect(statements).toEqual(['SELECT']);
  });

  it('shows at once what changes more than the data', async () => {
    const [one, other] = stores(2) as [CachedDatabaseStore, CachedDatabaseStore];
    const { id } = await created(bench.store, { a: 1 });
    const keyHash = newKeyHash();
    await save(one, await load(one, id), { keyHash, expiry: 60 });
    const saved = await load(other, id);
    expect(saved).toMatchObject({ keyHash, expiry: 60 });
    const expiresAt = saved.expiresAt + HOUR;
    expect(await other.touch(id, { ...saved, expiresAt })).toBe(true);
    assertNear((await load(one, id)).expiresAt, expiresAt, 'expiresAt');
  });

  it('S85: keeps nothing under a replaced key, whatever the request saw that saves', async () => {
    const [one, other] = stores(2) as [CachedDatabaseStore, CachedDatabaseStore];
    const { id } = await created(bench.store, { a: 1 });
    const loaded = await load(one, id);
    const keyHash = newKeyHash();
    await save(one, loaded, { keyHash });
    expect(await save(other, loaded, { set: { late: 1 } })).toBe(false);
    // As within the overlap of a renewal: with the present key, from what was loaded under the former one.
    const { version } = await load(other, id);
    const seen = { ...loaded, version, data: { a: 1, b: 2 } };
    expect(await other.save(id, keyHash, { set: { b: 2 } }, seen)).toBe(true);
    for (const sessions of [one, other]) {
      expect(await load(sessions, id)).toMatchObject({ keyHash, data: { a: 1, b: 2 } });
    }
  });

  const ends: [string, (sessions: SessionStore, record: SessionRecord) => Promise<unknown>, object | null][] =
    [
      ['delete', (sessions, { id }) => sessions.delete(id), null],
      ['take', (sessions, { id }) => sessions.take(id), null],
      ['deleteByUser', (sessions, { userId }) => sessions.deleteByUser(userId as string), null],
      ['save', (sessions, record) => save(sessions, record, { set: { b: 2 } }), { b: 2 }],
      ['rotation', (sessions, record) => save(sessions, record, { keyHash: 'new', set: { c: 3 } }), { c: 3 }],
    ];

  it.each(ends)('S85: is not filled by a load that was slower than a %s', async (_, end, expected) => {
    for (const others of ['none', 'before', 'after']) {
      const [one, other] = stores(2) as [CachedDatabaseStore, CachedDatabaseStore];
      const record = await created(bench.store, {}, { userId: `Ann ${newId()}` });
      const held = holdLoads(one);
      const reading = one.load(record.id);
      await held.read;
      if (others === 'before') await load(other, record.id);
      await end(other, record);
      if (others === 'after') await other.load(record.id);
      held.release();
      expect(await reading).not.toBeNull(); // it read before
      const left = [await one.load(record.id), await other.load(record.id)];
      expect(left.map((seen) => seen?.data ?? null)).toEqual([expected, expected]);
    }
  });

  it.each(ends)(
    'S85: is not filled by a load that began after one write, and was slower than a %s',
    async (_, end, expected) => {
      const [one, other] = stores(2) as [CachedDatabaseStore, CachedDatabaseStore];
      const record = await created(bench.store, {}, { userId: `Ann ${newId()}` });
      // Leaves a mark.
      await other.touch(record.id, { ...record, expiresAt: record.expiresAt + 1000 });
      const held = holdLoads(one);
      const reading = one.load(record.id);
      await held.read;
      await end(other, await load(bench.store, record.id));
      held.release();
      await reading;
      const left = [await one.load(record.id), await other.load(record.id)];
      expect(left.map((seen) => seen?.data ?? null)).toEqual([expected, expected]);
    },
  );

  it('asks cache and database once for an id that nobody has, and leaves nothing there', async () => {
    const cache = new TestCache(opening(sharedCache(front)()));
    const sessions = cached(new DatabaseStore(bench.dataSource), cache);
    for (let time = 0; time < 3; time++) {
      const id = newId();
      expect(await kinds(async () => expect(await sessions.load(id)).toBeNull())).toEqual(['SELECT']);
    }
    expect(cache.asked).toEqual(['get', 'get', 'get']);
  });

  it('shows no session that was ended behind its back, once it is told to end it', async () => {
    const [one, other] = stores(2) as [CachedDatabaseStore, CachedDatabaseStore];
    const { id } = await created(bench.store);
    await load(one, id);
    await bench.store.delete(id);
    expect(await other.delete(id)).toBe(false);
    expect(await one.load(id)).toBeNull();
  });

  it('never stays stale, and shows no session that was logged out, whoever races', async () => {
    const all = stores(4);
    let [stale, alive, fromCache, lost] = [0, 0, 0, 0];
    for (let trial = 0; trial < 60; trial++) {
      const { id } = await created(bench.store, { n: 0 });
      const logout = trial % 2 === 1;
      const writer = async (n: number): Promise<boolean> => {
        const own = all[n % all.length] as CachedDatabaseStore;
        const record = await own.load(id);
        return record !== null && save(own, record, { set: { [`w${n}`]: n }, increment: { n: 1 } });
      };
      const reader = async (n: number): Promise<boolean> => {
        const own = all[n % all.length] as CachedDatabaseStore;
        for (let time = 0; time < 3; time++) await own.load(id);
        return false;
      };
      const work = Array.from({ length: 12 }, (_, n) => [() => writer(n), () => reader(n)]).flat();
      const end = async (): Promise<boolean> => {
        await setImmediate();
        const own = all[trial % all.length] as CachedDatabaseStore;
        return trial % 4 === 1 ? own.delete(id) : (await own.take(id)) !== null;
      };
      if (logout) work.splice(trial % 24, 0, end);
      const outcomes = await Promise.all(work.map((start) => start()));
      const truth = await bench.store.load(id);
      const statements = await bench.statementsOf(async () => {
        for (const own of all) {
          const seen = await own.load(id);
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
      const { id } = await created(bench.store);
      const cachedAt = performance.now();
      await load(sessions, id);
      await bench.dataSource.getRepository(SessionEntity).delete({ sessionId: id });
      const deleted = performance.now();
      const shown = await sessions.load(id);
      // The price of not asking. On a machine that took longer for these lines the bound has passed.
      const inTime = performance.now() - cachedAt < revocationBound;
      expect(inTime && shown === null).toBe(false);
      while ((await sessions.load(id)) !== null) {
        if (!busy) await setTimeout(5);
        // Whatever put the bound off would put it off for as long as it is loaded.
        if (performance.now() - deleted > 5000) throw new Error('It never shows.');
      }
      expect(await sessions.load(id)).toBeNull();
    }
  });

  it('S85: shows all that was acknowledged when the bound has passed, however the process is held up and the cache fails', async () => {
    const revocationBound = 300;
    const make = sharedCache(front);
    const caches = [0, 1].map(() => new TestCache(opening(make())));
    const all = caches.map((cache) =>
      cached(new DatabaseStore(bench.dataSource), cache, { revocationBound, cacheTimeout: 50 }),
    );
    const { id } = await created(bench.store);
    const acknowledged: { key: string; at: number }[] = [];
    const missed: string[] = [];
    const seen = { writing: true, looks: 0 };

    const reader = async (sessions: SessionStore): Promise<void> => {
      while (seen.writing) {
        const began = performance.now();
        const due = acknowledged.filter(({ at }) => began - at > revocationBound).map(({ key }) => key);
        const { data } = await load(sessions, id);
        missed.push(...due.filter((key) => !(key in data)));
        seen.looks += due.length;
        await setTimeout(1);
      }
    };
    const writer = async (): Promise<void> => {
      for (let n = 0; n < 24; n += 1) {
        const sessions = all[n % 2] as CachedDatabaseStore;
        const record = await load(sessions, id);
        // A third of the writes each find the cache in order, full, and away.
        for (const cache of caches) Object.assign(cache, { full: n % 3 === 1, failing: n % 3 === 2 });
        await save(sessions, record, { set: { [`k${n}`]: n } });
        acknowledged.push({ key: `k${n}`, at: performance.now() });
      }
      for (const cache of caches) Object.assign(cache, { full: false, failing: false });
      // So that the last ones are due as well.
      await setTimeout(2 * revocationBound);
      seen.writing = false;
    };
    // As a process has it that gets no time on a busy machine. It burns none.
    const clock = new Int32Array(new SharedArrayBuffer(4));
    const holdUp = async (): Promise<void> => {
      for (let n = 0; seen.writing; n += 1) {
        Atomics.wait(clock, 0, 0, [5, 120, 20, 60][n % 4]);
        await setTimeout(3);
      }
    };
    await Promise.all([writer(), holdUp(), ...all.map(reader), ...all.map(reader)]);
    expect(missed).toEqual([]);
    expect(seen.looks).toBeGreaterThan(0);
    expect(Object.keys((await load(all[0] as CachedDatabaseStore, id)).data)).toHaveLength(24);
  });

  it('S85: shows what a full cache could not be told of when the bound has passed', async () => {
    const revocationBound = 300;
    const make = sharedCache(front);
    const [full, cache] = [new TestCache(opening(make())), new TestCache(opening(make()))];
    const [one, other] = [cache, full].map((each) =>
      cached(new DatabaseStore(bench.dataSource), each, { revocationBound }),
    ) as [CachedDatabaseStore, CachedDatabaseStore];
    const record = await created(bench.store);
    const held = holdLoads(one);
    const reading = one.load(record.id);
    await held.read;
    // The bound counts from the reading of the database, in whole milliseconds.
    const read = performance.now();
    full.full = true;
    await save(other, record, { set: { b: 2 } });
    full.full = false;
    held.release();
    // There was no room for the mark of the save, so what this has read before it gets into the cache.
    await reading;
    while (performance.now() - read <= revocationBound + 1) await setTimeout(20);
    for (const sessions of [one, other]) expect((await load(sessions, record.id)).data).toEqual({ b: 2 });
  });

  it('does not let saves put the bound off', async () => {
    const revocationBound = 300;
    const sessions = store({ revocationBound });
    const { id } = await created(bench.store, { n: 0 });
    let record = await load(sessions, id);
    // Somebody writes around the cache, which a save cannot see.
    await save(bench.store, record, { set: { theirs: 1 } });
    const written = performance.now();
    while (record.data['theirs'] === undefined) {
      await save(sessions, record, { increment: { n: 1 } });
      record = await load(sessions, id);
      // A save that put the bound off would do so with every turn of this loop.
      if (performance.now() - written > 5000) throw new Error('It never shows.');
    }
    expect(record.data['theirs']).toBe(1);
  });

  it('does not put into the cache what took too long to read', async () => {
    const revocationBound = 200;
    const [one, other] = stores(2, { revocationBound }) as [CachedDatabaseStore, CachedDatabaseStore];
    const { id } = await created(bench.store, { a: 1 });
    const held = holdLoads(one);
    const reading = one.load(id);
    await held.read;
    await save(other, await load(other, id), { set: { b: 2 } });
    // By now the mark of the save has gone, too.
    await setTimeout(2 * revocationBound + 100);
    held.release();
    expect((await reading)?.data).toEqual({ a: 1 });
    for (const sessions of [one, other]) expect((await load(sessions, id)).data).toEqual({ a: 1, b: 2 });
  });

  it('does not put into the cache what a load has read before a save whose entry has expired', async () => {
    const [first, slow, other] = stores(3, { revocationBound: 1000 }) as [
      CachedDatabaseStore,
      CachedDatabaseStore,
      CachedDatabaseStore,
    ];
    const { id } = await created(bench.store, { a: 1 });
    const [ofFirst, ofSlow] = [holdLoads(first), holdLoads(slow)];
    const began = performance.now();
    const filling = first.load(id);
    await ofFirst.read;
    await setTimeout(300);
    const reading = slow.load(id);
    await ofSlow.read;
    ofFirst.release();
    await save(other, (await filling) as SessionRecord, { set: { b: 2 } });
    // The entry lives until then, and the slow load is younger.
    await setTimeout(1050 - (performance.now() - began));
    ofSlow.release();
    expect((await reading)?.data).toEqual({ a: 1 });
    expect((await load(other, id)).data).toEqual({ a: 1, b: 2 });
  });

  it('asks the database where the clocks of processes disagree', async () => {
    const [one, other] = stores(2) as [CachedDatabaseStore, CachedDatabaseStore];
    const { id } = await created(bench.store);
    await load(one, id);
    const real = Date.now;
    for (const minutes of kind === 'sqljs' ? [] : [-90, 90]) {
      Date.now = () => real() + minutes * 60_000;
      try {
        expect(Math.abs((await load(other, id)).expiresAt - Date.now() - HOUR)).toBeLessThan(10_000);
      } finally {
        Date.now = real;
      }
    }
  });
}

function gate(): { passed: Promise<void>; open: () => void } {
  const events = new EventEmitter();
  const passed = once(events, 'open').then(() => {});
  return { passed, open: () => events.emit('open') };
}

/** Holds back the next load of the database behind this store, after it has read. */
function holdLoads(store: CachedDatabaseStore): { read: Promise<void>; release: () => void } {
  const { database } = store as unknown as { database: SessionStore };
  const [read, released] = [gate(), gate()];
  database.load = async (id) => {
    Reflect.deleteProperty(database, 'load');
    const record = await database.load(id);
    read.open();
    await released.passed;
    return record;
  };
  return { read: read.passed, release: released.open };
}

describe('CachedDatabaseStore without its cache', () => {
  const bench = new DatabaseStoreBench('sqljs');
  beforeAll(() => bench.open());
  afterAll(() => bench.close());

  it('does everything, warns once per outage, and says when it is over', async () => {
    const logger = new Log();
    const cache = new TestCache(new ProcessCache(100));
    const sessions = cached(bench.store, cache, { logger, revocationBound: 200 });
    for (let outage = 0; outage < 2; outage++) {
      const before = await created(bench.store, { a: 1 });
      await load(sessions, before.id);
      cache.failing = true;
      const record = newRecord({ a: 1 }, { userId: 'Ann' });
      const { id } = record;
      await sessions.create(id, record);
      expect(await save(sessions, await load(sessions, id), { set: { b: 2 } })).toBe(true);
      const saved = await load(sessions, id);
      expect(saved.data).toEqual({ a: 1, b: 2 });
      expect(await sessions.touch(id, { ...saved, expiresAt: saved.expiresAt + HOUR })).toBe(true);
      expect(await save(sessions, saved, { keyHash: newKeyHash() })).toBe(true);
      expect(await sessions.listByUser('Ann')).toHaveLength(1);
      expect(await sessions.take(id)).not.toBeNull();
      expect(await sessions.delete(id)).toBe(false);
      expect(await sessions.deleteByUser('Ann')).toBe(0);
      expect(await sessions.clearExpired(10)).toBe(0);
      await save(sessions, await load(sessions, before.id), { set: { b: 2 } });

      cache.failing = false;
      await setTimeout(1050);
      // The cache still has what the save could not take out of it, or it would not be a test of that.
      expect((await load(sessions, before.id)).data).toEqual({ a: 1, b: 2 });
      while (logger.lines.length === 2 * outage + 1) {
        await setTimeout(50);
        await load(sessions, before.id);
      }
    }
    expect(logger.lines).toEqual([
      expect.stringMatching(/^warn .*does not answer \(no cache\)/),
      expect.stringMatching(/^log The cache of the sessions answers again: \d+ calls? failed in [\d.]+ s\.$/),
      expect.stringMatching(/^warn .*does not answer/),
      expect.stringMatching(/^log The cache of the sessions answers again/),
    ]);
  });

  it('goes on with a cache that is full, shows nothing stale, and says it once', async () => {
    const logger = new Log();
    const shared = new ProcessCache(100);
    const cache = new TestCache(shared);
    const [one, other] = [cached(bench.store, cache, { logger }), cached(bench.store, new TestCache(shared))];
    const [first, second, third] = [
      await created(bench.store, { a: 1 }),
      await created(bench.store, { a: 1 }),
      await created(bench.store, { a: 1 }),
    ];
    for (const { id } of [first, second]) await load(one, id);
    cache.full = true;
    for (let time = 0; time < 3; time++) await load(one, third.id);
    expect(await save(one, first, { set: { b: 2 } })).toBe(true);
    expect((await load(other, first.id)).data).toEqual({ a: 1, b: 2 });
    expect(await one.delete(second.id)).toBe(true);
    expect([await one.load(second.id), await other.load(second.id)]).toEqual([null, null]);
    await setTimeout(1050);
    await load(one, third.id);
    await load(one, first.id);
    expect(logger.lines).toEqual([expect.stringMatching(/^warn .*takes nothing in \(OOM\)/)]);

    cache.full = false;
    await setTimeout(1050);
    await load(one, third.id);
    const statements = await bench.statementsOf(() => load(one, third.id));
    expect(statements).toEqual([]);
    expect(logger.lines).toHaveLength(1);
    // A cache that is full has room now and then, when something in it expires.
    for (let time = 0; time < 2; time++) {
      cache.full = true;
      const { id } = await created(bench.store, { a: 1 });
      await load(one, id);
      cache.full = false;
      await setTimeout(1050);
      await load(one, id);
    }
    expect(logger.lines).toHaveLength(1);
    while (logger.lines.length === 1) {
      await setTimeout(50);
      await load(one, (await created(bench.store, { a: 1 })).id);
    }
    expect(logger.lines.slice(1)).toEqual([
      expect.stringMatching(/^log The cache of the sessions takes entries in again: \d+ calls failed/),
    ]);
  });

  it('takes no version in the cache for that of the database which has the same number', async () => {
    const shared = new ProcessCache(100);
    const caches = [new TestCache(shared), new TestCache(shared), new TestCache(shared)] as const;
    const [one, other, third] = caches.map((cache) =>
      cached(bench.store, cache, { revocationBound: 60_000 }),
    ) as SessionStore[] as [SessionStore, SessionStore, SessionStore];
    const { id } = await created(bench.store);
    const first = await load(one, id);
    const second = await load(other, id);
    // One has saved, and its process has not come to the cache yet.
    const { replace } = caches[0];
    const [asked, held] = [gate(), gate()];
    caches[0].replace = async (...given) => {
      asked.open();
      await held.passed;
      return replace(...given);
    };
    const saving = save(one, first, { set: { one: 1 } });
    await asked.passed;
    // Version 2 in the database is the save of one, and soon version 2 in the cache that of the other.
    caches[2].failing = true;
    const ofDatabase = await load(third, id);
    caches[2].failing = false;
    expect(await save(other, second, { set: { other: 1 } })).toBe(true);
    expect((await load(other, id)).data).toEqual({ other: 1 });
    await setTimeout(1050);
    expect(await save(third, ofDatabase, { set: { third: 1 } })).toBe(true);
    for (const sessions of [one, other, third]) {
      expect((await load(sessions, id)).data).toEqual({ one: 1, other: 1, third: 1 });
    }
    held.open();
    expect(await saving).toBe(true);
    expect((await load(other, id)).data).toEqual({ one: 1, other: 1, third: 1 });
  });

  it('does not believe the cache about what it could not take out of it', async () => {
    const cache = new TestCache(new ProcessCache(100));
    const sessions = cached(bench.store, cache, { revocationBound: 60_000 });
    const { id } = await created(bench.store, { a: 1 });
    await load(sessions, id);
    cache.failing = true;
    await sessions.delete(id);
    cache.failing = false;
    await setTimeout(1050);
    expect(await cache.get(id)).not.toBeNull();
    expect(await sessions.load(id)).toBeNull();
  });

  it('hands its limits to the database', async () => {
    const sessions = cached(bench.store, new ProcessCache(100));
    sessions.limits = { size: 20, keys: 9 };
    const record = await created(bench.store, { a: 1 });
    const long = { set: { b: 'x'.repeat(20) } };
    await expect(save(sessions, record, long)).rejects.toMatchObject({ code: 'SESSION_LIMIT' });
    expect((await load(sessions, record.id)).data).toEqual({ a: 1 });
  });

  it('waits for a cache that hangs no longer than it may, and not for every load', async () => {
    const hanging = new ProcessCache(100);
    let waits = 0;
    hanging.get = () => {
      waits += 1;
      return new Promise(() => {});
    };
    const logger = new Log();
    const sessions = cached(bench.store, hanging, { logger, cacheTimeout: 100 });
    const { id } = await created(bench.store, { a: 1 });
    const began = performance.now();
    for (let n = 0; n < 20; n++) expect(await sessions.load(id)).not.toBeNull();
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

    it.each(testsAll ? (['ioredis', 'redis'] as const) : (['ioredis'] as const))(
      'loses nothing, revives nothing and is never stale (%s)',
      async (library) => {
        const logger = new Log();
        const sessions = cached(
          new DatabaseStore(bench.dataSource),
          opening(new RedisCache({ url: redis.url, library }, `${library}:`)),
          { logger, cacheTimeout: 1000, revocationBound: 1000 },
        );
        const start = async (): Promise<string> => (await created(bench.store, { n: 0 })).id;
        const ids = await Promise.all(Array.from({ length: 8 }, start));
        const ended = new Map<string, number>();
        const written = new Map<string, number>();
        const faults: unknown[] = [];
        const traffic = { running: true, loads: 0 };

        const visit = async (slot: number): Promise<void> => {
          while (traffic.running) {
            const id = ids[slot] as string;
            const record = await sessions.load(id);
            traffic.loads += 1;
            const expected = written.get(id) ?? 0;
            if (record === null || record.data['n'] !== expected) {
              faults.push([record?.data['n'], expected]);
              return;
            }
            await save(sessions, record, { increment: { n: 1 } });
            written.set(id, expected + 1);
            if (expected % 50 === 49) {
              await sessions.delete(id);
              ended.set(id, performance.now());
              ids[slot] = await start();
            }
            for (const dead of [...ended.keys()].slice(-3)) {
              if ((await sessions.load(dead)) !== null) faults.push('alive');
            }
          }
        };
        const visits = Promise.all(ids.map((_, slot) => visit(slot)));
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
              : 'log The cache of the sessions answers again',
          );
        }
        expect(ended.size).toBeGreaterThan(0);
      },
      60_000,
    );
  });
});

/** A session that is made and read twice. */
async function roundTrip(store: SessionStore): Promise<string> {
  const { id } = await created(store, { a: 1 }, { userId: 'Ann' });
  expectSame(await load(store, id), await load(store, id));
  return id;
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
    const id = await roundTrip(store);
    const table = app?.get(DataSource).getRepository(SessionEntity);
    await table?.delete({ sessionId: id });
    expect(await store.load(id)).not.toBeNull();
  });

  it("finds a user's sessions in the cache", async () => {
    const store = await start();
    const ids = [await roundTrip(store), await roundTrip(store)];
    const [kept] = await store.listByUser('Ann');
    expect(await store.deleteByUser('Ann', [kept?.id ?? ''])).toBe(1);
    const left = await Promise.all(ids.map((id) => store.load(id)));
    expect(left.filter(Boolean).map((record) => record?.id)).toEqual([kept?.id]);
  });

  it('takes the cache of the application', async () => {
    const store = await start({
      cache: { inject: [CACHE_MANAGER], useFactory: (cache: Cache) => ({ manager: cache, prefix: 'p:' }) },
    });
    const id = await roundTrip(store);
    expect(await app?.get<Cache>(CACHE_MANAGER).get(`p:${id}`)).toMatch(/^\d+ r1 /);
  });

  it('takes a cache of your own', async () => {
    const cache = new ProcessCache(10);
    const id = await roundTrip(await start({ cache: { custom: cache } }));
    expect(await cache.get(id)).toMatch(/^r1 /);
  });

  describe('with encryption', () => {
    const encryption = { secrets: randomBytes(32).toString('base64url') };

    it('S05: encrypts what it puts into the cache, as in the database', async () => {
      const cache = new ProcessCache(10);
      const store = await start({ encryption, cache: { custom: cache } });
      const record = newcomer('Ann');
      const { id } = record;
      await store.create(id, record);
      await load(store, id);
      const held = [await cache.get(id)];
      await save(store, await load(store, id), { set: { name: 'Ann', city: 'Turin' } });
      held.push(await cache.get(id));

      const table = app?.get(DataSource).getRepository(SessionEntity);
      expect(JSON.stringify(await table?.find())).not.toMatch(/Ann|Turin|stamp/);
      expect(held).toEqual([expect.stringMatching(/^r1 .*e1\./s), expect.stringMatching(/^r2\.\S+ .*e1\./s)]);
      expect(held.join('\n')).not.toMatch(/name|Ann|city|Turin|stamp/);
      await table?.delete({ sessionId: id });
      expect(await load(store, id)).toMatchObject({
        data: { name: 'Ann', city: 'Turin' },
        meta: { stamp: 'stamp of Ann' },
      });
    });

    it('S71: asks the database where a text in the cache is of another session', async () => {
      const cache = new ProcessCache(10);
      const store = await start({ encryption, cache: { custom: cache } });
      const [ann, bob] = [newcomer('Ann').id, newcomer('Bob').id];
      for (const [id, name] of [
        [ann, 'Ann'],
        [bob, 'Bob'],
      ] as const) {
        await store.create(id, { ...newcomer(name), id });
        await load(store, id);
      }
      const [head] = (await cache.get(ann))?.split(/\n(?=e1)/) ?? [];
      const [, dataOfBob] = (await cache.get(bob))?.split(/\n(?=e1)/) ?? [];
      await cache.set(ann, `${head}\n${dataOfBob}`, HOUR);
      expect((await load(store, ann)).data).toEqual({ name: 'Ann' });
      await cache.set(ann, (await cache.get(bob)) as string, HOUR);
      expect(await load(store, ann)).toMatchObject({ id: ann, data: { name: 'Ann' } });
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
      const id = await roundTrip(store);
      expect([said('does not answer'), said('answers again')]).toEqual([1, 0]);

      await redis.start();
      for (; said('answers again') === 0; await setTimeout(20)) await load(store, id);
      const client = new Redis(redis.url);
      while ((await client.get(`late:${id}`)) === null) await load(store, id);
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
          const id = await roundTrip(await start({ cache: { redis: { client }, prefix } }));
          expect(await ioRedis.get(prefix + id)).toMatch(/^r1 /);
          expect(await ioRedis.pttl(prefix + id)).toBeLessThanOrEqual(5000);
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
