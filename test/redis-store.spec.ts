import { Redis } from 'ioredis';
import { SessionConfigError, type SessionStore } from 'nest-sessions';
import {
  type IoRedisClient,
  type NodeRedisClient,
  redisEngine,
  type RedisEngineOptions,
  RedisStore,
} from 'nest-sessions/redis';
import { describeSessionStore } from 'nest-sessions/testing';
import { createClient } from 'redis';
import {
  assertNear,
  changed,
  HOUR,
  MINUTE,
  newKey,
  newRecord,
} from '../libs/session/src/testing/store-bench.js';
import { RedisBench } from './support/redis-bench.js';
import { DelegatingConnection, DyingConnection, StutteringConnection } from './support/redis-connections.js';
import { ask, redisInstalled } from './support/redis-process.js';
import { startWatchedRedis, type WatchedRedis } from './support/redis-sentinel.js';
import {
  openRedisStore,
  redisLibraries,
  redisStoreUnderTest,
  untilServing,
  testRedis,
} from './support/redis-store-bench.js';
import { describeWithService } from './support/services.js';
import { startTcpProxy } from './support/tcp-proxy.js';

/** Begun before all other tests, and looked at after them: it takes ten seconds. */
let startsWithoutRedis: Promise<unknown>[] = [];
beforeAll(() => {
  startsWithoutRedis = redisLibraries.map((library) =>
    engineStore({ url: 'redis://:secret@127.0.0.1:1', library }).catch((error: unknown) => error),
  );
});

for (const library of redisLibraries) {
  describeWithService('redis', `RedisStore through ${library}`, () => {
    describeSessionStore('conforms', () => redisStoreUnderTest(library), {
      capabilities: { clearsExpired: false },
    });

    it('leaves a connection that has gone silent', async () => {
      const { url, prefix } = testRedis();
      const proxy = await startTcpProxy('127.0.0.1', Number(new URL(url).port || 6379));
      const options =
        library === 'ioredis'
          ? { commandTimeout: 500, disconnectTimeout: 100 }
          : { socket: { socketTimeout: 500 }, pingInterval: 100 };
      const store = await openRedisStore({
        url: `redis://127.0.0.1:${proxy.port}`,
        prefix,
        library,
        options,
      });
      proxy.stall();
      await expect(store.load(newKey())).rejects.toMatchObject({ code: 'SESSION_STORE_UNAVAILABLE' });
      proxy.mend();
      await untilServing(store);
      await store.close();
      await proxy.close();
    });

    it('counts an end as done only when replicas have it, if it was told to', async () => {
      const { url, prefix } = testRedis();
      const waitForReplicas = { replicas: 1, timeout: 50 };
      const store = await openRedisStore({ url, prefix, library, waitForReplicas });
      const key = newKey();
      await store.create(key, newRecord());
      // This Redis has no replica.
      await expect(store.delete(key)).rejects.toMatchObject({
        code: 'SESSION_STORE_UNAVAILABLE',
        message: expect.stringContaining('0 of 1 replicas'),
      });
      expect(await store.load(key)).toBeNull();
      await store.close();
    });
  });
}

