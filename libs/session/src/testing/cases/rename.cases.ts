import assert from 'node:assert/strict';
import { type SessionChanges } from '../../stores/session-store.js';
import {
  assertData,
  assertNear,
  assertTellsNoKey,
  type Cases,
  changed,
  HOUR,
  newKey,
  settled,
} from '../store-bench.js';

export const renameCases: Cases = (it, bench) => {
  it('moves the record and applies the changes', async () => {
    const [key, next] = [await bench.create({ a: 1, n: 1 }), newKey()];
    const loaded = await bench.load(key);
    const changes: SessionChanges = { set: { b: 2 }, increment: { n: 1 }, userId: 'Ann', expiry: 7200 };
    const expiresAt = Date.now() + 2 * HOUR;
    const record = changed(loaded, changes, { expiresAt });
    assert.equal(await (await bench.store()).rename(key, next, changes, record), true);

    await bench.assertDead(key);
    const moved = await bench.load(next);
    assert.deepEqual([moved.id, moved.userId, moved.expiry], [loaded.id, 'Ann', 7200]);
    assertNear(moved.expiresAt, expiresAt, 'expiresAt');
    assertNear(moved.createdAt, loaded.createdAt, 'createdAt');
    assertData(moved, { a: 1, b: 2, n: 2 });
  });

  it('moves a record that nothing else changes', async () => {
    const [key, next] = [await bench.create({ a: 1 }, { userId: 'Ann' }), newKey()];
    assert.equal(await (await bench.store()).rename(key, next, {}, await bench.load(key)), true);
    await bench.assertDead(key);
    const moved = await bench.load(next);
    assert.equal(moved.userId, 'Ann');
    assertData(moved, { a: 1 });
  });

  it('leaves a record that can be saved, touched, renamed and deleted like any other', async () => {
    const store = await bench.store();
    const [first, second, third] = [await bench.create({ a: 1 }), newKey(), newKey()];
    await store.rename(first, second, {}, await bench.load(first));
    assert.equal(await bench.save(second, await bench.load(second), { set: { b: 2 } }), true);
    const later = { ...(await bench.load(second)), expiresAt: Date.now() + 9 * HOUR };
    assert.equal(await store.touch(second, later), true);
    assert.equal(await store.rename(second, third, {}, await bench.load(second)), true);
    assertData(await bench.load(third), { a: 1, b: 2 });
    assert.equal(await store.delete(third), true);
    await bench.assertDead(first, second, third);
  });

  it('lets nothing be written under the old key any more', async () => {
    const store = await bench.sibling();
    const [key, next] = [await bench.create({ a: 1 }), newKey()];
    const loaded = await bench.load(key);
    await (await bench.store()).rename(key, next, {}, loaded);
    assert.equal(await bench.save(key, loaded, { set: { late: 1 } }), false);
    assert.equal(await store.touch(key, { ...loaded, expiresAt: Date.now() + 9 * HOUR }), false);
    const third = newKey();
    assert.equal(await store.rename(key, third, {}, loaded), false);
    await bench.assertDead(key, third);
    assertData(await bench.load(next), { a: 1 });
  });

  it('renames nothing that is gone', async () => {
    const [key, next] = [await bench.create(), newKey()];
    const loaded = await bench.load(key);
    await (await bench.store()).delete(key);
    assert.equal(await (await bench.store()).rename(key, next, { set: { a: 1 } }, loaded), false);
    await bench.assertDead(key, next);
  });

  it('changes nothing when the new key is taken', async () => {
    const [key, taken] = [await bench.create({ mine: 1 }), await bench.create({ theirs: 1 })];
    const loaded = await bench.load(key);
    const outcome = await settled(
      (await bench.store()).rename(key, taken, { set: { mine: 2 } }, changed(loaded, { set: { mine: 2 } })),
    );
    if ('error' in outcome) assertTellsNoKey(outcome.error);
    else assert.equal(outcome.value, false);
    assertData(await bench.load(key), { mine: 1 });
    assertData(await bench.load(taken), { theirs: 1 });
  });

  it('lets exactly one of many rotations win', async () => {
    let keys: string[] = [];
    let key = '';
    await bench.race(
      async () => {
        key = await bench.create({ a: 1 });
        keys = [newKey(), newKey(), newKey()];
        const loaded = await bench.load(key);
        const stores = [await bench.store(), await bench.sibling(), await bench.store()];
        return {
          key,
          operations: keys.map((next, n) => async () => stores[n]?.rename(key, next, {}, loaded)),
        };
      },
      async (outcomes) => {
        assert.equal(outcomes.filter(Boolean).length, 1);
        await bench.assertDead(key, ...keys.filter((_, n) => outcomes[n] !== true));
        assertData(await bench.load(keys[outcomes.indexOf(true)] ?? ''), { a: 1 });
      },
    );
  });

  if (bench.capabilities.atomicChanges) {
    it('takes along what others wrote since the load', async () => {
      const [key, next] = [await bench.create({ a: 1 }, { expiry: 60 }), newKey()];
      const loaded = await bench.load(key);
      await bench.save(key, loaded, { set: { theirs: 1 }, expiry: 90 });
      const changes = { set: { mine: 1 } };
      await (await bench.sibling()).rename(key, next, changes, changed(loaded, changes));
      const moved = await bench.load(next);
      assert.equal(moved.expiry, 90);
      assertData(moved, { a: 1, theirs: 1, mine: 1 });
    });

    it('never says of a save that races it that it was kept when it was not', async () => {
      let [key, next] = ['', ''];
      await bench.race(
        async () => {
          [key, next] = [await bench.create(), newKey()];
          const loaded = await bench.load(key);
          const changes = { set: { mine: 1 } };
          const sibling = await bench.sibling();
          return {
            key,
            operations: [
              () => bench.save(key, loaded, { set: { one: 1 } }),
              () => sibling.rename(key, next, changes, changed(loaded, changes)),
              () => bench.save(key, loaded, { set: { two: 1 } }),
            ],
          };
        },
        async ([one, renamed, two]) => {
          assert.equal(renamed, true);
          const kept = { ...(one === true && { one: 1 }), mine: 1, ...(two === true && { two: 1 }) };
          assertData(await bench.load(next), kept);
        },
      );
    });
  }
};
