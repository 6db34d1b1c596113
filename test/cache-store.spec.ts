import { setImmediate } from 'node:timers/promises';
import { CACHE_MANAGER, CacheModule } from '@nestjs/cache-manager';
import { Controller, type DynamicModule, type INestApplicationContext, Module, Post } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { type Cache, createCache } from 'cache-manager';
import { Keyv, type KeyvStoreAdapter } from 'keyv';
import { Session, SessionModule, SessionStore, type SessionRecord } from 'nest-sessions';
import { cacheEngine, CacheStore } from 'nest-sessions/cache';
import { describeSessionStore } from 'nest-sessions/testing';
import { createClient, type RedisClientType } from 'redis';
import { HOUR, MINUTE, newKey, newRecord, withClockAhead } from '../libs/session/src/testing/store-bench.js';
import { platforms, silent, startApp } from './support/app.js';
import { describeWithKillableRedis } from './support/killable-redis.js';
import { byThisClock, withoutOtherClocks } from './support/store-kit.js';
import { startTcpProxy } from './support/tcp-proxy.js';
import { describeEncryption } from './suites/encryption.suite.js';
import { describeUserMarks } from './suites/user-marks.suite.js';

async function created(
  store: SessionStore,
  overrides: Partial<SessionRecord> = {},
): Promise<[string, SessionRecord]> {
  const key = newKey();
  await store.create(key, newRecord({}, overrides));
  return [key, (await store.load(key)) as SessionRecord];
}

@Controller('visits')
class Visits {
  @Post()
  visit(@Session() session: Session): number {
    return session.increment('visits');
  }
}

@Module({})
class Caches {}

/** As CacheModule provides it that was given this cache. */
function providing(cache: Cache): DynamicModule {
  return {
    module: Caches,
    providers: [{ provide: CACHE_MANAGER, useValue: cache }],
    exports: [CACHE_MANAGER],
  };
}

/** How a Keyv adapter tells that its server has failed: it throws, or it reports an error and answers "nothing". */
type Manner = 'throws' | 'reports';

/** An adapter for a real Redis, in the manner of those on npm. */
class RedisAdapter implements KeyvStoreAdapter {
  opts: unknown = {};
  namespace?: string;
  /** Holds back what is about to be set. */
  beforeSet: () => Promise<void> = () => Promise.resolve();
  private readonly listeners: ((error: unknown) => void)[] = [];

  constructor(
    private readonly client: RedisClientType,
    private readonly manner: Manner,
  ) {
    client.on('error', (error) => this.report(error));
  }

  get<Value>(key: string): Promise<Value | undefined> {
    return this.answer(async () => ((await this.client.get(key)) ?? undefined) as Value | undefined);
  }

  set(key: string, value: string, ttl?: number): Promise<unknown> {
    return this.answer(async () => {
      await this.beforeSet();
      await this.client.set(key, value, { ...(ttl !== undefined && { PX: ttl }) });
      return undefined;
    });
  }

  async delete(key: string): Promise<boolean> {
    return (await this.answer(async () => (await this.client.del(key)) > 0)) ?? false;
  }

  async clear(): Promise<void> {
    await this.client.flushAll();
  }

  on(event: string, listener: (error: unknown) => void): this {
    if (event === 'error') this.listeners.push(listener);
    return this;
  }

  private async answer<Answer>(ask: () => Promise<Answer>): Promise<Answer | undefined> {
    try {
      return await ask();
    } catch (error) {
      if (this.manner === 'throws') throw error;
      this.report(error);
      return undefined;
    }
  }

  private report(error: unknown): void {
    for (const listener of this.listeners) listener(error);
  }
}

function storeOn(adapter: RedisAdapter): CacheStore {
  return new CacheStore(createCache({ stores: [new Keyv({ store: adapter })] }));
}

describe.each([
  ['in memory', undefined],
  ['in memory, encrypted', { encryption: { secrets: 'W9d_xPzT4mKs-Y7vLq2NhRb6CjFu1GaE' } }],
])('CacheStore %s', (_, options) => {
  describeSessionStore(
    'conforms',
    async () => {
      const keyv = new Keyv();
      const store = new CacheStore(createCache({ stores: [keyv] }), options);
      return {
        store,
        corrupt: async (key) => void (await keyv.set(`session:${key}`, '{"not":"ours"}')),
        ...byThisClock(() => store.close()),
      };
    },
    {
      capabilities: { severalProcesses: false, ownClock: false, outages: false },
      ...withoutOtherClocks,
    },
  );
});

