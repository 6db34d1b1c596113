import assert from 'node:assert/strict';
import { type SessionRecord } from '../../stores/session-store.js';
import {
  assertData,
  assertFails,
  assertMeta,
  type Cases,
  HOUR,
  newId,
  newKeyHash,
  newRecord,
  save,
  SECOND,
} from '../store-bench.js';

/** Of this run alone, because a store may outlive the test. */
const newUser = (name = 'Ann'): string => `${name}-${newId()}`;

export const userCases: Cases = (it, bench) => {
  if (!bench.capabilities.byUser) {
    it("says that it cannot list or end a user's sessions", async () => {
      const store = await bench.store();
      await assertFails(store.listByUser('Ann'), 'SESSION_UNSUPPORTED');
      await assertFails(store.deleteByUser('Ann'), 'SESSION_UNSUPPORTED');
      await assertFails(store.deleteByUser('Ann', [newId()]), 'SESSION_UNSUPPORTED');
    });
    return;
  }

  it("lists a user's live sessions, whole, and nobody else's", async () => {
    const [ann, bob] = [newUser(), newUser('Bob')];
    const loaded = await Promise.all(
      [1, 2, 3].map((n) => bench.created({ n }, { userId: ann, meta: { stamp: `${n}` } })),
    );
    await bench.create({ n: 4 }, { userId: bob });
    await bench.create({ n: 5 });
    for (const store of await bench.both()) {
      const listed = await store.listByUser(ann);
      assert.deepEqual(idsOf(listed), idsOf(loaded));
      const byId = new Map(listed.map((record) => [record.id, record]));
      for (const record of loaded) {
        const found = byId.get(record.id);
        assert.ok(found);
        assertData(found, record.data);
        assertMeta(found, record.meta);
        assert.equal(found.userId, ann);
        assert.equal(found.keyHash, record.keyHash);
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

  it('lists a session as it is after saves, touches and rotations, until it ends', async () => {
    const store = await bench.store();
    const ann = newUser();
    for (const end of ['delete', 'take'] as const) {
      const { id } = await bench.create({ a: 1 }, { userId: ann });
      const keyHash = newKeyHash();
      await bench.save(await bench.load(id), { set: { b: 2 }, meta: { stamp: 's' } });
      await store.touch(id, { ...(await bench.load(id)), expiresAt: Date.now() + 9 * HOUR });
      await bench.save(await bench.load(id), { keyHash, clear: true, set: { c: 3 } });
      const [listed, ...more] = await store.listByUser(ann);
      assert.ok(listed !== undefined && more.length === 0);
      assert.deepEqual([listed.id, listed.keyHash], [id, keyHash]);
      assertData(listed, { c: 3 });
      assertMeta(listed, { stamp: 's' });
      await store[end](id);
      assert.deepEqual(await store.listByUser(ann), []);
    }
  });

  it('lists, counts and ends no session that has expired', async () => {
    const store = await bench.store();
    const ann = newUser();
    const { id } = await bench.create({}, { userId: ann });
    const soon = await bench.created({}, { userId: ann });
    await bench.save(soon, { set: { a: 1 } }, { expiresAt: Date.now() + SECOND });
    await bench.expired(3, { userId: ann });
    assert.deepEqual(idsOf(await store.listByUser(ann)), [id]);
  });

  it("ends a user's sessions but for some, and nobody else's", async () => {
    const store = await bench.store();
    const [ann, bob] = [newUser(), newUser('Bob')];
    const loaded = await Promise.all([1, 2, 3, 4].map(() => bench.created({}, { userId: ann })));
    const [kept = '', ...others] = loaded.map(({ id }) => id);
    const bystander = await bench.create({}, { userId: bob });

    // Ids that are none of this user's spare nothing else.
    assert.equal(await store.deleteByUser(ann, [kept, newId(), bystander.id]), 3);
    await bench.assertGone(...others);
    await bench.load(kept);
    await bench.load(bystander.id);
    assert.equal(await store.deleteByUser(ann), 1);
    assert.equal(await store.deleteByUser(ann), 0);
    await bench.assertGone(kept, ...others);
    await bench.load(bystander.id);

    for (const record of loaded) await bench.assertRefused(record);
    assert.deepEqual(await store.listByUser(ann), []);
  });

  it('keeps a session that starts after the end of all others', async () => {
    const ann = newUser();
    for (let round = 0; round < 3; round++) {
      for (const store of await bench.both()) {
        await bench.create({}, { userId: ann });
        await store.deleteByUser(ann);
        const { id } = await bench.create({ new: 1 }, { userId: ann });
        for (const reader of await bench.both()) assert.deepEqual(idsOf(await reader.listByUser(ann)), [id]);
      }
    }
  });

  it("ends a user's session whatever it races", async () => {
    let [ann, id] = ['', ''];
    await bench.race(
      async () => {
        ann = newUser();
        const loaded = await bench.created({}, { userId: ann });
        id = loaded.id;
        const [store, sibling] = await bench.both();
        return {
          id,
          operations: [
            () => sibling.deleteByUser(ann),
            () => save(store, loaded, { keyHash: newKeyHash() }),
            () => bench.save(loaded, { set: { a: 1 } }),
            () => store.touch(id, { ...loaded, expiresAt: Date.now() + 9 * HOUR }),
          ],
        };
      },
      async ([count]) => {
        assert.equal(count, 1);
        await bench.assertGone(id);
        assert.deepEqual(await (await bench.store()).listByUser(ann), []);
      },
    );
  });

  it('lists the session of a login that races the end of all, or has ended it', async () => {
    let ann = '';
    let login = newRecord();
    await bench.race(
      async () => {
        ann = newUser();
        const { id } = await bench.create({}, { userId: ann });
        login = newRecord({}, { userId: ann });
        const [store, sibling] = await bench.both();
        return { id, operations: [() => sibling.deleteByUser(ann), () => store.create(login.id, login)] };
      },
      async () => {
        const live = await (await bench.store()).load(login.id);
        assert.deepEqual(idsOf(await (await bench.sibling()).listByUser(ann)), live ? [login.id] : []);
      },
    );
  });
};

function idsOf(records: readonly SessionRecord[]): string[] {
  return records.map(({ id }) => id).toSorted();
}
