import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TypeOrmModule } from '@nestjs/typeorm';
import {
  type JsonObject,
  type Session,
  type SessionOptions,
  type SessionPage,
  Sessions,
  SessionStore,
} from 'nest-sessions';
import { cacheEngine } from 'nest-sessions/cache';
import { cookieEngine } from 'nest-sessions/cookie';
import { databaseEngine } from 'nest-sessions/database';
import { fileEngine } from 'nest-sessions/file';
import { memoryEngine } from 'nest-sessions/memory';
import { redisEngine } from 'nest-sessions/redis';
import { type AppSetup, type RunningApp, startApp } from './support/app.js';
import { testDatabase } from './support/data-source.js';
import { removeKeys } from './support/elapse.js';
import {
  type EngineSetup,
  enginesOnDatabases,
  type EngineUnderTest,
  otherEngines,
  QUICK_ENGINES,
} from './support/engines.js';
import { RecordingStore } from './support/recording-store.js';
import { testRedis } from './support/redis-store-bench.js';
import { describeWithService } from './support/services.js';
import { rowsOf } from './support/test-all.js';

/** Engines whose store can say which sessions there are; the others know only what they are asked for. */
const LISTING = /^(database|sql|cached database|redis|file|memory)/;

const engines: Record<string, EngineUnderTest> = { ...enginesOnDatabases, ...otherEngines };
delete engines['cookie'];

const running: RunningApp[] = [];
afterEach(async () => {
  for (const app of running.splice(0)) await app.close();
});

async function start(setup: Pick<AppSetup, 'engine' | 'imports'>, options: SessionOptions = {}) {
  const app = await startApp('express', { ...setup, options });
  running.push(app);
  return { ...app, sessions: app.app.get(Sessions), store: app.app.get(SessionStore) };
}

/** A saved session, of this user or of nobody. */
async function session(sessions: Sessions, data: JsonObject, userId?: string): Promise<Session> {
  const made = await sessions.create<JsonObject>(data);
  if (userId !== undefined) {
    made.login(userId);
    await made.save();
  }
  return made;
}

async function allPages(sessions: Sessions, limit: number): Promise<SessionPage['sessions']> {
  const found: SessionPage['sessions'] = [];
  for (let after: string | undefined; ;) {
    const page = await sessions.all({ after, limit });
    found.push(...page.sessions);
    if (page.next === null) return found;
    after = page.next;
  }
}

const idsOf = (sessions: readonly { id: string }[]): string[] => sessions.map(({ id }) => id).toSorted();
const newSecret = (): string => randomBytes(32).toString('base64url');
const unsupported = { code: 'SESSION_UNSUPPORTED' };