describeWithService('redis', 'RedisStore', () => {
  const bench = new RedisBench().use();
  const { url, prefix } = bench;

  async function entries(key: string): Promise<{ index: string; lasts: number }> {
    const found: { index: string; lasts: number }[] = [];
    for (const index of await bench.indexesOf(key)) {
      found.push({ index, lasts: Number(await bench.raw.zscore(index, key)) - Date.now() });
    }
    const [longest] = found.toSorted((a, b) => b.lasts - a.lasts);
    if (!longest) throw new Error('The session is in no index.');
    return longest;
  }

  it('takes one command for a load, a save, a touch, and a rename on one server', async () => {
    const counted = new DelegatingConnection(bench.connection);
    const other = new RedisStore(counted, { prefix });
    const [key, next] = [await bench.create({ a: 1 }), newKey()];
    const record = await bench.load(key);
    const later = { ...record, expiresAt: Date.now() + 9 * HOUR };
    await other.load(key);
    await other.touch(key, later);
    await other.save(key, { set: { a: 2 } }, changed(record, { set: { a: 2 } }));
    await other.rename(key, next, {}, await bench.load(key));
    expect(counted.commands).toBe(4);
  });

  it('also without the scripts in the cache of the server', async () => {
    await bench.raw.script('FLUSH');
    const key = await bench.create({ a: 1 });
    expect({ ...(await bench.load(key)).data }).toEqual({ a: 1 });
  });

  it('overwrites a few bytes for a touch, and leaves the deadline to Redis', async () => {
    const key = await bench.create({ big: 'x'.repeat(10_000) });
    const before = (await bench.raw.get(bench.redisKey(key))) ?? '';
    const record = {
      ...(await bench.load(key)),
      expiresAt: Date.now() + 2 * HOUR,
      lastSeenAt: Date.now() + MINUTE,
    };
    expect(await bench.store.touch(key, record)).toBe(true);
    const after = (await bench.raw.get(bench.redisKey(key))) ?? '';
    expect(after.slice(0, 23) + after.slice(38)).toBe(before.slice(0, 23) + before.slice(38));
    assertNear(await bench.raw.pttl(bench.redisKey(key)), 2 * HOUR, 'the time to live');
  });

  it('keeps a large session as snapshot and log, and folds a long log', async () => {
    const key = await bench.create({ big: 'x'.repeat(8000) });
    const lengths: number[] = [];
    for (let n = 1; n <= 40; n++) {
      const record = await bench.load(key);
      const changes = { set: { [`key${n}`]: 'y'.repeat(100) } };
      await bench.store.save(key, changes, changed(record, changes));
      const [, , , , , ...log] = ((await bench.raw.get(bench.redisKey(key))) ?? '').split('\n');
      lengths.push(log.join('\n').length);
    }
    expect(Math.max(...lengths)).toBeGreaterThan(1500);
    expect(Math.max(...lengths)).toBeLessThan(3000);
    expect(lengths).toContain(0);
  });

  it('keeps a user and a meta of any length through writes that are about other things', async () => {
    const userId = 'ü'.repeat(1000);
    const meta = { stamp: 'x'.repeat(2000) };
    const [key, next] = [await bench.create({ a: 1 }, { userId, meta }), newKey()];
    const later = { ...(await bench.load(key)), expiresAt: Date.now() + 9 * HOUR };
    expect(await bench.store.touch(key, later)).toBe(true);
    const changes = { expiry: 7200 };
    expect(await bench.store.save(key, changes, changed(await bench.load(key), changes))).toBe(true);
    expect(await bench.store.rename(key, next, {}, await bench.load(key))).toBe(true);
    expect(await bench.load(next)).toMatchObject({ userId, meta, expiry: 7200 });
    expect(await bench.store.deleteByUser(userId)).toBe(1);
  });

  it('S116: does what a client sends twice once', async () => {
    const twice = new RedisStore(new StutteringConnection(bench.connection), { prefix });
    const [key, next] = [newKey(), newKey()];
    expect(await twice.create(key, newRecord({ n: 1, filler: 'x'.repeat(3000) }))).toBe(true);
    const record = await bench.load(key);
    const changes = { increment: { n: 1 }, push: { list: [1] } };
    expect(await twice.save(key, changes, changed(record, changes))).toBe(true);
    expect(await twice.rename(key, next, changes, changed(record, changes))).toBe(true);
    const moved = await bench.load(next);
    expect([moved.data['n'], moved.data['list']]).toEqual([3, [1, 1]]);
  });

  it.each([
    ['', 'nothing of a header'],
    ['SSS', 'a short one'],
    [`S${'x'.repeat(88)}"id"\nnull\nnull\n\n{}\n`, 'no numbers'],
    [`S${'1'.repeat(88)}"id"\nnull\nnull\n\nnot json\n`, 'no JSON'],
    [`S${'1'.repeat(88)}"id"\nnull\n{}\n\n{}\n`, 'an odd expiry'],
    [`S${'1'.repeat(88)}null\nnull\nnull\n\n{}\n`, 'no id'],
    [`S${'1'.repeat(88)}"id"\nnull\nnull\n[]\n{}\n`, 'an odd meta'],
    [`S${'1'.repeat(88)}"id"\nnull\nnull\n{}\n`, 'no snapshot'],
    [
      `S${'1'.repeat(67)}${'0'.repeat(15)}${'1'.repeat(6)}"id"\n"Ann"\nnull\n\n{}\n`,
      'a user, but since when',
    ],
    [`S${'1'.repeat(88)}"id"\nnull\nnull\n\n{}\n{"s":`, 'a torn log'],
    ['Mv1-elsewhere\n', 'no session id'],
    ['P', 'no origin'],
  ])('says that a record is corrupt: %j, %s', async (value) => {
    const key = newKey();
    await bench.raw.set(bench.redisKey(key), value, 'EX', 60);
    await expect(bench.store.load(key)).rejects.toMatchObject({ code: 'SESSION_RECORD_CORRUPT' });
  });

  it('says so of one of another type, or without an end', async () => {
    const [list, endless] = [newKey(), await bench.create()];
    await bench.raw.lpush(bench.redisKey(list), 'x');
    await bench.raw.expire(bench.redisKey(list), 60);
    await bench.raw.persist(bench.redisKey(endless));
    for (const key of [list, endless]) {
      await expect(bench.store.load(key)).rejects.toMatchObject({ code: 'SESSION_RECORD_CORRUPT' });
    }
    await bench.raw.unlink(bench.redisKey(endless));
  });

  describe('the index of a user', () => {
    it('outlives the session, however far a touch, a save or a new expiry puts its end', async () => {
      const key = await bench.create({ a: 1 }, { userId: 'Ann', expiresAt: Date.now() + MINUTE });
      const steps = [
        (at: number) => async () => bench.store.touch(key, { ...(await bench.load(key)), expiresAt: at }),
        (at: number) => async () =>
          bench.store.save(key, { set: { a: 2 } }, { ...(await bench.load(key)), expiresAt: at }),
        (at: number) => async () =>
          bench.store.save(key, { expiry: 9 }, { ...(await bench.load(key)), expiresAt: at }),
        (at: number) => async () =>
          bench.store.save(key, { userId: 'Bob' }, { ...(await bench.load(key)), expiresAt: at }),
      ];
      let [lives] = [MINUTE];
      for (const step of steps) {
        lives *= 10;
        expect(await step(Date.now() + lives)()).toBe(true);
        assertNear(await bench.raw.pttl(bench.redisKey(key)), lives, 'the time to live');
        const { index, lasts } = await entries(key);
        expect(lasts).toBeGreaterThan(lives);
        expect(await bench.raw.pttl(index)).toBeGreaterThan(lives);
      }
    });

    it('outlives the session also when it cannot be prolonged, and the save is a save', async () => {
      const key = await bench.create({ n: 1 }, { userId: 'Ann', expiresAt: Date.now() + MINUTE });
      const failing = new DelegatingConnection(bench.connection, {
        before: (command) => (command > 1 ? Promise.reject(new Error('broken')) : Promise.resolve()),
      });
      const changes = { increment: { n: 1 } };
      const record = changed(await bench.load(key), changes, { expiresAt: Date.now() + HOUR });
      expect(await new RedisStore(failing, { prefix }).save(key, changes, record)).toBe(true);
      expect((await bench.load(key)).data['n']).toBe(2);
      expect((await entries(key)).lasts).toBeGreaterThan(await bench.raw.pttl(bench.redisKey(key)));
      expect(await bench.store.touch(key, { ...(await bench.load(key)), expiresAt: Date.now() + HOUR })).toBe(
        true,
      );
    });

    it('is not written by most touches', async () => {
      const counted = new DelegatingConnection(bench.connection);
      const other = new RedisStore(counted, { prefix });
      const key = await bench.create({}, { userId: 'Ann' });
      for (let minute = 1; minute <= 50; minute++) {
        const record = { ...(await bench.load(key)), expiresAt: Date.now() + HOUR + minute * MINUTE };
        expect(await other.touch(key, record)).toBe(true);
      }
      expect(counted.commands).toBe(50);
    });

    it('forgets what is over, at its next use', async () => {
      const key = await bench.create({}, { userId: 'Forgetful' });
      const { index } = await entries(key);
      await bench.raw.zadd(index, Date.now() - 1, newKey());
      await bench.create({}, { userId: 'Forgetful' });
      expect(await bench.raw.zcard(index)).toBe(2);
    });

    it('leaves nothing behind that Redis would not remove by itself', async () => {
      const key = await bench.create({}, { userId: 'Ann' });
      await bench.store.rename(key, newKey(), {}, await bench.load(key));
      const keys = await bench.raw.keys(`${prefix}*`);
      expect(keys.length).toBeGreaterThan(2);
      for (const left of keys) expect(await bench.raw.ttl(left)).toBeGreaterThan(0);
    });

    it('has the session under its new key, whichever user it turns out to have', async () => {
      const [key, next] = [await bench.create({}, { userId: 'Ann' }), newKey()];
      const stale = await bench.load(key);
      await bench.store.save(key, { userId: 'Carl' }, changed(stale, { userId: 'Carl' }));
      expect(await bench.store.rename(key, next, {}, stale)).toBe(true);
      expect(await bench.store.deleteByUser('Carl')).toBe(1);
      expect(await bench.store.load(next)).toBeNull();
    });
  });

  /** As in a cluster, where no script reaches both keys. */
  describe('a rotation across servers', () => {
    it.each([false, true])(
      'has exactly one key, whichever step is the last (carried out: %p)',
      async (carriedOut) => {
        for (let step = 1; ; step++) {
          const dying = new DyingConnection(bench.connection, { step, carriedOut });
          const [key, next] = [await bench.create({ a: 1 }, { userId: 'Dora' }), newKey()];
          const record = await bench.load(key);
          const changes = { set: { b: 2 } };
          const renaming = new RedisStore(dying, { prefix }).rename(
            key,
            next,
            changes,
            changed(record, changes),
          );
          const outcome = await renaming.catch(() => 'failed');

          const [old, moved] = [await bench.store.load(key), await bench.store.load(next)];
          expect([old, moved].filter((found) => found !== null)).toHaveLength(1);
          expect({ ...(moved ?? { data: { a: 1, b: 2 } }).data }).toEqual({ a: 1, b: 2 });
          // What the request that had loaded it knows of it is enough to end it.
          expect(await bench.store.delete(key, record.id)).toBe(true);
          expect([await bench.store.load(key), await bench.store.load(next)]).toEqual([null, null]);
          expect(await bench.store.listByUser('Dora')).toEqual([]);
          if (outcome === true) return;
        }
      },
    );

    type ComesIn = (key: string, id: string, userId: string) => Promise<void>;

    /** Rotates a session of this user, and lets somebody else come in before the given step, if there is such a step. */
    async function rotate(userId: string, step: number, comeIn: ComesIn) {
      const [key, next] = [await bench.create({ a: 1 }, { userId }), newKey()];
      const record = await bench.load(key);
      let reached = false;
      const interrupted = new DelegatingConnection(bench.connection, {
        cluster: true,
        before: async (command) => {
          if (command !== step) return;
          reached = true;
          await comeIn(key, record.id, userId);
        },
      });
      const renamed = await new RedisStore(interrupted, { prefix }).rename(key, next, {}, record);
      return { reached, renamed, key, next };
    }

    const ends: Record<string, ComesIn> = {
      'the session': async (key, id) => expect(await bench.store.delete(key, id)).toBe(true),
      'the session, by its id': async (_key, id) => expect(await bench.store.deleteById(id)).toBe(true),
      'the session, by its id and user': async (_key, id, userId) =>
        expect(await bench.store.deleteById(id, userId)).toBe(true),
    };

    it.each(Object.entries(ends))('ends nowhere when somebody ends %s on the way', async (whom, end) => {
      const userId = `Emil, who ends ${whom}`;
      for (let step = 1; ; step++) {
        const { reached, renamed, key, next } = await rotate(userId, step, end);
        if (!reached) break;
        // Reserved, departed, arrived: from then on the rotation was first, and the end came after it.
        expect(!renamed || step > 4).toBe(true);
        expect([await bench.store.load(key), await bench.store.load(next)]).toEqual([null, null]);
        expect(await bench.store.deleteByUser(userId)).toBe(0);
      }
    });

    it("ends nowhere when the user's sessions are ended on the way", async () => {
      for (let step = 2; ; step++) {
        const { reached, key, next } = await rotate('Fritz', step, async () =>
          expect(await bench.store.deleteByUser('Fritz')).toBe(1),
        );
        if (!reached) break;
        expect([await bench.store.load(key), await bench.store.load(next)]).toEqual([null, null]);
      }
    });

    it('tells at every step where the session is, to whoever looks for it under its old key', async () => {
      for (let step = 1; ; step++) {
        let seen: unknown;
        const { reached, next } = await rotate('Gerd', step, async (key) => {
          seen = await bench.store.find(key);
        });
        if (!reached) break;
        expect(seen).toMatchObject(step > 3 ? { movedTo: next } : { data: { a: 1 } });
        expect(await bench.store.find(next)).toMatchObject({ data: { a: 1 } });
      }
    });
  });

  (redisInstalled ? describe : describe.skip)('with Sentinel', () => {
    let watched: WatchedRedis;
    beforeAll(async () => {
      watched = await startWatchedRedis();
    });
    afterAll(() => watched.stop());

    it.each(redisLibraries)('finds the primary, and refuses to write to a replica: %s', async (library) => {
      const waitForReplicas = { replicas: 1, timeout: 20 };
      const { sentinel, port } = watched;
      const [plain, waiting] = [
        await openRedisStore({ sentinel, library }),
        await openRedisStore({ sentinel, library, waitForReplicas }),
      ];
      const key = newKey();
      expect(await plain.create(key, newRecord({ a: 1 }))).toBe(true);
      await expect(waiting.delete(key)).rejects.toThrow('0 of 1 replicas');
      expect(await plain.load(key)).toBeNull();

      await ask(port, (client) => client.replicaof('127.0.0.1', 1));
      await expect(plain.create(newKey(), newRecord())).rejects.toMatchObject({
        code: 'SESSION_STORE_UNAVAILABLE',
      });
      await ask(port, (client) => client.replicaof('NO', 'ONE'));
      await Promise.all([plain.close(), waiting.close()]);
    });
  });

  describe('redisEngine', () => {
    it('connects by URL, by options, and by a factory', async () => {
      const { hostname, port } = new URL(url);
      const options = { host: hostname, port: Number(port || 6379) };
      const stores = [
        await engineStore({ url, prefix }),
        await engineStore({ options, prefix, library: 'ioredis' }),
        await engineStore({ options: { socket: options }, prefix, library: 'redis' }),
        await redisEngine({ useFactory: (at: string) => ({ url: at, prefix }) }).useFactory(url),
      ];
      for (const engine of stores) {
        await works(engine);
        await engine.close();
        await expect(engine.load(newKey())).rejects.toMatchObject({ code: 'SESSION_STORE_UNAVAILABLE' });
      }
    });

    it("never closes the application's own client", async () => {
      const [theirs, others] = [new Redis(url), createClient({ url })];
      const clients: (IoRedisClient | NodeRedisClient)[] = [theirs, others];
      for (const client of clients) {
        const engine = await engineStore({ client, prefix });
        await works(engine);
        await engine.close();
      }
      expect([await theirs.ping(), await others.ping()]).toEqual(['PONG', 'PONG']);
      await theirs.quit();
      others.destroy();
    });

    it.each<[object, string]>([
      [{}, 'url'],
      [{ url: 'localhost:6379' }, 'url'],
      [{ url: 'http://:secret@localhost' }, 'url'],
      [{ url: 'redis://a', cluster: ['redis://b'] }, 'url'],
      [{ cluster: [] }, 'cluster'],
      [{ cluster: ['redis://a', 'secret'] }, 'cluster[1]'],
      [{ sentinel: { name: 'main', nodes: ['secret'] } }, 'sentinel.nodes[0]'],
      [{ sentinel: { name: '', nodes: ['a:1'] } }, 'sentinel'],
      [{ client: {} }, 'client'],
      [{ client: undefined }, 'client'],
      [{ url: 'redis://a', library: 'memcached' }, 'library'],
      [{ url: 'redis://a', prefix: '{a}' }, 'prefix'],
      [{ url: 'redis://a', waitForReplicas: { replicas: 0, timeout: 1 } }, 'waitForReplicas.replicas'],
      [{ url: 'redis://a', waitForReplicas: { replicas: 1, timeout: 0 } }, 'waitForReplicas.timeout'],
    ])('refuses %j', (options, option) => {
      const make = (): unknown => redisEngine(options);
      expect(make).toThrow(SessionConfigError);
      expect(make).toThrow(expect.objectContaining({ option }));
      expect(make).not.toThrow(/secret/);
    });
  });
});

const engineStore = async (options: RedisEngineOptions): Promise<SessionStore> =>
  redisEngine(options).useFactory();

async function works(engine: SessionStore): Promise<void> {
  const key = newKey();
  expect(await engine.create(key, newRecord({ a: 1 }))).toBe(true);
  expect(await engine.delete(key)).toBe(true);
}

it('fails to start when there is no Redis', async () => {
  for (const error of await Promise.all(startsWithoutRedis)) {
    expect(error).toMatchObject({ code: 'SESSION_STORE_UNAVAILABLE' });
    expect(String(error)).not.toContain('secret');
  }
});
