import { jest } from '@jest/globals';
import { SessionKeyError, SessionLimitError, SessionValueError } from '../session.errors.js';
import { applyChanges, decodeData } from '../stores/record-log.js';
import { type JsonObject, type JsonValue } from '../stores/session-store.js';
import { TrackedData } from './tracked-data.js';

const limits = { size: 10_000, keys: 100, keyLength: 64, depth: 8 };
const dictionary = (data: JsonObject = {}) => new TrackedData(data, limits);

describe('flags, as in Django', () => {
  it.each<[string, (d: TrackedData) => unknown, boolean, boolean]>([
    ['size', (d) => d.size, false, false],
    ['changes and snapshot', (d) => [d.delta().changes, d.delta().snapshot], false, false],
    ['get', (d) => d.get('a'), true, false],
    ['get of a missing key', (d) => d.get('none'), true, false],
    ['has', (d) => d.has('none'), true, false],
    ['keys', (d) => d.keys(), true, false],
    ['values', (d) => d.values(), true, false],
    ['entries', (d) => d.entries(), true, false],
    ['set', (d) => d.set('b', 1), true, true],
    ['set to an equal value', (d) => d.set('a', 1), true, true],
    ['set to undefined', (d) => d.set('a', undefined), true, true],
    ['set of a missing key to undefined', (d) => d.set('none', undefined), true, false],
    ['delete', (d) => d.delete('a'), true, true],
    ['delete of a missing key', (d) => d.delete('none'), true, false],
    ['clear', (d) => d.clear(), true, true],
    ['increment', (d) => d.increment('a'), true, true],
    ['push', (d) => d.push('list', 1), true, true],
    ['a refused value', (d) => expect(() => d.set('a', new Date())).toThrow(SessionValueError), true, false],
    ['a change inside of a value', (d) => list(d, 'list').push(1), true, true],
    ['a cycle inside of a value', (d) => list(d, 'list').push(list(d, 'list')), true, true],
    ['modified = true', (d) => (d.modified = true), false, true],
    ['modified = false', (d) => (d.set('b', 1), (d.modified = false)), true, false],
    [
      'modified = false after a change inside',
      (d) => (list(d, 'list').push(1), (d.modified = false)),
      true,
      false,
    ],
    ['markWritten', (d) => d.markWritten(), true, true],
    ['a write after modified = false', (d) => ((d.modified = false), d.set('b', 1)), true, true],
  ])('%s', (_, action, accessed, modified) => {
    const subject = dictionary({ a: 1, list: [] });
    action(subject);
    expect({ accessed: subject.accessed, modified: subject.modified }).toEqual({ accessed, modified });
  });

  it('remembers modified = true apart from writes, until the next save', () => {
    const subject = dictionary();
    expect(subject.forced).toBe(false);
    subject.modified = true;
    expect(subject.forced).toBe(true);
    subject.saved(subject.delta());
    expect(subject.forced).toBe(false);
    expect(subject.modified).toBe(true); // as in Django
    subject.set('a', 1);
    expect(subject.forced).toBe(false);
  });
});

