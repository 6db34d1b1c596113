import assert from 'node:assert/strict';
import { assertData, assertNear, type Cases, newKey, newRecord } from '../store-bench.js';

const anyExpiry = [null, 0, 1800, 0.5, '2030-01-01T00:00:00.000Z'];

export const createAndLoadCases: Cases = (it, bench) => {
  it('gives back what was created', async () => {
    const store = await bench.store();
    const record = newRecord({ a: 1, b: [true, null, { c: 'd' }] }, { userId: 'Ann', expiry: 90 });
    const key = newKey();
    assert.equal(await store.create(key, record), true);

    for (const reader of [store, await bench.sibling()]) {
      const loaded = await reader.load(key);
      assert.ok(loaded !== null);
      const { id, userId, expiry } = record;
      assert.deepEqual(
        { id: loaded.id, userId: loaded.userId, expiry: loaded.expiry },
        { id, userId, expiry },
      );
      assertData(loaded, record.data);
      for (const moment of ['createdAt', 'lastSeenAt', 'expiresAt'] as const) {
        assertNear(loaded[moment], record[moment], moment);
      }
      assert.equal(typeof loaded.version, 'number');
      assert.equal(await reader.exists(key), true);
    }
  });

  it('keeps every kind of expiry', async () => {
    for (const expiry of anyExpiry) {
      const key = await bench.create({}, { expiry });
      assert.equal((await bench.load(key)).expiry, expiry);
    }
  });

  it('loads nothing that is absent', async () => {
    await bench.assertDead(newKey());
  });

  it('never overwrites a live record', async () => {
    const key = await bench.create({ mine: 1 });
    for (const store of [await bench.store(), await bench.sibling()]) {
      assert.equal(await store.create(key, newRecord({ theirs: 1 })), false);
    }
    assertData(await bench.load(key), { mine: 1 });
  });

  it('creates one record when fifty try', async () => {
    const [store, sibling] = [await bench.store(), await bench.sibling()];
    const key = newKey();
    const made = await Promise.all(
      Array.from({ length: 50 }, (_, n) => (n % 2 ? store : sibling).create(key, newRecord({ n }))),
    );
    assert.equal(made.filter(Boolean).length, 1);
    assertData(await bench.load(key), { n: made.indexOf(true) });
  });

  it('shares no object with its callers', async () => {
    const store = await bench.store();
    const record = newRecord({ list: [1] });
    const key = newKey();
    await store.create(key, record);
    (record.data['list'] as number[]).push(2);
    const loaded = await bench.load(key);
    (loaded.data['list'] as number[]).push(3);
    loaded.userId = 'Mallory';
    const again = await bench.load(key);
    assertData(again, { list: [1] });
    assert.equal(again.userId, null);

    const set = { mine: [1] };
    await bench.save(key, again, { set });
    set.mine.push(2);
    assertData(await bench.load(key), { list: [1], mine: [1] });
  });
};
