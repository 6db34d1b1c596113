import { type JsonObject, type JsonValue, type SessionChanges } from '../stores/session-store.js';
import { type Limits, checkValue } from './json-value.js';

/** The text of every touched key; null: it is not there. */
export type Texts = ReadonlyMap<string, string | null>;

/** What one snapshot told, kept until somebody says that it is saved. */
interface Checkpoint {
  texts: Texts;
  increments: ReadonlyMap<string, number>;
  pushes: ReadonlyMap<string, number>;
}

/**
 * Finds out what was done to the data since the **base**: the data as it is in the store, as far as this request knows.
 *
 * Changes are found by comparing JSON texts, not by recording operations. So values that were handed out by reference
 * and changed inside are found too, an equal value is no change, and several writes to a key come out as one.
 * Only increments and pushes are noted, because the store is told of them as such and they stay exact under
 * concurrency; any other write to the key drops its note.
 */
export class ChangeTracker {
  /** For every key that was written or handed out by reference: its text in the base, or null when it was not there. */
  readonly #before = new Map<string, string | null>();
  /** For keys that were only incremented since the base: by how much. */
  #increments: Map<string, number> | undefined;
  /** For keys that were only pushed to since the base: the texts of the items. */
  #pushes: Map<string, string[]> | undefined;
  /** All data was cleared since the base; until the next save the base counts as empty. */
  #cleared = false;
  /** By snapshot. Like the maps above it is made when it is needed: most sessions are only read. */
  #checkpoints: Map<JsonObject, Checkpoint> | undefined;

  /** @param data where the data is kept, for reading only */
  constructor(
    private readonly data: ReadonlyMap<string, JsonValue>,
    private readonly limits: Limits,
  ) {}

  get before(): Texts {
    return this.#before;
  }

  /** To be called before a key is written or handed out for the first time. Returns its text in the base. */
  remember(key: string): string | null {
    const known = this.#before.get(key);
    if (known !== undefined) return known;
    const value = this.data.get(key);
    const text = value === undefined ? null : JSON.stringify(value);
    this.#before.set(key, text);
    return text;
  }

  overwritten(key: string): void {
    this.#increments?.delete(key);
    this.#pushes?.delete(key);
  }

  cleared(): void {
    this.#before.clear();
    this.#increments = this.#pushes = undefined;
    this.#cleared = true;
    this.#checkpoints = undefined; // a save that is on its way does not store this
  }

  /** By how much a remembered key was incremented since the base; undefined when that is not all that was done to it. */
  incrementSoFar(key: string): number | undefined {
    return this.#increments?.get(key) ?? (this.#isAsInBase(key) ? 0 : undefined);
  }

  noteIncrement(key: string, by: number): void {
    (this.#increments ??= new Map()).set(key, by);
  }

  /** The texts that were pushed to a remembered key; undefined when that is not all that was done to it. */
  pushedSoFar(key: string): string[] | undefined {
    return this.#pushes?.get(key) ?? (this.#isAsInBase(key) ? [] : undefined);
  }

  notePush(key: string, items: string[]): void {
    (this.#pushes ??= new Map()).set(key, items);
  }

  /** Is a value that was handed out not what it was any more? */
  changedInside(): boolean {
    for (const [key, before] of this.#before) {
      const value = this.data.get(key);
      if (typeof value === 'object' && textOf(value) !== before) return true;
    }
    return false;
  }

  /**
   * The texts of all touched keys as they are now. They are checked like assignments, unless they are those of the
   * base: what is in the store already may stay, even if the limits have been lowered.
   */
  texts(): Texts {
    const texts = new Map<string, string | null>();
    for (const [key, before] of this.#before) {
      const value = this.data.get(key);
      const text = textOf(value);
      if (text !== before && value !== undefined) checkValue(key, value, this.limits);
      texts.set(key, text ?? null);
    }
    return texts;
  }

  changes(texts: Texts): SessionChanges {
    const set = bare<JsonValue>();
    const increment = bare<number>();
    const push = bare<JsonValue[]>();
    const unset: string[] = [];
    for (const [key, now] of texts) {
      const before = this.#before.get(key) ?? null;
      const by = this.#increments?.get(key);
      const items = this.#pushes?.get(key);
      if (now === before) continue;
      if (now === null) unset.push(key);
      else if (by !== undefined) increment[key] = by;
      else if (items && appended(before, items) === now)
        push[key] = parse(`[${items.join()}]`) as JsonValue[];
      else set[key] = parse(now);
    }
    return {
      ...(this.#cleared && { clear: true }),
      ...(hasKeys(set) && { set }),
      ...(unset.length > 0 && { unset }),
      ...(hasKeys(increment) && { increment }),
      ...(hasKeys(push) && { push }),
    };
  }

  /** The data now. Values that the application can reach by reference are copied. */
  snapshot(): JsonObject {
    const texts = this.texts();
    const snapshot = bare<JsonValue>();
    for (const [key, value] of this.data) {
      const text = texts.get(key);
      snapshot[key] = typeof text === 'string' ? parse(text) : value;
    }
    (this.#checkpoints ??= new Map()).set(snapshot, {
      texts,
      increments: new Map(this.#increments),
      pushes: new Map([...(this.#pushes ?? [])].map(([key, items]) => [key, items.length])),
    });
    return snapshot;
  }

  /**
   * This snapshot is in the store now: it becomes the base. What was done since it was taken still counts.
   * False: it is none of ours, or from before a `cleared()`, so that it says nothing about the data here.
   */
  saved(snapshot: JsonObject): boolean {
    const told = this.#checkpoints?.get(snapshot);
    if (told === undefined) return false;
    this.#checkpoints?.delete(snapshot);
    this.#cleared = false;
    for (const [key, text] of told.texts) {
      this.#before.set(key, text);
      this.#pushes?.get(key)?.splice(0, told.pushes.get(key) ?? 0);
      const by = this.#increments?.get(key);
      if (by === undefined) continue;
      const rest = by - (told.increments.get(key) ?? 0);
      // Where the rest would not lead to the very value that the application saw, the key counts as set.
      if (Number(text) + rest === this.data.get(key)) this.#increments?.set(key, rest);
      else this.#increments?.delete(key);
    }
    return true;
  }

  /** Does the application see for this key what is in the store? After a clear it never does. */
  #isAsInBase(key: string): boolean {
    return !this.#cleared && textOf(this.data.get(key)) === this.#before.get(key);
  }
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

function parse(text: string): JsonValue {
  return JSON.parse(text) as JsonValue;
}

/** An object in which no key means anything but itself. */
function bare<T>(): Record<string, T> {
  return Object.create(null) as Record<string, T>;
}

function hasKeys(object: object): boolean {
  return Object.keys(object).length > 0;
}
