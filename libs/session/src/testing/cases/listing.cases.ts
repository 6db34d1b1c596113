import assert from 'node:assert/strict';
import { type SessionRecord, SessionStore } from '../../stores/session-store.js';
import { assertData, assertFails, assertMeta, type Cases, newId, newRecord } from '../store-bench.js';

/** A store may hold the records of other tests as well, and those may expire meanwhile. */
export const listingCases: Cases = (it, bench) => {
  it('counts the live sessions, or says that it cannot', async () => {
    const store = await bench.store();
    if (store.count === SessionStore.prototype.count) {
      await assertFails(store.count(), 'SESSION_UNSUPPORTED');
      return;
    }
    const before = await store.count();
    const records = [newRecord(), newRecord({}, { userId: 'Ann' }), newRecord({}, { userId: 'Bob' })];
    for (const record of records) await store.create(record.id, record);
    const during = await (await bench.sibling()).count();
    for (const { id } of records) await store.delete(id);
    const after = await store.count();

    assert.ok(during.live >= 3 && during.live <= before.live + 3, 'created sessions count');
    assert.ok(after.live <= during.live - 3, 'ended sessions do not count');
    if (during.loggedIn === null || after.loggedIn === null || before.loggedIn === null) return;
    assert.ok(during.loggedIn >= 2 && during.loggedIn <= before.loggedIn + 2, 'logged-in sessions count');
    assert.ok(after.loggedIn <= during.loggedIn - 2, 'ended sessions are not logged in');
  });

  it('lists every live session, page by page, or says that it cannot', async () => {
    const store = await bench.store();
    if (store.list === SessionStore.prototype.list) {
      await assertFails(store.list(null, 10), 'SESSION_UNSUPPORTED');
      return;
    }
    const expired = await bench.expired(2, { userId: 'Ann' });
    const created: SessionRecord[] = [];
    for (let n = 0; n < 8; n++) {
      created.push(
        await bench.created({ n }, { userId: n % 2 ? `Ann-${n}` : null, meta: { stamp: `${n}` } }),
      );
    }
    const [ended, ...living] = created as [SessionRecord, ...SessionRecord[]];
    await store.delete(ended.id);

    // A session on a page, and all on one.
    for (const [reader, limit] of [
      [store, 1],
      [await bench.sibling(), 1000],
    ] as const) {
      const listed = await everyPage(reader, limit);
      for (const id of [ended.id, ...expired]) assert.equal(listed.get(id), undefined);
      for (const record of living) {
        const found = listed.get(record.id);
        assert.ok(found, 'A live session is on no page.');
        assertData(found, record.data);
        assertMeta(found, record.meta);
        const { userId, keyHash, version } = record;
        assert.deepEqual([found.userId, found.keyHash, found.version], [userId, keyHash, version]);
      }
    }
  });

  if (bench.capabilities.corruptRecords) {
    it('lists the other sessions next to a corrupt one', async () => {
      const store = await bench.store();
      if (store.list === SessionStore.prototype.list) return;
      const corrupt = await bench.hook('corrupt', 'corruptRecords');
      const [bad, good] = [await bench.create({ bad: 1 }), await bench.create({ good: 1 })];
      await corrupt(bad.id);
      const listed = await everyPage(store, 1000);
      assert.ok(listed.has(good.id) && !listed.has(bad.id));
      await store.delete(bad.id);
    });
  }

  if (!bench.capabilities.byUser) return;
  it("lists no session that was ended with all of its user's", async () => {
    const store = await bench.store();
    if (store.list === SessionStore.prototype.list) return;
    const userId = `Ann-${newId()}`;
    const { id } = await bench.create({}, { userId });
    assert.ok((await everyPage(store, 100)).has(id));
    await (await bench.sibling()).deleteByUser(userId);
    assert.ok(!(await everyPage(store, 100)).has(id));
  });
};

/** From the first page to the last. Its cursors are safe in a URL, and lead to an end. */
async function everyPage(store: SessionStore, limit: number): Promise<Map<string, SessionRecord>> {
  const listed = new Map<string, SessionRecord>();
  const cursors = new Set<string>();
  for (let after: string | null = null; ;) {
    const { records, next } = await store.list(after, limit);
    for (const record of records) listed.set(record.id, record);
    if (next === null) return listed;
    assert.match(next, /^[\w.-]{1,64}$/);
    assert.ok(!cursors.has(next), 'The pages go round in circles.');
    cursors.add(next);
    after = next;
  }
}
