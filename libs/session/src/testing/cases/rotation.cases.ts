import assert from 'node:assert/strict';
import { setImmediate } from 'node:timers/promises';
import { type SessionChanges, type SessionRecord, type SessionStore } from '../../stores/session-store.js';
import {
  assertData,
  assertMeta,
  type Cases,
  changed,
  HOUR,
  newKeyHash,
  ROUNDS,
  save,
} from '../store-bench.js';

export const rotationCases: Cases = (it, bench) => {
  it('saves only under the key hash of the record, and changes nothing under another', async () => {
    const loaded = await bench.created({ a: 1 }, { userId: 'Ann', expiry: 60, meta: { stamp: 's' } });
    const { id, keyHash } = loaded;
    const attempts: SessionChanges[] = [
      { set: { a: 2 } },
      { keyHash: newKeyHash() },
      { expiry: 1, meta: {} },
      {},
    ];
    const wrong = [newKeyHash(), keyHash.toUpperCase(), keyHash.slice(0, -1)];
    for (const store of await bench.both()) {
      for (const hash of wrong) {
        for (const changes of attempts) {
          const record = changed(loaded, changes, { expiresAt: Date.now() + 9 * HOUR });
          assert.equal(await store.save(id, hash, changes, record), false, `it saved under ${hash}`);
        }
      }
    }
    const after = await bench.load(id);
    assert.deepEqual([after.keyHash, after.version, after.expiry], [keyHash, loaded.version, 60]);
    assert.ok(after.expiresAt < Date.now() + 2 * HOUR);
    assertData(after, { a: 1 });
    assertMeta(after, { stamp: 's' });
    assert.equal(await bench.save(loaded, { set: { a: 2 } }), true);
  });

  it('replaces the key hash along with everything else that the request changed', async () => {
    const loaded = await bench.created({ a: 1, n: 1 }, { userId: 'Ann' });
    const keyHash = newKeyHash();
    const meta = { rotation: { after: 5, formerHash: loaded.keyHash, successor: 'sealed' } };
    const changes = { keyHash, meta, set: { b: 2 }, increment: { n: 1 }, expiry: 7200 };
    assert.equal(await bench.save(loaded, changes), true);
    for (const store of await bench.both()) {
      const rotated = await store.load(loaded.id);
      assert.ok(rotated !== null);
      assert.deepEqual([rotated.keyHash, rotated.userId, rotated.expiry], [keyHash, 'Ann', 7200]);
      assertData(rotated, { a: 1, b: 2, n: 2 });
      assertMeta(rotated, meta);
    }
  });

  it('saves under the new key hash from then on, and no more under the old one', async () => {
    const [store, sibling] = await bench.both();
    const old = await bench.created({ a: 1 });
    const { id } = old;
    for (let n = 1; n <= 3; n++) {
      assert.equal(await bench.save(await bench.load(id), { keyHash: newKeyHash() }), true);
      for (const late of [{ set: { late: 1 } }, { keyHash: newKeyHash() }, {}]) {
        assert.equal(await save(store, old, late), false);
        assert.equal(await save(sibling, old, late), false);
        // As a request that has seen the version since then, and has the old secret.
        const { version } = await bench.load(id);
        assert.equal(await save(sibling, { ...old, version }, late), false);
      }
      assert.equal(await save(sibling, await bench.load(id), { set: { n } }), true);
    }
    assertData(await bench.load(id), { a: 1, n: 3 });
    const later = { ...(await bench.load(id)), expiresAt: Date.now() + 9 * HOUR };
    assert.equal(await store.touch(id, later), true);
    assert.equal(await store.delete(id), true);
    await bench.assertGone(id);
  });

  it('lets exactly one of many rotations win', async () => {
    let id = '';
    let hashes: string[] = [];
    await bench.race(
      async () => {
        const loaded = await bench.created({ a: 1 });
        id = loaded.id;
        hashes = [newKeyHash(), newKeyHash(), newKeyHash()];
        const [store, sibling] = await bench.both();
        const operations = hashes.map((keyHash, n) => () => {
          return save(n % 2 ? sibling : store, loaded, { keyHash, set: { winner: n } });
        });
        return { id, operations };
      },
      async (outcomes) => {
        assert.equal(outcomes.filter(Boolean).length, 1);
        const winner = outcomes.indexOf(true);
        const rotated = await bench.load(id);
        assert.equal(rotated.keyHash, hashes[winner]);
        assertData(rotated, { a: 1, winner });
      },
    );
  });

  it('shows the new key hash and what came with it at the same moment', async () => {
    const [store, sibling] = await bench.both();
    for (let round = 0; round < ROUNDS; round++) {
      const loaded = await bench.created({ stage: 'old' }, { meta: { stamp: 'old' } });
      const rotation = { isOver: false };
      const watch = async (watcher: SessionStore): Promise<(SessionRecord | null)[]> => {
        const seen: (SessionRecord | null)[] = [];
        while (!rotation.isOver) {
          seen.push(await watcher.load(loaded.id));
          // A store in memory would leave nobody else a turn.
          if (seen.length % 10 === 0) await setImmediate();
        }
        return seen;
      };
      const changes = { keyHash: newKeyHash(), set: { stage: 'new' }, meta: { stamp: 'new' } };
      const [rotated, ...seen] = await Promise.all([
        save(store, loaded, changes).finally(() => (rotation.isOver = true)),
        watch(sibling),
        watch(store),
      ]);
      assert.equal(rotated, true);
      for (const record of seen.flat()) {
        assert.ok(record !== null, 'for a moment there was no record');
        const stage = record.keyHash === loaded.keyHash ? 'old' : 'new';
        assertData(record, { stage });
        assertMeta(record, { stamp: stage });
      }
    }
  });

  it('refuses what comes under the old key hash after the rotation that it races', async () => {
    let [id, keyHash] = ['', ''];
    await bench.race(
      async () => {
        const loaded = await bench.created();
        [id, keyHash] = [loaded.id, newKeyHash()];
        const sibling = await bench.sibling();
        return {
          id,
          operations: [
            () => bench.save(loaded, { set: { one: 1 } }),
            () => save(sibling, loaded, { keyHash, set: { mine: 1 } }),
            () => sibling.touch(id, { ...loaded, expiresAt: Date.now() + 9 * HOUR }),
            () => bench.save(loaded, { set: { two: 1 } }),
          ],
        };
      },
      async ([one, rotated, , two]) => {
        assert.equal(rotated, true);
        const record = await bench.load(id);
        assert.equal(record.keyHash, keyHash);
        // A store that writes records whole may lose what came before the rotation.
        const before = { ...(one === true && { one: 1 }), ...(two === true && { two: 1 }) };
        assertData(record, { mine: 1, ...(bench.capabilities.atomicChanges && before) });
      },
    );
  });

  if (bench.capabilities.atomicChanges) {
    it('takes along what others wrote since the load', async () => {
      const loaded = await bench.created({ a: 1 }, { expiry: 60 });
      await bench.save(loaded, { set: { theirs: 1 }, expiry: 90 });
      await save(await bench.sibling(), loaded, { keyHash: newKeyHash(), set: { mine: 1 } });
      const rotated = await bench.load(loaded.id);
      assert.equal(rotated.expiry, 90);
      assertData(rotated, { a: 1, theirs: 1, mine: 1 });
    });
  }
};
