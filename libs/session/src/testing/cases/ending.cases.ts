import assert from 'node:assert/strict';
import { type JsonObject, type SessionRecord } from '../../stores/session-store.js';
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
      const loaded = await bench.created({ a: 1 }, { userId: 'Ann' });
      assert.ok(await (await bench.sibling())[end](loaded.id));
      await bench.assertRefused(loaded);
      await bench.assertGone(loaded.id);
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
        const written: JsonObject = { ...data };
        let taking: Promise<SessionRecord | null> | undefined;
        const write = async (name: string): Promise<void> => {
          for (let n = 0; n < 500; n++) {
            // In the middle of everybody's writes.
            if (n === 5) taking ??= sibling.take(loaded.id);
            if (!(await save(n % 2 ? store : sibling, loaded, { set: { [name]: n } }))) return;
            written[name] = n;
          }
        };
        await Promise.all(['a', 'b', 'c'].map(write));
        const taken = await taking;
        assert.ok(taken);
        assertData(taken, written);
      }
    });
  }
};
