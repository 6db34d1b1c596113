import { createSessionId, createSessionKey, isSessionKey, toStoreKey } from './session-key.js';

describe('session keys', () => {
  const COUNT = 100_000;
  const keys = Array.from({ length: COUNT }, createSessionKey);

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

  it.each([
    '',
    ' ',
    'null',
    'undefined',
    '[object Object]',
    'k'.repeat(42),
    'k'.repeat(44),
    `${'k'.repeat(43)}\n`,
  ])('S09 S10: %j is none', (text) => expect(isSessionKey(text)).toBe(false));

  it('S05: become store keys that tell nothing of them', () => {
    const [key] = keys as [string];
    expect(toStoreKey(key)).toMatch(/^v1-[0-9a-f]{64}$/);
    expect(toStoreKey(key)).toBe(toStoreKey(key));
    expect(new Set(keys.slice(0, 1000).map(toStoreKey)).size).toBe(1000);
    expect(isSessionKey(toStoreKey(key))).toBe(false);
  });
});

it('session ids are no session keys', () => {
  expect(isSessionKey(createSessionId())).toBe(false);
});

/** How far the counts of 256 values are from equal ones. */
function chiSquare(values: number[]): number {
  const counts = new Float64Array(256);
  for (const value of values) counts[value] = (counts[value] as number) + 1;
  const expected = values.length / 256;
  return counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
}
