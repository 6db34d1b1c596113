import assert from 'node:assert/strict';
import {
  assertData,
  type Cases,
  HOUR,
  newKey,
  newRecord,
  SECOND,
  settled,
  type StoreBench,
} from '../store-bench.js';

/** Records that have expired, each in its way; waiting for that once is enough. */
interface Expired {
  created: string;
  /** Was to live longer before it was saved. */
  saved: string;
  ofAnn: string;
  unloved: string;
}

export const expiryCases: Cases = (it, bench) => {
  let waiting: Promise<Expired> | undefined;
  const expired = (): Promise<Expired> => (waiting ??= expire(bench));

  it('ends a record at its deadline, for every operation', async () => {
    const store = await bench.store();
    const other = await bench.create({ a: 1 });
    const { created: key } = await expired();
    const next = newKey();
    await bench.assertDead(key);

    const late = newRecord({ a: 2 }, { expiresAt: Date.now() + 9 * HOUR });
    for (const version of [1, 2]) {
      const record = { ...late, version };
      assert.equal(await store.save(key, { set: { a: 2 } }, record), false);
      assert.equal(await store.save(key, { expiry: 3600 }, record), false);
      assert.equal(await store.touch(key, record), false);
      assert.equal(await store.rename(key, next, {}, record), false);
    }
    await bench.assertDead(key, next);
    assertData(await bench.load(other), { a: 1 });
  });

  it('ends a record at the deadline of the last save', async () => {
    await bench.assertDead((await expired()).saved);
  });

  it('lets a touch, a save and a rename put the deadline off', async () => {
    const store = await bench.store();
    const expiresAt = Date.now() + 30_000;
    const [touched, saved, renamed, next] = [
      await bench.create({}, { expiresAt }),
      await bench.create({}, { expiresAt }),
      await bench.create({}, { expiresAt }),
      newKey(),
    ];
    const later = { expiresAt: Date.now() + HOUR };
    await store.touch(touched, { ...(await bench.load(touched)), ...later });
    await bench.save(saved, await bench.load(saved), { set: { a: 1 } }, later);
    await store.rename(renamed, next, {}, { ...(await bench.load(renamed)), ...later });
    for (const key of [touched, saved, next]) {
      assert.ok((await bench.load(key)).expiresAt > Date.now() + HOUR / 2);
    }
  });

  it('never shows a record that was created or saved past its deadline', async () => {
    const store = await bench.store();
    const [born, saved] = [newKey(), await bench.create({ a: 1 })];
    const past = { expiresAt: Date.now() - HOUR };
    await store.create(born, newRecord({ a: 1 }, past));
    await bench.save(saved, await bench.load(saved), { set: { a: 2 } }, past);
    await bench.assertDead(born, saved);
  });

  it('creates no record over one that has expired with what was in that one', async () => {
    const { ofAnn: key } = await expired();
    // A record that is still there counts as taken; one that is not has left nothing behind.
    const created = await (await bench.store()).create(key, newRecord({ new: 1 }));
    if (!created) return bench.assertDead(key);
    const loaded = await bench.load(key);
    assertData(loaded, { new: 1 });
    assert.equal(loaded.userId, null);
  });

  it('deletes an expired record without complaint', async () => {
    const { unloved: key } = await expired();
    const outcome = await settled((await bench.store()).delete(key));
    assert.ok('value' in outcome);
    await bench.assertDead(key);
  });
};

async function expire(bench: StoreBench): Promise<Expired> {
  const saved = await bench.create({ a: 1 });
  await bench.save(saved, await bench.load(saved), { expiry: 1 }, { expiresAt: Date.now() + SECOND });
  const [created = '', ofAnn = '', unloved = ''] = await bench.expired(3, { userId: 'Ann' });
  return { created, saved, ofAnn, unloved };
}
