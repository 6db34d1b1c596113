import assert from 'node:assert/strict';
import { setTimeout } from 'node:timers/promises';
import { type SessionRecord, type SessionStore } from '../../stores/session-store.js';
import { assertData, assertMeta, type Cases, HOUR, newKeyHash, save } from '../store-bench.js';

export const endingCases: Cases = (it, bench) => {
  const { atomicChanges } = bench.capabilities;

  it('deletes once', async () => {
    const [store, sibling] = await bench.both();
    const [record, bystander] = [await bench.create(), await bench.create({ a: 1 })];
    assert.equal(await sibling.delete(record.id), true);
    assert.equal(await store.delete(record.id), false);
    await bench.assertGone(record.id);
    assertData(await bench.load(bystander.id), { a: 1 });
  });

  it('takes a record once, as it was last saved', async () => {
    const [store, sibling] = await bench.both();
    const meta = { remembered: true as const, rotation: { after: 5 } };
    const created = await bench.created({ a: 1 }, { userId: 'Ann', expiry: 60 });
    await bench.save(created, { set: { b: 2 }, keyHash: newKeyHash(), meta });
    const last = await bench.load(created.id);
    const bystander = await bench.create({ c: 3 });

    const taken = await sibling.take(last.id);
    assert.ok(taken !== null);
    for (const field of ['id', 'keyHash', 'userId', 'expiry', 'version'] as const) {
      assert.equal(taken[field], last[field], field);
    }
    assertData(taken, { a: 1, b: 2 });
    assertMeta(taken, meta);
    assert.equal(await sibling.take(last.id), null);
    assert.equal(await store.take(last.id), null);
    assert.equal(await store.delete(last.id), false);
    await bench.assertGone(last.id);
    assertData(await bench.load(bystander.id), { c: 3 });
  });

  for (const end of ['delete', 'take'] as const) {
    it(`brings nothing back after a ${end}, whatever was in flight`, async () => {
      const [store, sibling] = await bench.both();
      const loaded = await bench.created({ a: 1 }, { userId: 'Ann' });
      const { id } = loaded;
      assert.ok(await sibling[end](id));
      const late = { expiresAt: Date.now() + 9 * HOUR };
      for (const writer of [store, sibling]) {
        for (const changes of [{ set: { a: 2 } }, { expiry: 3600 }, { keyHash: newKeyHash() }, {}]) {
          assert.equal(await save(writer, loaded, changes, late), false);
        }
        assert.equal(await writer.touch(id, { ...loaded, ...late }), false);
      }
      await bench.assertGone(id);
    });

    it(`ends a session by a ${end}, whatever comes first`, async () => {
      let [id, rotatedTo] = ['', ''];
      await bench.race(
        async () => {
          const loaded = await bench.created({ a: 1 });
          [id, rotatedTo] = [loaded.id, newKeyHash()];
          const [store, sibling] = await bench.both();
          return {
            id,
            operations: [
              () => sibling[end](id),
              () => bench.save(loaded, { set: { b: 2 } }),
              () => store.touch(id, { ...loaded, expiresAt: Date.now() + 9 * HOUR }),
              () => save(sibling, loaded, { keyHash: rotatedTo, set: { c: 3 } }),
            ],
          };
        },
        async ([ended, saved, , rotated]) => {
          assert.ok(ended);
          await bench.assertGone(id);
          if (end === 'delete' || !atomicChanges) return;
          const taken = ended as SessionRecord;
          const changes = { ...(saved === true && { b: 2 }), ...(rotated === true && { c: 3 }) };
          assertData(taken, { a: 1, ...changes });
          assert.equal(taken.keyHash === rotatedTo, rotated);
        },
      );
    });
  }

  it('ends a session for one of many callers', async () => {
    let id = '';
    await bench.race(
      async () => {
        ({ id } = await bench.create({ a: 1 }));
        const [store, sibling] = await bench.both();
        return {
          id,
          operations: [
            () => store.take(id),
            () => sibling.take(id),
            () => store.take(id),
            () => sibling.delete(id),
          ],
        };
      },
      async (outcomes) => {
        assert.equal(outcomes.filter(Boolean).length, 1);
        await bench.assertGone(id);
      },
    );
  });

  if (atomicChanges) {
    it('takes every write that it answered with success', async () => {
      const [store, sibling] = await bench.both();
      const filler = 'x'.repeat(8000);
      for (const data of [{}, { filler }]) {
        const loaded = await bench.created(data);
        const writes = Array.from({ length: 40 }, (_, n) => {
          return save(n % 2 ? store : sibling, loaded, { set: { [`key${n}`]: n } });
        });
        await writes[0];
        const taken = await sibling.take(loaded.id);
        assert.ok(taken !== null);
        const saved = await Promise.all(writes);
        const entries = saved.flatMap((wasSaved, n) => (wasSaved ? [[`key${n}`, n]] : []));
        assertData(taken, { ...data, ...Object.fromEntries(entries) });
      }
    });
  }

  // What a touch or a take of a store does by its other methods, a request of somebody else may come between.
  it('ends a session between any two steps of another operation', async () => {
    const [store, sibling] = await bench.both();
    const late = { expiresAt: Date.now() + 9 * HOUR };
    const operations: ((loaded: SessionRecord) => Promise<unknown>)[] = [
      (loaded) => store.touch(loaded.id, { ...loaded, ...late }),
      (loaded) => save(store, loaded, { set: { b: 2 } }, late),
      (loaded) => save(store, loaded, { keyHash: newKeyHash() }, late),
    ];
    for (const operation of operations) {
      await interfereAtEveryStep(store, async (interfereWith) => {
        const loaded = await bench.created({ a: 1 });
        const [, deleted] = await interfereWith(
          () => operation(loaded),
          () => sibling.delete(loaded.id),
        );
        assert.equal(deleted, true);
        await bench.assertGone(loaded.id);
      });
    }
  });

  it('lets one of two have the record, between any two steps of a take', async () => {
    const [store, sibling] = await bench.both();
    for (const end of ['take', 'delete'] as const) {
      await interfereAtEveryStep(store, async (interfereWith) => {
        const { id } = await bench.create({ a: 1 });
        const outcomes = await interfereWith(
          () => store.take(id),
          () => sibling[end](id),
        );
        assert.equal(outcomes.filter(Boolean).length, 1);
        await bench.assertGone(id);
      });
    }
  });

  it('lets a touch undo no rotation, between any two of its steps', async () => {
    const [store, sibling] = await bench.both();
    await interfereAtEveryStep(store, async (interfereWith) => {
      const [loaded, keyHash] = [await bench.created({ a: 1 }), newKeyHash()];
      const [, rotated] = await interfereWith(
        () => store.touch(loaded.id, { ...loaded, expiresAt: Date.now() + 9 * HOUR }),
        () => save(sibling, loaded, { keyHash, set: { b: 2 } }),
      );
      assert.equal(rotated, true);
      const after = await bench.load(loaded.id);
      assert.equal(after.keyHash, keyHash);
      assertData(after, { a: 1, b: 2 });
    });
  });
};

