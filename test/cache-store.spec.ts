import { setImmediate } from 'node:timers/promises';
import { inspect } from 'node:util';
import { CACHE_MANAGER, CacheModule } from '@nestjs/cache-manager';
import { Controller, type DynamicModule, type INestApplicationContext, Module, Post } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { type Cache, createCache } from 'cache-manager';
import { Keyv, type KeyvStoreAdapter } from 'keyv';
import { Session, SessionModule, SessionStore, type SessionRecord } from 'nest-sessions';
import { cacheEngine, CacheStore } from 'nest-sessions/cache';
import { describeSessionStore } from 'nest-sessions/testing';
import { createClient, type RedisClientType } from 'redis';
import {
  HOUR,
  MINUTE,
  newId,
  newKeyHash,
  newRecord,
  save,
  withClockAhead,
} from '../libs/session/src/testing/store-bench.js';
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
  const record = newRecord({}, overrides);
  await store.create(record.id, record);
  return [record.id, (await store.load(record.id)) as SessionRecord];
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
  beforeSet: (name: string) => Promise<void> = () => Promise.resolve();
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
      await this.beforeSet(key);
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
        corrupt: async (id) => void (await keyv.set(`session:${id}`, '{"not":"ours"}')),
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
    textAt: async (id) => (await keyv.get<string>(`session:${id}`)) ?? '',
    putText: async (id, text) => void (await keyv.set(`session:${id}`, text)),
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
    const [id] = await created(store, { userId: 'Ann', expiresAt: Date.now() + HOUR / 2 });
    const [other] = await created(store);
    await store.delete(other);
    await keyv.set('mine', 1, 1);
    const map = keyv.store as Map<string, unknown>;
    const kinds = [...map.keys()].map((name) => name.replace(/[\w-]{22,}$/, '…'));
    expect(kinds.toSorted()).toEqual([
      'keyv:mine',
      'keyv:session:ended:…',
      'keyv:session:user:…',
      'keyv:session:…',
    ]);
    await withClockAhead(2 * HOUR, async () => expect(await store.clearExpired(10)).toBe(1));
    expect([...map.keys()]).toEqual(['keyv:mine']);
    expect(await store.load(id)).toBeNull();
  });

  it('goes past the caches in front of a shared one', async () => {
    const [front, shared] = [new Keyv(), new Keyv()];
    const store = new CacheStore(createCache({ stores: [front, shared] }));
    await created(store);
    expect([(front.store as Map<string, unknown>).size, (shared.store as Map<string, unknown>).size]).toEqual(
      [0, 1],
    );
  });

  it('refuses what is no cache of cache-manager', () => {
    expect(() => new CacheStore({ get() {}, set() {} } as unknown as Cache)).toThrow(
      /"engine".*CACHE_MANAGER/,
    );
  });
});

/** As many visitors as the cache has entries. */
async function flood(store: CacheStore, each: () => Promise<unknown> = async () => {}): Promise<void> {
  for (let visitor = 0; visitor < 20_000; visitor++) {
    const record = newRecord();
    await store.create(record.id, record);
    if (visitor % 100 === 0) await each();
  }
}

