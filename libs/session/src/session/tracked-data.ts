import { SessionLimitError, SessionValueError } from '../session.errors.js';
import { longestText } from '../stores/record-log.js';
import { type JsonObject, type JsonValue, type SessionChanges } from '../stores/session-store.js';
import { checkKey, checkValue, encodeValue, type Limits } from './json-value.js';

/**
 * What was done to the data since the **base**: the data as they are in the store, as far as this request knows. Each
 * value that was touched is encoded once for it, and each that changed is parsed once, so that the delta shares nothing
 * that the application can still change.
 */
export interface Delta {
  /** What the store has to be told; `{}` when nothing. Only the members that concern data. */
  readonly changes: SessionChanges;
  /** Is there anything in `changes`? */
  readonly changesAnything: boolean;
  /** Does a value that was handed out differ from what it was? */
  readonly changedInside: boolean;
  /** The data now, without prototype. */
  readonly snapshot: JsonObject;
}

/** The text of every touched key; null: it is not there. */
type Texts = ReadonlyMap<string, string | null>;

/**
 * The data of one session, and the flags that tell what the application did with them. It knows no store: a commit asks
 * for the `delta()`, saves it, and says that it is `saved()`.
 *
 * Changes are found by comparing JSON texts, not by recording operations. So values that were handed out by reference
 * and changed inside are found too, an equal value is no change, and several writes to a key come out as one.
 * Only increments and pushes are noted, because the store is told of them as such and they stay exact under
 * concurrency; any other write to the key drops its note.
 */
export class TrackedData {
  /** Has the application touched the data, were it only to look? A plain flag: it may be set and reset, as in Django. */
  accessed = false;

  readonly #values = new Map<string, JsonValue>();
  readonly #limits: Limits;
  /** For every key that was written or handed out by reference: its text in the base, or null when it was not there. */
  readonly #before = new Map<string, string | null>();
  /** For keys that were only incremented since the base: by how much. Most requests increment nothing. */
  #increments: Map<string, number> | undefined;
  /** For keys that were only pushed to since the base: the texts of the items. */
  #pushes: Map<string, string[]> | undefined;
  /** All data were cleared since the base; until the next save the base counts as empty. */
  #cleared = false;
  /** How often. */
  #clearings = 0;
  /** The JSON text of the data has at most so many characters. */
  #atMost: number;
  #written = false;
  #forced = false;
  #muted = false;

  /** @param data as loaded. The values belong to this object from now on. */
  constructor(data: JsonObject, limits: Limits) {
    for (const key of Object.keys(data)) this.#values.set(key, data[key] as JsonValue);
    this.#limits = limits;
    this.#atMost = longestText(data);
  }

  // --- Flags ---

  /**
   * Was the data written to, or something inside of it changed? As in Django, writing an equal value counts, and a save
   * does not reset it. Assigning true asks for a save even without a change (see `forced`); assigning false declares
   * that nothing is to be saved, until the next write. `delta()` tells the changes in either case.
   */
  get modified(): boolean {
    return this.#written || this.#forced || (!this.#muted && this.#changedInside());
  }

  set modified(value: boolean) {
    this.#forced = value;
    this.#muted = !value;
    if (!value) this.#written = false;
  }

  /** Has the application said `modified = true` since the last save? Then the deadline is renewed, changes or not. */
  get forced(): boolean {
    return this.#forced;
  }

