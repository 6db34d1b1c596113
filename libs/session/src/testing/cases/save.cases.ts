import assert from 'node:assert/strict';
import { type SessionChanges, type SessionMeta } from '../../stores/session-store.js';
import {
  assertData,
  assertMeta,
  assertNear,
  type Cases,
  HOUR,
  MINUTE,
  newId,
  newKeyHash,
} from '../store-bench.js';

const meta: SessionMeta = {
  stamp: 'a stamp',
  remembered: true,
  rotation: { after: 90_000, formerHash: newKeyHash(), successor: 'sealed' },
};

export const saveCases: Cases = (it, bench) => {
  it('applies the changes of a request', async () => {
    const loaded = await bench.created({ a: 1, b: 2, n: 3, list: [0] });
    const changes = {
      set: { a: 3, c: { d: [] } },
      unset: ['b'],
      increment: { n: 2, m: -1.5 },
      push: { list: [1], new: ['x'] },
    };
    assert.equal(await bench.save(loaded, changes), true);
    const expected = { a: 3, c: { d: [] }, n: 5, m: -1.5, list: [0, 1], new: ['x'] };
    assertData(await bench.load(loaded.id), expected);
  });

  it('clears before it does anything else', async () => {
    const loaded = await bench.created({ a: 1, n: 5, list: [0] });
    await bench.save(loaded, { clear: true, set: { b: 1 }, increment: { n: 1 }, push: { list: [1] } });
    assertData(await bench.load(loaded.id), { b: 1, n: 1, list: [1] });
    await bench.save(await bench.load(loaded.id), { clear: true });
    assertData(await bench.load(loaded.id), {});
  });

  it('raises the version by one, whatever was changed', async () => {
    const { id } = await bench.create();
    const kinds: SessionChanges[] = [
      { set: { a: 1 } },
      { unset: ['a'] },
      { increment: { n: 1 } },
      { push: { list: [1] } },
      { clear: true },
      { expiry: 60 },
      { meta },
      { keyHash: newKeyHash() },
      {},
    ];
    for (const changes of kinds) {
      const loaded = await bench.load(id);
      await bench.save(loaded, changes);
      assert.equal((await bench.load(id)).version, loaded.version + 1, JSON.stringify(changes));
    }
  });

  it('keeps expiry and meta unless they are changed, and replaces meta whole', async () => {
    const { id } = await bench.create({ a: 1 }, { expiry: 60, meta });
    for (const changes of [{ set: { b: 2 } }, { keyHash: newKeyHash() }, {}]) {
      await bench.save(await bench.load(id), changes);
      const loaded = await bench.load(id);
      assert.equal(loaded.expiry, 60);
      assertMeta(loaded, meta);
    }
    for (const expiry of ['2030-01-01T00:00:00.000Z', null, 90]) {
      await bench.save(await bench.load(id), { expiry });
      const loaded = await bench.load(id);
      assert.equal(loaded.expiry, expiry);
      assertMeta(loaded, meta);
    }
    for (const replacement of [{ stamp: 'other' }, {}, meta, { remembered: true as const }]) {
      await bench.save(await bench.load(id), { meta: replacement });
      const loaded = await bench.load(id);
      assertMeta(loaded, replacement);
      assert.equal(loaded.expiry, 90);
    }
    assertData(await bench.load(id), { a: 1, b: 2 });
  });

  it('keeps id, user and creation through everything', async () => {
    const store = await bench.store();
    const created = await bench.create({ a: 1 }, { userId: 'Ann', createdAt: Date.now() - HOUR });
    const { id } = created;
    const kinds: SessionChanges[] = [
      { set: { a: 2 } },
      { clear: true },
      { keyHash: newKeyHash() },
      { expiry: 60 },
    ];
    for (const changes of kinds) await bench.save(await bench.load(id), changes);
    await store.touch(id, { ...(await bench.load(id)), expiresAt: Date.now() + 2 * HOUR });
    const loaded = await bench.load(id);
    assert.deepEqual([loaded.id, loaded.userId], [id, 'Ann']);
    assertNear(loaded.createdAt, created.createdAt, 'createdAt');
  });

  if (bench.capabilities.atomicChanges) {
    it('takes nothing from the record of the request that is not a change', async () => {
      const loaded = await bench.created({ a: 1 }, { userId: 'Ann', expiry: 60, meta });
      const other = { id: newId(), keyHash: newKeyHash(), userId: 'Bob' };
      const foreign = { ...other, createdAt: 0, expiry: 1, meta: {} };
      assert.equal(await bench.save(loaded, { set: { b: 2 } }, foreign), true);
      const after = await bench.load(loaded.id);
      assert.deepEqual(
        [after.id, after.userId, after.keyHash, after.expiry],
        [loaded.id, 'Ann', loaded.keyHash, 60],
      );
      assertNear(after.createdAt, loaded.createdAt, 'createdAt');
      assertMeta(after, meta);
    });
  }

  it('sets deadline and last use, forward and back, with changes and without', async () => {
    const { id } = await bench.create({}, { lastSeenAt: Date.now() - 20 * MINUTE });
    for (const changes of [{ set: { a: 1 } }, {}]) {
      for (const minutes of [90, 30]) {
        const expiresAt = Date.now() + minutes * MINUTE;
        const moments = { expiresAt, lastSeenAt: Date.now() };
        assert.equal(await bench.save(await bench.load(id), changes, moments), true);
        const saved = await bench.load(id);
        assertNear(saved.expiresAt, expiresAt, 'expiresAt');
        assertNear(saved.lastSeenAt, Date.now(), 'lastSeenAt');
      }
    }
  });

  it('keeps many small changes of a large session', async () => {
    const filler = 'x'.repeat(8000);
    const { id } = await bench.create({ filler }, { meta });
    const expected: SessionChanges['set'] = { filler };
    for (let n = 1; n <= 60; n++) {
      const replacement = n === 30 ? { meta: { ...meta, stamp: 'another' } } : {};
      expected[`key${n}`] = 'y'.repeat(100);
      const set = { [`key${n}`]: 'y'.repeat(100) };
      assert.equal(await bench.save(await bench.load(id), { set, ...replacement }), true);
    }
    const loaded = await bench.load(id);
    assertData(loaded, expected);
    assertMeta(loaded, { ...meta, stamp: 'another' });
  });
};

