import { isDeepStrictEqual } from 'node:util';
import * as fc from 'fast-check';
import { SessionValueError } from '../session.errors.js';
import { applyChanges } from '../stores/record-log.js';
import { type JsonObject, type JsonValue } from '../stores/session-store.js';
import { type Delta, TrackedData } from './tracked-data.js';

/**
 * The dictionary is held against a plain object: whatever is done, the store holds in the end what the handler saw.
 */

const limits = { size: Infinity, keys: Infinity, keyLength: 64, depth: 64 };

type Step =
  | { do: 'set'; key: string; value: JsonValue }
  | { do: 'delete' | 'get' | 'pop inside'; key: string }
  | { do: 'increment'; key: string; by: number }
  | { do: 'push'; key: string; items: JsonValue[] }
  | { do: 'change inside'; key: string; value: JsonValue }
  | { do: 'clear' | 'begin save' | 'end save' | 'look' };

const value: fc.Arbitrary<JsonValue> = fc.oneof(
  fc.integer({ min: -3, max: 3 }),
  fc.array(fc.integer({ min: 0, max: 2 }), { maxLength: 3 }),
  fc.constantFrom<JsonValue>({}, { a: [] }, { a: [{ b: null }] }, null, true, '', 'x', '[1]'),
);

const stepsOn = (keys: string[], number: fc.Arbitrary<number> = fc.integer({ min: -3, max: 3 })) => {
  const key = fc.constantFrom(...keys);
  return fc.array(
    fc.oneof<fc.Arbitrary<Step>[]>(
      fc.record({ do: fc.constant('set'), key, value }),
      fc.record({ do: fc.constantFrom('delete', 'get', 'pop inside'), key }),
      fc.record({ do: fc.constant('increment'), key, by: number }),
      fc.record({ do: fc.constant('push'), key, items: fc.array(value, { maxLength: 2 }) }),
      fc.record({ do: fc.constant('change inside'), key, value }),
      fc.record({ do: fc.constantFrom('begin save', 'end save', 'look', 'clear') }),
    ),
    { maxLength: 30 },
  );
};

const keys = ['a', '', 'toString', '🔑'];
const base = (among: string[]) => fc.dictionary(fc.constantFrom(...among), value) as fc.Arbitrary<JsonObject>;

/** A dictionary, the store it is saved to, and a plain object to which the same is done. */
class Scene {
  stored: JsonObject;
  readonly dictionary: TrackedData;
  readonly model: Map<string, JsonValue>;
  #saving: Delta | undefined;

  constructor(data: JsonObject) {
    this.stored = copy(data);
    this.dictionary = new TrackedData(copy(data), limits);
    this.model = new Map(Object.entries(copy(data)));
  }

