import { randomBytes } from 'node:crypto';
import {
  createSecret,
  createSessionId,
  formatSessionKey,
  isSessionId,
  isSessionKey,
  type KeyHasher,
  keyHasher,
  openSuccessor,
  parseSessionKey,
  sealSuccessor,
} from './session-key.js';

describe('secrets', () => {
  const COUNT = 100_000;
  const keys = Array.from({ length: COUNT }, createSecret);

  it('S01: are 32 bytes in 43 characters, never the same twice', () => {
    expect(keys.filter((key) => !/^[A-Za-z0-9_-]{43}$/.test(key))).toEqual([]);
    expect(keys.filter((key) => Buffer.from(key, 'base64url').length !== 32)).toEqual([]);
    expect(new Set(keys).size).toBe(COUNT);
  });

  it('S01: have every byte as often as any other, at every place', () => {
    const bytes = keys.map((key) => Buffer.from(key, 'base64url'));
    const all = chiSquare(bytes.flatMap((key) => [...key]));
    // With 255 degrees of freedom, chance goes beyond these limits less than once in 10^9 runs.
    expect(all).toBeLessThan(420);
    for (let place = 0; place < 32; place += 1) {
      expect(chiSquare(bytes.map((key) => key[place] as number))).toBeLessThan(440);
    }
  });

  it('S01: would be found out', () => {
    expect(chiSquare(Array.from({ length: COUNT }, (_, index) => index % 200))).toBeGreaterThan(1000);
    const lowBitStuck = keys.map((key) => (Buffer.from(key, 'base64url')[0] as number) | 1);
    expect(chiSquare(lowBitStuck)).toBeGreaterThan(1000);
  });

  it('S04: of the same moment have nothing in common', () => {
    const parts = new Set<string>();
    // By chance, two of 2000 keys share so many characters less than once in 10^10 runs.
    const length = 11;
    let repeated = 0;
    for (const key of keys.slice(0, 2000)) {
      for (let at = 0; at + length <= key.length; at += 1) {
        const part = key.slice(at, at + length);
        if (parts.has(part)) repeated += 1;
        parts.add(part);
      }
    }
    expect(repeated).toBe(0);
  });
});

const ID = 'A'.repeat(22);
const key = () => ({ id: createSessionId(), secret: createSecret() });

describe('session keys', () => {
  it('are an id and a secret', () => {
    const parts = key();
    const text = formatSessionKey(parts);
    expect(text).toMatch(/^[\w-]{22}\.[\w-]{43}$/);
    expect([isSessionKey(text), isSessionId(parts.id)]).toEqual([true, true]);
    expect(parseSessionKey(text)).toEqual(parts);
  });

  it.each([
    '',
    ' ',
    'null',
    'undefined',
    '[object Object]',
    ID,
    `.${'k'.repeat(43)}`,
    `${ID}${'k'.repeat(44)}`,
    `${ID}.${'k'.repeat(42)}`,
    `${ID}.${'k'.repeat(44)}`,
    `${ID}.${'k'.repeat(43)}\n`,
    `${ID}.${'k'.repeat(42)}.`,
  ])('S09 S10: %j is none', (text) => expect(isSessionKey(text)).toBe(false));

  it.each(['', 'A'.repeat(21), 'A'.repeat(23), `${'A'.repeat(21)}.`, `${ID}\n`, null, 7, {}])(
    '%j is no session id',
    (id) => expect(isSessionId(id)).toBe(false),
  );
});

const secretText = () => randomBytes(32).toString('base64url');
const [old, recent, other] = [secretText(), secretText(), secretText()] as const;

