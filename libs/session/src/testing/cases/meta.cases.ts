import { type SessionMeta } from '../../stores/session-store.js';
import { assertData, assertMeta, type Cases, changed, HOUR, newKey } from '../store-bench.js';

/** What a store might do to texts and numbers, it must not do to these. */
const meta: SessionMeta = {
  authenticatedAfter: 1_234_567.5,
  remembered: true,
  stamp: 'a\0b \ud800 "\'`\\%_$1\t\r\n\u2028 Ünï 漢字 🔑',
  device: { ip: '2001:db8:1::', userAgent: 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0)' },
  rotation: { after: 90_000, successor: 'a.b-c_d', usedAfter: 90_001 },
};

export const metaCases: Cases = (it, bench) => {
  it('keeps meta through saves, touches and renames that are about other things', async () => {
    for (const kept of [meta, {}]) {
      const [store, sibling] = [await bench.store(), await bench.sibling()];
      const [key, next] = [await bench.create({ a: 1 }, { meta: kept }), newKey()];
      const loaded = await bench.load(key);
      assertMeta(loaded, kept);

      for (const changes of [{ set: { b: 2 } }, { userId: 'Ann', expiry: 7200 }, {}]) {
        await bench.save(key, await bench.load(key), changes);
        assertMeta(await bench.load(key), kept);
      }
      await sibling.touch(key, { ...(await bench.load(key)), meta: {}, expiresAt: Date.now() + 9 * HOUR });
      assertMeta(await bench.load(key), kept);
      const changes = { set: { c: 3 } };
      await store.rename(key, next, changes, changed(await bench.load(key), changes));
      assertMeta(await bench.load(next), kept);
      assertData(await bench.load(next), { a: 1, b: 2, c: 3 });
    }
  });

  it('replaces meta as a whole, by a save and by a rename', async () => {
    const store = await bench.store();
    const key = await bench.create({ a: 1 });
    for (const replacement of [meta, { stamp: 'other' }, {}, { remembered: true as const }]) {
      await bench.save(key, await bench.load(key), { meta: replacement });
      assertMeta(await bench.load(key), replacement);
    }
    let from = key;
    for (const replacement of [meta, { rotation: { after: 1 } }, {}]) {
      const [loaded, to] = [await bench.load(from), newKey()];
      await store.rename(from, to, { meta: replacement }, changed(loaded, { meta: replacement }));
      assertMeta(await bench.load(to), replacement);
      from = to;
    }
    assertData(await bench.load(from), { a: 1 });
  });

  it('keeps meta when the many small changes of a large session are folded', async () => {
    const key = await bench.create({ filler: 'x'.repeat(8000) }, { meta });
    for (let n = 1; n <= 30; n++) {
      const replacement = n % 10 === 5 ? { meta: { ...meta, stamp: `${n}` } } : {};
      const changes = { set: { [`key${n}`]: 'y'.repeat(200) }, ...replacement };
      await bench.save(key, await bench.load(key), changes);
    }
    assertMeta(await bench.load(key), { ...meta, stamp: '25' });
  });

  if (bench.capabilities.atomicChanges) {
    it('leaves the meta of a concurrent writer alone', async () => {
      const [key, next] = [await bench.create({}, { meta: { stamp: 'old' } }), newKey()];
      const stale = await bench.load(key);
      await bench.save(key, stale, { meta });
      await bench.save(key, stale, { set: { a: 1 } });
      assertMeta(await bench.load(key), meta);
      await (await bench.sibling()).rename(key, next, {}, stale);
      assertMeta(await bench.load(next), meta);
    });
  }
};