for (const [name, engine] of rowsOf(engines, QUICK_ENGINES)) {
  const suite = (): void => {
    let setup: EngineSetup;
    beforeEach(async () => (setup = await engine.make()));
    afterEach(async () => {
      for (const app of running.splice(0)) await app.close();
      await setup.dispose();
    });

    if (LISTING.test(name)) {
      it('counts and lists all sessions, and tells nothing that opens one', async () => {
        const { sessions, store } = await start(setup.wire());
        expect(await sessions.count()).toMatchObject({ live: 0 });
        expect(await allPages(sessions, 1000)).toEqual([]);

        const made = [
          await session(sessions, { cart: 'tea' }),
          await session(sessions, {}, 'ann'),
          await session(sessions, {}, 'ann'),
          await session(sessions, {}, 'bob'),
          await session(sessions, { cart: 'jam' }),
        ];
        const { live, loggedIn } = await sessions.count();
        expect([live, loggedIn ?? 3]).toEqual([5, 3]);
        for (const limit of [2, 1000]) expect(idsOf(await allPages(sessions, limit))).toEqual(idsOf(made));

        const listed = await allPages(sessions, 1000);
        const secrets = made.map((one) => String(one.sessionKey()).slice(23));
        const hashes = await Promise.all(made.map(async ({ id }) => (await store.load(id))?.keyHash));
        for (const secret of [...secrets, ...hashes]) expect(JSON.stringify(listed)).not.toContain(secret);
        for (const one of listed) {
          expect(Object.keys(one).toSorted()).toEqual([
            'authenticatedAt',
            'createdAt',
            'expiresAt',
            'id',
            'lastSeenAt',
            'remembered',
            'userId',
          ]);
        }
        // A user's entry is the same as in the list of the user.
        const [ofBob] = await sessions.listByUser('bob');
        expect(listed.find(({ userId }) => userId === 'bob')).toMatchObject({ id: ofBob?.id, userId: 'bob' });
        const anonymous = listed.filter(({ userId }) => userId === null);
        expect(anonymous.map(({ authenticatedAt }) => authenticatedAt)).toEqual([null, null]);

        await sessions.revokeAll('ann');
        expect(idsOf(await allPages(sessions, 2))).toEqual(
          idsOf(listed.filter(({ userId }) => userId !== 'ann')),
        );
        expect((await sessions.count()).live).toBe(3);
      });
    } else {
      it('says that it cannot count or list all sessions', async () => {
        const { sessions } = await start(setup.wire());
        await expect(sessions.count()).rejects.toMatchObject(unsupported);
        await expect(sessions.all()).rejects.toMatchObject(unsupported);
      });
    }

    it('reads and writes data by session id, and leaves the key as it is', async () => {
      const { sessions } = await start(setup.wire(), { pepper: { secrets: newSecret() } });
      const made = await session(sessions, { cart: 'tea', old: 1 }, 'ann');
      expect(await sessions.data(made.id)).toEqual({ cart: 'tea', old: 1 });

      // A request that is on its way keeps what it writes.
      const open = (await sessions.open<JsonObject>(String(made.sessionKey()))) as Session<JsonObject>;
      const deadline = open.expiresAt?.getTime() ?? 0;
      open['late'] = true;
      expect(await sessions.update(made.id, { banner: { text: 'sorry' }, old: undefined })).toBe(true);
      await open.save();
      expect(await sessions.data(made.id)).toEqual({ cart: 'tea', banner: { text: 'sorry' }, late: true });
      const again = await sessions.open(String(made.sessionKey()));
      expect(again?.userId).toBe('ann');
      expect(Math.abs((again?.expiresAt?.getTime() ?? 0) - deadline)).toBeLessThan(60_000);

      await expect(sessions.update(made.id, { at: new Date() as never })).rejects.toMatchObject({
        code: 'SESSION_VALUE',
      });
      await sessions.revoke(made.id);
      expect(await sessions.data(made.id)).toBeNull();
      expect(await sessions.update(made.id, { banner: 'late' })).toBe(false);
      expect(await sessions.data('../nobody')).toBeNull();
    });

    it('exports all that it keeps of a user, ready for JSON', async () => {
      const { sessions } = await start(setup.wire());
      const mine = [await session(sessions, { cart: ['tea'] }, 'ann'), await session(sessions, {}, 'ann')];
      await session(sessions, { secret: 'of bob' }, 'bob');
      const exported = await sessions.export('ann');
      expect(idsOf(exported)).toEqual(idsOf(mine));
      const copy = JSON.parse(JSON.stringify(exported)) as typeof exported;
      const [first] = copy.filter(({ id }) => id === mine[0]?.id);
      expect(first).toMatchObject({ userId: 'ann', data: { cart: ['tea'] }, remembered: false });
      const [{ createdAt } = { createdAt: null }] = exported.filter(({ id }) => id === mine[0]?.id);
      expect(first?.createdAt).toBe(createdAt?.toISOString());
      expect(JSON.stringify(copy)).not.toContain('bob');
      expect(await sessions.export('nobody')).toEqual([]);
    });
  };
  const withServices = engine.services.reduceRight<() => void>(
    (inner, service) => () => describeWithService(service, `with ${service}`, inner),
    suite,
  );
  describe(`operations on ${name}`, () => {
    withServices();
  });
}

