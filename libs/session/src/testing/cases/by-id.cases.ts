import assert from 'node:assert/strict';
import {
  assertData,
  assertFails,
  type Cases,
  changed,
  HOUR,
  newKey,
  newRecord,
  settled,
} from '../store-bench.js';

/** Session ids that no session has; they may come from a visitor. */
const strangeIds = [
  '',
  '*',
  '%',
  '_'.repeat(22),
  '__proto__',
  `' OR '1'='1`,
  '../..',
  'a\0b',
  'a\r\nb',
  '\ud800',
];

export const byIdCases: Cases = (it, bench) => {
  if (!bench.capabilities.byUser) {
    it('says that it cannot end a session by its id', async () => {
      const store = await bench.store();
      const key = await bench.create({}, { userId: 'Ann' });
      const { id } = await bench.load(key);
      await assertFails(store.deleteById(id), 'SESSION_UNSUPPORTED');
      await assertFails(store.deleteById(id, 'Ann'), 'SESSION_UNSUPPORTED');
      await bench.load(key);
    });
    return;
  }

  it('ends exactly the session with this id, once and for good', async () => {
    const [store, sibling] = [await bench.store(), await bench.sibling()];
    for (const userId of ['Ann', null]) {
      const [key, bystander, rotating] = [
        await bench.create({}, { userId }),
        await bench.create({ a: 1 }, { userId }),
        await bench.create({ b: 2 }, { userId }),
      ];
      const rotated = newKey();
      await store.rename(rotating, rotated, {}, await bench.load(rotating));
      const loaded = await bench.load(key);
      assert.equal(await sibling.deleteById(loaded.id), true);
      await bench.assertDead(key);
      assert.equal(await store.deleteById(loaded.id), false);

      const late = { ...changed(loaded, { set: { late: 1 } }), expiresAt: Date.now() + 9 * HOUR };
      const next = newKey();
      assert.equal(await store.save(key, { set: { late: 1 } }, late), false);
      assert.equal(await store.touch(key, late), false);
      assert.equal(await store.rename(key, next, {}, late), false);
      await bench.assertDead(key, next);
      assertData(await bench.load(bystander), { a: 1 });
      assertData(await bench.load(rotated), { b: 2 });
    }
  });

  it('finds it wherever logins and rotations have moved it', async () => {
    const store = await bench.store();
    const [first, second, third] = [await bench.create(), newKey(), newKey()];
    const loaded = await bench.load(first);
    await store.rename(first, second, { userId: 'Ann' }, changed(loaded, { userId: 'Ann' }));
    await store.rename(second, third, {}, await bench.load(second));
    await bench.save(third, await bench.load(third), { userId: 'Bob' });
    assert.equal(await store.deleteById(loaded.id, 'Ann'), false);
    await bench.load(third);
    assert.equal(await store.deleteById(loaded.id, 'Bob'), true);
    await bench.assertDead(first, second, third);
    assert.equal(await store.deleteById(loaded.id), false);
  });

  it("ends no session of another user's, nor one of nobody's", async () => {
    const store = await bench.store();
    const [ofAnn, ofNobody] = [await bench.create({}, { userId: 'Ann' }), await bench.create()];
    const [ann, nobody] = [await bench.load(ofAnn), await bench.load(ofNobody)];
    for (const userId of ['Bob', 'ann', 'Ann ', '', '*', '%']) {
      assert.equal(await store.deleteById(ann.id, userId), false);
      assert.equal(await store.deleteById(nobody.id, userId), false);
    }
    await bench.load(ofAnn);
    await bench.load(ofNobody);
    assert.equal(await store.deleteById(ann.id, 'Ann'), true);
    assert.equal(await store.deleteById(nobody.id), true);
  });

  it('takes ids literally', async () => {
    const store = await bench.store();
    const id = `Id-${newRecord().id}`;
    const key = await bench.create({}, { id, userId: 'Ann' });
    for (const strange of [...strangeIds, id.toLowerCase(), id.slice(0, -1), `${id} `, `${id}*`, `${id}%`]) {
      for (const userId of [undefined, 'Ann']) {
        // Refusing it is as good as finding nothing.
        const outcome = await settled(store.deleteById(strange, userId));
        if ('value' in outcome) assert.equal(outcome.value, false);
      }
    }
    await bench.load(key);
  });

  for (const userId of [undefined, 'Ann']) {
    it(`ends a session by its id${userId ? ' and user' : ''} in spite of a rotation`, async () => {
      let [key, next] = ['', ''];
      await bench.race(
        async () => {
          [key, next] = [await bench.create({}, { userId: 'Ann' }), newKey()];
          const loaded = await bench.load(key);
          const [store, sibling] = [await bench.store(), await bench.sibling()];
          return {
            key,
            operations: [
              () => sibling.deleteById(loaded.id, userId),
              () => store.rename(key, next, {}, loaded),
              () => bench.save(key, loaded, { set: { a: 1 } }),
            ],
          };
        },
        async ([deleted]) => {
          assert.equal(deleted, true);
          await bench.assertDead(key, next);
        },
      );
    });
  }
};
