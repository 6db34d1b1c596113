import assert from 'node:assert/strict';
import { SessionStore } from '../../stores/session-store.js';
import { assertData, assertFails, type Cases, HOUR, newId, newRecord } from '../store-bench.js';

export const faultCases: Cases = (it, bench) => {
  if (bench.capabilities.corruptRecords) {
    it('says of a corrupt record that it is one, and leaves it', async () => {
      const store = await bench.store();
      const corrupt = await bench.hook('corrupt', 'corruptRecords');
      const [{ id }, bystander] = [await bench.create({ a: 'Top secret' }), await bench.create({ a: 1 })];
      await corrupt(id);
      for (const reader of [...(await bench.both()), store]) {
        await assertFails(reader.load(id), 'SESSION_RECORD_CORRUPT');
      }
      assert.equal(await store.create(id, newRecord({}, { id })), false);
      await assertFails(store.load(id), 'SESSION_RECORD_CORRUPT');
      assertData(await bench.load(bystander.id), { a: 1 });

      assert.equal(await store.delete(id), true);
      await bench.assertGone(id);
    });
  }

  if (bench.capabilities.corruptRecords && bench.capabilities.byUser) {
    it("lists a user's other sessions next to a corrupt one, and ends all of them", async () => {
      const store = await bench.store();
      const corrupt = await bench.hook('corrupt', 'corruptRecords');
      const userId = `Ann-${newId()}`;
      const [bad, good] = [await bench.create({}, { userId }), await bench.create({ good: 1 }, { userId })];
      await corrupt(bad.id);
      const listed = await store.listByUser(userId);
      assert.deepEqual(
        listed.map(({ id }) => id),
        [good.id],
      );
      await store.deleteByUser(userId);
      await bench.assertGone(bad.id, good.id);
    });
  }

  if (bench.capabilities.outages) {
    it('never takes an outage for an absent session, and recovers', async () => {
      const store = await bench.store();
      const [cut, mend] = [await bench.hook('cut', 'outages'), await bench.hook('mend', 'outages')];
      const loaded = await bench.created({ a: 'Top secret' }, { userId: 'Ann' });
      const { id } = loaded;
      const later = { ...loaded, expiresAt: Date.now() + 9 * HOUR };
      const fresh = newRecord({ a: 'Top secret' });
      const unavailable = 'SESSION_STORE_UNAVAILABLE';

      await cut();
      try {
        // All at once, as a store may wait for a connection before it gives up.
        const operations: Promise<unknown>[] = [
          store.load(id),
          store.create(fresh.id, fresh),
          bench.save(loaded, { set: { b: 'Top secret' } }),
          store.touch(id, later),
          store.take(id),
          store.delete(id),
          ...(bench.capabilities.byUser ? [store.listByUser('Ann'), store.deleteByUser('Ann')] : []),
          ...(bench.capabilities.clearsExpired ? [store.clearExpired(10)] : []),
          ...(store.count === SessionStore.prototype.count ? [] : [store.count()]),
          ...(store.list === SessionStore.prototype.list ? [] : [store.list(null, 10)]),
        ];
        await Promise.all(operations.map((operation) => assertFails(operation, unavailable)));
      } finally {
        await mend();
      }
      assertData(await bench.load(id), { a: 'Top secret' });
      assert.equal(await bench.save(loaded, { set: { b: 2 } }), true);
    });
  }
};
