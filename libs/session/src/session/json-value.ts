import { types } from 'node:util';
import { SessionKeyError, SessionLimitError, SessionValueError } from '../session.errors.js';

/** How much one session may hold. */
export interface Limits {
  /** Characters of the session's whole JSON text. A character is one to three bytes in UTF-8. */
  size: number;
  /** Keys of the dictionary. */
  keys: number;
  /** Characters of a key of the dictionary (keys inside of values are only counted by `size`). */
  keyLength: number;
  /** How deep arrays and objects may nest: a string has depth 0, `[]` has 1, `{ items: [] }` has 2. */
  depth: number;
}

/** Objects give these a meaning. */
export const REFUSED_KEYS: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype']);

/**
 * Is this allowed as a key of the dictionary?
 * @throws SessionKeyError for a non-string, `__proto__`, `constructor` and `prototype`
 * @throws SessionLimitError when it is longer than `limits.keyLength`
 */
export function checkKey(key: string, limits: Limits): void {
  if (typeof key !== 'string') {
    throw new SessionKeyError(String(key), `is a ${typeof key}, not a string. Use a string.`);
  }
  if (REFUSED_KEYS.has(key)) {
    throw new SessionKeyError(
      key,
      'is not allowed, because it is special in JavaScript objects. Use another name.',
    );
  }
  if (key.length > limits.keyLength) {
    throw new SessionLimitError('keyLength', limits.keyLength, key.length, key);
  }
}

/**
 * The JSON text of a value, which reads back as an equal value. Two things are changed on the way, as by
 * `JSON.stringify`: object properties that are undefined are left out, and -0 becomes 0.
 * @param key where the value is, for the error: its key, or the path of the array that it is an item of
 * @param ancestors the arrays and objects that `value` is about to be put into, outermost first
 * @throws SessionValueError when JSON cannot carry it; the error names the path, such as `cart.items[2].addedAt`
 * @throws SessionLimitError when it nests deeper than `limits.depth`
 */
export function encodeValue(
  key: string,
  value: unknown,
  limits: Limits,
  ancestors: readonly object[] = [],
): string {
  checkValue(key, value, limits, ancestors);
  return JSON.stringify(value);
}

/**
 * The check of `encodeValue` alone.
 * @returns at most so many characters is the JSON text
 */
export function checkValue(
  key: string,
  value: unknown,
  limits: Limits,
  ancestors: readonly object[] = [],
): number {
  const seen: Seen = { ancestors: [...ancestors], characters: 0 };
  const found = findFault(value, limits.depth, seen);
  if (found === undefined) return seen.characters;
  if (found.problem === TOO_DEEP) throw new SessionLimitError('depth', limits.depth, limits.depth + 1, key);
  throw new SessionValueError(key + found.path, found.problem);
}

/** On the way through a value. */
interface Seen {
  /** The arrays and objects around the place, outermost first. */
  ancestors: object[];
  /** The text so far has at most so many. */
  characters: number;
}

/** A control character becomes `\u0001`. */
const LONGEST_ESCAPE = 6;
/** `-1.2345678901234567e-300` */
const LONGEST_NUMBER = 24;

interface Fault {
  /** From the value that was checked to the value at fault. Built on the way back, so that success costs nothing. */
  path: string;
  problem: string;
}

const TOO_DEEP = 'nests too deep';
const IDENTIFIER = /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u;

