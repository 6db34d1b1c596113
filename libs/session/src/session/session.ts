import { SessionKeyError } from '../session.errors.js';
import { type JsonValue } from '../stores/session-store.js';
import { LIVE } from './dictionary-methods.js';
import { REFUSED_KEYS } from './json-value.js';
import { SessionMethods } from './session-methods.js';
import { type LiveSession } from './live-session.js';

/**
 * What your sessions hold. Declare it once, and every session is typed:
 * ```ts
 * declare module 'nest-sessions' {
 *   interface SessionData {
 *     cart: Item[];
 *   }
 * }
 * ```
 * If you declare nothing, every key may hold any JSON value.
 */
// oxlint-disable-next-line typescript/no-empty-object-type -- it is there to be augmented
export interface SessionData {}

type Declared<Data> = [keyof Data] extends [never] ? { [key: string]: JsonValue } : StorableData<Data>;

/**
 * A session: a dictionary with property syntax (`session.cart`, `delete session.cart`, `'cart' in session`,
 * `Object.keys(session)`, `{ ...session }`) and methods. If a method and a value share a name, the property is the
 * method; use `get` and `set` for the value.
 *
 * @example
 * ```ts
 * add(@Session() session: Session<{ items: string[] }>, @Body('item') item: string) {
 *   session.push('items', item);
 * }
 * ```
 */
export type Session<Data extends StorableData<Data> = SessionData> = Methods<SessionMethods<Declared<Data>>> &
  Partial<Declared<Data>>;

/** Not the class itself: its instances are not meant to be spread, and sessions are. */
type Methods<Api> = { [Name in Exclude<keyof Api, typeof LIVE>]: Api[Name] };

/** The session object over a live session. */
export function createSession(live: LiveSession): Session {
  return new Proxy(Object.create(SessionMethods.prototype) as object, new SessionTraps(live)) as Session;
}

class SessionTraps implements ProxyHandler<object> {
  readonly #live: LiveSession;

  constructor(live: LiveSession) {
    this.#live = live;
  }

  get(target: object, name: string | symbol, receiver: unknown): unknown {
    // No property of the target, which an inspection would show with all getters, among them that of the secret.
    if (name === LIVE) return this.#live;
    // All sessions share the prototype, and a client that chooses names must not reach it.
    if (name === '__proto__') return undefined;
    if (typeof name === 'symbol' || name in target) return Reflect.get(target, name, receiver);
    // A promise that resolves to a session looks here; that is nobody's access to the data.
    if (name === 'then') return undefined;
    return this.#dictionary.get(name);
  }

  set(target: object, name: string | symbol, value: unknown, receiver: unknown): boolean {
    if (typeof name === 'symbol') return false;
    if (name === 'then' || (name in target && !REFUSED_KEYS.has(name))) {
      if (isSetter(target, name)) return Reflect.set(target, name, value, receiver);
      throw new SessionKeyError(name, problemOf(name));
    }
    this.#live.assertWritable();
    this.#live.data.set(name, value);
    return true;
  }

  has(target: object, name: string | symbol): boolean {
    return typeof name === 'symbol' ? Reflect.has(target, name) : this.#dictionary.has(name);
  }

