import { SessionKeyError } from '../session.errors.js';
import { isObject } from '../stores/record-log.js';
import { type JsonObject, type JsonValue } from '../stores/session-store.js';
import { type TrackedData } from './tracked-data.js';
import { createSessionId } from './session-key.js';
import { type LiveSession } from './live-session.js';

/** Reaches the state behind a session object; a symbol, so that no data can stand in its way. */
export const LIVE = Symbol('nest-sessions:live-session');

/** A message that `addFlash` left for the next page. */
export interface FlashMessage<Message = string> {
  /** The kind of message, as the application names it: `success`, `error`. */
  type: string;
  /** What `addFlash` got. */
  message: Message;
}

/** Keys of `Data` whose values may be of type `Value`. */
type KeysOf<Data, Value> = {
  [Key in keyof Data]-?: Value extends Present<Data[Key]> ? Key : never;
}[keyof Data] &
  string;
/** A declared value that is there: null is a value, undefined is none. */
type Present<Value> = Exclude<Value, undefined>;
type ItemOf<Value> = Value extends (infer Item)[] ? Item : never;
type ArrayKeys<Data> = {
  [Key in keyof Data]-?: [ItemOf<Present<Data[Key]>>] extends [never] ? never : Key;
}[keyof Data] &
  string;

/** A key of the declared data; any string while nothing is declared. */
type KeyOf<Data> = keyof Data & string;

const TEST_COOKIE = { key: 'testcookie', value: 'worked' };
/** Each message has a key of its own, so that taking one never takes another that has just arrived. */
const FLASH = '_flash:';
/** Input of a form. Not beside the messages, where a page that shows all of them would come upon it. */
const INPUT = '_flash_input';

/** A session as a dictionary: Django's methods, and `increment` and `push`, which stay exact under concurrency. */
export abstract class DictionaryMethods<Data extends object> {
  /** @internal */
  declare readonly [LIVE]: LiveSession;

  // --- The dictionary ---

  /** The value, or `fallback` if the key is missing. */
  get<Key extends KeyOf<Data>>(key: Key): Data[Key] | undefined;
  get<Key extends KeyOf<Data>, Fallback>(key: Key, fallback: Fallback): Present<Data[Key]> | Fallback;
  get(key: string, fallback?: unknown): unknown {
    const dictionary = read(this);
    return dictionary.has(key) ? dictionary.get(key) : fallback;
  }

  /**
   * The value of a key that must exist.
   * @throws SessionKeyError if the key is missing
   */
  getOrThrow<Key extends KeyOf<Data>>(key: Key): Present<Data[Key]> {
    const dictionary = read(this);
    if (!dictionary.has(key)) throw missing(key);
    return dictionary.get(key) as Present<Data[Key]>;
  }

  /**
   * Sets a value; `undefined` deletes the key.
   * @throws SessionKeyError if the key is not allowed
   * @throws SessionValueError if JSON cannot carry the value; it names the place in it
   * @throws SessionLimitError if the session would exceed `limits`
   */
  set<Key extends KeyOf<Data>>(key: Key, value: Data[Key] | undefined): void {
    write(this).set(key, value);
  }

  /** Does the key exist? It does if its value is null. */
  has(key: KeyOf<Data>): boolean {
    return read(this).has(key);
  }

  /** The same as `has`. */
  hasKey(key: KeyOf<Data>): boolean {
    return read(this).has(key);
  }

  /** Removes a key. Returns false if it was missing. */
  delete(key: KeyOf<Data>): boolean {
    return write(this).delete(key);
  }

  /**
   * Removes a key that must exist.
   * @throws SessionKeyError if the key is missing
   */
  deleteOrThrow(key: KeyOf<Data>): void {
    if (!write(this).delete(key)) throw missing(key);
  }