function findFault(value: unknown, depthLimit: number, seen: Seen): Fault | undefined {
  const { ancestors } = seen;
  // With quotes or braces, a comma and a colon.
  seen.characters += 4;
  switch (typeof value) {
    case 'string':
      seen.characters += LONGEST_ESCAPE * value.length;
      return undefined;
    case 'boolean':
      seen.characters += 'false'.length;
      return undefined;
    case 'number':
      seen.characters += LONGEST_NUMBER;
      return Number.isFinite(value) ? undefined : fault(`is ${value}. Use null, or check the number first.`);
    case 'object':
      if (value === null) return undefined;
      break;
    default:
      return fault(problemOfPrimitive(value));
  }
  const isArray = Array.isArray(value);
  const problem = isArray ? problemOfMethod(value) : problemOfObject(value);
  if (problem !== undefined) return fault(problem);
  if (ancestors.includes(value)) {
    return fault('is a value that contains itself. Store a reference, such as its id.');
  }
  if (ancestors.length >= depthLimit) return fault(TOO_DEEP);

  ancestors.push(value);
  const found = isArray
    ? findInArray(value, depthLimit, seen)
    : findInObject(value as Record<string, unknown>, depthLimit, seen);
  ancestors.pop();
  return found;
}

function findInArray(items: unknown[], depthLimit: number, seen: Seen): Fault | undefined {
  // By index, because for-each would skip the holes of a sparse array, which JSON turns into null.
  for (let index = 0; index < items.length; index++) {
    const found = findFault(items[index], depthLimit, seen);
    if (found) return { ...found, path: `[${index}]${found.path}` };
  }
  return undefined;
}

function findInObject(object: Record<string, unknown>, depthLimit: number, seen: Seen): Fault | undefined {
  for (const name of Object.keys(object)) {
    const value = object[name];
    seen.characters += LONGEST_ESCAPE * name.length;
    const found =
      name === '__proto__'
        ? fault('has a name that is special in JavaScript objects. Use another name.')
        : value === undefined
          ? undefined
          : findFault(value, depthLimit, seen);
    if (found) {
      const step = IDENTIFIER.test(name) ? `.${name}` : `[${JSON.stringify(name)}]`;
      return { ...found, path: step + found.path };
    }
  }
  return undefined;
}

function fault(problem: string): Fault {
  return { path: '', problem };
}

function problemOfPrimitive(value: unknown): string {
  switch (typeof value) {
    case 'undefined':
      return 'is undefined. Use null, or leave it out.';
    case 'bigint':
      return 'is a bigint. Use `String(value)`, or `Number(value)` when it is small enough.';
    case 'symbol':
      return 'is a symbol. Use a string.';
    default:
      return 'is a function. Store the data that it works on.';
  }
}

/**
 * A plain object is one whose prototype is null or has no prototype itself: unlike `instanceof Object` that also
 * holds for objects of another realm (a vm context, a test runner).
 */
function problemOfObject(value: object): string | undefined {
  const prototype = Object.getPrototypeOf(value) as object | null;
  if (prototype === null || Object.getPrototypeOf(prototype) === null) return problemOfMethod(value);
  if (types.isDate(value)) return 'is a Date. Use `date.toISOString()` or `date.getTime()`.';
  if (types.isMap(value)) return 'is a Map. Use `Object.fromEntries(map)` or `[...map]`.';
  if (types.isSet(value)) return 'is a Set. Use `[...set]`.';
  if (ArrayBuffer.isView(value) || types.isAnyArrayBuffer(value)) {
    return "is binary. Use `Buffer.from(value).toString('base64')`.";
  }
  const name = nameOfClass(prototype);
  const kind = `is an instance of ${name ?? 'a class'}.`;
  // An entity: a copy of all of it would carry password hashes and dates along.
  if ('id' in value) {
    const id = `${name === undefined ? 'value' : name.charAt(0).toLowerCase() + name.slice(1)}.id`;
    return `${kind} Store \`${id}\` and look up the rest when it is needed, or a plain object of what you need.`;
  }
  return problemOfMethod(value) ?? `${kind} Use a plain object with what you need of it: \`{ ...value }\`.`;
}

function problemOfMethod(value: object): string | undefined {
  return typeof (value as { toJSON?: unknown }).toJSON === 'function'
    ? 'has a toJSON method, so it would read back as something else. Use `value.toJSON()`.'
    : undefined;
}

function nameOfClass(prototype: object): string | undefined {
  const { constructor } = prototype;
  return typeof constructor === 'function' && constructor.name !== '' ? constructor.name : undefined;
}
