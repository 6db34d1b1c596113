import assert from 'node:assert/strict';
import { assertData, assertNear, type Cases, HOUR, MINUTE } from '../store-bench.js';

export const saveCases: Cases = (it, bench) => {
  it('applies the changes of a request', async () => {
    const key = await bench.create({ a: 1, b: 2, n: 3, list: [0] });
    const loaded = await bench.load(key);
    const changes = {
      set: { a: 3, c: { d: [] } },
      unset: ['b'],
      increment: { n: 2, m: -1.5 },
      push: { list: [1], new: ['x'] },
    };
    assert.equal(await bench.save(key, loaded, changes), true);
    assertData(await bench.load(key), { a: 3, c: { d: [] }, n: 5, m: -1.5, list: [0, 1], new: ['x'] });
  });

  it('clears before it does anything else', async () => {
    const key = await bench.create({ a: 1, n: 5, list: [0] });
    const loaded = await bench.load(key);
    await bench.save(key, loaded, { clear: true, set: { b: 1 }, increment: { n: 1 }, push: { list: [1] } });
    assertData(await bench.load(key), { b: 1, n: 1, list: [1] });
    await bench.save(key, await bench.load(key), { clear: true });
    assertData(await bench.load(key), {});
  });

  it('raises the version with every write of data', async () => {
    const key = await bench.create();
    let { version } = await bench.load(key);
    for (const changes of [
      { set: { a: 1 } },
      { unset: ['a'] },
      { increment: { n: 1 } },
      { clear: true as const },
    ]) {
      await bench.save(key, await bench.load(key), changes);
      const next = (await bench.load(key)).version;
      assert.ok(next > version, `${next} after ${version}`);
      version = next;
    }
  });

  it('keeps expiry and user, and only those that changed', async () => {
    const key = await bench.create({ a: 1 }, { userId: 'Ann', expiry: 60 });
    await bench.save(key, await bench.load(key), { userId: 'Bob' });
    await bench.save(key, await bench.load(key), { expiry: '2030-01-01T00:00:00.000Z' });
    let loaded = await bench.load(key);
    assert.deepEqual([loaded.userId, loaded.expiry], ['Bob', '2030-01-01T00:00:00.000Z']);
    assertData(loaded, { a: 1 });

    await bench.save(key, loaded, { userId: null, expiry: null, set: { b: 2 } });
    loaded = await bench.load(key);
    assert.deepEqual([loaded.userId, loaded.expiry], [null, null]);
    assertData(loaded, { a: 1, b: 2 });
  });

  it('leaves id and creation alone', async () => {
    const record = { id: `id-${Date.now()}`, createdAt: Date.now() - HOUR };
    const key = await bench.create({}, record);
    await bench.save(key, await bench.load(key), { set: { a: 1 } });
    const loaded = await bench.load(key);
    assert.equal(loaded.id, record.id);
    assertNear(loaded.createdAt, record.createdAt, 'createdAt');
  });

  it('sets deadline and last use, forward and back, with changes and without', async () => {
    const key = await bench.create({}, { lastSeenAt: Date.now() - 20 * MINUTE });
    for (const changes of [{ set: { a: 1 } }, {}]) {
      for (const minutes of [90, 30]) {
        const expiresAt = Date.now() + minutes * MINUTE;
        const loaded = await bench.load(key);
        assert.equal(await bench.save(key, loaded, changes, { expiresAt, lastSeenAt: Date.now() }), true);
        const saved = await bench.load(key);
        assertNear(saved.expiresAt, expiresAt, 'expiresAt');
        assertNear(saved.lastSeenAt, Date.now(), 'lastSeenAt');
      }
    }
  });

  it('creates nothing', async () => {
    const key = await bench.create({ a: 1 });
    const loaded = await bench.load(key);
    await (await bench.store()).delete(key);
    assert.equal(await bench.save(key, loaded, { set: { a: 2 } }), false);
    assert.equal(await bench.save(key, loaded, {}), false);
    assert.equal(await bench.save(key, loaded, { expiry: 3600, userId: 'Ann' }), false);
    await bench.assertDead(key);
  });
};
