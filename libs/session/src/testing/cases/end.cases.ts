import assert from 'node:assert/strict';
import { assertData, type Cases, changed, HOUR, newKey } from '../store-bench.js';
import { interfereAtEveryStep } from '../steps.js';

export const endCases: Cases = (it, bench) => {
  const { findsRenamed } = bench.capabilities;

  it('deletes once', async () => {
    const [store, sibling] = [await bench.store(), await bench.sibling()];
    const key = await bench.create();
    assert.equal(await sibling.delete(key), true);
    assert.equal(await store.delete(key), false);
    assert.equal(await store.delete(newKey()), false);
    await bench.assertDead(key);
  });

  it('deletes once, by key and session id', async () => {
    const store = await bench.store();
    const [key, bystander] = [await bench.create(), await bench.create({ a: 1 })];
    const { id } = await bench.load(key);
    assert.equal(await store.delete(key, id), true);
    assert.equal(await store.delete(key, id), false);
    assertData(await bench.load(bystander), { a: 1 });
  });

  it('brings nothing back, whatever was in flight', async () => {
    const [store, sibling] = [await bench.store(), await bench.sibling()];
    const [key, next] = [await bench.create({ a: 1 }, { userId: 'Ann' }), newKey()];
    const loaded = await bench.load(key);
    await sibling.delete(key, loaded.id);
    const late = { ...changed(loaded, { set: { a: 2 } }), expiresAt: Date.now() + 9 * HOUR };
    for (const writer of [store, sibling]) {
      assert.equal(await writer.save(key, { set: { a: 2 } }, late), false);
      assert.equal(await writer.save(key, { expiry: 60 }, late), false);
      assert.equal(await writer.touch(key, late), false);
      assert.equal(await writer.rename(key, next, { userId: 'Bob' }, late), false);
    }
    await bench.assertDead(key, next);
  });

  it('ends a session for good, whoever comes first', async () => {
    let [key, next] = ['', ''];
    await bench.race(
      async () => {
        [key, next] = [await bench.create({ a: 1 }), newKey()];
        const loaded = await bench.load(key);
        const [store, sibling] = [await bench.store(), await bench.sibling()];
        return {
          key,
          operations: [
            () => sibling.delete(key, loaded.id),
            () => bench.save(key, loaded, { set: { b: 2 } }),
            () => store.touch(key, { ...loaded, expiresAt: Date.now() + 9 * HOUR }),
            () => store.rename(key, next, {}, loaded),
          ],
        };
      },
      async ([deleted, , , renamed]) => {
        await bench.assertDead(key);
        if (findsRenamed) {
          assert.equal(deleted, true);
          await bench.assertDead(next);
        } else {
          assert.ok(deleted !== renamed, 'deleted and moved at once, or neither');
          assert.equal(await (await bench.store()).exists(next), renamed);
        }
      },
    );
  });

  it('ends a session between any two steps of a rename', async () => {
    const [store, sibling] = [await bench.store(), await bench.sibling()];
    await interfereAtEveryStep(store, async (interfereWith) => {
      const [key, next] = [await bench.create({ a: 1 }), newKey()];
      const loaded = await bench.load(key);
      const [renamed, deleted] = await interfereWith(
        () => store.rename(key, next, {}, loaded),
        () => sibling.delete(key, loaded.id),
      );
      if (findsRenamed) assert.equal(deleted, true);
      else assert.ok(deleted !== renamed, 'deleted and moved at once, or neither');
      if (deleted) await bench.assertDead(next);
      await bench.assertDead(key);
    });
  });

  it('has a record at every step of a rename', async () => {
    const [store, sibling] = [await bench.store(), await bench.sibling()];
    await interfereAtEveryStep(store, async (interfereWith) => {
      const [key, next] = [await bench.create({ a: 1 }), newKey()];
      const loaded = await bench.load(key);
      const [renamed, found] = await interfereWith(
        () => store.rename(key, next, {}, loaded),
        async () => (await sibling.exists(key)) || (await sibling.exists(next)),
      );
      assert.ok(renamed);
      assert.ok(found, 'a crash at this step would have lost the session');
      await bench.assertDead(key);
    });
  });

  it('ends a session between any two steps of a touch or a save', async () => {
    const [store, sibling] = [await bench.store(), await bench.sibling()];
    for (const write of ['touch', 'save'] as const) {
      await interfereAtEveryStep(store, async (interfereWith) => {
        const key = await bench.create({ a: 1 });
        const loaded = await bench.load(key);
        const late = { ...loaded, expiresAt: Date.now() + 9 * HOUR };
        await interfereWith(
          () => (write === 'touch' ? store.touch(key, late) : store.save(key, { set: { b: 2 } }, late)),
          () => sibling.delete(key, loaded.id),
        );
        await bench.assertDead(key);
      });
    }
  });

  it(
    findsRenamed
      ? 'finds a record that was renamed meanwhile'
      : 'lacks a way to a record that was renamed meanwhile',
    async () => {
      const [store, sibling] = [await bench.store(), await bench.sibling()];
      const [first, second, third] = [await bench.create({ a: 1 }), newKey(), newKey()];
      const loaded = await bench.load(first);
      await store.rename(first, second, {}, loaded);
      await store.rename(second, third, {}, await bench.load(second));
      assert.equal(await sibling.delete(first, loaded.id), findsRenamed);
      assert.equal(await store.exists(third), !findsRenamed);
      await bench.assertDead(first, second);
    },
  );
};