describeEncryption('CacheStore with encryption', () => {
  const keyv = new Keyv();
  return {
    open: (encryption) =>
      new CacheStore(createCache({ stores: [keyv] }), { ...(encryption && { encryption }) }),
    textAt: async (key) => (await keyv.get<string>(`session:${key}`)) ?? '',
    putText: async (key, text) => void (await keyv.set(`session:${key}`, text)),
  };
});

describeUserMarks('CacheStore and the sessions of a user', () => {
  const keyv = new Keyv();
  return {
    one: new CacheStore(createCache({ stores: [keyv] })),
    other: new CacheStore(createCache({ stores: [keyv] })),
    read: (name) => keyv.get<string>(`session:${name}`),
    write: async (name, text) =>
      void (await (text === undefined ? keyv.delete(`session:${name}`) : keyv.set(`session:${name}`, text))),
  };
});

describe('CacheStore', () => {
  it.each([
    ['serialised', () => new Keyv()],
    ['by reference', () => createCache().stores[0] as Keyv],
  ])('clears what a Map keeps %s, marks included', async (_, makeKeyv) => {
    const keyv = makeKeyv();
    const store = new CacheStore(createCache({ stores: [keyv] }));
    const [key] = await created(store, { expiresAt: Date.now() + HOUR / 2 });
    const [other, { id }] = await created(store);
    await store.delete(other, id);
    await keyv.set('mine', 1, 1);
    const map = keyv.store as Map<string, unknown>;
    expect(map.size).toBe(5);
    await withClockAhead(2 * HOUR, async () => expect(await store.clearExpired(10)).toBe(1));
    expect([...map.keys()]).toEqual(['keyv:mine']);
    expect(await store.load(key)).toBeNull();
  });

  it('goes past the caches in front of a shared one', async () => {
    const [front, shared] = [new Keyv(), new Keyv()];
    const store = new CacheStore(createCache({ stores: [front, shared] }));
    await created(store);
    expect([(front.store as Map<string, unknown>).size, (shared.store as Map<string, unknown>).size]).toEqual(
      [0, 2],
    );
  });

  it('refuses what is no cache of cache-manager', () => {
    expect(() => new CacheStore({ get() {}, set() {} } as unknown as Cache)).toThrow(
      /"engine".*CACHE_MANAGER/,
    );
  });
});

describe('cacheEngine', () => {
  let app: INestApplicationContext;
  afterEach(() => app.close());

  it('keeps sessions in a memory of its own by default', async () => {
    app = await Test.createTestingModule({
      imports: [
        CacheModule.register({ isGlobal: true }),
        SessionModule.forRoot(cacheEngine(), { clearExpired: false }),
      ],
    }).compile();
    const store = app.get(SessionStore);
    const [key] = await created(store);
    await app.get<Cache>(CACHE_MANAGER).clear();
    expect(await store.load(key)).not.toBeNull();
  });

  it('takes any cache by its token', async () => {
    const keyv = new Keyv();
    app = await Test.createTestingModule({
      imports: [
        SessionModule.forRoot(
          cacheEngine({
            cache: CACHE_MANAGER,
            imports: [providing(createCache({ stores: [keyv] }))],
            prefix: 's:',
          }),
          {
            clearExpired: false,
          },
        ),
      ],
    }).compile();
    const [key] = await created(app.get(SessionStore));
    expect(await keyv.get(`s:${key}`)).toMatch(/"id"/);
  });

  it('takes the cache of the application', async () => {
    app = await Test.createTestingModule({
      imports: [
        CacheModule.register({ isGlobal: true }),
        SessionModule.forRoot(cacheEngine({ cache: CACHE_MANAGER }), { clearExpired: false }),
      ],
    }).compile();
    const store = app.get(SessionStore);
    const [key] = await created(store);
    expect(await app.get<Cache>(CACHE_MANAGER).get(`session:${key}`)).toMatch(/"id"/);
  });
});

