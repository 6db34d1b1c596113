import assert from 'node:assert/strict';
import { type JsonObject } from '../../stores/session-store.js';
import { assertData, type Cases, newKey, newRecord, settled } from '../store-bench.js';

// Parsed, for a literal would set the prototype.
const oddData = JSON.parse(
  JSON.stringify({
    nul: 'a\0b',
    'nul\0key': 1,
    lone: '\ud800',
    key: { '🔑': 'Ünï 漢字 👩‍👩‍👧' },
    quotes: `'"\`\\%_;--?$1:x⟨key⟩{}{{}}`,
    lines: 'a\nb\r\n\u2028\u2029',
    '': '',
    'a.b[0]': { $set: 1, constructor: 'c', toString: null },
    numbers: [1e21, -0.1, 5e-324, Number.MAX_SAFE_INTEGER],
    emptyOnes: [[], {}, [[]], { a: {} }],
    deep: { a: { b: { c: { d: { e: { f: [{ g: 'h' }] } } } } } },
  }).replace('{', '{"__proto__":{"polluted":true},'),
) as JsonObject;

const hostileKeys = [
  '',
  '*',
  'v1-*',
  '%',
  '__proto__',
  'constructor',
  '../../../../tmp/session',
  '..',
  '/etc/passwd',
  `' OR '1'='1`,
  `'; DROP TABLE nest_session; --`,
  'a\0b',
  'a\r\nFLUSHALL\r\n',
  '\ud800',
  '🔑',
  'x'.repeat(10_000),
];

export const valueCases: Cases = (it, bench) => {
  it('keeps what is hard to keep', async () => {
    const key = await bench.create(oddData);
    const loaded = await bench.load(key);
    assertSame(loaded.data, oddData);
    assert.equal(({} as { polluted?: unknown }).polluted, undefined);

    // By way of a change, and then of one that others have overtaken.
    assert.equal(await bench.save(key, loaded, { set: { again: oddData } }), true);
    assertSame((await bench.load(key)).data['again'], oddData);
    assert.equal(await bench.save(key, loaded, { set: { later: oddData } }), true);
    assertSame((await bench.load(key)).data['later'], oddData);
  });

  it('keeps odd keys of the dictionary through every kind of change', async () => {
    for (const odd of ['__proto__', 'constructor', 'a\0b', '🔑', '', '0', 'length', '\ud800']) {
      const key = await bench.create();
      const changes = [
        { set: own(odd, 1) },
        { increment: own(odd, 2) },
        { unset: [odd] },
        { push: own(odd, ['x']) },
      ];
      for (const change of changes) assert.equal(await bench.save(key, await bench.load(key), change), true);
      const { data } = await bench.load(key);
      assert.ok(Object.hasOwn(data, odd), `${JSON.stringify(odd)} is missing`);
      assertSame(Object.getOwnPropertyDescriptor(data, odd)?.value, ['x']);
    }
  });

  it('keeps a megabyte', async () => {
    const big = 'é'.repeat(500_000);
    const key = await bench.create({ big });
    const loaded = await bench.load(key);
    assert.ok(loaded.data['big'] === big);
    assert.equal(await bench.save(key, loaded, { push: { list: [big] } }), true);
    const again = await bench.load(key);
    assert.ok((again.data['list'] as string[])[0] === big);
    assert.equal(await bench.save(key, again, { unset: ['big', 'list'] }), true);
    assertData(await bench.load(key), {});
  });

  it('folds the many small changes of a large session', async () => {
    const filler = 'x'.repeat(8000);
    const key = await bench.create({ filler });
    const expected: JsonObject = { filler };
    for (let n = 1; n <= 60; n++) {
      expected[`key${n}`] = 'y'.repeat(100);
      assert.equal(
        await bench.save(key, await bench.load(key), { set: { [`key${n}`]: 'y'.repeat(100) } }),
        true,
      );
    }
    assertData(await bench.load(key), expected);
  });

  it('takes a deadline at the end of time', async () => {
    const key = await bench.create({}, { expiresAt: 8.64e15 });
    const loaded = await bench.load(key);
    assert.ok(loaded.expiresAt > Date.now() + 1000 * 24 * 3600 * 1000);
    assert.equal(await bench.save(key, loaded, { set: { a: 1 } }), true);
  });

  it('comes to no harm by keys that are none', async () => {
    const store = await bench.store();
    const bystander = await bench.create({ a: 1 });
    for (const key of hostileKeys) {
      const record = newRecord({ hostile: 1 });
      // Refusing them is as good as keeping them; taking them for another record's is not.
      const outcome = await settled(store.load(key));
      if ('value' in outcome) assert.equal(outcome.value, null);
      await settled(store.create(key, record));
      await settled(store.save(key, { set: { a: 2 } }, record));
      await settled(store.touch(key, record));
      await settled(store.rename(key, newKey(), {}, record));
      await settled(store.delete(key));
    }
    assertData(await bench.load(bystander), { a: 1 });
  });
};

function own<Value>(key: string, value: Value): { [key: string]: Value } {
  return Object.defineProperty(Object.create(null) as { [key: string]: Value }, key, {
    value,
    enumerable: true,
    configurable: true,
    writable: true,
  });
}

/** With the order of the keys, and with those that a literal would take for something else. */
function assertSame(actual: unknown, expected: unknown): void {
  assert.equal(inOrder(actual), inOrder(expected));
}

function inOrder(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) =>
    typeof part === 'object' && part !== null && !Array.isArray(part)
      ? Object.entries(part).toSorted(([a], [b]) => (a < b ? -1 : 1))
      : part,
  );
}
