import assert from 'node:assert/strict';
import { type SessionStore } from '../../stores/session-store.js';
import {
  assertData,
  assertNear,
  type Cases,
  HOUR,
  MINUTE,
  newKeyHash,
  newRecord,
  SECOND,
  settled,
  type StoreBench,
  withClockAhead,
} from '../store-bench.js';

export const expiryCases: Cases = (it, bench) => {
  let waiting: Promise<Expired> | undefined;
  const expired = (): Promise<Expired> => (waiting ??= expire(bench));

  it('ends a record at its deadline, for every operation', async () => {
    const other = await bench.create({ a: 1 });
    const { created } = await expired();
    await bench.assertGone(created.id);
    for (const version of [1, 2]) await bench.assertRefused({ ...created, version });
    await bench.assertGone(created.id);
    assertData(await bench.load(other.id), { a: 1 });
  });

  it('ends a record at the deadline of the last save', async () => {
    await bench.assertGone((await expired()).saved);
  });

  it('moves the deadline with a touch, a save and a rotation', async () => {
    const store = await bench.store();
    const expiresAt = Date.now() + 30_000;
    const [touched, saved, rotated] = [
      await bench.created({}, { expiresAt }),
      await bench.created({}, { expiresAt }),
      await bench.created({}, { expiresAt }),
    ];
    const later = { expiresAt: Date.now() + HOUR };
    await store.touch(touched.id, { ...touched, ...later });
    await bench.save(saved, { set: { a: 1 } }, later);
    await bench.save(rotated, { keyHash: newKeyHash() }, later);
    for (const { id } of [touched, saved, rotated]) {
      assert.ok((await bench.load(id)).expiresAt > Date.now() + HOUR / 2);
    }
  });

  it('never shows a record that was created or saved past its deadline', async () => {
    const store = await bench.store();
    const past = { expiresAt: Date.now() - HOUR };
    const [born, saved] = [newRecord({ a: 1 }, past), await bench.created({ a: 1 })];
    await store.create(born.id, born);
    await bench.save(saved, { set: { a: 2 } }, past);
    await bench.assertGone(born.id, saved.id);
  });

  it('leaves nothing of an expired record to one that is created in its place', async () => {
    const { ofAnn: id } = await expired();
    // A record that is still there may count as taken.
    const created = await (await bench.store()).create(id, newRecord({ new: 1 }, { id }));
    if (!created) return bench.assertGone(id);
    const loaded = await bench.load(id);
    assertData(loaded, { new: 1 });
    assert.equal(loaded.userId, null);
  });

  it('deletes an expired record without complaint', async () => {
    const { unloved: id } = await expired();
    const outcome = await settled((await bench.store()).delete(id));
    assert.ok('value' in outcome);
    await bench.assertGone(id);
  });
};

/** Records that have expired, each in its way; waiting for that once is enough. Ids where nothing else is needed. */
interface Expired {
  created: ReturnType<typeof newRecord>;
  /** Was to live longer before it was saved. */
  saved: string;
  ofAnn: string;
  unloved: string;
}

async function expire(bench: StoreBench): Promise<Expired> {
  const expiresAt = Date.now() + SECOND;
  const saved = await bench.created({ a: 1 });
  await bench.save(saved, { expiry: 1 }, { expiresAt });
  const created = await bench.create({ a: 1 }, { expiresAt });
  const [ofAnn = '', unloved = ''] = await bench.expired(2, { userId: 'Ann' });
  return { created, saved: saved.id, ofAnn, unloved };
}

