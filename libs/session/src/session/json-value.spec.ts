import { runInNewContext } from 'node:vm';
import * as fc from 'fast-check';
import { SessionKeyError, SessionLimitError, SessionValueError } from '../session.errors.js';
import { checkKey, encodeValue } from './json-value.js';

const limits = { size: 1000, keys: 100, keyLength: 14, depth: 4 };
const encode = (value: unknown) => encodeValue('cart', value, limits);

describe('encodeValue', () => {
  it.each<[string, unknown, string]>([
    ['null', null, 'null'],
    ['true', true, 'true'],
    ['a number', 1.5, '1.5'],
    ['minus zero, as zero', -0, '0'],
    ['a string', 'ü\0"🔑', '"ü\\u0000\\"🔑"'],
    ['a lone surrogate', '\ud800', '"\\ud800"'],
    ['an array', [1, [null]], '[1,[null]]'],
    ['a plain object', { a: { b: [] } }, '{"a":{"b":[]}}'],
    ['an object without prototype', Object.assign(Object.create(null), { a: 1 }), '{"a":1}'],
    ['an object of another realm', runInNewContext('({ a: [1] })'), '{"a":[1]}'],
    ['undefined properties, left out', { a: undefined, b: 1 }, '{"b":1}'],
    ['a property named toJSON', { toJSON: 'x' }, '{"toJSON":"x"}'],
    ['nested constructor', { constructor: 1 }, '{"constructor":1}'],
    ['the same object twice', ((a) => [a, a])({}), '[{},{}]'],
  ])('S68: carries %s', (_, value, text) => {
    expect(encode(value)).toBe(text);
  });

  class Money {
    amount = 1;
  }
  class User {
    id = 7;
    passwordHash = 'x';
    createdAt = new Date();
    toJSON(): object {
      return { id: this.id };
    }
  }
  const nameless = new (class {
    id = 7;
  })();
  Object.defineProperty(nameless.constructor, 'name', { value: '' });
  const cyclic: Record<string, unknown> = { list: [] };
  (cyclic['list'] as unknown[]).push(cyclic);

  it.each<[string, unknown, string, RegExp]>([
    ['undefined', undefined, 'cart', /null/],
    ['undefined in an array', [1, undefined], 'cart[1]', /null/],
    // oxlint-disable-next-line no-sparse-arrays
    ['a hole in an array', [1, , 2], 'cart[1]', /null/],
    ['a function', { a: () => 1 }, 'cart.a', /is a function/],
    ['a symbol', { a: Symbol('x') }, 'cart.a', /is a symbol/],
    ['a bigint', { a: 1n }, 'cart.a', /String\(value\)/],
    ['NaN', { a: [Number.NaN] }, 'cart.a[0]', /is NaN/],
    ['Infinity', -Infinity, 'cart', /is -Infinity/],
    ['a Date', { items: [1, 2, { addedAt: new Date() }] }, 'cart.items[2].addedAt', /toISOString/],
    ['a Date of another realm', runInNewContext('new Date()'), 'cart', /toISOString/],
    ['a Map', new Map(), 'cart', /Object.fromEntries/],
    ['a Set', new Set(), 'cart', /\[\.\.\.set\]/],
    ['a Buffer', Buffer.from('x'), 'cart', /base64/],
    ['a typed array', { 'odd name': new Uint8Array(2) }, 'cart["odd name"]', /base64/],
    ['an ArrayBuffer', new ArrayBuffer(2), 'cart', /base64/],
    ['an instance', { price: new Money() }, 'cart.price', /instance of Money/],
    ['an entity', { user: new User() }, 'cart.user', /instance of User\. Store `user\.id`/],
    ['an entity of a class without a name', nameless, 'cart', /instance of a class\. Store `value\.id`/],
    [
      'a Date of a plain row',
      { user: { id: 7, createdAt: new Date() } },
      'cart.user.createdAt',
      /toISOString/,
    ],
    ['an Error', new Error('x'), 'cart', /instance of Error/],
    ['a boxed string', Object('x'), 'cart', /instance of String/],
    ['an instance with toJSON', new URL('http://a.test'), 'cart', /value\.toJSON\(\)/],
    ['a plain object with toJSON', { a: { toJSON: () => 1 } }, 'cart.a', /value\.toJSON\(\)/],
    ['an array with toJSON', Object.assign([], { toJSON: () => 1 }), 'cart', /value\.toJSON\(\)/],
    ['a cycle', cyclic, 'cart.list[0]', /contains itself/],
    ['a nested __proto__', JSON.parse('{"a":{"__proto__":1}}'), 'cart.a.__proto__', /another name/],
  ])('S63 S68: refuses %s and says where and what to do', (_, value, path, advice) => {
    const error = thrownBy(() => encode(value));
    expect(error).toBeInstanceOf(SessionValueError);
    expect((error as SessionValueError).path).toBe(path);
    expect(error.message).toMatch(advice);
  });

  it('S65: counts the depth in arrays and objects', () => {
    expect(encode([{ a: [{}] }])).toBe('[{"a":[{}]}]');
    const error = thrownBy(() => encode([{ a: [{ b: [] }] }]));
    expect(error).toBeInstanceOf(SessionLimitError);
    expect(error).toMatchObject({ limit: 'depth', allowed: 4, actual: 5 });
  });

  it('counts the ancestors of an item', () => {
    expect(() => encodeValue('cart[0]', [[[]]], limits, [[]])).not.toThrow();
    expect(() => encodeValue('cart[0]', [[[[]]]], limits, [[]])).toThrow(SessionLimitError);
  });

  it('survives what is far too deep', () => {
    let deep: unknown[] = [];
    for (let level = 0; level < 100_000; level++) deep = [deep];
    expect(() => encode(deep)).toThrow(SessionLimitError);
  });

  it('carries whatever JSON.parse gives, and reads it back equal', () => {
    const options = { size: Infinity, keys: 100, keyLength: 10, depth: 100 };
    fc.assert(
      fc.property(fc.jsonValue({ noUnicodeString: false }), (value) => {
        const sent = JSON.parse(JSON.stringify(value)) as unknown;
        if (JSON.stringify(sent).includes('"__proto__":')) return;
        expect(JSON.parse(encodeValue('k', sent, options))).toEqual(sent);
      }),
    );
  });
});

describe('checkKey', () => {
  it.each(['', 'a', 'toString', 'hasOwnProperty', '🔑', 'a\0b', '0', '_flash'])('takes %j', (key) => {
    expect(() => checkKey(key, limits)).not.toThrow();
  });

  it.each(['__proto__', 'constructor', 'prototype', 1, null, undefined, Symbol('x')])(
    'S61: refuses %p',
    (key) => {
      expect(() => checkKey(key as string, limits)).toThrow(SessionKeyError);
    },
  );

  it('S65: refuses one that is too long', () => {
    expect(() => checkKey('0123456789abcd', limits)).not.toThrow();
    expect(thrownBy(() => checkKey('0123456789abcde', limits))).toMatchObject({
      limit: 'keyLength',
      allowed: 14,
      actual: 15,
    });
  });
});

function thrownBy(action: () => unknown): Error {
  try {
    action();
  } catch (error) {
    return error as Error;
  }
  throw new Error('Nothing was thrown');
}