describe('the cache that cacheEngine makes for itself', () => {
  it('S88: holds 10,000 sessions with all their marks, and lets those go that were not used for longest', async () => {
    const store = (await cacheEngine().useFactory()) as CacheStore;
    const [unused] = await created(store);
    const users = Array.from({ length: 9_999 }, (_, n) => newRecord({}, { userId: `user ${n}` }));
    for (const user of users) await store.create(user.id, user);
    const some = users.filter((_, n) => n % 10 === 0);
    for (const user of some) expect((await store.load(user.id))?.id).toBe(user.id);

    const [used] = await created(store);
    await flood(store, () => store.load(used));
    expect([await store.load(unused), (await store.load(used))?.id]).toEqual([null, used]);
    for (const user of some) expect(await store.load(user.id)).toBeNull();
  }, 60_000);

  it('S88: brings back no session whose list it has let go', async () => {
    const store = (await cacheEngine().useFactory()) as CacheStore;
    const [id] = await created(store, { userId: 'Ann' });
    await flood(store, () => store.load(id));
    expect([(await store.load(id))?.id, await store.listByUser('Ann')]).toEqual([id, []]);
    expect(await store.deleteByUser('Ann')).toBe(0);
    const seen: unknown[] = [];
    await flood(store, async () => seen.push(await store.load(id)));
    expect(new Set(seen)).toEqual(new Set([null]));
  }, 60_000);
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
    const [id] = await created(store);
    await app.get<Cache>(CACHE_MANAGER).clear();
    expect(await store.load(id)).not.toBeNull();
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
    const [id] = await created(app.get(SessionStore));
    expect(await keyv.get(`s:${id}`)).toMatch(/"id"/);
  });

  it('takes the cache of the application', async () => {
    app = await Test.createTestingModule({
      imports: [
        CacheModule.register({ isGlobal: true }),
        SessionModule.forRoot(cacheEngine({ cache: CACHE_MANAGER }), { clearExpired: false }),
      ],
    }).compile();
    const store = app.get(SessionStore);
    const [id] = await created(store);
    expect(await app.get<Cache>(CACHE_MANAGER).get(`session:${id}`)).toMatch(/"id"/);
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
        const [id, record] = await created(store, { data: { a: 1 } });
        const { keyHash } = record;
        const later = { ...record, expiresAt: record.expiresAt + HOUR };

        await redis.kill();
        const unavailable = { code: 'SESSION_STORE_UNAVAILABLE' };
        // The cache itself calls it a miss, which is what the store must not do.
        await expect(cache.get(`session:${id}`)).resolves.toBeUndefined();
        const operations = {
          load: () => store.load(id),
          create: () => store.create(newId(), newRecord()),
          save: () => store.save(id, keyHash, { set: { b: 2 } }, later),
          touch: () => store.touch(id, later),
          take: () => store.take(id),
          delete: () => store.delete(id),
          listByUser: () => store.listByUser('Ann'),
          deleteByUser: () => store.deleteByUser('Ann'),
        };
        for (const [operation, run] of Object.entries(operations)) {
          await expect(run()).rejects.toMatchObject({ ...unavailable, operation });
        }
        const error: unknown = await operations.save().catch((thrown: unknown) => thrown);
        expect(inspect(error, { depth: 9 })).not.toContain(keyHash);
        // Nothing has changed for the application's own use of its cache.
        expect(keyv.throwOnErrors).toBe(false);

        await redis.start();
        while (!client.isReady) await setImmediate();
        expect(await store.load(id)).toBeNull(); // this Redis keeps nothing over a restart
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
        corrupt: async (id) => void (await client.set(`keyv:session:${id}`, '{"value":"not ours"}')),
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
      const [id, record] = await created(store);
      expect(await client.pTTL(`keyv:session:${id}`)).toBeGreaterThan(HOUR - 5000);
      await save(store, record, { expiry: 60 }, { expiresAt: Date.now() + 60_000 });
      expect(await client.pTTL(`keyv:session:${id}`)).toBeLessThanOrEqual(60_000);
    });

    /** What the process does that has read, and not yet written. */
    const writes: [string, (store: CacheStore, record: SessionRecord) => Promise<boolean>][] = [
      ['save', (store, record) => save(store, record, { set: { a: 1 } })],
      ['touch', (store, record) => store.touch(record.id, { ...record, expiresAt: record.expiresAt + HOUR })],
      ['rotation', (store, record) => save(store, record, { keyHash: newKeyHash() })],
    ];
    const ends: [string, (store: CacheStore, record: SessionRecord) => Promise<unknown>][] = [
      ['delete', (store, { id }) => store.delete(id)],
      ['take', (store, { id }) => store.take(id)],
      ['deleteByUser', (store, { userId }) => store.deleteByUser(userId as string)],
    ];

    describe.each(writes)('a %s of one process', (name, write) => {
      it.each(ends)(
        'does not bring back what a %s of the other has ended in the middle',
        async (_end, end) => {
          for (const before of [1, 2]) {
            const [one, other, adapter] = await twoStores();
            const userId = `Ann ${newId()}`;
            const [id, record] = await created(one, { userId });
            let [sets, ended] = [0, false];
            adapter.beforeSet = async () => {
              if (++sets !== before) return;
              ended = Boolean(await end(other, record));
            };
            const written = await write(one, record);
            // Every write has one.
            expect(written && ended && before === 1).toBe(false);
            expect(ended || before > 1).toBe(true);
            if (!ended) await end(other, record);
            expect([await one.load(id), await other.load(id), await one.listByUser(userId)]).toEqual([
              null,
              null,
              [],
            ]);
          }
        },
      );

      it('does not bring back a key that the other has replaced in the middle', async () => {
        const [one, other, adapter] = await twoStores();
        const [id, record] = await created(one);
        const theirs = newKeyHash();
        let replaced = false;
        adapter.beforeSet = async (key) => {
          // The record itself, for which a rotation has left its notice by then.
          if (key !== `keyv:session:${id}`) return;
          adapter.beforeSet = () => Promise.resolve();
          replaced = await save(other, record, { keyHash: theirs, set: { theirs: 1 } });
        };
        const written = await write(one, record);
        expect([written, replaced]).toEqual(name === 'rotation' ? [true, false] : [false, true]);
        for (const store of [one, other]) {
          const loaded = (await store.load(id)) as SessionRecord;
          expect(loaded.keyHash === theirs).toBe(replaced);
          expect(loaded.data['theirs']).toBe(replaced ? 1 : undefined);
          expect(await save(store, record, { set: { old: 1 } })).toBe(false);
        }
      });
    });

    it('lets one of many processes change the key', async () => {
      for (let round = 0; round < 20; round++) {
        const stores = (await Promise.all([twoStores(), twoStores()])).flatMap(([one, other]) => [
          one,
          other,
        ]);
        const [id, record] = await created(stores[0] as CacheStore);
        const hashes = stores.map(() => newKeyHash());
        const rotated = await Promise.all(
          stores.map((store, n) => save(store, record, { keyHash: hashes[n] as string })),
        );
        const winners = hashes.filter((_, n) => rotated[n]);
        expect(winners).toEqual([(await (stores[1] as CacheStore).load(id))?.keyHash]);
      }
    });

    it('ends for both what one ends after the other has changed its key', async () => {
      const [one, other] = await twoStores();
      const [id, record] = await created(one);
      expect(await save(one, record, { keyHash: newKeyHash() })).toBe(true);
      expect(await other.delete(id)).toBe(true);
      expect([await one.load(id), await other.load(id)]).toEqual([null, null]);
      expect(await one.delete(id)).toBe(false);
    });

    it('hands a session to one of two that take it', async () => {
      for (let round = 0; round < 20; round++) {
        const [one, other] = await twoStores();
        const [id] = await created(one);
        const taken = await Promise.all([one.take(id), other.take(id)]);
        expect(taken.filter(Boolean).length).toBe(1);
      }
    });

    it('keeps notices for two minutes', async () => {
      const [one] = await twoStores();
      const [[id, record], [gone]] = [await created(one), await created(one)];
      await save(one, record, { keyHash: newKeyHash() });
      await one.delete(gone);
      const client = await connect();
      for (const name of [`rotated:${id}`, `ended:${gone}`]) {
        const left = await client.pTTL(`keyv:session:${name}`);
        expect(Math.abs(left - 2 * MINUTE)).toBeLessThan(MINUTE);
      }
    });

    it('writes nothing for an id that nobody has', async () => {
      const [one] = await twoStores();
      const client = await connect();
      const before = await client.dbSize();
      const record = newRecord();
      expect(await one.load(record.id)).toBeNull();
      expect(await save(one, record, { set: { a: 1 } })).toBe(false);
      expect(await one.touch(record.id, record)).toBe(false);
      expect([await one.delete(record.id), await one.take(record.id)]).toEqual([false, null]);
      expect(await client.dbSize()).toBe(before);
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
