import assert from 'node:assert/strict';
import { type SessionChanges } from '../../stores/session-store.js';
import { assertData, assertNear, type Cases, changed, HOUR, MINUTE } from '../store-bench.js';

export const concurrencyCases: Cases = (it, bench) => {
  if (!bench.capabilities.atomicChanges) {
    it('keeps one of the sessions that are written at once, whole', async () => {
      const key = await bench.create({ a: 1 });
      const loaded = await bench.load(key);
      const [store, sibling] = [await bench.store(), await bench.sibling()];
      await Promise.all(
        Array.from({ length: 50 }, (_, n) => {
          const changes = { set: { one: n, two: n } };
          return (n % 2 ? store : sibling).save(key, changes, changed(loaded, changes));
        }),
      );
      const after = await bench.load(key);
      const winner = after.data['one'] as number;
      assertData(after, { a: 1, one: winner, two: winner });
    });
    return;
  }

  it('keeps the writes of fifty who loaded the same version', async () => {
    const key = await bench.create({ n: 10, list: [] });
    const loaded = await bench.load(key);
    const [store, sibling] = [await bench.store(), await bench.sibling()];
    const saved = await Promise.all(
      Array.from({ length: 50 }, (_, n) => {
        const changes = { set: { [`key${n}`]: n }, increment: { n: 1 }, push: { list: [n] } };
        return (n % 2 ? store : sibling).save(key, changes, changed(loaded, changes));
      }),
    );
    assert.ok(saved.every(Boolean));
    const { data } = await bench.load(key);
    for (let n = 0; n < 50; n++) assert.equal(data[`key${n}`], n);
    assert.equal(data['n'], 60);
    const list = (data['list'] as number[]).toSorted((a, b) => a - b);
    assert.deepEqual(
      list,
      Array.from({ length: 50 }, (_, n) => n),
    );
  });

  it('counts 200 parallel increments', async () => {
    const key = await bench.create();
    const [store, sibling] = [await bench.store(), await bench.sibling()];
    await Promise.all(
      Array.from({ length: 200 }, async (_, n) => {
        const visited = n % 2 ? store : sibling;
        const loaded = await visited.load(key);
        assert.ok(loaded !== null);
        const changes = { increment: { visits: 1 } };
        assert.equal(await visited.save(key, changes, changed(loaded, changes)), true);
      }),
    );
    assertData(await bench.load(key), { visits: 200 });
  });

  it('keeps what parallel requests do to a large session', async () => {
    const filler = 'x'.repeat(8000);
    const key = await bench.create({ filler });
    const write = async (name: string): Promise<void> => {
      for (let n = 0; n < 20; n++) {
        const changes = { set: { [`${name}${n}`]: 'y'.repeat(100) }, increment: { n: 1 } };
        assert.equal(await bench.save(key, await bench.load(key), changes), true);
      }
    };
    await Promise.all(['a', 'b', 'c', 'd'].map(write));
    const { data } = await bench.load(key);
    assert.equal(data['n'], 80);
    assert.equal(Object.keys(data).length, 82);
    assert.equal(data['filler'], filler);
  });

  it('applies late changes to the record as it is now', async () => {
    const key = await bench.create({ a: 1, b: 1, n: 1, list: [0] });
    const stale = await bench.load(key);
    const first: SessionChanges = { set: { a: 2, c: 2 }, increment: { n: 5 }, push: { list: [1] } };
    await (await bench.sibling()).save(key, first, changed(stale, first));
    await bench.save(key, stale, { set: { d: 3 }, unset: ['b'], increment: { n: 2 }, push: { list: [2] } });
    assertData(await bench.load(key), { a: 2, c: 2, d: 3, n: 8, list: [0, 1, 2] });

    await bench.save(key, stale, { clear: true, set: { only: 1 } });
    assertData(await bench.load(key), { only: 1 });
  });

  it('counts and appends from nothing when a key is not what it was', async () => {
    const key = await bench.create({ n: 1, list: [0] });
    const stale = await bench.load(key);
    await bench.save(key, stale, { set: { n: 'text', list: { a: 1 } } });
    await bench.save(key, stale, { increment: { n: 2 }, push: { list: [1] } });
    assertData(await bench.load(key), { n: 2, list: [1] });
  });

  it('leaves expiry and user of a concurrent writer alone', async () => {
    const key = await bench.create({}, { userId: 'Ann', expiry: 60 });
    const stale = await bench.load(key);
    await bench.save(key, stale, { userId: null, expiry: null });
    await bench.save(key, stale, { set: { a: 1 } });
    const after = await bench.load(key);
    assert.deepEqual([after.userId, after.expiry], [null, null]);
  });

  it('leaves the deadline of a concurrent writer alone, unless it sets an expiry itself', async () => {
    const key = await bench.create();
    const stale = await bench.load(key);
    const later = Date.now() + 5 * HOUR;
    await bench.save(key, stale, { expiry: 18_000 }, { expiresAt: later });
    await bench.save(key, stale, { set: { a: 1 } }, { expiresAt: Date.now() + HOUR });
    assertNear((await bench.load(key)).expiresAt, later, 'expiresAt');

    const sooner = Date.now() + MINUTE;
    await bench.save(key, stale, { expiry: 60 }, { expiresAt: sooner });
    assertNear((await bench.load(key)).expiresAt, sooner, 'expiresAt');
  });

  it('overtakes nothing by writes that change no data', async () => {
    const key = await bench.create({ a: 1 });
    const stale = await bench.load(key);
    await bench.save(key, stale, { set: { b: 2 } });
    for (const changes of [{ userId: 'Ann' }, { expiry: 3600 }, {}]) await bench.save(key, stale, changes);
    const after = await bench.load(key);
    assert.deepEqual([after.userId, after.expiry], ['Ann', 3600]);
    assertData(after, { a: 1, b: 2 });
  });
};
