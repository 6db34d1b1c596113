import assert from 'node:assert/strict';
import { assertData, assertFails, type Cases, HOUR, newKey, newRecord } from '../store-bench.js';

export const faultCases: Cases = (it, bench) => {
  if (bench.capabilities.corruptRecords) {
    it('says of a corrupt record that it is one, and leaves it', async () => {
      const store = await bench.store();
      const corrupt = await bench.hook('corrupt', 'corruptRecords');
      const [key, bystander] = [await bench.create({ a: 1 }), await bench.create({ a: 1 })];
      await corrupt(key);
      for (let time = 0; time < 2; time++) await assertFails(store.load(key), 'SESSION_RECORD_CORRUPT');
      await assertFails(store.find(key), 'SESSION_RECORD_CORRUPT');
      assert.equal(await store.create(key, newRecord()), false);
      await assertFails(store.load(key), 'SESSION_RECORD_CORRUPT');
      assertData(await bench.load(bystander), { a: 1 });

      assert.equal(await store.delete(key), true);
      await bench.assertDead(key);
    });
  }

  if (bench.capabilities.corruptRecords && bench.capabilities.byUser) {
    it("lists a user's other sessions next to a corrupt one, and ends all of them", async () => {
      const store = await bench.store();
      const corrupt = await bench.hook('corrupt', 'corruptRecords');
      const userId = `Ann-${newKey()}`;
      const keys = [await bench.create({}, { userId }), await bench.create({ good: 1 }, { userId })];
      await corrupt(keys[0] ?? '');
      const listed = await store.listByUser(userId);
      assert.deepEqual(
        listed.map(({ data }) => ({ ...data })),
        [{ good: 1 }],
      );
      await store.deleteByUser(userId);
      await bench.assertDead(...keys);
    });
  }

  if (bench.capabilities.outages) {
    it('never takes an outage for an absent session, and recovers', async () => {
      const store = await bench.store();
      const [cut, mend] = [await bench.hook('cut', 'outages'), await bench.hook('mend', 'outages')];
      const key = await bench.create({ a: 1 }, { userId: 'Ann' });
      const loaded = await bench.load(key);
      const later = { ...loaded, expiresAt: Date.now() + 9 * HOUR };
      const unavailable = 'SESSION_STORE_UNAVAILABLE';

      await cut();
      try {
        await assertFails(store.load(key), unavailable);
        await assertFails(store.find(key), unavailable);
        await assertFails(store.exists(key), unavailable);
        await assertFails(store.create(newKey(), newRecord()), unavailable);
        await assertFails(store.save(key, { set: { b: 2 } }, later), unavailable);
        await assertFails(store.touch(key, later), unavailable);
        await assertFails(store.rename(key, newKey(), {}, later), unavailable);
        await assertFails(store.delete(key, loaded.id), unavailable);
        if (bench.capabilities.byUser) {
          await assertFails(store.listByUser('Ann'), unavailable);
          await assertFails(store.deleteByUser('Ann'), unavailable);
          await assertFails(store.deleteById(loaded.id), unavailable);
          await assertFails(store.deleteById(loaded.id, 'Ann'), unavailable);
        }
        if (bench.capabilities.clearsExpired) await assertFails(store.clearExpired(10), unavailable);
      } finally {
        await mend();
      }
      assertData(await bench.load(key), { a: 1 });
      assert.equal(await bench.save(key, loaded, { set: { b: 2 } }), true);
    });
  }
};
