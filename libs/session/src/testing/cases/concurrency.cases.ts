import assert from 'node:assert/strict';
import { type JsonObject, type SessionChanges } from '../../stores/session-store.js';
import {
  assertData,
  assertFails,
  assertJson,
  assertMeta,
  assertNear,
  type Cases,
  HOUR,
  MINUTE,
  save,
  settled,
} from '../store-bench.js';

export const concurrencyCases: Cases = (it, bench) => {
  if (!bench.capabilities.atomicChanges) {
    it('keeps one of the sessions that are written at once, whole', async () => {
      const loaded = await bench.created({ a: 1 });
      const [store, sibling] = await bench.both();
      await Promise.all(
        Array.from({ length: 50 }, (_, n) =>
          save(n % 2 ? store : sibling, loaded, { set: { one: n, two: n } }),
        ),
      );
      const after = await bench.load(loaded.id);
      const winner = after.data['one'] as number;
      assertData(after, { a: 1, one: winner, two: winner });
    });
    return;
  }

  it('keeps the writes of fifty who loaded the same version', async () => {
    const loaded = await bench.created({ n: 10, list: [] });
    const [store, sibling] = await bench.both();
    const saved = await Promise.all(
      Array.from({ length: 50 }, (_, n) => {
        const changes = { set: { [`key${n}`]: n }, increment: { n: 1 }, push: { list: [n] } };
        return save(n % 2 ? store : sibling, loaded, changes);
      }),
    );
    assert.ok(saved.every(Boolean));
    const { data, version } = await bench.load(loaded.id);
    assert.equal(version, loaded.version + 50);
    for (let n = 0; n < 50; n++) assert.equal(data[`key${n}`], n);
    assert.equal(data['n'], 60);
    const list = (data['list'] as number[]).toSorted((one, other) => one - other);
    assertJson(list, [...Array(50).keys()]);
  });

  it('counts 200 parallel increments', async () => {
    const { id } = await bench.create();
    const [store, sibling] = await bench.both();
    await Promise.all(
      Array.from({ length: 200 }, async (_, n) => {
        const visited = n % 2 ? store : sibling;
        const loaded = await visited.load(id);
        assert.ok(loaded !== null);
        assert.equal(await save(visited, loaded, { increment: { visits: 1 } }), true);
      }),
    );
    assertData(await bench.load(id), { visits: 200 });
  });

  it('keeps what parallel requests do to a large session', async () => {
    const filler = 'x'.repeat(8000);
    const { id } = await bench.create({ filler });
    const write = async (name: string): Promise<void> => {
      for (let n = 0; n < 20; n++) {
        const changes = { set: { [`${name}${n}`]: 'y'.repeat(100) }, increment: { n: 1 } };
        assert.equal(await bench.save(await bench.load(id), changes), true);
      }
    };
    await Promise.all(['a', 'b', 'c', 'd'].map(write));
    const { data } = await bench.load(id);
    assert.equal(data['n'], 80);
    assert.equal(Object.keys(data).length, 82);
    assert.equal(data['filler'], filler);
  });

  it('loads many small writes nearly as fast as one large one', async () => {
    const names = Array.from({ length: 1000 }, (_, n) => `key${n}`);
    const data: JsonObject = Object.fromEntries(names.map((name) => [name, 'x'.repeat(20)]));
    const loaded = await bench.created(data);
    const store = await bench.store();
    for (let n = 0; n < 200; n++) {
      const changes = { set: { [`key${n}`]: n }, increment: { n: 1 } };
      // All of them have loaded the first version, so each adds to what is there.
      assert.equal(await save(store, loaded, changes), true);
    }
    const written = names.slice(0, 200).map((name, n) => [name, n] as const);
    const expected = { ...data, ...Object.fromEntries(written), n: 200 };
    assertData(await bench.load(loaded.id), expected);

    const one = await bench.create(expected);
    const times = { many: Infinity, one: Infinity };
    for (let round = 0; round < 9; round++) {
      times.many = Math.min(times.many, await timed(() => bench.load(loaded.id)));
      times.one = Math.min(times.one, await timed(() => bench.load(one.id)));
    }
    assert.ok(times.many < 8 * times.one + 5, `${times.many} ms, and ${times.one} ms for one write`);
  });

  it('applies late changes to the record as it is now', async () => {
    const stale = await bench.created({ a: 1, b: 1, n: 1, list: [0] });
    const first: SessionChanges = { set: { a: 2, c: 2 }, increment: { n: 5 }, push: { list: [1] } };
    await save(await bench.sibling(), stale, first);
    await bench.save(stale, { set: { d: 3 }, unset: ['b'], increment: { n: 2 }, push: { list: [2] } });
    assertData(await bench.load(stale.id), { a: 2, c: 2, d: 3, n: 8, list: [0, 1, 2] });

    await bench.save(stale, { clear: true, set: { only: 1 } });
    assertData(await bench.load(stale.id), { only: 1 });
  });

  it('counts and appends from nothing when a key is not what it was', async () => {
    const stale = await bench.created({ n: 1, list: [0] });
    await bench.save(stale, { set: { n: 'text', list: { a: 1 } } });
    await bench.save(stale, { increment: { n: 2 }, push: { list: [1] } });
    assertData(await bench.load(stale.id), { n: 2, list: [1] });
  });

  it('leaves expiry and meta of a concurrent writer alone', async () => {
    const stale = await bench.created({}, { expiry: 60, meta: { stamp: 'old' } });
    await bench.save(stale, { expiry: null, meta: { stamp: 'new' } });
    await bench.save(stale, { set: { a: 1 } });
    const after = await bench.load(stale.id);
    assert.equal(after.expiry, null);
    assertMeta(after, { stamp: 'new' });
  });

  it('leaves the deadline of a concurrent writer alone, unless it sets an expiry itself', async () => {
    const stale = await bench.created();
    const later = Date.now() + 5 * HOUR;
    await bench.save(stale, { expiry: 18_000 }, { expiresAt: later });
    await bench.save(stale, { set: { a: 1 } }, { expiresAt: Date.now() + HOUR });
    assertNear((await bench.load(stale.id)).expiresAt, later, 'expiresAt');

    const sooner = Date.now() + MINUTE;
    await bench.save(stale, { expiry: 60 }, { expiresAt: sooner });
    assertNear((await bench.load(stale.id)).expiresAt, sooner, 'expiresAt');
  });

  it('loses no data to a late save that changes none', async () => {
    const stale = await bench.created({ a: 1 });
    await bench.save(stale, { set: { b: 2 } });
    for (const changes of [{ meta: { stamp: 's' } }, { expiry: 3600 }, {}]) await bench.save(stale, changes);
    const after = await bench.load(stale.id);
    assert.equal(after.expiry, 3600);
    assertData(after, { a: 1, b: 2 });
  });
};