  /**
   * Removes a key and returns its value.
   * @throws SessionKeyError if the key is missing and there is no fallback
   */
  pop<Key extends KeyOf<Data>>(key: Key): Present<Data[Key]>;
  pop<Key extends KeyOf<Data>, Fallback>(key: Key, fallback: Fallback): Present<Data[Key]> | Fallback;
  pop(key: string, ...fallback: unknown[]): unknown {
    const dictionary = write(this);
    if (!dictionary.has(key)) {
      if (fallback.length === 0) throw missing(key);
      return fallback[0];
    }
    const value = dictionary.get(key);
    dictionary.delete(key);
    return value;
  }

  /** The value. If the key is missing, stores and returns `value`. */
  setDefault<Key extends KeyOf<Data>>(key: Key, value: Present<Data[Key]>): Present<Data[Key]> {
    const dictionary = write(this);
    if (!dictionary.has(key)) dictionary.set(key, value);
    return dictionary.get(key) as Present<Data[Key]>;
  }

  /** Sets every key of `values`. */
  update(values: Partial<Data>): void {
    const dictionary = write(this);
    for (const [key, value] of Object.entries(values)) dictionary.set(key, value);
    dictionary.markWritten();
  }

  /** Removes all data, and the expiry from `setExpiry`. The session itself stays; `flush` ends it. */
  clear(): void {
    write(this).clear();
    this[LIVE].expiry = null;
  }

  /** The keys of the data, as an array. */
  keys(): KeyOf<Data>[] {
    return read(this).keys() as KeyOf<Data>[];
  }

  /** The values of the data, as an array. Arrays and objects are references; changes in them are saved. */
  values(): Present<Data[KeyOf<Data>]>[] {
    return read(this).values() as Present<Data[KeyOf<Data>]>[];
  }

  /** The keys with their values, as an array of pairs. */
  entries(): [KeyOf<Data>, Present<Data[KeyOf<Data>]>][] {
    return read(this).entries() as [KeyOf<Data>, Present<Data[KeyOf<Data>]>][];
  }

  /**
   * Adds to a number and returns the sum. Exact, however many requests do it at once. A missing key counts from 0.
   * @throws SessionValueError if the value is not a number, or `by` is not finite
   */
  increment(key: KeysOf<Data, number>, by = 1): number {
    return write(this).increment(key, by);
  }

  /**
   * Appends to an array and returns its length. Loses no item, however many requests do it at once. A missing key starts
   * empty.
   * @throws SessionValueError if the value is not an array, or JSON cannot carry an item
   */
  push<Key extends ArrayKeys<Data>>(key: Key, ...items: ItemOf<Present<Data[Key]>>[]): number {
    return write(this).push(key, ...items);
  }

  /** A copy of the data as a plain object. */
  toJSON(): JsonObject {
    return Object.fromEntries(read(this).entries());
  }

  // --- Flags ---

  /** True if there is neither a stored session nor data. It does not count as access, but the response varies by cookie. */
  isEmpty(): boolean {
    const live = this[LIVE];
    live.assertLoaded();
    live.observed = true;
    return live.record === null && live.empty;
  }

  /** Did the application look at the data? Loading the session does not count. */
  get accessed(): boolean {
    return this[LIVE].data.accessed;
  }

  /** You may set it, as in Django. */
  set accessed(accessed: boolean) {
    this[LIVE].data.accessed = accessed;
  }

  /** Did the application change the data? Set it to true to save the session and renew its deadline. */
  get modified(): boolean {
    return this[LIVE].data.modified || this[LIVE].metadataChanged;
  }

  /** True asks for a save, or at least a new deadline. With false nothing is saved until the next write. */
  set modified(modified: boolean) {
    this[LIVE].assertWritable();
    this[LIVE].data.modified = modified;
  }

  // --- Test cookie ---

  /** Writes a value that only browsers with cookies bring back. Call `testCookieWorked` in the next request. */
  setTestCookie(): void {
    write(this).set(TEST_COOKIE.key, TEST_COOKIE.value);
  }

  /** Did the browser bring back the value that `setTestCookie` wrote in an earlier request? */
  testCookieWorked(): boolean {
    return read(this).get(TEST_COOKIE.key) === TEST_COOKIE.value;
  }