describe('with an application of its own, and another one in the same store', () => {
  it('lists, reads, changes and exports only its own', async () => {
    const engine = memoryEngine();
    const shared = await engine.useFactory();
    const wire = () => ({ engine: { useFactory: () => shared } });
    const [mine, theirs] = [
      await start(wire(), { application: 'shop' }),
      await start(wire(), { application: 'blog' }),
    ];
    const own = await session(mine.sessions, { of: 'shop' }, 'ann');
    const foreign = await session(theirs.sessions, { of: 'blog' }, 'ann');
    expect(idsOf((await mine.sessions.all()).sessions)).toEqual([own.id]);
    expect(await mine.sessions.data(foreign.id)).toBeNull();
    expect(await mine.sessions.update(foreign.id, { of: 'shop' })).toBe(false);
    expect((await mine.sessions.export('ann')).map(({ data }) => data)).toEqual([{ of: 'shop' }]);
    expect(await theirs.sessions.data(foreign.id)).toEqual({ of: 'blog' });
  });

  it('takes a session for ended whose credential has changed, but exports what is still kept of it', async () => {
    let stamp = 'first';
    const { sessions } = await start({ engine: memoryEngine() }, { currentStamp: () => stamp });
    const { id } = await session(sessions, { cart: 'tea' }, 'ann');
    stamp = 'second';
    expect((await sessions.all()).sessions).toEqual([]);
    expect(await sessions.data(id)).toBeNull();
    expect(idsOf(await sessions.export('ann'))).toEqual([id]);
  });
});

describe('a write by session id', () => {
  it('is done again when the session gets another key at that moment', async () => {
    const store = new RecordingStore();
    const { sessions } = await start({ engine: { useFactory: () => store } });
    const made = await session(sessions, { cart: 'tea' }, 'ann');
    const held = store.hold('save');
    const update = sessions.update(made.id, { note: 'seen' });
    await held.reached;
    made.cycleKey();
    await made.save();
    held.release();
    expect(await update).toBe(true);
    expect(await sessions.data(made.id)).toEqual({ cart: 'tea', note: 'seen' });
    expect((await sessions.open(String(made.sessionKey())))?.id).toBe(made.id);
  });

  it('is given up after a few attempts where the store refuses each', async () => {
    class RefusingStore extends RecordingStore {
      override async save(): Promise<boolean> {
        this.calls.push('save');
        if (this.calls.length > 200) throw new Error('It goes on without an end.');
        return false;
      }
    }
    const store = new RefusingStore();
    const { sessions } = await start({ engine: { useFactory: () => store } });
    const { id } = await sessions.create<JsonObject>({ cart: 'tea' });
    await expect(sessions.update(id, { note: 'seen' })).rejects.toMatchObject({
      code: 'SESSION_STORE_UNAVAILABLE',
      operation: 'save',
      message: expect.stringContaining('refused 8 saves'),
    });
    expect(store.calls.filter((call) => call === 'save')).toHaveLength(8);
  });

  it('revives no session that ends at that moment', async () => {
    const store = new RecordingStore();
    const { sessions } = await start({ engine: { useFactory: () => store } });
    const made = await session(sessions, { cart: 'tea' }, 'ann');
    const held = store.hold('save');
    const update = sessions.update(made.id, { note: 'seen' });
    await held.reached;
    expect(await sessions.revoke(made.id)).toBe(true);
    held.release();
    expect(await update).toBe(false);
    expect(store.records.size).toBe(0);
  });
});