describeWithKillableRedis('CacheStore on a Redis that dies', (redis) => {
  const clients: RedisClientType[] = [];
  afterEach(() => {
    for (const client of clients.splice(0)) client.destroy();
  });

  async function connect(url = redis.url): Promise<RedisClientType> {
    const client: RedisClientType = createClient({
      url,
      disableOfflineQueue: true,
      socket: { reconnectStrategy: 20 },
    });
    client.on('error', () => {});
    await client.connect();
    clients.push(client);
    return client;
  }

  async function twoStores(): Promise<[CacheStore, CacheStore, RedisAdapter]> {
    const adapter = new RedisAdapter(await connect(), 'throws');
    const other = new RedisAdapter(await connect(), 'throws');
    return [storeOn(adapter), storeOn(other), adapter];
  }

  describe.each<Manner>(['throws', 'reports'])('with an adapter that %s', (manner) => {
    it.each([true, false])(
      'says that it is unavailable, and never that a session is absent (nonBlocking: %p)',
      async (nonBlocking) => {
        const client = await connect();
        const keyv = new Keyv({ store: new RedisAdapter(client, manner) });
        const cache = createCache({ stores: [keyv], nonBlocking });
        const store = new CacheStore(cache);
        const [key, record] = await created(store, { data: { a: 1 } });
        const later = { ...record, expiresAt: record.expiresAt + HOUR };

        await redis.kill();
        const unavailable = { code: 'SESSION_STORE_UNAVAILABLE' };
        // The cache itself calls it a miss, which is what the store must not do.
        await expect(cache.get(`session:${key}`)).resolves.toBeUndefined();
        await expect(store.load(key)).rejects.toMatchObject({ ...unavailable, operation: 'load' });
        await expect(store.exists(key)).rejects.toMatchObject(unavailable);
        await expect(store.create(newKey(), newRecord())).rejects.toMatchObject({
          ...unavailable,
          operation: 'create',
        });
        await expect(store.save(key, { set: { b: 2 } }, later)).rejects.toMatchObject({
          ...unavailable,
          operation: 'save',
        });
        await expect(store.touch(key, later)).rejects.toMatchObject({ ...unavailable, operation: 'touch' });
        await expect(store.rename(key, newKey(), {}, later)).rejects.toMatchObject({
          ...unavailable,
          operation: 'rename',
        });
        await expect(store.delete(key, record.id)).rejects.toMatchObject({
          ...unavailable,
          operation: 'delete',
        });
        await expect(store.listByUser('Ann')).rejects.toMatchObject(unavailable);
        await expect(store.deleteByUser('Ann')).rejects.toMatchObject(unavailable);
        await expect(store.deleteById(record.id)).rejects.toMatchObject(unavailable);
        const error: unknown = await store.load(key).catch((thrown: unknown) => thrown);
        expect(JSON.stringify([error, String(error), String((error as Error).cause)])).not.toContain(key);
        // Nothing has changed for the application's own use of its cache.
        expect(keyv.throwOnErrors).toBe(false);

        await redis.start();
        while (!client.isReady) await setImmediate();
        expect(await store.load(key)).toBeNull(); // this Redis keeps nothing over a restart
        expect((await created(store))[1]).not.toBeNull();
      },
    );
  });

  describeSessionStore(
    'conforms',
    async () => {
      const client = await connect();
      // Beyond one test.
      clients.splice(clients.indexOf(client), 1);
      return {
        store: storeOn(new RedisAdapter(client, 'throws')),
        corrupt: async (key) => void (await client.set(`keyv:session:${key}`, '{"value":"not ours"}')),
        ...byThisClock(async () => client.destroy()),
      };
    },
    {
      capabilities: { severalProcesses: false, clearsExpired: false, ownClock: false, outages: false },
      ...withoutOtherClocks,
    },
  );

  describe('shared by two processes', () => {
    it('lets Redis forget what has expired', async () => {
      const client = await connect();
      const store = storeOn(new RedisAdapter(client, 'throws'));
      const [key, record] = await created(store);
      expect(await client.pTTL(`keyv:session:${key}`)).toBeGreaterThan(HOUR - 5000);
      await store.save(key, { expiry: 60 }, { ...record, expiresAt: Date.now() + 60_000 });
      expect(await client.pTTL(`keyv:session:${key}`)).toBeLessThanOrEqual(60_000);
    });

    it.each<
      [string, (store: CacheStore, key: string, next: string, record: SessionRecord) => Promise<boolean>]
    >([
      ['save', (store, key, _next, record) => store.save(key, { set: { a: 1 } }, record)],
      [
        'touch',
        (store, key, _next, record) => store.touch(key, { ...record, expiresAt: record.expiresAt + HOUR }),
      ],
      ['rename', (store, key, next, record) => store.rename(key, next, {}, record)],
    ])('keeps ended what one ends in the middle of a %s of the other', async (_, write) => {
      const [one, other, adapter] = await twoStores();
      const [key, record] = await created(one);
      const next = newKey();
      // Read, and not yet written, when the other one ends the session.
      adapter.beforeSet = async () => {
        adapter.beforeSet = () => Promise.resolve();
        expect(await other.delete(key, record.id)).toBe(true);
      };
      expect(await write(one, key, next, record)).toBe(false);
      expect([await one.load(key), await other.load(next)]).toEqual([null, null]);
    });

    it('keeps ended what one ends by its user in the middle of a save of the other', async () => {
      const [one, other, adapter] = await twoStores();
      const userId = `Ann ${newKey()}`;
      const [key, record] = await created(one, { userId });
      adapter.beforeSet = async () => {
        adapter.beforeSet = () => Promise.resolve();
        expect(await other.deleteByUser(userId)).toBe(1);
      };
      expect(await one.save(key, { set: { a: 1 } }, record)).toBe(false);
      expect([await one.load(key), await other.load(key), await one.listByUser(userId)]).toEqual([
        null,
        null,
        [],
      ]);
    });

    it('leaves one key alive when both rotate', async () => {
      const [one, other, adapter] = await twoStores();
      const [key, record] = await created(one);
      const [mine, theirs] = [newKey(), newKey()];
      adapter.beforeSet = async () => {
        adapter.beforeSet = () => Promise.resolve();
        expect(await other.rename(key, theirs, {}, record)).toBe(true);
      };
      const renamed = await one.rename(key, mine, {}, record);
      const alive = [await one.load(mine), await one.load(theirs), await one.load(key)].filter(Boolean);
      expect([renamed, alive.length]).toEqual([false, 1]);
    });

    it('finds a session at every step of a rotation of the other', async () => {
      const [one, other, adapter] = await twoStores();
      const [key, record] = await created(one);
      const [next, seen] = [newKey(), [] as unknown[]];
      adapter.beforeSet = async () => void seen.push(await other.find(key));
      expect(await one.rename(key, next, {}, record)).toBe(true);
      seen.push(await other.find(key));
      const found = expect.objectContaining({ id: record.id }) as unknown;
      expect(seen).toEqual([found, found, { movedTo: next }, { movedTo: next }]);
    });

    it('tells one where the other has moved it to, for two minutes', async () => {
      const [one, other] = await twoStores();
      const [key, record] = await created(one);
      const next = newKey();
      await one.rename(key, next, {}, record);
      expect(await other.find(key)).toEqual({ movedTo: next });
      expect(await other.find(next)).toMatchObject({ id: record.id });
      const name = `keyv:session:moved:${key}`;
      expect(Math.abs((await (await connect()).pTTL(name)) - 2 * MINUTE)).toBeLessThan(MINUTE);
    });

    it('ends where the other has moved it to', async () => {
      const [one, other] = await twoStores();
      const [key, record] = await created(one);
      const [next, last] = [newKey(), newKey()];
      await one.rename(key, next, {}, record);
      await one.rename(next, last, {}, record);
      expect(await other.delete(key, record.id)).toBe(true);
      expect(await one.load(last)).toBeNull();
    });
  });

  it.each(platforms)('logs nobody out by a blip (%s)', async (platform) => {
    const { hostname, port } = new URL(redis.url);
    const wire = await startTcpProxy(hostname, Number(port));
    const client = await connect(`redis://127.0.0.1:${wire.port}`);
    const cache = createCache({ stores: [new Keyv({ store: new RedisAdapter(client, 'reports') })] });
    const app = await startApp(platform, {
      engine: cacheEngine({ cache: CACHE_MANAGER, imports: [providing(cache)] }),
      controllers: [Visits],
      logger: silent,
    });
    try {
      const browser = app.browser();
      await browser.post('/visits').expect(201, '1');
      wire.cut();
      while (client.isReady) await setImmediate();
      const answer = await browser.post('/visits').expect(503);
      expect(answer.headers['set-cookie']).toBeUndefined();
      wire.mend();
      while (!client.isReady) await setImmediate();
      await browser.post('/visits').expect(201, '2');
    } finally {
      await app.close();
      client.destroy();
      clients.splice(clients.indexOf(client), 1);
      await wire.close();
    }
  });
});
