import { SessionLimitError, SessionValueError } from '../session.errors.js';
import { type JsonObject, type JsonValue, type SessionChanges } from '../stores/session-store.js';
import { ChangeTracker, type Texts } from './change-tracker.js';
import { DataSize } from './data-size.js';
import { type Limits, checkKey, encodeValue } from './json-value.js';

/**
 * The data of one session, and the flags that tell what the application did with it. It knows of no store: whoever
 * saves it asks for `changes()` and a `snapshot()`, saves them, and says that this snapshot is `saved()`.
 */
export class Dictionary {
  /** Has the application touched the data, were it only to look? A plain flag: it may be set and reset, as in Django. */
  accessed = false;

  readonly #data: Map<string, JsonValue>;
  readonly #limits: Limits;
  readonly #tracker: ChangeTracker;
  #measuredSize: DataSize | undefined;
  #written = false;
  #forced = false;
  #muted = false;

  /** @param data as loaded. It belongs to this dictionary from now on. */
  constructor(data: JsonObject, limits: Limits) {
    this.#data = new Map(Object.entries(data));
    this.#limits = limits;
    this.#tracker = new ChangeTracker(this.#data, limits);
  }

  /**
   * Was the data written to, or something inside of it changed? As in Django, writing an equal value counts, and a save
   * does not reset it. Assigning true asks for a save even without a change (see `forced`); assigning false declares
   * that nothing is to be saved, until the next write. `changes()` tells the changes in either case.
   */
  get modified(): boolean {
    return this.#written || this.#forced || (!this.#muted && this.#tracker.changedInside());
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

  /** Counts as written to from now on, whether anything differs or not; unlike `modified = true` it asks for no save. */
  markWritten(): void {
    this.accessed = true;
    this.#written = true;
    this.#muted = false;
  }

  /** The number of keys. Asking for it is no access. */
  get size(): number {
    return this.#data.size;
  }

  /** The value by reference: what is changed inside of it is saved. */
  get(key: string): JsonValue | undefined {
    this.accessed = true;
    const value = this.#data.get(key);
    if (typeof value === 'object' && value !== null) this.#tracker.remember(key);
    return value;
  }

  has(key: string): boolean {
    this.accessed = true;
    return this.#data.has(key);
  }

  keys(): string[] {
    this.accessed = true;
    return [...this.#data.keys()];
  }

  /** The values by reference, as `get` gives them. */
  values(): JsonValue[] {
    return this.entries().map(([, value]) => value);
  }

  /** Keys and values, these by reference, as `get` gives them. */
  entries(): [string, JsonValue][] {
    this.accessed = true;
    for (const key of this.#data.keys()) this.get(key);
    return [...this.#data];
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
    const text = encodeValue(key, value, this.#limits);
    this.#write(key, (value === 0 ? 0 : value) as JsonValue, text.length);
    this.#tracker.overwritten(key);
  }

  /** False: there was no such key, and nothing has changed. */
  delete(key: string): boolean {
    this.accessed = true;
    if (!this.#data.has(key)) return false;
    this.#tracker.remember(key);
    this.#tracker.overwritten(key);
    this.#data.delete(key);
    this.#measuredSize?.delete(key);
    this.#written = true;
    return true;
  }

  /** Removes everything, also what concurrent requests have written meanwhile. */
  clear(): void {
    this.accessed = true;
    this.#data.clear();
    this.#tracker.cleared();
    this.#measuredSize = undefined;
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
    const current = this.#data.get(key);
    if (current !== undefined && typeof current !== 'number') {
      throw new SessionValueError(
        key,
        'is not a number, so it cannot be incremented. Set it to a number first.',
      );
    }
    const before = this.#tracker.remember(key);
    const soFar = this.#tracker.incrementSoFar(key);
    // Added up in the order in which the store will do it, lest they differ in the last digit of a fraction.
    const sum = soFar === undefined ? (current ?? 0) + by : Number(before) + (soFar + by);
    if (!Number.isFinite(sum)) {
      throw new SessionValueError(key, 'would become too large for a number. Increment by less.');
    }
    this.#write(key, sum, String(sum).length);
    if (soFar !== undefined) this.#tracker.noteIncrement(key, soFar + by);
    return sum;
  }

  /**
   * Appends to an array (a missing key starts as an empty one) and returns the new length. Concurrent pushes all count.
   * @throws SessionValueError when the value is not an array or JSON cannot carry an item, and nothing has changed
   */
  push(key: string, ...items: unknown[]): number {
    this.accessed = true;
    checkKey(key, this.#limits);
    const present = this.#data.get(key);
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
    this.#tracker.remember(key);
    const soFar = this.#tracker.pushedSoFar(key);
    const length = present === undefined ? '[]'.length : this.#measure().valueLength(key);
    const comma = texts.length > 0 && current.length > 0 ? 1 : 0;
    // In place, so that a reference handed out earlier stays the array of this session. A frozen one has to be copied.
    const list = Object.isExtensible(current) ? current : [...current];
    this.#write(key, list, length + comma + texts.join().length);
    list.push(...(items as JsonValue[]));
    if (soFar !== undefined) this.#tracker.notePush(key, [...soFar, ...texts]);
    return list.length;
  }

  /**
   * What the store has to be told so that it holds the data as it is now; `{}` when nothing. Only the members that
   * concern data. It may be asked for at any time.
   * @throws SessionValueError or SessionLimitError when something was put inside of a value that could not be assigned
   */
  changes(): SessionChanges {
    const texts = this.#tracker.texts();
    this.#checkGrowth(texts);
    return this.#tracker.changes(texts);
  }

  /**
   * The data now, without prototype; what the application can reach by reference is copied.
   * @throws SessionValueError as `changes()` does
   */
  snapshot(): JsonObject {
    return this.#tracker.snapshot();
  }

  /**
   * The store holds this snapshot (the very object) now: `changes()` counts from it. What was done since it was taken,
   * while the save was on its way, is still told. One save at a time: until then `changes()` tells everything again.
   */
  saved(snapshot: JsonObject): void {
    const { modified } = this;
    if (!this.#tracker.saved(snapshot)) return;
    this.#written = modified;
    this.#forced = false;
  }

  #write(key: string, value: JsonValue, length: number): void {
    const size = this.#measure();
    const total = size.totalWith(key, length);
    if (total > Math.max(this.#limits.size, size.total)) {
      throw new SessionLimitError('size', this.#limits.size, total, key);
    }
    this.#tracker.remember(key);
    size.set(key, length);
    this.#data.set(key, value);
    this.#written = true;
  }

  /** Only done when something is written, because it takes all the data. */
  #measure(): DataSize {
    this.#measuredSize ??= new DataSize(this.#data, this.#tracker.before);
    return this.#measuredSize;
  }

  /** Takes note of how much values have grown inside, and refuses that past the limit. */
  #checkGrowth(texts: Texts): void {
    const { before } = this.#tracker;
    if ([...texts].every(([key, text]) => text === null || text === before.get(key))) return;
    const size = this.#measure();
    let total = size.total;
    let most = { key: '', growth: 0 };
    for (const [key, text] of texts) {
      const growth = text === null ? 0 : text.length - size.valueLength(key);
      total += growth;
      if (growth > most.growth) most = { key, growth };
    }
    if (total > Math.max(this.#limits.size, size.total)) {
      throw new SessionLimitError('size', this.#limits.size, total, most.key);
    }
    for (const [key, text] of texts) if (text !== null) size.set(key, text.length);
  }
}