describe('with encryption', () => {
  type Wire = (secret: string) => Pick<AppSetup, 'engine' | 'imports'>;

  async function check(wire: Wire): Promise<void> {
    const [secret, other] = [newSecret(), newSecret()];
    const { sessions } = await start(wire(secret), { pepper: { secrets: other } });
    const made = [await session(sessions, { cart: 'tea' }, 'ann'), await session(sessions, { cart: 'jam' })];
    expect(idsOf(await allPages(sessions, 10))).toEqual(idsOf(made));
    expect(await sessions.update(made[0]?.id ?? '', { note: 'seen' })).toBe(true);
    expect(await sessions.data(made[0]?.id ?? '')).toEqual({ cart: 'tea', note: 'seen' });
    expect((await sessions.export('ann')).map(({ data }) => data)).toEqual([{ cart: 'tea', note: 'seen' }]);

    // What cannot be decrypted is left out of lists, and is nobody's data.
    const stranger = await start(wire(other), { pepper: { secrets: other } });
    expect((await stranger.sessions.count()).live).toBe(2);
    expect(await allPages(stranger.sessions, 10)).toEqual([]);
    expect(await stranger.sessions.export('ann')).toEqual([]);
    expect(await stranger.sessions.data(made[0]?.id ?? '')).toBeNull();
    expect(await stranger.sessions.update(made[0]?.id ?? '', { note: 'forged' })).toBe(false);
    for (const app of running.splice(0)) await app.close();
  }

  describeWithService('postgres', 'on PostgreSQL', () => {
    it('works in a database', async () => {
      const { options, dispose } = await testDatabase('postgres');
      const database = { ...options, autoLoadEntities: true, synchronize: true };
      try {
        await expect(
          check((secrets) => ({
            engine: databaseEngine({ encryption: { secrets } }),
            imports: [TypeOrmModule.forRoot(database)],
          })),
        ).resolves.toBeUndefined();
      } finally {
        await dispose();
      }
    });
  });

  it('works in files', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'nest-sessions-'));
    try {
      await expect(
        check((secrets) => ({ engine: fileEngine({ directory, encryption: { secrets } }) })),
      ).resolves.toBeUndefined();
    } finally {
      await rm(directory, { recursive: true });
    }
  });

  describeWithService('redis', 'on Redis', () => {
    it('works in Redis', async () => {
      const own = testRedis();
      try {
        await expect(
          check((secrets) => ({ engine: redisEngine({ ...own, encryption: { secrets } }) })),
        ).resolves.toBeUndefined();
      } finally {
        await removeKeys(own);
      }
    });
  });
});

describe('where it is not supported, or not what was asked', () => {
  it('is a typed error on the cookie engine', async () => {
    const { sessions } = await start({ engine: cookieEngine({ secrets: newSecret() }) });
    const id = 'a'.repeat(22);
    const calls = [
      () => sessions.count(),
      () => sessions.all(),
      () => sessions.data(id),
      () => sessions.update(id, { a: 1 }),
      () => sessions.export('ann'),
    ];
    for (const call of calls) await expect((async () => call())()).rejects.toMatchObject(unsupported);
  });

  it('is a typed error for a cursor or a limit that is none', async () => {
    const { sessions } = await start({ engine: memoryEngine() });
    for (const limit of [0, -1, 1.5, 1001, Number.NaN]) {
      await expect(sessions.all({ limit })).rejects.toMatchObject({
        code: 'SESSION_CONFIG',
        option: 'limit',
      });
    }
    for (const after of ['', "'; DROP TABLE", 'a\0b', 'x'.repeat(65), ['a'] as never]) {
      await expect(sessions.all({ after })).rejects.toMatchObject({
        code: 'SESSION_CONFIG',
        option: 'after',
      });
    }
  });

  it('is the end for a cursor of another engine', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'nest-sessions-'));
    const { sessions } = await start({ engine: fileEngine({ directory }) });
    await session(sessions, { a: 1 });
    expect(await sessions.all({ after: '0.17' })).toEqual({ sessions: [], next: null });
    await rm(directory, { recursive: true });
  });

  it('is a typed error on a cache, which does not know what it holds', async () => {
    const { sessions } = await start({ engine: cacheEngine() });
    await expect(sessions.count()).rejects.toMatchObject(unsupported);
  });
});