  /** Is there something to save? The application may have said that there is not. */
  isChangedBy({ changesAnything, changedInside }: Delta): boolean {
    return changesAnything && (this.#written || this.#forced || (!this.#muted && changedInside));
  }

  /** Counts as written to from now on, whether anything differs or not; unlike `modified = true` it asks for no save. */
  markWritten(): void {
    this.accessed = true;
    this.#written = true;
    this.#muted = false;
  }

  // --- The dictionary ---

  /** The number of keys. Asking for it is no access. */
  get size(): number {
    return this.#values.size;
  }

  /** The value by reference: what is changed inside of it is saved. */
  get(key: string): JsonValue | undefined {
    this.accessed = true;
    const value = this.#values.get(key);
    if (typeof value === 'object' && value !== null) this.#remember(key);
    return value;
  }

  has(key: string): boolean {
    this.accessed = true;
    return this.#values.has(key);
  }

  keys(): string[] {
    this.accessed = true;
    return [...this.#values.keys()];
  }

  /** The values by reference, as `get` gives them. */
  values(): JsonValue[] {
    return this.entries().map(([, value]) => value);
  }

  /** Keys and values, these by reference, as `get` gives them. */
  entries(): [string, JsonValue][] {
    this.accessed = true;
    for (const key of this.#values.keys()) this.get(key);
    return [...this.#values];
  }

  /**
   * Keeps the value by reference: it will be saved as it is then. Undefined deletes the key.
   * @throws SessionKeyError, SessionValueError or SessionLimitError, and nothing has changed
   */
  set(key: string, value: unknown): void {
    if (value === undefined) {
      this.delete(key);
      return;
    }
    this.accessed = true;
    checkKey(key, this.#limits);
    const atMost = checkValue(key, value, this.#limits);
    this.#makeRoom(key, entryLength(key, atMost), () => JSON.stringify(value).length);
    this.#write(key, (value === 0 ? 0 : value) as JsonValue);
    this.#forgetSteps(key);
  }

  /** False: there was no such key, and nothing has changed. */
  delete(key: string): boolean {
    this.accessed = true;
    if (!this.#values.has(key)) return false;
    this.#remember(key);
    this.#forgetSteps(key);
    this.#values.delete(key);
    this.#written = true;
    return true;
  }

  /** Removes everything, also what concurrent requests write at the same time. */
  clear(): void {
    this.accessed = true;
    this.#values.clear();
    this.#before.clear();
    this.#increments = this.#pushes = undefined;
    this.#atMost = '{}'.length;
    this.#cleared = true;
    this.#clearings += 1;
    this.#written = true;
  }

  /**
   * Adds to a number (a missing key counts from 0) and returns the sum. Concurrent increments all count.
   * @throws SessionValueError when `by` is not finite, the value is not a number, or the sum is too large for one
   */
  increment(key: string, by = 1): number {
    this.accessed = true;
    checkKey(key, this.#limits);
    if (!Number.isFinite(by)) {
      throw new SessionValueError(key, `cannot be incremented by ${String(by)}. Pass a finite number.`);
    }
    const current = this.#values.get(key);
    if (current !== undefined && typeof current !== 'number') {
      throw new SessionValueError(
        key,
        'is not a number, so it cannot be incremented. Set it to a number first.',
      );
    }
    const before = this.#remember(key);
    const soFar = this.#increments?.get(key) ?? (this.#isAsInBase(key) ? 0 : undefined);
    // Added up in the order in which the store will do it, so that both agree on the last digit of a fraction.
    const sum = soFar === undefined ? (current ?? 0) + by : Number(before) + (soFar + by);
    if (!Number.isFinite(sum)) {
      throw new SessionValueError(key, 'would become too large for a number. Increment by less.');
    }
    const { length } = String(sum);
    this.#makeRoom(key, entryLength(key, length), () => length);
    this.#write(key, sum);
    if (soFar !== undefined) (this.#increments ??= new Map()).set(key, soFar + by);
    return sum;
  }

  /**
   * Appends to an array (a missing key starts as an empty one) and returns the new length. Concurrent pushes all count.
   * @throws SessionValueError when the value is not an array or JSON cannot carry an item, and nothing has changed
   */
  push(key: string, ...items: unknown[]): number {
    this.accessed = true;
    checkKey(key, this.#limits);
    const present = this.#values.get(key);
    const current = present === undefined ? [] : present;
    if (!Array.isArray(current)) {
      throw new SessionValueError(
        key,
        'is not an array, so nothing can be pushed to it. Set it to an array first.',
      );
    }
    const texts = items.map((item, index) =>
      encodeValue(`${key}[${current.length + index}]`, item, this.#limits, [current]),
    );
    this.#remember(key);
    const soFar = this.#pushes?.get(key) ?? (this.#isAsInBase(key) ? [] : undefined);
    const added = texts.join().length + 1;
    this.#makeRoom(
      key,
      added + entryLength(key, '[]'.length),
      () => lengthOf(current) + added - (texts.length > 0 && current.length > 0 ? 0 : 1),
    );
    // In place, so that a reference handed out earlier stays the array of this session. A frozen one has to be copied.
    const list = Object.isExtensible(current) ? current : [...current];
    this.#write(key, list);
    list.push(...(items as JsonValue[]));
    if (soFar !== undefined) (this.#pushes ??= new Map()).set(key, [...soFar, ...texts]);
    return list.length;
  }

  // --- What a commit asks for ---

  /**
   * What was done since the base. It may be asked for at any time, and changes nothing.
   * @throws SessionValueError or SessionLimitError when something was put inside of a value that could not be assigned
   */
  delta(): Delta {
    if (this.#before.size === 0 && !this.#cleared) {
      return new DataDelta(NO_CHANGES, false, this.#values, NONE, {
        texts: NONE,
        clearings: this.#clearings,
      });
    }
    const texts = new Map<string, string | null>();
    let changedInside = false;
    for (const [key, before] of this.#before) {
      const value = this.#values.get(key);
      const text = textOf(value);
      if (text !== before) {
        // Checked like an assignment. What is in the store already may stay, even if the limits have been lowered.
        if (value !== undefined) checkValue(key, value, this.#limits);
        if (typeof value === 'object') changedInside = true;
      }
      texts.set(key, text ?? null);
    }
    this.#checkGrowth(texts);
    const copies = new Map<string, JsonValue>();
    const changes = this.#changes(texts, copies);
    return new DataDelta(changes, changedInside, this.#values, copies, {
      texts,
      increments: this.#increments && new Map(this.#increments),
      pushes: this.#pushes && new Map([...this.#pushes].map(([key, items]) => [key, items.length])),
      clearings: this.#clearings,
    });
  }

  /**
   * This delta is in the store now: it becomes the base. What was done since it was taken, while the save was on its way,
   * still counts. One save at a time: until then `delta()` tells everything again.
   */
  saved(delta: Delta): void {
    // Of other data, or from before a `clear()`: it says nothing about the data here.
    if (!(delta instanceof DataDelta) || delta.values !== this.#values) return;
    const { told } = delta;
    if (told.clearings !== this.#clearings) return;
    // What was changed inside since then is found again.
    this.#written ||= this.#forced || (!this.#muted && delta.changedInside);
    this.#cleared = false;
    for (const [key, text] of told.texts) {
      if (text !== null && text !== this.#before.get(key)) this.#atMost += entryLength(key, text.length);
      this.#before.set(key, text);
      this.#pushes?.get(key)?.splice(0, told.pushes?.get(key) ?? 0);
      const by = this.#increments?.get(key);
      if (by === undefined) continue;
      const rest = by - (told.increments?.get(key) ?? 0);
      // Where the rest would not lead to the very value that the application saw, the key counts as set.
      if (Number(text) + rest === this.#values.get(key)) this.#increments?.set(key, rest);
      else this.#increments?.delete(key);
    }
    this.#forced = false;
  }

  #changes(texts: Texts, copies: Map<string, JsonValue>): SessionChanges {
    const changes: SessionChanges = this.#cleared ? { clear: true } : {};
    for (const [key, now] of texts) {
      const before = this.#before.get(key) ?? null;
      if (now === before) continue;
      if (now === null) {
        (changes.unset ??= []).push(key);
        continue;
      }
      const value = JSON.parse(now) as JsonValue;
      copies.set(key, value);
      const by = this.#increments?.get(key);
      const items = this.#pushes?.get(key);
      if (by !== undefined) (changes.increment ??= bare())[key] = by;
      else if (items && appended(before, items) === now)
        (changes.push ??= bare())[key] = (value as JsonValue[]).slice(-items.length);
      else (changes.set ??= bare())[key] = value;
    }
    return changes;
  }

  /** To be called before a key is written or handed out for the first time. Returns its text in the base. */
  #remember(key: string): string | null {
    const known = this.#before.get(key);
    if (known !== undefined) return known;
    const value = this.#values.get(key);
    const text = value === undefined ? null : JSON.stringify(value);
    this.#before.set(key, text);
    return text;
  }

  #forgetSteps(key: string): void {
    this.#increments?.delete(key);
    this.#pushes?.delete(key);
  }

  /** Does the application see for this key what is in the store? After a clear it never does. */
  #isAsInBase(key: string): boolean {
    return !this.#cleared && textOf(this.#values.get(key)) === this.#before.get(key);
  }

  #changedInside(): boolean {
    for (const [key, before] of this.#before) {
      const value = this.#values.get(key);
      if (typeof value === 'object' && textOf(value) !== before) return true;
    }
    return false;
  }

  #write(key: string, value: JsonValue): void {
    this.#remember(key);
    this.#values.set(key, value);
    this.#written = true;
  }

  /**
   * Refuses a write that goes past a limit.
   * @param growth at most so many characters are added; only when these might not fit is everything encoded
   * @param exactly how long the text of the new value is
   */
  #makeRoom(key: string, growth: number, exactly: () => number): void {
    if (this.#atMost + growth <= this.#limits.size) this.#atMost += growth;
    else this.#atMost = this.#totalWith(new Map([[key, exactly()]]), key);
    const count = this.#values.size + 1;
    if (count > this.#limits.keys && !this.#values.has(key)) {
      throw new SessionLimitError('keys', this.#limits.keys, count, key);
    }
  }

  /** Refuses that values have grown past the limit inside. */
  #checkGrowth(texts: Texts): void {
    let atMost = this.#atMost;
    let largest: { key: string; growth: number } | undefined;
    for (const [key, text] of texts) {
      const before = this.#before.get(key) ?? null;
      if (text === null || text === before) continue;
      atMost += entryLength(key, text.length);
      const growth = text.length - (before?.length ?? 0);
      if (largest === undefined || growth > largest.growth) largest = { key, growth };
    }
    if (atMost <= this.#limits.size || largest === undefined) return;
    const lengths = [...texts].flatMap(([key, text]): [string, number][] =>
      text === null ? [] : [[key, text.length]],
    );
    this.#totalWith(new Map(lengths), largest.key);
  }

  /**
   * The length of the JSON text of the data, with these lengths in place of those that values have now.
   * @throws SessionLimitError naming the key when it is past the limit, unless the store holds as much already
   */
  #totalWith(lengths: ReadonlyMap<string, number>, key: string): number {
    let [total, stored] = [1, 1];
    for (const each of new Set([...this.#values.keys(), ...this.#before.keys(), ...lengths.keys()])) {
      const value = this.#values.get(each);
      const present = lengths.get(each) ?? (value === undefined ? undefined : lengthOf(value));
      const stands = this.#cleared || value === undefined ? undefined : lengthOf(value);
      const before = this.#before.has(each) ? this.#before.get(each)?.length : stands;
      if (present !== undefined) total += entryLength(each, present);
      if (before !== undefined) stored += entryLength(each, before);
    }
    if (total > Math.max(this.#limits.size, stored)) {
      throw new SessionLimitError('size', this.#limits.size, total, key);
    }
    return total;
  }
}

/** What a delta has told, for when it is saved. */
interface Told {
  texts: Texts;
  increments?: ReadonlyMap<string, number> | undefined;
  pushes?: ReadonlyMap<string, number> | undefined;
  clearings: number;
}

const NO_CHANGES: SessionChanges = Object.freeze({});
const NONE: ReadonlyMap<string, never> = new Map<string, never>();

class DataDelta implements Delta {
  readonly changesAnything: boolean;
  #snapshot: JsonObject | undefined;

  constructor(
    readonly changes: SessionChanges,
    readonly changedInside: boolean,
    readonly values: ReadonlyMap<string, JsonValue>,
    private readonly copies: ReadonlyMap<string, JsonValue>,
    readonly told: Told,
  ) {
    this.changesAnything = hasKeys(changes);
  }

  /** Made when it is first asked for, which a commit does at once. */
  get snapshot(): JsonObject {
    if (this.#snapshot) return this.#snapshot;
    const snapshot = bare<JsonValue>();
    for (const [key, value] of this.values) snapshot[key] = this.copies.get(key) ?? value;
    return (this.#snapshot = snapshot);
  }
}

/** With the colon, and a comma or the closing brace. */
function entryLength(key: string, valueLength: number): number {
  return JSON.stringify(key).length + valueLength + 2;
}

/** The text of an array with `items` appended. */
function appended(before: string | null, items: string[]): string {
  if (before === null || before === '[]') return `[${items.join()}]`;
  return `${before.slice(0, -1)},${items.join()}]`;
}

/** The text of a value, null for a missing one, undefined when it has none: by now it may hold anything. */
function textOf(value: JsonValue | undefined): string | null | undefined {
  try {
    return value === undefined ? null : JSON.stringify(value);
  } catch {
    return undefined;
  }
}

/** Nothing where JSON cannot carry the value: the next `delta()` refuses it. */
function lengthOf(value: JsonValue): number {
  return textOf(value)?.length ?? 0;
}

/** An object in which no key means anything but itself. */
function bare<T>(): Record<string, T> {
  return Object.create(null) as Record<string, T>;
}

function hasKeys(object: object): boolean {
  return Object.keys(object).length > 0;
}