  /** Removes the value of `setTestCookie`. */
  deleteTestCookie(): void {
    write(this).delete(TEST_COOKIE.key);
  }

  // --- Flash messages ---

  /**
   * Leaves a message for the next page that asks: a text, or any other JSON value.
   * @throws SessionValueError if JSON cannot carry the message
   * @throws SessionLimitError if the session would exceed `limits`
   */
  addFlash(type: string, message: JsonValue): void {
    write(this).set(`${FLASH}${createSessionId()}`, { type, message });
  }

  /**
   * Returns the messages (all, or of one type) and removes them. If they are not texts, give their type:
   * `takeFlash<Undo>('undo')`. Other values under such keys are removed.
   */
  takeFlash<Message = string>(type?: string): FlashMessage<Message>[] {
    const dictionary = read(this);
    const keys = dictionary.keys().filter((key) => key.startsWith(FLASH));
    const taken: FlashMessage<Message>[] = [];
    for (const key of keys) {
      const flash: unknown = dictionary.get(key);
      if (!isFlash(flash)) {
        write(this).delete(key);
        continue;
      }
      if (type !== undefined && flash.type !== type) continue;
      taken.push(flash as FlashMessage<Message>);
      take(this, key);
    }
    return taken;
  }

  /**
   * Keeps form input for the page that shows the form again. It replaces earlier input. **Leave passwords out**: the input
   * is stored. Fields called `__proto__` are left out, even nested ones.
   * @throws SessionValueError if JSON cannot carry a value
   * @throws SessionLimitError if the session would exceed `limits`
   */
  flashInput(values: { [field: string]: JsonValue | undefined }): void {
    write(this).set(INPUT, withoutProto(values));
  }

  /** Returns what `flashInput` kept, or `{}`, and removes it. */
  takeOldInput(): Partial<JsonObject> {
    const input = read(this).get(INPUT);
    if (input === undefined) return {};
    if (!isObject(input)) {
      write(this).delete(INPUT);
      return {};
    }
    take(this, INPUT);
    return input;
  }

  /**
   * Puts back what `takeFlash` and `takeOldInput` took in this request, for the next request: for example if the page
   * redirects instead of showing it. After a login or a logout nothing is put back.
   */
  reflash(): void {
    const { taken } = this[LIVE];
    const dictionary = write(this);
    for (const [key, value] of taken) if (!dictionary.has(key)) dictionary.set(key, value);
    taken.clear();
  }
}

/** Applications that let visitors choose keys may have anything there. */
function isFlash(value: unknown): value is FlashMessage<unknown> {
  return isObject(value) && typeof value['type'] === 'string';
}

/** Deeper than any form; what is below it is looked at by the checks of `set` only. */
const FORM_DEPTH = 64;

/** What is not plain is left as it is, for `set` to refuse. */
function withoutProto(value: unknown, ancestors: readonly object[] = []): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (ancestors.length >= FORM_DEPTH || ancestors.includes(value)) return value;
  const inner = [...ancestors, value];
  if (Array.isArray(value)) return value.map((item) => withoutProto(item, inner));
  const prototype = Object.getPrototypeOf(value) as object | null;
  if (prototype !== null && Object.getPrototypeOf(prototype) !== null) return value;
  const fields = Object.entries(value).filter(([name]) => name !== '__proto__');
  return Object.fromEntries(fields.map(([name, field]) => [name, withoutProto(field, inner)]));
}

function take(session: { [LIVE]: LiveSession }, key: string): void {
  const dictionary = write(session);
  session[LIVE].taken.set(key, dictionary.get(key));
  dictionary.delete(key);
}

export function read(session: { [LIVE]: LiveSession }): TrackedData {
  session[LIVE].assertLoaded();
  return session[LIVE].data;
}

export function write(session: { [LIVE]: LiveSession }): TrackedData {
  session[LIVE].assertWritable();
  return session[LIVE].data;
}

function missing(key: string): SessionKeyError {
  return new SessionKeyError(key, 'is missing. Check has() first, or give get() or pop() a fallback.');
}
