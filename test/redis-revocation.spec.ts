import { type SessionChanges } from 'nest-sessions';
import { RedisStore } from 'nest-sessions/redis';
import { changed, HOUR, MINUTE, newKey, newRecord } from '../libs/session/src/testing/store-bench.js';
import { RedisBench, type Topology } from './support/redis-bench.js';
import { openRedisStore, redisLibraries } from './support/redis-store-bench.js';
import { describeWithService } from './support/services.js';

const DAY = 24 * HOUR;
const LOGINS = 50;

let users = 0;
/** One per test, so that no epoch is that of another test. */
const newUser = (): string => `user ${++users}`;

const cases = redisLibraries.flatMap((library) =>
  (['one server', 'as in a cluster'] satisfies Topology[]).map((topology) => ({ library, topology })),
);

for (const { library, topology } of cases) {
  const clustered = topology === 'as in a cluster';

  describeWithService('redis', `Revocation in Redis, ${topology}, through ${library}`, () => {
    const bench = new RedisBench(library, topology).use();
    let sibling: RedisStore;
    beforeAll(async () => {
      sibling = await openRedisStore({ url: bench.url, prefix: bench.prefix });
    });
    afterAll(() => sibling.close());

    async function expectEnded(...keys: string[]): Promise<void> {
      for (const key of keys) {
        expect(await bench.store.load(key)).toBeNull();
        expect(await bench.store.exists(key)).toBe(false);
        expect(await bench.open().find(key)).toBeNull();
        expect(await sibling.load(key)).toBeNull();
      }
    }

    /** The three ways by which a session gets a user. Resolves with the key that it has then. */
    const logins: Record<string, (store: RedisStore, userId: string, key: string) => Promise<string>> = {
      create: async (store, userId) => {
        const key = newKey();
        expect(await store.create(key, newRecord({}, { userId }))).toBe(true);
        return key;
      },
      save: async (store, userId, key) => {
        const changes: SessionChanges = { userId };
        expect(await store.save(key, changes, changed(await bench.load(key), changes))).toBe(true);
        return key;
      },
      rename: async (store, userId, key) => {
        const [next, changes] = [newKey(), { userId }];
        expect(await store.rename(key, next, changes, changed(await bench.load(key), changes))).toBe(true);
        return next;
      },
    };

    /** Ways in which an index may be lost. */
    const losses: Record<string, (index: string, key: string) => Promise<unknown>> = {
      'was deleted': (index) => bench.raw.del(index),
      'lost the entry': (index, key) => bench.raw.zrem(index, key),
      'is of another type': (index) => bench.raw.set(index, 'not ours', 'EX', 60),
    };

    /** A session of which its user's index knows nothing any more. */
    async function createLost(userId: string, lose = losses['was deleted']): Promise<string> {
      const key = await bench.create({ a: 1 }, { userId });
      const [index = ''] = await bench.indexesOf(key);
      await lose?.(index, key);
      expect(await bench.indexesOf(key)).toEqual([]);
      return key;
    }

    it.each(Object.entries(logins))(
      `S37: revoking all beats ${LOGINS} logins that are under way: %s`,
      async (_way, login) => {
        const userId = newUser();
        const anonymous = await Promise.all(Array.from({ length: LOGINS }, () => bench.create()));
        let waiting = 0;
        let [allWait, release] = [() => {}, () => {}];
        const everybody = new Promise<void>((resolve) => (allWait = resolve));
        const gate = new Promise<void>((resolve) => (release = resolve));
        // The first command is the entry in the index, before which nobody knows of the login.
        const hold = async (command: number): Promise<void> => {
          if (command !== 2) return;
          if (++waiting === LOGINS) allWait();
          await gate;
        };
        const underWay = anonymous.map((key) => login(bench.interrupted(hold), userId, key));
        await everybody;
        await bench.store.deleteByUser(userId);
        release();
        const keys = await Promise.all(underWay);
        expect(await bench.store.listByUser(userId)).toEqual([]);
        await expectEnded(...keys);

        const again = await login(bench.store, userId, await bench.create());
        expect((await bench.load(again)).userId).toBe(userId);
        expect((await sibling.load(again))?.userId).toBe(userId);
      },
    );

    it(`S37: ends what was there before it and nothing that came after it, among ${LOGINS} logins in parallel`, async () => {
      for (let round = 0; round < 10; round++) {
        const userId = newUser();
        const finished: string[] = [];
        const login = async (): Promise<string> => {
          const key = await bench.create({}, { userId });
          finished.push(key);
          return key;
        };
        const parallel = Array.from({ length: LOGINS }, login);
        await parallel[round * 5];
        const before = [...finished];
        await bench.store.deleteByUser(userId);
        const after = await login();
        await Promise.all(parallel);
        await expectEnded(...before);
        expect(await bench.store.exists(after)).toBe(true);
        // The others came before or after it, in the eyes of all alike.
        const alive = await Promise.all(finished.map((key) => bench.store.exists(key)));
        expect(await Promise.all(finished.map((key) => sibling.exists(key)))).toEqual(alive);
        expect(await bench.store.listByUser(userId)).toHaveLength(alive.filter(Boolean).length);
      }
    });

    it('S37: never ends a login that follows at once', async () => {
      const userId = newUser();
      let previous = await bench.create({}, { userId });
      for (let time = 0; time < 100; time++) {
        await bench.store.deleteByUser(userId);
        const key = await bench.create({}, { userId });
        expect([await bench.store.exists(previous), await bench.store.exists(key)]).toEqual([false, true]);
        previous = key;
      }
    });

    it.each(Object.entries(losses))('S38: revoking all needs no index: it %s', async (how, lose) => {
      const userId = newUser();
      const known = await bench.create({}, { userId });
      const lost = await createLost(userId, lose);
      const record = await bench.load(lost);
      const [stranger, nobody] = [await bench.create({}, { userId: newUser() }), await bench.create()];
      expect(await bench.store.deleteByUser(userId)).toBe(how === 'lost the entry' ? 1 : 0);
      const kept = await bench.value(lost);
      expect(kept).not.toBeNull();

      const [next, late] = [newKey(), { ...record, expiresAt: Date.now() + 9 * HOUR }];
      const writes = [
        await bench.store.save(lost, { set: { late: 1 } }, changed(late, { set: { late: 1 } })),
        await bench.store.save(lost, { meta: { stamp: 'late' } }, late),
        await bench.store.touch(lost, late),
        await bench.store.rename(lost, next, {}, late),
      ];
      // In a cluster a write does not ask for the epoch, but revives nothing either.
      const refused = [false, false, false, false];
      expect(clustered ? refused : writes).toEqual(refused);
      expect(clustered ? kept : await bench.value(lost)).toBe(kept);
      for (const key of [known, lost, next]) {
        expect(await bench.store.load(key)).toBeNull();
        expect(await sibling.load(key)).toBeNull();
      }
      // Whoever meets it on one server takes it away.
      expect(clustered ? null : await bench.value(lost)).toBeNull();
      expect(await bench.store.listByUser(userId)).toEqual([]);
      expect(await bench.store.deleteById(record.id)).toBe(false);
      for (const key of [stranger, nobody]) await bench.load(key);
    });

    it('S38: says of a session that a revocation has ended that there was none to end', async () => {
      const [userId, other] = [newUser(), newUser()];
      const keys = [await createLost(userId), await createLost(userId), await createLost(userId)];
      const records = await Promise.all(keys.map((key) => bench.load(key)));
      await bench.store.deleteByUser(userId);
      expect(await bench.store.delete(keys[0] ?? '')).toBe(false);
      expect(await bench.store.deleteById(records[1]?.id ?? '')).toBe(false);
      expect(await bench.store.deleteById(records[2]?.id ?? '', userId)).toBe(false);
      const alive = await createLost(other);
      expect(await bench.store.deleteById((await bench.load(alive)).id)).toBe(true);
    });

    it('S38: spares the sessions it is told to, for as long as no other revocation ends them', async () => {
      const userId = newUser();
      const [mine, ended] = [await createLost(userId), await createLost(userId)];
      const [myId, endedId] = [(await bench.load(mine)).id, (await bench.load(ended)).id];
      await bench.store.deleteByUser(userId, [myId]);
      await bench.load(mine);

      // What one has ended is not revived by the next that would have spared it.
      await bench.store.deleteByUser(userId, [myId, endedId]);
      await bench.load(mine);
      expect(await bench.store.load(ended)).toBeNull();

      const next = newKey();
      expect(await bench.store.rename(mine, next, {}, await bench.load(mine))).toBe(true);
      expect(await bench.store.save(next, { set: { b: 2 } }, await bench.load(next))).toBe(true);
      expect((await bench.store.listByUser(userId)).map(({ id }) => id)).toEqual([myId]);
      expect(await bench.store.deleteByUser(userId, [endedId])).toBe(1);
      await expectEnded(next, ended);
    });

    it('lets a spared session be bound anew, and one that had another user in between', async () => {
      const [userId, other] = [newUser(), newUser()];
      const key = await createLost(userId);
      const { id } = await bench.load(key);
      await bench.store.deleteByUser(userId, [id]);
      for (const changes of [{ userId: other }, { userId: null }, { userId }]) {
        expect(await bench.store.save(key, changes, changed(await bench.load(key), changes))).toBe(true);
        await bench.store.deleteByUser(changes.userId === other ? userId : other);
        expect((await bench.load(key)).userId).toBe(changes.userId);
      }
      await bench.store.deleteByUser(userId);
      await expectEnded(key);
    });

    it('keeps the epoch for 400 days, or for as long as a session may live that was bound before', async () => {
      const epochsLast = async (): Promise<number> => {
        const keys = await bench.raw.keys(`${bench.prefix}user-epoch:*`);
        const left = await Promise.all(keys.map((key) => bench.raw.pttl(key)));
        await Promise.all(keys.map((key) => bench.raw.del(key)));
        return Math.min(...left);
      };
      await epochsLast();
      await bench.store.deleteByUser(newUser());
      expect(await epochsLast()).toBeGreaterThan(399 * DAY);

      const userId = newUser();
      const key = await bench.create({}, { userId, expiresAt: Date.now() + 900 * DAY });
      await bench.store.deleteByUser(userId, [(await bench.load(key)).id]);
      expect(await epochsLast()).toBeGreaterThan(900 * DAY);

      const spared = await bench.create({}, { userId });
      await bench.store.deleteByUser(userId, [(await bench.load(spared)).id]);
      const record = { ...(await bench.load(spared)), expiresAt: Date.now() + 2000 * DAY };
      expect(await bench.store.touch(spared, record)).toBe(true);
      expect(await epochsLast()).toBeGreaterThan(2000 * DAY);
    });

    it('takes as few commands as can be', async () => {
      const counting = bench.counting();
      const store = new RedisStore(counting, { prefix: bench.prefix });
      const commandsOf = async (work: () => Promise<unknown>): Promise<number> => {
        const before = counting.commands;
        await work();
        return counting.commands - before;
      };
      const [ofUser, ofNobody] = [await bench.create({}, { userId: newUser() }), await bench.create()];
      await bench.store.deleteByUser(newUser());
      const moved = await bench.create();
      await bench.store.rename(moved, newKey(), {}, await bench.load(moved));
      expect(await commandsOf(() => store.load(ofUser))).toBe(clustered ? 2 : 1);
      expect(await commandsOf(() => store.find(ofUser))).toBe(clustered ? 2 : 1);
      for (const key of [ofNobody, moved, newKey()]) expect(await commandsOf(() => store.find(key))).toBe(1);
      for (const key of [ofUser, ofNobody]) {
        const later = { ...(await bench.load(key)), expiresAt: Date.now() + HOUR + MINUTE };
        expect(await commandsOf(() => store.touch(key, later))).toBe(1);
        const changes = { set: { a: 1 }, meta: { stamp: 's' } };
        expect(await commandsOf(() => store.save(key, changes, changed(later, changes)))).toBe(1);
      }
    });

    describe('deleteById', () => {
      it('finds a session by its user with one command, and one per session of the user', async () => {
        const userId = newUser();
        const keys = [await bench.create({}, { userId }), await bench.create({}, { userId })];
        const { id } = await bench.load(keys[0] ?? '');
        const counting = bench.counting();
        expect(await new RedisStore(counting, { prefix: bench.prefix }).deleteById(id, userId)).toBe(true);
        // The index, its two sessions, and the entry that goes.
        expect(counting.commands).toBe(4);
        await expectEnded(keys[0] ?? '');
        await bench.load(keys[1] ?? '');
      });

      it('does without the index where the user is not given', async () => {
        const [userId, key] = [newUser(), newKey()];
        const lost = await createLost(userId);
        const { id } = await bench.load(lost);
        await bench.store.rename(lost, key, {}, await bench.load(lost));
        const [index = ''] = await bench.indexesOf(key);
        await bench.raw.del(index);
        for (const user of [newUser(), userId]) expect(await bench.store.deleteById(id, user)).toBe(false);
        await bench.load(key);
        expect(await bench.store.deleteById(id)).toBe(true);
        await expectEnded(key);
      });

      it('finds a session among many by its id alone, and under its own prefix only', async () => {
        // None of these characters is taken for a pattern.
        const prefixes = [`${bench.prefix}[a]*?\\^:`, `${bench.prefix}a-pattern-would-match:`];
        const [store, other] = prefixes.map((prefix) => bench.open({ prefix }));
        if (!store || !other) throw new Error('There are two.');
        const record = newRecord({ a: 1 });
        const [key, elsewhere] = [newKey(), newKey()];
        await other.create(elsewhere, record);
        await Promise.all(Array.from({ length: 1500 }, () => store.create(newKey(), newRecord())));
        await store.create(key, record);
        expect(await store.deleteById(record.id)).toBe(true);
        expect(await store.load(key)).toBeNull();
        expect(await store.deleteById(record.id)).toBe(false);
        expect((await bench.load(elsewhere, other)).id).toBe(record.id);
      });

      it('is not misled by what is no session', async () => {
        const { id } = newRecord();
        const text = JSON.stringify(id);
        await bench.raw.lpush(bench.redisKey(newKey()), text);
        await bench.raw.set(bench.redisKey(newKey()), `{"id":${text}}`, 'EX', 60);
        await bench.raw.set(bench.redisKey(newKey()), `Mv1-nowhere\n${text}\n`, 'EX', 60);
        await bench.raw.set(bench.redisKey(newKey()), `S${text}\n`, 'EX', 60);
        expect(await bench.store.deleteById(id)).toBe(false);
        await bench.raw.unlink(...(await bench.raw.keys(`${bench.prefix}*`)));
      });
    });
  });
}