describe('changes', () => {
  it.each<[string, (d: TrackedData) => unknown, object]>([
    ['nothing', () => {}, {}],
    ['reads', (d) => d.entries(), {}],
    ['an equal value', (d) => d.set('cart', { items: [1] }), {}],
    ['there and back', (d) => (d.set('n', 1), d.set('n', 5)), {}],
    ['modified = true', (d) => (d.modified = true), {}],
    ['set', (d) => d.set('a', null), { set: { a: null } }],
    ['set twice', (d) => (d.set('a', 1), d.set('a', 2)), { set: { a: 2 } }],
    ['minus zero', (d) => d.set('a', -0), { set: { a: 0 } }],
    ['delete', (d) => d.delete('n'), { unset: ['n'] }],
    ['delete of a key that the store never had', (d) => (d.set('a', 1), d.delete('a')), {}],
    ['delete, set', (d) => (d.delete('n'), d.set('n', 'x')), { set: { n: 'x' } }],
    ['clear', (d) => d.clear(), { clear: true }],
    ['clear, set', (d) => (d.clear(), d.set('n', 5)), { clear: true, set: { n: 5 } }],
    ['clear, increment', (d) => (d.clear(), d.increment('n')), { clear: true, set: { n: 1 } }],
    ['clear, push', (d) => (d.clear(), d.push('list', 1)), { clear: true, set: { list: [1] } }],
    ['set, clear, delete', (d) => (d.set('a', 1), d.clear(), d.delete('a')), { clear: true }],
    ['increment', (d) => d.increment('n', 2), { increment: { n: 2 } }],
    ['increments', (d) => (d.increment('n', 2), d.increment('n', -5)), { increment: { n: -3 } }],
    ['increments that cancel out', (d) => (d.increment('n'), d.increment('n', -1)), {}],
    ['increment of a missing key by 0', (d) => d.increment('a', 0), { increment: { a: 0 } }],
    ['set, increment', (d) => (d.set('n', 7), d.increment('n')), { set: { n: 8 } }],
    ['increment, set', (d) => (d.increment('n'), d.set('n', 9)), { set: { n: 9 } }],
    [
      'increment, set, increment',
      (d) => (d.increment('n'), d.set('n', 9), d.increment('n')),
      { set: { n: 10 } },
    ],
    ['increment, delete', (d) => (d.increment('n'), d.delete('n')), { unset: ['n'] }],
    ['delete, increment', (d) => (d.delete('n'), d.increment('n')), { set: { n: 1 } }],
    ['an equal value, increment', (d) => (d.set('n', 5), d.increment('n')), { increment: { n: 1 } }],
    ['push', (d) => d.push('list', 2, { a: 1 }), { push: { list: [2, { a: 1 }] } }],
    ['pushes', (d) => (d.push('list', 2), d.push('list', 3)), { push: { list: [2, 3] } }],
    ['push to a missing key', (d) => d.push('a', 1), { push: { a: [1] } }],
    ['push of nothing', (d) => d.push('list'), {}],
    ['push of nothing to a missing key', (d) => d.push('a'), { push: { a: [] } }],
    ['set, push', (d) => (d.set('a', []), d.push('a', 1)), { set: { a: [1] } }],
    ['push, set', (d) => (d.push('list', 1), d.set('list', [])), { set: { list: [] } }],
    ['delete, push', (d) => (d.delete('list'), d.push('list', 2)), { set: { list: [2] } }],
    ['push, set to the same', (d) => (d.push('list', 2), d.set('list', [1, 2])), { set: { list: [1, 2] } }],
    ['push, clear, push', (d) => (d.push('a'), d.clear(), d.push('a', 1)), { clear: true, set: { a: [1] } }],
    ['push, delete', (d) => (d.push('list', 1), d.delete('list')), { unset: ['list'] }],
    ['read, push', (d) => (d.get('list'), d.push('list', 1)), { push: { list: [1] } }],
    ['change inside', (d) => list(d, 'list').push(2), { set: { list: [1, 2] } }],
    ['change inside of values', (d) => (d.values()[1] as JsonValue[]).pop(), { set: { list: [] } }],
    ['change inside and back', (d) => (list(d, 'list').push(2), list(d, 'list').pop()), {}],
    [
      'change inside, push',
      (d) => (list(d, 'list').push(2), d.push('list', 3)),
      { set: { list: [1, 2, 3] } },
    ],
    ['push, change inside', (d) => (d.push('list', 2), list(d, 'list').shift()), { set: { list: [2] } }],
    [
      'push, change of the item',
      (d) => (d.push('list', {}), (list(d, 'list')[1] = 0)),
      { set: { list: [1, 0] } },
    ],
    ['set, change inside', (d) => (d.set('a', []), list(d, 'a').push(1)), { set: { a: [1] } }],
    ['change inside, delete', (d) => (list(d, 'list').push(2), d.delete('list')), { unset: ['list'] }],
    ['undefined properties', (d) => d.set('a', { b: undefined, c: 1 }), { set: { a: { c: 1 } } }],
  ])('%s', (_, action, changes) => {
    const subject = dictionary({ n: 5, list: [1], cart: { items: [1] } });
    action(subject);
    expect(subject.delta().changes).toEqual(changes);
    expect(subject.delta().changes).toEqual(changes); // asking changes nothing
  });

  it('keeps no minus zero', () => {
    const subject = dictionary();
    subject.set('a', -0);
    expect(Object.is(subject.get('a'), 0)).toBe(true);
  });

  it('saves a value as it is then, not as it was assigned', () => {
    const subject = dictionary();
    const cart = { items: [1] };
    subject.set('cart', cart);
    cart.items.push(2);
    expect(subject.delta().changes).toEqual({ set: { cart: { items: [1, 2] } } });
  });

  it('gives copies, so that a save on its way is not changed', () => {
    const subject = dictionary({ list: [1] });
    const handed = list(subject, 'list');
    handed.push(2);
    const { changes, snapshot } = subject.delta();
    handed.push(3);
    expect(changes.set).toEqual({ list: [1, 2] });
    expect(snapshot).toEqual({ list: [1, 2] });
  });

  it('refuses what was put inside of a value and could not have been assigned', () => {
    const subject = dictionary({ cart: { items: [] } });
    const cart = subject.get('cart') as { items: unknown[] };
    cart.items.push({ addedAt: new Date() });
    expect(() => subject.delta()).toThrow('cart.items[0].addedAt');
    expect(() => subject.delta()).toThrow(SessionValueError);
    cart.items = [1n];
    expect(() => subject.delta().changes).toThrow('cart.items[0]');
    cart.items = [cart];
    expect(() => subject.delta().changes).toThrow('cart.items[0]');
    cart.items = [1];
    expect(subject.delta().changes).toEqual({ set: { cart: { items: [1] } } });
  });
});

