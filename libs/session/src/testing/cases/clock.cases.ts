import assert from 'node:assert/strict';
import { assertNear, type Cases, HOUR, MINUTE, newKey, withClockAhead } from '../store-bench.js';

export const clockCases: Cases = (it, bench) => {
  if (!bench.capabilities.ownClock) {
    it('judges by the clock of this process', async () => {
      const key = await bench.create();
      await withClockAhead(2 * HOUR, async () => {
        assert.equal(await (await bench.store()).load(key), null);
      });
      await bench.load(key);
    });
    return;
  }

  for (const minutes of [-10, 10]) {
    it(`ends nothing early or late when this process is ${minutes} minutes ahead`, async () => {
      const store = await bench.store();
      let key = '';
      const next = newKey();
      await withClockAhead(minutes * MINUTE, async () => {
        key = await bench.create({}, { expiresAt: Date.now() + 5 * MINUTE });
        const loaded = await bench.load(key);
        assertNear(loaded.expiresAt, Date.now() + 5 * MINUTE, 'expiresAt');
        assertNear(loaded.createdAt, Date.now(), 'createdAt');
        assertNear(loaded.lastSeenAt, Date.now(), 'lastSeenAt');

        await bench.save(key, loaded, { set: { a: 1 } }, { expiresAt: Date.now() + 6 * MINUTE });
        const saved = await bench.load(key);
        assertNear(saved.expiresAt, Date.now() + 6 * MINUTE, 'expiresAt');
        const moments = { lastSeenAt: Date.now(), expiresAt: Date.now() + 7 * MINUTE };
        assert.equal(await store.touch(key, { ...saved, ...moments }), true);
        const touched = await bench.load(key);
        const later = { ...touched, expiresAt: Date.now() + 8 * MINUTE };
        assert.equal(await store.rename(key, next, {}, later), true);
      });

      const seen = await bench.load(next);
      assertNear(seen.expiresAt, Date.now() + 8 * MINUTE, 'expiresAt');
      assertNear(seen.createdAt, Date.now(), 'createdAt');
      assertNear(seen.lastSeenAt, Date.now(), 'lastSeenAt');
    });

    it(`clears nothing that lives when this process is ${minutes} minutes ahead`, async () => {
      const live = await bench.create({}, { expiresAt: Date.now() + 5 * MINUTE });
      await withClockAhead(minutes * MINUTE, async () => {
        const [expired = ''] = await bench.expired(1);
        await (await bench.store()).clearExpired(1000);
        await bench.assertDead(expired);
        await bench.load(live);
      });
      await bench.load(live);
    });
  }
};