describe.each([
  ['plain', keyHasher()],
  ['peppered', keyHasher({ secrets: recent })],
])('S05: %s key hashes', (_name, hasher) => {
  it('tell nothing of the key, and fit into 64 characters', () => {
    const parts = key();
    const hash = hasher.hash({ ...parts, userId: 'ann' });
    expect(hash).toMatch(/^[sp]1\.[\w-]{43}$/);
    expect(hash).not.toContain(parts.secret.slice(0, 10));
    expect(hasher.hash({ ...parts, userId: 'ann' })).toBe(hash);
  });

  it('fit this id, this secret and this user only', () => {
    const parts = { ...key(), userId: 'ann' };
    const hash = hasher.hash(parts);
    expect(hasher.match(hash, parts)).toBe('current');
    for (const change of [
      { id: createSessionId() },
      { secret: createSecret() },
      { userId: 'bob' },
      { userId: null },
    ]) {
      expect(hasher.match(hash, { ...parts, ...change })).toBeNull();
    }
    expect(hasher.match('', parts)).toBeNull();
  });

  it('S07: tell nothing of secrets that begin alike', () => {
    const parts = { ...key(), userId: null };
    const alike = parts.secret.slice(0, -2) + (parts.secret.endsWith('AA') ? 'BA' : 'AA');
    const [one, two] = [hasher.hash(parts), hasher.hash({ ...parts, secret: alike })];
    const same = one.split('').filter((character, index) => character === two[index]).length;
    // Behind the three characters that all have, 43 random ones agree in 12 places less than once in 10^10 times.
    expect(same).toBeLessThan(15);
    expect(hasher.match(one, { ...parts, secret: alike })).toBeNull();
  });

  it('tell a user from none, whatever the id of the user is', () => {
    const parts = key();
    expect(hasher.match(hasher.hash({ ...parts, userId: '' }), { ...parts, userId: null })).toBeNull();
  });
});

describe.each([
  ['plain', undefined],
  ['peppered', { secrets: recent }],
])('S69: %s key hashes of applications', (_name, pepper) => {
  const names = ['', 'shop', 'shop2', 'Shop', 'key', 'v1'];
  const hashers = names.map((name) => keyHasher(pepper, name));

  it('fit keys of their own application only, and say whose they are', () => {
    const parts = { ...key(), userId: 'ann' };
    const only = names.map((name, index) => [name, hashers[index] as KeyHasher] as const);
    for (const [name, hasher] of only) {
      const hash = hasher.hash(parts);
      expect(hash.length).toBeLessThanOrEqual(64);
      for (const [each, foreign] of only) {
        const expected = each === name ? 'current' : null;
        expect([each, foreign.match(hash, parts)]).toEqual([each, expected]);
        expect(foreign.isOwn(hash)).toBe(each === name);
        // Nor with the mark of the foreign.
        expect(foreign.match(hash.slice(0, 46) + foreign.hash(parts).slice(46), parts)).toBe(expected);
      }
    }
  });
});

describe('a pepper', () => {
  const parts = { ...key(), userId: null };

  it('accepts hashes of its former secrets, and says that they are outdated', () => {
    const hash = keyHasher({ secrets: old }).hash(parts);
    expect(keyHasher({ secrets: [recent, old] }).match(hash, parts)).toBe('outdated');
    expect(keyHasher({ secrets: [recent, other] }).match(hash, parts)).toBeNull();
  });

  it('accepts plain hashes only where it is told to', () => {
    const hash = keyHasher().hash(parts);
    expect(keyHasher({ secrets: recent }).match(hash, parts)).toBeNull();
    expect(keyHasher({ secrets: recent, allowUnpeppered: true }).match(hash, parts)).toBe('outdated');
    expect(keyHasher().match(keyHasher({ secrets: recent }).hash(parts), parts)).toBeNull();
  });
});

describe('the successor of a secret', () => {
  it('is opened by the former secret of this session only', () => {
    const former = key();
    const next = { secret: createSecret(), after: 5, createdAt: 1_700_000_000_000 };
    const hasher = keyHasher();
    const sealed = sealSuccessor(next, former, hasher);
    expect(openSuccessor(sealed, former, hasher)).toEqual(next);
    expect(openSuccessor(sealed, { ...former, secret: createSecret() }, hasher)).toBeNull();
    expect(openSuccessor(sealed, { ...former, id: createSessionId() }, hasher)).toBeNull();
    expect(openSuccessor('', former, hasher)).toBeNull();
  });

  it('S05: with a pepper, is opened by nobody who has the former secret and what the store holds', () => {
    const former = key();
    const next = { secret: createSecret(), after: 5, createdAt: 1_700_000_000_000 };
    const sealed = sealSuccessor(next, former, keyHasher({ secrets: old }));
    expect(openSuccessor(sealed, former, keyHasher())).toBeNull();
    expect(openSuccessor(sealed, former, keyHasher({ secrets: recent }))).toBeNull();
    expect(openSuccessor(sealed, former, keyHasher({ secrets: [recent, old] }))).toEqual(next);
  });
});

/** How far the counts of 256 values are from equal ones. */
function chiSquare(values: number[]): number {
  const counts = new Float64Array(256);
  for (const value of values) counts[value] = (counts[value] as number) + 1;
  const expected = values.length / 256;
  return counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
}