describe('saved', () => {
  it('counts from the snapshot that was saved', () => {
    const subject = dictionary({ n: 1 });
    subject.increment('n');
    subject.push('list', 'a');
    subject.set('a', { b: 1 });
    subject.saved(subject.delta());
    expect(subject.delta().changes).toEqual({});
    subject.increment('n');
    subject.push('list', 'b');
    (subject.get('a') as JsonObject)['b'] = 2;
    expect(subject.delta().changes).toEqual({
      set: { a: { b: 2 } },
      increment: { n: 1 },
      push: { list: ['b'] },
    });
  });

  it.each<[string, (d: TrackedData) => unknown, object]>([
    ['nothing', () => {}, {}],
    ['set', (d) => d.set('a', 2), { set: { a: 2 } }],
    ['set back to what the store had', (d) => d.set('n', 1), { set: { n: 1 } }],
    ['increment', (d) => d.increment('n', 5), { increment: { n: 5 } }],
    ['push', (d) => d.push('list', 'b'), { push: { list: ['b'] } }],
    ['delete', (d) => d.delete('n'), { unset: ['n'] }],
    ['clear', (d) => d.clear(), { clear: true }],
    ['change inside', (d) => list(d, 'list').pop(), { set: { list: [] } }],
    ['looking on', (d) => [d.delta().changes, d.delta().snapshot, d.entries()], {}],
  ])('still tells what happened while the save was on its way: %s', (_, action, changes) => {
    const subject = dictionary({ n: 1 });
    subject.increment('n', 2);
    subject.push('list', 'a');
    const delta = subject.delta();
    action(subject);
    subject.saved(delta);
    expect(subject.delta().changes).toEqual(changes);
  });

  it('counts a key as set when the save on its way has moved it under an increment', () => {
    const subject = dictionary({ n: 5 });
    subject.set('n', 6);
    const delta = subject.delta();
    subject.set('n', 5);
    subject.increment('n', 2);
    subject.saved(delta);
    expect(subject.delta().changes).toEqual({ set: { n: 7 } });
  });

  it('tells everything again after a save that failed', () => {
    const subject = dictionary();
    subject.increment('n');
    subject.delta();
    subject.increment('n');
    expect(subject.delta().changes).toEqual({ increment: { n: 2 } });
  });

  it('ignores the delta of another session', () => {
    const subject = dictionary();
    subject.set('a', 1);
    subject.modified = true;
    const other = dictionary();
    other.set('b', 1);
    subject.saved(other.delta());
    expect(subject.forced).toBe(true);
    expect(subject.delta().changes).toEqual({ set: { a: 1 } });
  });
});