/** The methods that others may be made of. */
const METHODS = ['load', 'create', 'save', 'delete', 'take', 'touch'] as const;

/** How long an operation waits for the interference, which may itself wait for a lock that the operation holds. */
const PATIENCE = 100;

/** Runs an operation and, somewhere in the middle of it, an interference. Resolves with the results of both. */
type InterfereWith = (
  operation: () => Promise<unknown>,
  interference: () => Promise<unknown>,
) => Promise<[operation: unknown, interference: unknown]>;

/**
 * Runs the scenario again and again: with the interference before the operation, before each of its further steps, and
 * after it. A step is a call of one of the store's own methods.
 */
async function interfereAtEveryStep(
  store: SessionStore,
  scenario: (interfereWith: InterfereWith) => Promise<void>,
): Promise<void> {
  for (let step = 1, reached = true; reached; step++) {
    let taken = 0;
    await scenario(async (operation, interference) => {
      let interfering: Promise<unknown> | undefined;
      const restore = beforeEveryStep(store, async () => {
        if (++taken !== step) return;
        // What the interference does itself comes after this step.
        interfering = interference();
        await Promise.race([interfering, setTimeout(PATIENCE)]);
      });
      const result = await operation().finally(restore);
      return [result, await (interfering ?? interference())];
    });
    reached = taken >= step;
  }
}

/** Shadows the methods of this one instance; what is private to its class stays in reach. */
function beforeEveryStep(store: SessionStore, wait: () => Promise<void>): () => void {
  const own = METHODS.map((name) => [name, Object.getOwnPropertyDescriptor(store, name)] as const);
  for (const name of METHODS) {
    const method = store[name].bind(store) as (...given: unknown[]) => Promise<unknown>;
    Object.defineProperty(store, name, {
      configurable: true,
      value: async (...given: unknown[]) => {
        await wait();
        return method(...given);
      },
    });
  }
  return () => {
    for (const [name, descriptor] of own) {
      if (descriptor) Object.defineProperty(store, name, descriptor);
      else Reflect.deleteProperty(store, name);
    }
  };
}