  deleteProperty(_target: object, name: string | symbol): boolean {
    if (typeof name === 'symbol') return false;
    this.#live.assertWritable();
    // What express-session code means by it, such as a logout, must not be left undone in silence.
    if (!this.#live.data.delete(name) && Object.hasOwn(INSTEAD, name))
      throw new SessionKeyError(name, problemOf(name));
    return true;
  }

  ownKeys(): string[] {
    return this.#dictionary.keys();
  }

  getOwnPropertyDescriptor(_target: object, name: string | symbol): PropertyDescriptor | undefined {
    if (typeof name === 'symbol' || !this.#dictionary.has(name)) return undefined;
    return { value: this.#dictionary.get(name), writable: true, enumerable: true, configurable: true };
  }

  defineProperty(target: object, name: string | symbol, descriptor: PropertyDescriptor): boolean {
    return 'value' in descriptor && this.set(target, name, descriptor.value, target);
  }

  setPrototypeOf(): boolean {
    return false;
  }

  preventExtensions(): boolean {
    return false;
  }

  get #dictionary() {
    this.#live.assertLoaded();
    return this.#live.data;
  }
}

/** What to do instead of an assignment to what the session knows of itself. */
const INSTEAD: Readonly<Record<string, string>> = {
  id: 'login() and regenerate() start a session with another one.',
  userId: 'Call session.login(userId) to log a user in, and session.logout() to log them out.',
  authenticatedAt: 'Call session.login(), which sets it.',
  authenticationAge: 'It counts from the last session.login().',
  createdAt: 'It is set when the session is first saved.',
  lastSeenAt: 'Call session.touch() to set it to now.',
  expiresAt: 'Call session.setExpiry() to set how long the session lives.',
  loaded: 'Call `await session.load()`.',
};

function problemOf(name: string): string {
  const instead = INSTEAD[name];
  if (name === 'userId') return `cannot be assigned. ${String(instead)}`;
  const own = `To store a value of your own, call session.set(${JSON.stringify(name)}, …), or choose another name.`;
  if (instead !== undefined) return `cannot be assigned. ${instead} ${own}`;
  return `is the name of a method. ${own}`;
}

function isSetter(target: object, name: string): boolean {
  for (let object: object | null = target; object; object = Object.getPrototypeOf(object) as object | null) {
    const descriptor = Object.getOwnPropertyDescriptor(object, name);
    if (descriptor) return descriptor.set !== undefined;
  }
  return false;
}

/**
 * `Data`, if a session can hold it. Otherwise the type of a property that JSON cannot carry is a text that says what to
 * store instead, which the compiler shows. `unknown` is refused, because it may be anything; `any` is accepted.
 *
 * Declare a function that takes any session as `<Data extends StorableData<Data>>(session: Session<Data>)`.
 */
export type StorableData<Data> = object & { [Key in keyof Data]: Checked<Data[Key]> };

/** The type itself and no copy of it, so that editors show the names that were declared. */
type Checked<Value> = [Value] extends [Storable<Value> | undefined] ? Value : Storable<Present<Value>>;

/** The same rules as those of `encodeValue`, as far as types tell. An interface is checked property by property. */
type Storable<Value> = Value extends JsonValue
  ? Value
  : Value extends (...args: never[]) => unknown
    ? 'A session cannot hold a function. Store the data that it works on.'
    : Value extends Date
      ? 'A session cannot hold a Date. Use date.toISOString() or date.getTime().'
      : Value extends ReadonlyMap<unknown, unknown>
        ? 'A session cannot hold a Map. Use Object.fromEntries(map) or [...map].'
        : Value extends ReadonlySet<unknown>
          ? 'A session cannot hold a Set. Use [...set].'
          : Value extends ArrayBufferLike | ArrayBufferView
            ? "A session cannot hold binary data. Use Buffer.from(value).toString('base64')."
            : Value extends { toJSON(key?: never): unknown }
              ? 'A session cannot hold an object with a toJSON method. Use value.toJSON().'
              : Value extends readonly unknown[]
                ? { [Index in keyof Value]: Storable<Value[Index]> }
                : Value extends object
                  ? { [Key in keyof Value]: Storable<Present<Value[Key]>> | Extract<Value[Key], undefined> }
                  : NotStorable<Value>;

type NotStorable<Value> = Value extends bigint
  ? 'A session cannot hold a bigint. Use String(value).'
  : Value extends symbol
    ? 'A session cannot hold a symbol. Use a string.'
    : Value extends undefined
      ? 'A session cannot hold undefined in an array. Use null.'
      : 'A session cannot hold a value of unknown type. Declare it as JsonValue, or as what it is.';

/** A property that is undefined is left out, which JSON can carry. */
type Present<Value> = Exclude<Value, undefined>;