describe('increment and push', () => {
  it('are exact when two requests do it at once', () => {
    const stored = { n: 1, list: ['a'] };
    const [one, two] = [dictionary(structuredClone(stored)), dictionary(structuredClone(stored))];
    for (const subject of [one, two]) {
      subject.increment('n', 2);
      subject.increment('fresh');
      subject.push('list', 'b');
    }
    const result = applyChanges(applyChanges(stored, one.delta().changes), two.delta().changes);
    expect(result).toEqual({ n: 5, fresh: 2, list: ['a', 'b', 'b'] });
  });

  it('return what the application sees', () => {
    const subject = dictionary({ n: 1, list: ['a'] });
    const handed = subject.get('list');
    expect(subject.increment('n')).toBe(2);
    expect(subject.get('n')).toBe(2);
    expect(subject.push('list', 'b', 'c')).toBe(3);
    expect(subject.get('list')).toEqual(['a', 'b', 'c']);
    expect(subject.get('list')).toBe(handed);
  });

  it('copy a frozen array', () => {
    const subject = dictionary();
    subject.set('list', Object.freeze(['a']));
    subject.push('list', 'b');
    expect(subject.get('list')).toEqual(['a', 'b']);
  });

  it('add fractions as the store will', () => {
    const subject = dictionary({ n: 0.1 });
    subject.increment('n', 0.2);
    subject.increment('n', 0.3);
    expect(applyChanges({ n: 0.1 }, subject.delta().changes)).toEqual(subject.delta().snapshot);
  });

  it.each<[string, (d: TrackedData) => unknown, string]>([
    ['a string', (d) => d.increment('s'), 's'],
    ['null', (d) => d.increment('null'), 'null'],
    ['by NaN', (d) => d.increment('n', Number.NaN), 'n'],
    ['by a string', (d) => d.increment('n', '1' as unknown as number), 'n'],
    ['past the largest number', (d) => (d.set('n', 1e308), d.increment('n', 1e308)), 'n'],
    ['to a string', (d) => d.push('s', 1), 's'],
    ['to null', (d) => d.push('null', 1), 'null'],
    ['a Date', (d) => d.push('list', 1, new Date()), 'list[2]'],
    ['itself', (d) => d.push('list', { list: d.get('list') }), 'list[1].list'],
  ])('refuse %s', (_, action, path) => {
    const data = { s: '1', n: 1, list: [0], null: null };
    const subject = dictionary(structuredClone(data));
    expect(() => action(subject)).toThrow(expect.objectContaining({ path }));
    expect({ ...subject.delta().snapshot, n: 1 }).toEqual(data);
  });
});

describe('keys', () => {
  it.each(['', 'toString', 'hasOwnProperty', '🔑', 'a\0b', '\ud800', '0'])(
    'S61 S67: %j is an ordinary one',
    (key) => {
      const subject = dictionary();
      expect(subject.has(key)).toBe(false);
      expect(subject.get(key)).toBeUndefined();
      subject.set(key, 1);
      subject.increment(key);
      expect(subject.keys()).toEqual([key]);
      expect(applyChanges({}, subject.delta().changes)).toEqual(subject.delta().snapshot);
      expect(subject.delete(key)).toBe(true);
      expect(subject.size).toBe(0);
    },
  );

  it('S61: refuses those with a meaning, but looks for them', () => {
    const subject = dictionary();
    expect(subject.get('__proto__')).toBeUndefined();
    expect(subject.has('constructor')).toBe(false);
    expect(() => subject.set('__proto__', {})).toThrow(SessionKeyError);
    expect(() => subject.increment('constructor')).toThrow(SessionKeyError);
    expect(() => subject.push('prototype', 1)).toThrow(SessionKeyError);
  });

  it('S62: can get rid of one that came from the store', () => {
    const subject = dictionary(JSON.parse('{"__proto__":{"admin":true}}') as JsonObject);
    expect(subject.get('__proto__')).toEqual({ admin: true });
    expect(subject.delete('__proto__')).toBe(true);
    expect(subject.delta().changes).toEqual({ unset: ['__proto__'] });
  });
});

