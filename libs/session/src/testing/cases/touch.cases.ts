import assert from 'node:assert/strict';
import { assertData, assertNear, type Cases, HOUR, MINUTE } from '../store-bench.js';

export const touchCases: Cases = (it, bench) => {
  it('moves deadline and last use, and nothing else', async () => {
    const key = await bench.create(
      { a: 1 },
      { userId: 'Ann', expiry: 7200, lastSeenAt: Date.now() - 10 * MINUTE },
    );
    const loaded = await bench.load(key);
    const moved = { ...loaded, lastSeenAt: Date.now(), expiresAt: Date.now() + 3 * HOUR };
    assert.equal(await (await bench.store()).touch(key, moved), true);

    const after = await bench.load(key);
    assertNear(after.expiresAt, moved.expiresAt, 'expiresAt');
    assertNear(after.lastSeenAt, moved.lastSeenAt, 'lastSeenAt');
    assertNear(after.createdAt, loaded.createdAt, 'createdAt');
    assert.deepEqual([after.id, after.userId, after.expiry], [loaded.id, 'Ann', 7200]);
    assertData(after, { a: 1 });
  });

  it('stores nothing but the moments of the record it is given', async () => {
    const key = await bench.create({ a: 1 });
    const loaded = await bench.load(key);
    const unsaved = {
      ...loaded,
      data: { a: 2 },
      userId: 'Mallory',
      expiry: 1,
      expiresAt: Date.now() + 3 * HOUR,
    };
    await (await bench.store()).touch(key, unsaved);
    const after = await bench.load(key);
    assert.deepEqual([after.userId, after.expiry], [null, null]);
    assertData(after, { a: 1 });
  });

  it('never shortens', async () => {
    const key = await bench.create();
    const loaded = await bench.load(key);
    assert.equal(
      await (await bench.store()).touch(key, { ...loaded, expiresAt: Date.now() + MINUTE }),
      false,
    );
    assertNear((await bench.load(key)).expiresAt, loaded.expiresAt, 'expiresAt');
  });

  it('leaves alone what somebody else has written since', async () => {
    for (const changes of [{ set: { b: 2 } }, { expiry: 60 }]) {
      const key = await bench.create({ a: 1 });
      const stale = await bench.load(key);
      const expiresAt = Date.now() + 10 * MINUTE;
      await bench.save(key, stale, changes, { expiresAt });
      const late = { ...stale, expiresAt: Date.now() + 9 * HOUR };
      assert.equal(await (await bench.sibling()).touch(key, late), false);
      const after = await bench.load(key);
      assertNear(after.expiresAt, expiresAt, 'expiresAt');
      assertData(after, { a: 1, ...changes.set });
    }
  });

  it('touches nothing that is gone', async () => {
    const key = await bench.create();
    const later = { ...(await bench.load(key)), expiresAt: Date.now() + 9 * HOUR };
    await (await bench.store()).delete(key);
    assert.equal(await (await bench.store()).touch(key, later), false);
    await bench.assertDead(key);
  });

  if (bench.capabilities.atomicChanges) {
    it('loses no write that it races', async () => {
      let key = '';
      await bench.race(
        async () => {
          key = await bench.create({ a: 1 });
          const loaded = await bench.load(key);
          const later = { ...loaded, expiresAt: Date.now() + 9 * HOUR };
          const sibling = await bench.sibling();
          return {
            key,
            operations: [() => bench.save(key, loaded, { set: { b: 2 } }), () => sibling.touch(key, later)],
          };
        },
        async ([saved]) => {
          assert.equal(saved, true);
          assertData(await bench.load(key), { a: 1, b: 2 });
        },
      );
    });
  }
};
