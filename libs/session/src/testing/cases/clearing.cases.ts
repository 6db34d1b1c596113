import assert from 'node:assert/strict';
import { type SessionStore } from '../../stores/session-store.js';
import { type Cases, newKey, SECOND, type StoreBench } from '../store-bench.js';

export const clearingCases: Cases = (it, bench) => {
  if (!bench.capabilities.clearsExpired) {
    it('leaves clearing to the store, and live records alone', async () => {
      const live = await bench.create();
      await bench.expired(3);
      assert.equal(await (await bench.store()).clearExpired(10), 0);
      await bench.load(live);
    });
    return;
  }

  it('deletes expired records batch by batch, and no live one', async () => {
    const store = await bench.store();
    await clearAll(bench);
    const live = await bench.create();
    const soon = await bench.create({}, { expiresAt: Date.now() + 20_000 });
    await bench.expired(25);
    const counts: number[] = [];
    for (let batch = 0; batch < 4; batch++) counts.push(await store.clearExpired(10));
    assert.deepEqual(counts, [10, 10, 5, 0]);
    await bench.load(live);
    await bench.load(soon);
  });

  it('counts every record once when several clear at once, next to writers', async () => {
    await clearAll(bench);
    const key = await bench.create();
    await bench.expired(100);
    const write = async (): Promise<number> => {
      for (let n = 0; n < 20; n++) await bench.save(key, await bench.load(key), { increment: { n: 1 } });
      return 0;
    };
    const [store, sibling] = [await bench.store(), await bench.sibling()];
    const counts = await Promise.all([
      clearBatches(store),
      clearBatches(sibling),
      clearBatches(store),
      write(),
    ]);
    assert.equal(counts.reduce((sum, count) => sum + count) + (await clearAll(bench)), 100);
    assert.equal((await bench.load(key)).data['n'], 20);
  });

  it('clears a record where it was renamed to', async () => {
    await clearAll(bench);
    const [key, next] = [await bench.create(), newKey()];
    const soon = { ...(await bench.load(key)), expiresAt: Date.now() + SECOND };
    await (await bench.store()).rename(key, next, {}, soon);
    await bench.elapse(2 * SECOND + 100);
    assert.equal(await clearAll(bench), 1);
  });
};

async function clearBatches(store: SessionStore): Promise<number> {
  let total = 0;
  for (let batch = 0; batch < 20; batch++) total += await store.clearExpired(10);
  return total;
}

async function clearAll(bench: StoreBench): Promise<number> {
  const store = await bench.store();
  let total = 0;
  for (;;) {
    const cleared = await store.clearExpired(1000);
    total += cleared;
    if (cleared < 1000) return total;
  }
}