export const limitCases: Cases = (it, bench) => {
  if (!bench.capabilities.limits) return;

  it('refuses a save that would take the record past its size, and leaves it as it was', async () => {
    await bench.withLimits({ size: 5000 }, async () => {
      for (const size of [100, 3000]) {
        const loaded = await bench.created({ a: 'x'.repeat(size) });
        const large = { set: { b: 'y'.repeat(4900) }, expiry: 60, meta: { stamp: 's' } };
        for (const by of ['a request that saw the last version', 'one that did not']) {
          await assertFails(bench.save(loaded, large), 'SESSION_LIMIT');
          const after = await bench.load(loaded.id);
          assert.deepEqual([after.expiry, after.data['b']], [null, undefined], by);
          assertMeta(after, {});
          assert.equal(await bench.save(after, { set: { c: 1 } }), true);
        }
      }
    });
  });

  it('counts what a record holds, not what was once written to it', async () => {
    await bench.withLimits({ size: 5000 }, async () => {
      for (const isStale of [true, false]) {
        // More bytes than characters.
        const first = await bench.created({ a: 'é'.repeat(3000), n: 0 });
        for (let n = 1; n <= 20; n++) {
          const loaded = isStale ? first : await bench.load(first.id);
          const changes = { set: { a: `${n}é`.repeat(1500) }, increment: { n: 1 } };
          assert.equal(await bench.save(loaded, changes), true);
        }
        assertData(await bench.load(first.id), { a: '20é'.repeat(1500), n: 20 });
      }
    });
  });

  it('never lets parallel saves take a record past its size, and loses none that it let in', async () => {
    const size = 20_000;
    await bench.withLimits({ size }, async () => {
      const [store, sibling] = await bench.both();
      const loaded = await bench.created();
      const names = Array.from({ length: 60 }, (_, n) => `key${n}`);
      const outcomes = await Promise.all(
        names.map((name, n) =>
          settled(save(n % 2 ? store : sibling, loaded, { set: { [name]: 'x'.repeat(1000) } })),
        ),
      );
      const expected: JsonObject = {};
      for (const [n, outcome] of outcomes.entries()) {
        if ('error' in outcome) await assertFails(Promise.reject(outcome.error), 'SESSION_LIMIT');
        else if (outcome.value === true) expected[`key${n}`] = 'x'.repeat(1000);
        else assert.fail('a save was refused without a reason');
      }
      const full = await bench.load(loaded.id);
      assertData(full, expected);
      assert.ok(JSON.stringify(full.data).length <= size, 'the record is larger than it may be');
      assert.ok(Object.keys(expected).length >= 10, 'saves were refused for which there was room');

      // There is a way back.
      assert.equal(await bench.save(full, { clear: true, set: { a: 1 } }), true);
      assertData(await bench.load(loaded.id), { a: 1 });
    });
  });

  it('stops a record whose number of keys grows', async () => {
    await bench.withLimits({ keys: 50 }, async () => {
      const { id } = await bench.create();
      const grow = async (): Promise<void> => {
        for (let n = 0; n < 2000; n += 10) {
          const set = Object.fromEntries(Array.from({ length: 10 }, (_, k) => [`key${n + k}`, k]));
          assert.equal(await bench.save(await bench.load(id), { set }), true);
        }
      };
      await assertFails(grow(), 'SESSION_LIMIT');
      const full = await bench.load(id);
      assert.equal(await bench.save(full, { clear: true }), true);
      assertData(await bench.load(id), {});
    });
  });
};

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}