  /** Does the step to both; returns what the dictionary answered and what it should have answered. */
  run(step: Step): [unknown, unknown] {
    const { dictionary, model } = this;
    switch (step.do) {
      case 'set':
        dictionary.set(step.key, copy(step.value));
        model.set(step.key, copy(step.value));
        break;
      case 'delete':
        return [dictionary.delete(step.key), model.delete(step.key)];
      case 'get':
        return [dictionary.get(step.key), model.get(step.key)];
      case 'increment': {
        const current = model.has(step.key) ? model.get(step.key) : 0;
        const sum = attempt(() => dictionary.increment(step.key, step.by));
        if (typeof current !== 'number') return [sum, REFUSED];
        // The last digit of a fraction depends on the order of additions.
        if (typeof sum !== 'number' || Math.abs(sum - current - step.by) > 1e-9)
          return [sum, current + step.by];
        model.set(step.key, sum);
        break;
      }
      case 'push': {
        const current = model.has(step.key) ? model.get(step.key) : [];
        const length = attempt(() => dictionary.push(step.key, ...copy(step.items)));
        if (!Array.isArray(current)) return [length, REFUSED];
        model.set(step.key, [...current, ...copy(step.items)]);
        return [length, current.length + step.items.length];
      }
      case 'pop inside':
        for (const target of [dictionary.get(step.key), model.get(step.key)]) {
          if (Array.isArray(target)) target.pop();
        }
        break;
      case 'change inside':
        for (const target of [dictionary.get(step.key), model.get(step.key)]) {
          if (Array.isArray(target)) target.push(copy(step.value));
          else if (typeof target === 'object' && target !== null) target['a'] = copy(step.value);
        }
        break;
      case 'clear':
        dictionary.clear();
        model.clear();
        break;
      case 'look':
        dictionary.delta();
        dictionary.entries();
        break;
      case 'begin save':
        this.endSave();
        this.#saving = dictionary.delta();
        this.stored = applyChanges(this.stored, copy(this.#saving.changes));
        break;
      case 'end save':
        this.endSave();
        break;
    }
    return [dictionary.size, model.size];
  }

  /** The first step that was answered wrongly. */
  runAll(steps: Step[]): unknown {
    for (const step of steps) {
      const [got, expected] = this.run(step);
      if (!isDeepStrictEqual(got, expected)) return { step, got, expected };
    }
    return undefined;
  }

  endSave(): void {
    if (this.#saving) this.dictionary.saved(this.#saving);
    this.#saving = undefined;
  }

  /** What the store holds when everything is saved. */
  finish(): JsonObject {
    this.endSave();
    this.stored = applyChanges(this.stored, copy(this.dictionary.delta().changes));
    return this.stored;
  }
}

const REFUSED = 'refused';

function attempt(action: () => number): unknown {
  try {
    return action();
  } catch (error) {
    if (error instanceof SessionValueError) return REFUSED;
    throw error;
  }
}

function copy<T>(data: T): T {
  return JSON.parse(JSON.stringify(data)) as T;
}

it('tells the store what the handler saw, whatever it did and whenever it saved', () => {
  fc.assert(
    fc.property(base(keys), stepsOn(keys), (data, steps) => {
      const scene = new Scene(data);
      expect(scene.runAll(steps)).toBeUndefined();
      const stored = scene.finish();
      expect(stored).toEqual(scene.dictionary.delta().snapshot);
      expect(stored).toEqual(Object.fromEntries(scene.model));
    }),
    { numRuns: 2000 },
  );
});

it('tells the store what the handler saw, to the last digit of a fraction', () => {
  const fractions = fc.double({ noNaN: true, noDefaultInfinity: true, min: -1, max: 1 });
  fc.assert(
    fc.property(base(['n']), stepsOn(['n'], fractions), (data, steps) => {
      const scene = new Scene(data);
      expect(scene.runAll(steps)).toBeUndefined();
      expect(scene.finish()).toEqual(scene.dictionary.delta().snapshot);
    }),
    { numRuns: 1000 },
  );
});

/** Steps that concern one key each, and not the whole session. */
const stepsWithin = (among: readonly string[]) =>
  stepsOn([...among]).map((steps) => steps.filter((step) => 'key' in step));

it('keeps both writes when two requests touch different keys', () => {
  const [mine, yours] = [
    ['a', 'b'],
    ['c', 'd'],
  ] as const;
  fc.assert(
    fc.property(base([...mine, ...yours]), stepsWithin(mine), stepsWithin(yours), (data, first, second) => {
      const [one, two] = [new Scene(data), new Scene(data)];
      expect([one.runAll(first), two.runAll(second)]).toEqual([undefined, undefined]);
      const result = applyChanges(
        applyChanges(data, one.dictionary.delta().changes),
        two.dictionary.delta().changes,
      );
      for (const key of mine) expect(result[key]).toEqual(one.model.get(key));
      for (const key of yours) expect(result[key]).toEqual(two.model.get(key));
    }),
  );
});

it('counts every increment and keeps every item when two requests do it to the same key', () => {
  const numbers = fc.array(fc.integer({ min: -9, max: 9 }), { minLength: 1 });
  fc.assert(
    fc.property(fc.option(fc.integer(), { nil: undefined }), numbers, numbers, (start, first, second) => {
      const data: JsonObject = start === undefined ? {} : { n: start, list: [start] };
      const changes = [first, second].map((all) => {
        const dictionary = new TrackedData(copy(data), limits);
        for (const number of all) {
          dictionary.increment('n', number);
          dictionary.push('list', number);
        }
        return dictionary.delta().changes;
      });
      const all = [...first, ...second];
      expect(changes.reduce(applyChanges, data)).toEqual({
        n: all.reduce((sum, number) => sum + number, start ?? 0),
        list: [...(start === undefined ? [] : [start]), ...all],
      });
    }),
  );
});
