import { jest } from '@jest/globals';
import { RedisStore } from 'nest-sessions/redis';
import { HOUR, MINUTE, newKeyHash, newRecord, save } from '../libs/session/src/testing/store-bench.js';
import { RedisBench } from './support/redis-bench.js';
import { openRedisStore, redisLibraries } from './support/redis-store-bench.js';
import { describeWithService } from './support/services.js';

const LOGINS = 50;

let users = 0;
/** One per test, so that no index is that of another test. */
const newUser = (): string => `user ${++users}`;

for (const library of redisLibraries) {
  describeWithService('redis', `Revocation in Redis, through ${library}`, () => {
    const bench = new RedisBench(library).use();
    let sibling: RedisStore;
    beforeAll(async () => {
      sibling = await openRedisStore({ url: bench.url, prefix: bench.prefix });
    });
    afterAll(() => sibling.close());

    /** For this process, for another one that may have seen them, and for one that has not. */
    async function expectEnded(...ids: string[]): Promise<void> {
      for (const id of ids) {
        for (const store of [bench.store, sibling, bench.open()]) expect(await store.load(id)).toBeNull();
      }
    }

    /** Ways in which an index may be lost. */
    const losses: Record<string, (index: string, id: string) => Promise<unknown>> = {
      'was deleted': (index) => bench.raw.del(index),
      'lost the entry': (index, id) => bench.raw.zrem(index, id),
      'is of another type': (index) => bench.raw.set(index, 'not ours', 'EX', 60),
    };

    it(`S37: revoking all beats ${LOGINS} logins that are under way`, async () => {
      const userId = newUser();
      let waiting = 0;
      let [allWait, release] = [() => {}, () => {}];
      const everybody = new Promise<void>((resolve) => (allWait = resolve));
      const gate = new Promise<void>((resolve) => (release = resolve));
      const records = Array.from({ length: LOGINS }, () => newRecord({}, { userId }));
      const underWay = records.map(async (record) => {
        // The clock of the server first, then the entry in the index, before which nobody knows of the login.
        const store = bench.interrupted(async (command) => {
          if (command !== 3) return;
          if (++waiting === LOGINS) allWait();
          await gate;
        });
        return store.create(record.id, record);
      });
      await everybody;
      await bench.store.deleteByUser(userId);
      release();
      await Promise.all(underWay);
      expect(await bench.store.listByUser(userId)).toEqual([]);
      await expectEnded(...records.map(({ id }) => id));
      expect(await bench.store.delete(records[0]?.id ?? '')).toBe(false);

      const { id } = await bench.create({}, { userId });
      expect((await bench.load(id)).userId).toBe(userId);
      expect((await sibling.load(id))?.userId).toBe(userId);
    });

    it('S37: ends a login that comes between any two of its steps, or comes after it', async () => {
      for (let step = 1; ; step++) {
        const userId = newUser();
        await bench.create({}, { userId });
        const record = newRecord({}, { userId });
        let [entered, release] = [() => {}, () => {}];
        const underWay = new Promise<void>((resolve) => (entered = resolve));
        const gate = new Promise<void>((resolve) => (release = resolve));
        const slow = bench.interrupted(async (command) => {
          if (command !== 3) return;
          entered();
          await gate;
        });
        const login = slow.create(record.id, record);
        await underWay;
        let reached = false;
        const ending = bench.interrupted(async (command) => {
          if (command !== step) return;
          reached = true;
          release();
          await login;
          // From now on its process takes it for live, if it is.
          await slow.load(record.id);
        });
        await ending.deleteByUser(userId);
        release();
        await login;
        await expectEnded(record.id);
        expect(await slow.load(record.id)).toBeNull();
        expect(await bench.store.listByUser(userId)).toEqual([]);
        if (!reached) return;
      }
    });

    it(`S37: ends what was there before it and nothing that came after it, among ${LOGINS} logins in parallel`, async () => {
      for (let round = 0; round < 10; round++) {
        const userId = newUser();
        const finished: string[] = [];
        const login = async (): Promise<string> => {
          const { id } = await bench.create({}, { userId });
          finished.push(id);
          return id;
        };
        const parallel = Array.from({ length: LOGINS }, login);
        await parallel[round * 5];
        const before = [...finished];
        await bench.store.deleteByUser(userId);
        const after = await login();
        await Promise.all(parallel);
        await expectEnded(...before);
        await bench.load(after);
        // The others came before or after it, for all processes alike.
        const alive = await Promise.all(finished.map((id) => bench.store.load(id)));
        const seen = await Promise.all(finished.map((id) => sibling.load(id)));
        expect(seen.map((record) => record?.id)).toEqual(alive.map((record) => record?.id));
        expect(await bench.store.listByUser(userId)).toHaveLength(alive.filter(Boolean).length);
      }
    });

    it('S37: never ends a login that follows at once', async () => {
      const userId = newUser();
      let previous = await bench.create({}, { userId });
      for (let time = 0; time < 100; time++) {
        await bench.store.deleteByUser(userId);
        const record = await bench.create({}, { userId });
        expect(await bench.store.load(previous.id)).toBeNull();
        expect(await sibling.load(record.id)).not.toBeNull();
        previous = record;
      }
    });

    it.each(Object.entries(losses))('S38: revoking all needs no index: it %s', async (_how, lose) => {
      const userId = newUser();
      const [known, lost] = [await bench.created({}, { userId }), await bench.created({ a: 1 }, { userId })];
      const [index = ''] = await bench.indexesOf(lost.id);
      await lose(index, lost.id);
      expect(await bench.indexesOf(lost.id)).toEqual([]);
      const [stranger, nobody] = [await bench.create({}, { userId: newUser() }), await bench.create()];

      const indexed = (await bench.indexesOf(known.id)).length;
      expect(await bench.store.deleteByUser(userId)).toBe(indexed);
      await expectEnded(known.id, lost.id);
      expect(await bench.store.listByUser(userId)).toEqual([]);
      const late = { expiresAt: Date.now() + 9 * HOUR };
      for (const store of [bench.store, sibling, bench.open()]) {
        expect(await save(store, lost, { set: { late: 1 } }, late)).toBe(false);
        expect(await save(store, lost, { keyHash: newKeyHash() }, late)).toBe(false);
        expect(await store.touch(lost.id, { ...lost, ...late })).toBe(false);
        expect(await store.take(lost.id)).toBeNull();
      }
      await expectEnded(lost.id);
      expect(await bench.store.delete(lost.id)).toBe(false);
      for (const { id } of [stranger, nobody]) await bench.load(id);

      // Another login mends the index, and revives nothing.
      const { id } = await bench.create({}, { userId });
      await expectEnded(lost.id);
      expect(await bench.store.listByUser(userId)).toMatchObject([{ id }]);
      expect(await bench.store.deleteByUser(userId)).toBe(1);
    });

    it('S38: what the index has lost ends within a minute in a process that has just used it', async () => {
      const userId = newUser();
      const record = await bench.created({ a: 1 }, { userId });
      const other = await openRedisStore({ url: bench.url, prefix: bench.prefix });
      await other.load(record.id);
      await bench.raw.del(...(await bench.indexesOf(record.id)));
      const real = performance.now.bind(performance);
      const spy = jest.spyOn(performance, 'now').mockImplementation(() => real() + MINUTE);
      expect(await other.load(record.id)).toBeNull();
      expect(await save(other, record, { set: { late: 1 } })).toBe(false);
      spy.mockRestore();
      await other.close();
    });

    it('S38: a touch that comes late brings no entry back', async () => {
      const userId = newUser();
      const record = await bench.created({}, { userId, expiresAt: Date.now() + MINUTE });
      await bench.raw.del(...(await bench.indexesOf(record.id)));
      const late = { ...record, expiresAt: Date.now() + 9 * HOUR };
      expect(await bench.store.touch(record.id, late)).toBe(false);
      expect(await save(bench.store, record, { set: { a: 1 } }, { expiresAt: late.expiresAt })).toBe(false);
      expect(await bench.indexesOf(record.id)).toEqual([]);
      await expectEnded(record.id);
    });

    it('S38: spares the sessions it is told to, for as long as no other revocation ends them', async () => {
      const userId = newUser();
      const [mine, ended] = [await bench.created({}, { userId }), await bench.created({}, { userId })];
      expect(await bench.store.deleteByUser(userId, [mine.id])).toBe(1);
      await bench.load(mine.id);

      // What one has ended is not revived by the next that would have spared it.
      expect(await bench.store.deleteByUser(userId, [mine.id, ended.id])).toBe(0);
      await bench.load(mine.id);
      await expectEnded(ended.id);

      const keyHash = newKeyHash();
      expect(await save(bench.store, mine, { keyHash })).toBe(true);
      expect(await save(bench.store, await bench.load(mine.id), { set: { b: 2 } })).toBe(true);
      expect((await bench.store.listByUser(userId)).map(({ id }) => id)).toEqual([mine.id]);
      expect(await bench.store.deleteByUser(userId, [ended.id])).toBe(1);
      await expectEnded(mine.id, ended.id);
    });

    it('can be repeated when it failed halfway', async () => {
      for (const step of [2, 3, 4]) {
        const userId = newUser();
        const records = [await bench.create({}, { userId }), await bench.create({}, { userId })];
        const dying = bench.interrupted(async (command) => {
          if (command === step) throw new Error('The connection is closed.');
        });
        await expect(dying.deleteByUser(userId)).rejects.toMatchObject({ code: 'SESSION_STORE_UNAVAILABLE' });
        await bench.store.deleteByUser(userId);
        await expectEnded(...records.map(({ id }) => id));
        expect(await bench.indexesOf(records[0]?.id ?? '')).toEqual([]);
      }
    });
  });
}
