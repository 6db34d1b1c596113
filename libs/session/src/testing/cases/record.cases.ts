import assert from 'node:assert/strict';
import { type JsonObject, type SessionMeta } from '../../stores/session-store.js';
import {
  assertData,
  assertJson,
  assertMeta,
  assertNear,
  type Cases,
  HOUR,
  newId,
  newRecord,
  save,
  settled,
} from '../store-bench.js';

// Parsed, because a literal would set the prototype.
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

/** Texts and numbers that a store might spoil. */
const oddMeta: SessionMeta = {
  remembered: true,
  stamp: 'a\0b \ud800 "\'`\\%_$1\t\r\n\u2028 Ünï 漢字 🔑',
  device: { ip: '2001:db8:1::', userAgent: 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0)' },
  rotation: {
    after: 1_234_567.5,
    formerHash: `v1.${'a-_'.repeat(20)}`,
    successor: 'a.b-c_d',
    usedAfter: 1_234_568,
  },
};

/** The library asks for none of these; a store that meets them anyway does no harm. */
const hostileIds = [
  '',
  '*',
  '%',
  '__proto__',
  '../../../../tmp/session',
  `' OR '1'='1`,
  'a\0b',
  'a\r\nFLUSHALL\r\n',
];

export const recordCases: Cases = (it, bench) => {
  it('gives back what was created', async () => {
    const created = await bench.create(
      { a: 1, b: [true, null, { c: 'd' }] },
      { userId: 'Ann', expiry: 90, meta: oddMeta },
    );
    for (const reader of await bench.both()) {
      const loaded = await reader.load(created.id);
      assert.ok(loaded !== null);
      for (const field of ['id', 'keyHash', 'userId', 'expiry', 'version'] as const) {
        assert.equal(loaded[field], created[field], field);
      }
      for (const moment of ['createdAt', 'lastSeenAt', 'expiresAt'] as const) {
        assertNear(loaded[moment], created[moment], moment);
      }
      assertData(loaded, created.data);
      assertMeta(loaded, oddMeta);
    }
  });

  it('keeps every kind of expiry', async () => {
    for (const expiry of [null, 0, 1800, 0.5, '2030-01-01T00:00:00.000Z']) {
      assert.equal((await bench.created({}, { expiry })).expiry, expiry);
    }
  });

  it('knows nothing of an id that was never created', async () => {
    const unknown = newRecord({ a: 1 });
    for (const store of await bench.both()) {
      assert.equal(await save(store, unknown, { set: { a: 2 } }), false);
      assert.equal(await store.touch(unknown.id, { ...unknown, expiresAt: Date.now() + 9 * HOUR }), false);
      assert.equal(await store.take(unknown.id), null);
      assert.equal(await store.delete(unknown.id), false);
    }
    await bench.assertGone(unknown.id);
  });

  it('never overwrites a live record', async () => {
    const { id, keyHash } = await bench.create({ mine: 1 });
    for (const store of await bench.both()) {
      assert.equal(await store.create(id, newRecord({ theirs: 1 }, { id })), false);
    }
    const loaded = await bench.load(id);
    assert.equal(loaded.keyHash, keyHash);
    assertData(loaded, { mine: 1 });
  });

  it('creates one record when fifty try', async () => {
    const [store, sibling] = await bench.both();
    const id = newId();
    const made = await Promise.all(
      Array.from({ length: 50 }, (_, n) => (n % 2 ? store : sibling).create(id, newRecord({ n }, { id }))),
    );
    assert.equal(made.filter(Boolean).length, 1);
    assertData(await bench.load(id), { n: made.indexOf(true) });
  });

  it('tells apart ids that differ only in upper and lower case', async () => {
    const id = `${newId().slice(0, 12)}AbCdEfGhIj`;
    const [upper, lower] = [id.toUpperCase(), id.toLowerCase()];
    for (const each of [id, upper, lower]) await bench.create({ each }, { id: each });
    for (const each of [id, upper, lower]) assertData(await bench.load(each), { each });
    assert.equal(await (await bench.store()).delete(upper), true);
    await bench.assertGone(upper);
    await bench.load(lower);
    await bench.load(id);
  });

  it('does no harm when it is asked for ids that are none', async () => {
    const store = await bench.store();
    const bystander = await bench.create({ a: 1 });
    for (const id of hostileIds) {
      const record = newRecord({ hostile: 1 }, { id });
      // Refusing them is as good as keeping them.
      const outcome = await settled(store.load(id));
      if ('value' in outcome) assert.equal(outcome.value, null);
      await settled(store.create(id, record));
      await settled(save(store, record, { set: { a: 2 } }));
      await settled(store.touch(id, record));
      await settled(store.take(id));
      await settled(store.delete(id));
    }
    assertData(await bench.load(bystander.id), { a: 1 });
  });

  it('shares no object with its callers', async () => {
    const store = await bench.store();
    const record = newRecord({ list: [1] }, { meta: { device: { ip: '192.0.2.0' } } });
    const { id } = record;
    const creating = store.create(id, record);
    spoil(record);
    assert.equal(await creating, true);

    spoil(await bench.load(id));
    const again = await bench.load(id);
    assertData(again, { list: [1] });
    assertMeta(again, { device: { ip: '192.0.2.0' } });
    assert.equal(again.userId, null);

    // By a save of what is there, and then by one that others have overtaken.
    for (const name of ['first', 'second']) {
      const changes = {
        set: { [name]: [1] },
        push: { list: [{ a: 1 }] },
        meta: { device: { ip: '192.0.2.1' } },
      };
      const given = {
        ...again,
        data: { ...again.data, [name]: [1], list: [1, { a: 1 }] },
        meta: { ...changes.meta },
      };
      const saving = store.save(id, again.keyHash, changes, given);
      changes.set[name]?.push(2);
      changes.push.list.push({ a: 2 });
      changes.meta.device.ip = 'spoilt';
      spoil(given);
      assert.equal(await saving, true);
    }
    const after = await bench.load(id);
    assertMeta(after, { device: { ip: '192.0.2.1' } });
    assert.equal(after.keyHash, again.keyHash);
    assert.doesNotMatch(JSON.stringify(after.data), /spoilt|2/);
    assertJson(after.data['second'], [1]);
  });

  it('keeps what is hard to keep', async () => {
    const loaded = await bench.created(oddData);
    const { id } = loaded;
    assertSame(loaded.data, oddData);
    assert.equal(({} as { polluted?: unknown }).polluted, undefined);

    // By a save of what is there, and then by one that others have overtaken.
    assert.equal(await bench.save(loaded, { set: { again: oddData } }), true);
    assertSame((await bench.load(id)).data['again'], oddData);
    assert.equal(await bench.save(loaded, { set: { later: oddData } }), true);
    assertSame((await bench.load(id)).data['later'], oddData);
  });

  it('keeps odd keys of the dictionary through every kind of change', async () => {
    for (const odd of ['__proto__', 'constructor', 'a\0b', '🔑', '', '0', 'length', '\ud800']) {
      const { id } = await bench.create();
      const changes = [
        { set: own(odd, 1) },
        { increment: own(odd, 2) },
        { unset: [odd] },
        { push: own(odd, ['x']) },
      ];
      for (const change of changes) assert.equal(await bench.save(await bench.load(id), change), true);
      const { data } = await bench.load(id);
      assert.ok(Object.hasOwn(data, odd), `${JSON.stringify(odd)} is missing`);
      assertSame(Object.getOwnPropertyDescriptor(data, odd)?.value, ['x']);
    }
  });

  it('keeps a megabyte', async () => {
    const big = 'é'.repeat(500_000);
    const loaded = await bench.created({ big });
    const { id } = loaded;
    assert.ok(loaded.data['big'] === big);
    assert.equal(await bench.save(loaded, { push: { list: [big] } }), true);
    const again = await bench.load(id);
    assert.ok((again.data['list'] as string[])[0] === big);
    assert.equal(await bench.save(again, { unset: ['big', 'list'] }), true);
    assertData(await bench.load(id), {});
  });

  it('takes a deadline at the end of time', async () => {
    const loaded = await bench.created({}, { expiresAt: 8.64e15 });
    assert.ok(loaded.expiresAt > Date.now() + 1000 * 24 * HOUR);
    assert.equal(await bench.save(loaded, { set: { a: 1 } }), true);
  });
};

/** Changes everything in the record that can be changed. */
function spoil(record: {
  data: JsonObject;
  meta: SessionMeta;
  userId: string | null;
  keyHash: string;
}): void {
  for (const value of Object.values(record.data)) if (Array.isArray(value)) value.push('spoilt');
  record.data['spoilt'] = 1;
  if (record.meta.device) record.meta.device.ip = 'spoilt';
  record.meta.stamp = 'spoilt';
  record.userId = record.keyHash = 'spoilt';
}

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