export const touchCases: Cases = (it, bench) => {
  it('moves deadline and last use, and nothing else', async () => {
    const loaded = await bench.created(
      { a: 1 },
      { userId: 'Ann', expiry: 7200, lastSeenAt: Date.now() - 10 * MINUTE, meta },
    );
    const unsaved = { data: { a: 2 }, userId: 'Bob', expiry: 1, meta: {}, keyHash: newKeyHash() };
    const moved = { ...loaded, ...unsaved, lastSeenAt: Date.now(), expiresAt: Date.now() + 3 * HOUR };
    assert.equal(await (await bench.store()).touch(loaded.id, moved), true);

    const after = await bench.load(loaded.id);
    assertNear(after.expiresAt, moved.expiresAt, 'expiresAt');
    assertNear(after.lastSeenAt, moved.lastSeenAt, 'lastSeenAt');
    assertNear(after.createdAt, loaded.createdAt, 'createdAt');
    for (const field of ['id', 'keyHash', 'userId', 'expiry'] as const)
      assert.equal(after[field], loaded[field]);
    assertData(after, { a: 1 });
    assertMeta(after, meta);
  });

  it('never shortens', async () => {
    const loaded = await bench.created();
    const sooner = { ...loaded, expiresAt: Date.now() + MINUTE };
    assert.equal(await (await bench.store()).touch(loaded.id, sooner), false);
    assertNear((await bench.load(loaded.id)).expiresAt, loaded.expiresAt, 'expiresAt');
  });

  it('leaves a record alone that was saved since it was loaded', async () => {
    const expiresAt = Date.now() + 10 * MINUTE;
    for (const changes of [{ set: { b: 2 } }, { expiry: 60 }, { meta }, { keyHash: newKeyHash() }]) {
      const stale = await bench.created({ a: 1 });
      await bench.save(stale, changes, { expiresAt });
      const late = { ...stale, expiresAt: Date.now() + 9 * HOUR };
      assert.equal(await (await bench.sibling()).touch(stale.id, late), false);
      const after = await bench.load(stale.id);
      assertNear(after.expiresAt, expiresAt, 'expiresAt');
      assertData(after, { a: 1, ...changes.set });
    }
  });

  if (bench.capabilities.atomicChanges) {
    it('loses no write that it races', async () => {
      let id = '';
      await bench.race(
        async () => {
          const loaded = await bench.created({ a: 1 });
          id = loaded.id;
          const later = { ...loaded, expiresAt: Date.now() + 9 * HOUR };
          const sibling = await bench.sibling();
          return {
            id,
            operations: [() => bench.save(loaded, { set: { b: 2 } }), () => sibling.touch(id, later)],
          };
        },
        async ([saved]) => {
          assert.equal(saved, true);
          assertData(await bench.load(id), { a: 1, b: 2 });
        },
      );
    });
  }
};