export const clockCases: Cases = (it, bench) => {
  if (!bench.capabilities.ownClock) {
    it('judges by the clock of this process', async () => {
      const { id } = await bench.create();
      await withClockAhead(2 * HOUR, async () => {
        assert.equal(await (await bench.store()).load(id), null);
      });
      await bench.load(id);
    });
    return;
  }

  for (const minutes of [-10, 10]) {
    it(`ends nothing early or late when this process is ${minutes} minutes ahead`, async () => {
      const store = await bench.store();
      let id = '';
      await withClockAhead(minutes * MINUTE, async () => {
        ({ id } = await bench.create({}, { expiresAt: Date.now() + 5 * MINUTE }));
        const loaded = await bench.load(id);
        assertNear(loaded.expiresAt, Date.now() + 5 * MINUTE, 'expiresAt');
        assertNear(loaded.createdAt, Date.now(), 'createdAt');
        assertNear(loaded.lastSeenAt, Date.now(), 'lastSeenAt');

        await bench.save(loaded, { set: { a: 1 } }, { expiresAt: Date.now() + 6 * MINUTE });
        const saved = await bench.load(id);
        assertNear(saved.expiresAt, Date.now() + 6 * MINUTE, 'expiresAt');
        const moments = { lastSeenAt: Date.now(), expiresAt: Date.now() + 7 * MINUTE };
        assert.equal(await store.touch(id, { ...saved, ...moments }), true);
        const later = { expiresAt: Date.now() + 8 * MINUTE };
        assert.equal(await bench.save(await bench.load(id), { keyHash: newKeyHash() }, later), true);
      });

      const seen = await store.take(id);
      assert.ok(seen !== null);
      assertNear(seen.expiresAt, Date.now() + 8 * MINUTE, 'expiresAt');
      assertNear(seen.createdAt, Date.now(), 'createdAt');
      assertNear(seen.lastSeenAt, Date.now(), 'lastSeenAt');
    });
  }

  it('clears nothing that lives when this process is 10 minutes ahead', async () => {
    const live = await bench.create({}, { expiresAt: Date.now() + 5 * MINUTE });
    await withClockAhead(10 * MINUTE, async () => {
      const [expired = ''] = await bench.expired(1);
      await (await bench.store()).clearExpired(1000);
      await bench.assertGone(expired);
    });
    await bench.load(live.id);
  });
};

export const clearingCases: Cases = (it, bench) => {
  if (!bench.capabilities.clearsExpired) {
    it('leaves clearing to the store, and live records alone', async () => {
      const live = await bench.create();
      await bench.expired(3);
      assert.equal(await (await bench.store()).clearExpired(10), 0);
      await bench.load(live.id);
    });
    return;
  }

  it('deletes expired records batch by batch, and no live one', async () => {
    const store = await bench.store();
    await clearAll(store);
    const live = await bench.create();
    const soon = await bench.create({}, { expiresAt: Date.now() + 20_000 });
    await bench.expired(25);
    const counts: number[] = [];
    for (let batch = 0; batch < 4; batch++) counts.push(await store.clearExpired(10));
    assert.deepEqual(counts, [10, 10, 5, 0]);
    await bench.load(live.id);
    await bench.load(soon.id);
  });

  it('counts every record once when several clear at once, next to writers', async () => {
    const [store, sibling] = await bench.both();
    await clearAll(store);
    const { id } = await bench.create();
    await bench.expired(100);
    const write = async (): Promise<number> => {
      for (let n = 0; n < 20; n++) await bench.save(await bench.load(id), { increment: { n: 1 } });
      return 0;
    };
    const counts = await Promise.all([
      clearBatches(store),
      clearBatches(sibling),
      clearBatches(store),
      write(),
    ]);
    assert.equal(counts.reduce((sum, count) => sum + count) + (await clearAll(store)), 100);
    assert.equal((await bench.load(id)).data['n'], 20);
  });
};

async function clearBatches(store: SessionStore): Promise<number> {
  let total = 0;
  for (let batch = 0; batch < 20; batch++) total += await store.clearExpired(10);
  return total;
}

async function clearAll(store: SessionStore): Promise<number> {
  let total = 0;
  for (;;) {
    const cleared = await store.clearExpired(1000);
    total += cleared;
    if (cleared < 1000) return total;
  }
}