describe('limits', () => {
  const tight = { size: 40, keys: 100, keyLength: 5, depth: 2 };
  const full = { a: 'x'.repeat(14), b: 'x'.repeat(10) };

  it('S65: counts the text of the whole session', () => {
    const subject = new TrackedData({ ...full }, tight);
    expect(JSON.stringify(full)).toHaveLength(39);
    subject.set('b', 'x'.repeat(11));
    const refused = () => subject.set('b', 'x'.repeat(12));
    expect(refused).toThrow(expect.objectContaining({ limit: 'size', allowed: 40, actual: 41 }));
    expect(subject.delta().snapshot).toEqual({ ...full, b: 'x'.repeat(11) });
    subject.delete('a');
    subject.set('b', 'x'.repeat(32));
    expect(() => subject.set('b', 'x'.repeat(33))).toThrow(SessionLimitError);
    subject.clear();
    subject.set('a', 'x'.repeat(32));
  });

  it('S65: counts the keys', () => {
    const subject = new TrackedData({ a: 1, b: 1 }, { ...limits, keys: 3 });
    subject.set('c', 1);
    for (const add of [() => subject.set('d', 1), () => subject.increment('d'), () => subject.push('d', 1)]) {
      expect(add).toThrow(expect.objectContaining({ limit: 'keys', allowed: 3, actual: 4 }));
    }
    subject.set('a', 2);
    subject.delete('a');
    subject.set('d', 1);
    expect(subject.keys()).toEqual(['b', 'c', 'd']);
  });

  it.each<[string, (d: TrackedData) => unknown]>([
    ['a new key', (d) => d.set('c', 1)],
    ['increment', (d) => d.increment('c')],
    ['push', (d) => d.push('c', 1)],
    ['a long key', (d) => d.set('123456', 1)],
    ['depth', (d) => d.set('a', [[[]]])],
    ['depth by push', (d) => (d.set('a', []), d.push('a', [[]]))],
  ])('S65: holds for %s', (_, action) => {
    const subject = new TrackedData({ ...full }, tight);
    expect(() => action(subject)).toThrow(SessionLimitError);
    expect(subject.has('c')).toBe(false);
  });

  it('counts what pushes and increments add to the character', () => {
    const subject = new TrackedData({ n: 9 }, limits);
    subject.increment('n');
    subject.push('l');
    subject.push('l', 1);
    subject.push('l', 'ü', {});
    const { length } = JSON.stringify(subject.delta().snapshot);
    const again = (size: number) => {
      const other = new TrackedData({ n: 9 }, { ...limits, size });
      other.increment('n');
      other.push('l', 1);
      return other.push('l', 'ü', {});
    };
    expect(again(length)).toBe(3);
    expect(() => again(length - 1)).toThrow(expect.objectContaining({ actual: length }));
  });

  it('S65: is checked again for what has grown inside', () => {
    const subject = new TrackedData({ list: [], other: 1 }, tight);
    list(subject, 'list').push('x'.repeat(40));
    expect(() => subject.delta().changes).toThrow('"list"');
    expect(() => subject.delta().changes).toThrow(SessionLimitError);
    list(subject, 'list').pop();
    expect(subject.delta().changes).toEqual({});
  });

  it('goes on from what has grown inside', () => {
    const subject = new TrackedData({ list: [] }, tight);
    list(subject, 'list').push('x'.repeat(20)); // {"list":["20 times x"]} has 33 characters
    subject.delta();
    expect(() => subject.set('b', 123)).toThrow(expect.objectContaining({ actual: 41 }));
    subject.set('b', 12);
  });

  it('lets a session that is too large already be read, made smaller and rewritten', () => {
    const large = { a: 'x'.repeat(100), deep: [[[1]]] };
    const subject = new TrackedData(structuredClone(large), tight);
    subject.entries();
    expect(subject.delta().changes).toEqual({});
    expect(subject.delta().snapshot).toEqual(large);
    subject.set('a', 'y'.repeat(100));
    subject.set('a', 'y'.repeat(50));
    expect(() => subject.set('a', 'y'.repeat(101))).toThrow(SessionLimitError);
    // Until it is saved: the store holds less then.
    subject.saved(subject.delta());
    expect(() => subject.set('a', 'y'.repeat(51))).toThrow(SessionLimitError);
  });
});

function list(subject: TrackedData, key: string): JsonValue[] {
  return subject.get(key) as JsonValue[];
}

describe('the work of one commit', () => {
  afterEach(() => jest.restoreAllMocks());

  it.each<[what: string, mark: string, encoded: number, parsed: number, act: (data: TrackedData) => void]>([
    ['a value that is assigned', 'new', 1, 1, (data) => data.set('cart', { items: ['new'] })],
    ['the value that it replaces', 'old', 1, 0, (data) => data.set('cart', { items: ['other'] })],
    [
      'a value that is changed inside',
      'new',
      1,
      1,
      (data) => (data.get('cart') as { items: string[] }).items.push('new'),
    ],
    [
      'a value that is read beside a write',
      'old',
      2,
      0,
      (data) => {
        data.get('cart');
        data.set('n', 2);
      },
    ],
    ['a value that nobody has touched', 'old', 0, 0, (data) => data.set('n', 2)],
  ])('%s (%s) is encoded %i times and parsed %i times', (_, mark, encoded, parsed, act) => {
    const subject = new TrackedData(decodeData('{"cart":{"items":["old"]},"n":1}', ''), limits);
    const count = countWork(mark);
    act(subject);
    commit(subject);
    expect(count).toEqual({ encoded, parsed });
  });
});

/** How often a text with this mark was made, and how often one was read. */
function countWork(mark: string): { encoded: number; parsed: number } {
  const count = { encoded: 0, parsed: 0 };
  const { stringify, parse } = JSON;
  jest.spyOn(JSON, 'stringify').mockImplementation((value: unknown) => {
    const text = stringify(value);
    if (text?.includes(mark)) count.encoded += 1;
    return text;
  });
  jest.spyOn(JSON, 'parse').mockImplementation((text) => {
    if (text.includes(mark)) count.parsed += 1;
    return parse(text) as unknown;
  });
  return count;
}

function commit(subject: TrackedData): void {
  const delta = subject.delta();
  expect(subject.isChangedBy(delta)).toBe(true);
  subject.saved(delta);
}
