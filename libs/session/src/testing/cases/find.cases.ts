import assert from 'node:assert/strict';
import { setImmediate } from 'node:timers/promises';
import { type SessionRecord, type SessionStore } from '../../stores/session-store.js';
import {
  assertData,
  type Cases,
  MINUTE,
  newKey,
  ROUNDS,
  type StoreBench,
  withClockAhead,
} from '../store-bench.js';

type Found = Awaited<ReturnType<SessionStore['find']>>;

export const findCases: Cases = (it, bench) => {
  it('finds a live record as load does, and nothing else', async () => {
    const key = await bench.create({ a: 1 }, { userId: 'Ann', meta: { stamp: 's' } });
    for (const store of await bothStores(bench)) {
      const [found, loaded] = [await store.find(key), await bench.load(key)];
      assert.ok(found !== null && 'data' in found);
      assert.deepEqual(withoutMoments(found), withoutMoments(loaded));
      assert.equal(await store.find(newKey()), null);
    }
    await (await bench.store()).delete(key);
    for (const store of await bothStores(bench)) assert.equal(await store.find(key), null);
  });

  it('tells where a rename has moved a record to, if the store remembers that', async () => {
    const store = await bench.store();
    const [first, second, third] = [await bench.create({ a: 1 }), newKey(), newKey()];
    await rename(bench, first, second);
    await assertMoved(bench, first, [second]);
    await rename(bench, second, third);
    await assertMoved(bench, second, [third]);
    // Of the key before, a store need not know any more; if it does, the way may end at the second key.
    for (const each of await bothStores(bench)) {
      const way = await each.find(first);
      assert.ok(way === null || ('movedTo' in way && [second, third].includes(way.movedTo)));
    }
    const found = await store.find(third);
    assert.ok(found !== null && 'data' in found);
    assertData(found, { a: 1 });

    await store.delete(third);
    await bench.assertDead(first, second, third);
  });

  it('tells it for a minute, whatever is cleared', async () => {
    const store = await bench.store();
    const [key, next] = [await bench.create(), newKey()];
    await rename(bench, key, next);
    // A minute by the clock of this process, which is what many stores go by.
    await withClockAhead(MINUTE, async () => {
      if (bench.capabilities.clearsExpired) while ((await store.clearExpired(1000)) === 1000);
      await assertMoved(bench, key, [next]);
    });
  });

  it('tells nothing of a rename that did not happen', async () => {
    const [store, sibling] = await bothStores(bench);
    const [key, next, late] = [await bench.create(), newKey(), newKey()];
    const loaded = await bench.load(key);
    await rename(bench, key, next);
    assert.equal(await sibling.rename(key, late, {}, loaded), false);
    await assertMoved(bench, key, [next]);
    assert.equal(await store.find(late), null);

    const ended = await bench.create();
    const record = await bench.load(ended);
    await store.delete(ended);
    assert.equal(await store.rename(ended, late, {}, record), false);
    assert.equal(await sibling.find(ended), null);
    assert.equal(await sibling.find(late), null);
  });

  it('finds the record or its new key at every moment of a rename, if the store remembers moves', async () => {
    const [store, sibling] = await bothStores(bench);
    for (let round = 0; round < ROUNDS; round++) {
      const [key, next] = [await bench.create({ a: 1 }), newKey()];
      const loaded = await bench.load(key);
      const rotation = { isOver: false };
      const watch = async (watcher: SessionStore): Promise<Found[]> => {
        const answers: Found[] = [];
        while (!rotation.isOver) {
          answers.push(await watcher.find(key));
          // Else a store in memory would leave nobody else a turn.
          if (answers.length % 10 === 0) await setImmediate();
        }
        return answers;
      };
      const [renamed, ...answers] = await Promise.all([
        store.rename(key, next, {}, loaded).finally(() => (rotation.isOver = true)),
        watch(sibling),
        watch(store),
      ]);
      assert.equal(renamed, true);
      for (const found of answers.flat()) {
        if (found === null) assert.ok(!store.remembersMoves, 'for a moment, nobody knew of the record');
        else if ('movedTo' in found) assert.equal(found.movedTo, next);
        else assertData(found, { a: 1 });
      }
    }
  });
};

async function rename(bench: StoreBench, key: string, next: string): Promise<void> {
  assert.equal(await (await bench.store()).rename(key, next, {}, await bench.load(key)), true, 'rename');
}

/** To one of these keys; and in the eyes of every process. */
async function assertMoved(bench: StoreBench, key: string, to: readonly string[]): Promise<void> {
  for (const store of await bothStores(bench)) {
    assert.equal(await store.load(key), null);
    const found = await store.find(key);
    if (!store.remembersMoves) assert.equal(found, null);
    else
      assert.ok(found !== null && 'movedTo' in found && to.includes(found.movedTo), 'It is not known where.');
  }
}

async function bothStores(bench: StoreBench): Promise<[store: SessionStore, sibling: SessionStore]> {
  return [await bench.store(), await bench.sibling()];
}

/** Two loads may convert moments at two moments. */
function withoutMoments(record: SessionRecord): object {
  const { createdAt: _1, lastSeenAt: _2, expiresAt: _3, data, ...rest } = record;
  return { ...rest, data: { ...data } };
}
