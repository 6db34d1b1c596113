import assert from 'node:assert/strict';
import { type SessionRecord } from '../../stores/session-store.js';
import {
  assertData,
  assertFails,
  assertMeta,
  type Cases,
  changed,
  HOUR,
  newKey,
  newRecord,
  SECOND,
} from '../store-bench.js';

/** Of this run alone, for a store may outlive the test. */
const newUser = (name = 'Ann'): string => `${name}-${newKey().slice(3, 19)}`;

export const userCases: Cases = (it, bench) => {
  if (!bench.capabilities.byUser) {
    it("says that it cannot list or end a user's sessions", async () => {
      const store = await bench.store();
      await assertFails(store.listByUser('Ann'), 'SESSION_UNSUPPORTED');
      await assertFails(store.deleteByUser('Ann'), 'SESSION_UNSUPPORTED');
      await assertFails(store.deleteByUser('Ann', ['id']), 'SESSION_UNSUPPORTED');
    });
    return;
  }

  it("lists a user's live sessions, whole, and nobody else's", async () => {
    const [ann, bob] = [newUser(), newUser('Bob')];
    const keys = await Promise.all(
      [1, 2, 3].map((n) => bench.create({ n }, { userId: ann, meta: { stamp: `${n}` } })),
    );
    await bench.create({ n: 4 }, { userId: bob });
    await bench.create({ n: 5 });
    const loaded = await Promise.all(keys.map((key) => bench.load(key)));
    for (const store of [await bench.store(), await bench.sibling()]) {
      const listed = await store.listByUser(ann);
      assert.deepEqual(idsOf(listed), idsOf(loaded));
      const byId = new Map(listed.map((record) => [record.id, record]));
      for (const record of loaded) {
        const found = byId.get(record.id);
        assert.ok(found);
        assertData(found, record.data);
        assertMeta(found, record.meta);
        assert.equal(found.userId, ann);
        assert.equal(found.version, record.version);
      }
      assert.deepEqual(await store.listByUser(newUser('Nobody')), []);
    }
  });

  it('takes user ids literally', async () => {
    const base = newUser();
    const users = [
      base,
      base.toLowerCase(),
      `${base} `,
      `${base}*`,
      `${base}%`,
      `${base}:1`,
      `../${base}`,
      `${base}'--`,
      `${base}\u00e9`,
      `${base}e\u0301`,
    ];
    for (const userId of users) await bench.create({ userId }, { userId });
    const store = await bench.store();
    for (const userId of users) {
      const listed = await store.listByUser(userId);
      assert.deepEqual(
        listed.map(({ data }) => data['userId']),
        [userId],
      );
    }
    assert.equal(await store.deleteByUser(users[3] ?? ''), 1);
    assert.equal((await store.listByUser(base)).length, 1);
  });

  it('follows a session through login, logout, rotation and end', async () => {
    const store = await bench.store();
    const [ann, bob] = [newUser(), newUser('Bob')];
    const [key, next] = [await bench.create(), newKey()];
    const { id } = await bench.load(key);
    const ids = async (userId: string): Promise<string[]> => idsOf(await store.listByUser(userId));

    await bench.save(key, await bench.load(key), { userId: ann });
    assert.deepEqual(await ids(ann), [id]);
    const loaded = await bench.load(key);
    await store.rename(key, next, { userId: bob }, changed(loaded, { userId: bob }));
    assert.deepEqual([await ids(ann), await ids(bob)], [[], [id]]);
    const third = newKey();
    await store.rename(next, third, {}, await bench.load(next));
    assert.deepEqual(await ids(bob), [id]);
    await bench.save(third, await bench.load(third), { userId: null });
    assert.deepEqual(await ids(bob), []);
    await bench.save(third, await bench.load(third), { userId: ann });
    await store.delete(third);
    assert.deepEqual(await ids(ann), []);
  });

  it('lists, counts and ends no session that has expired', async () => {
    const store = await bench.store();
    const ann = newUser();
    const key = await bench.create({}, { userId: ann });
    const { id } = newRecord();
    await bench.create({}, { id, userId: ann, expiresAt: Date.now() + SECOND });
    await bench.expired(3, { userId: ann });
    assert.equal(await store.deleteById(id, ann), false);
    assert.deepEqual(idsOf(await store.listByUser(ann)), [(await bench.load(key)).id]);
  });

  it("ends a user's sessions but for some, and nobody else's", async () => {
    const store = await bench.store();
    const [ann, bob] = [newUser(), newUser('Bob')];
    const keys = await Promise.all([1, 2, 3, 4].map(() => bench.create({}, { userId: ann })));
    const [kept = '', ...others] = keys;
    const bystander = await bench.create({}, { userId: bob });
    const loaded = await Promise.all(keys.map((key) => bench.load(key)));

    assert.equal(await store.deleteByUser(ann, [loaded[0]?.id ?? '', 'unknown']), 3);
    await bench.assertDead(...others);
    await bench.load(kept);
    await bench.load(bystander);
    assert.equal(await store.deleteByUser(ann), 1);
    assert.equal(await store.deleteByUser(ann), 0);
    await bench.assertDead(...keys);
    await bench.load(bystander);

    for (const [n, key] of keys.entries()) {
      const late = { ...(loaded[n] as SessionRecord), expiresAt: Date.now() + 9 * HOUR };
      assert.equal(await store.save(key, { set: { late: 1 } }, late), false);
      assert.equal(await store.touch(key, late), false);
      assert.equal(await store.rename(key, newKey(), {}, late), false);
    }
    assert.deepEqual(await store.listByUser(ann), []);
  });

  it("ends a user's session in spite of a rotation", async () => {
    let [ann, key, next] = ['', '', ''];
    await bench.race(
      async () => {
        ann = newUser();
        [key, next] = [await bench.create({}, { userId: ann }), newKey()];
        const loaded = await bench.load(key);
        const [store, sibling] = [await bench.store(), await bench.sibling()];
        return {
          key,
          operations: [
            () => sibling.deleteByUser(ann),
            () => store.rename(key, next, {}, loaded),
            () => bench.save(key, loaded, { set: { a: 1 } }),
          ],
        };
      },
      async () => {
        await bench.assertDead(key, next);
        assert.deepEqual(await (await bench.store()).listByUser(ann), []);
      },
    );
  });
};

function idsOf(records: readonly SessionRecord[]): string[] {
  return records.map(({ id }) => id).toSorted();
}
