import { type JsonValue } from '../stores/session-store.js';

/** How long the JSON text of a session is, kept up to date key by key instead of by encoding everything again. */
export class DataSize {
  /** Characters of the text `{"key":value,…}`. */
  total = 1;
  readonly #values = new Map<string, number>();

  /** @param texts the texts that are known already */
  constructor(data: Iterable<[string, JsonValue]>, texts: ReadonlyMap<string, string | null>) {
    for (const [key, value] of data) this.set(key, (texts.get(key) ?? JSON.stringify(value)).length);
  }

  /** The total if the value of `key` had `length` characters. */
  totalWith(key: string, length: number): number {
    return this.total - this.#entry(key) + entryLength(key, length);
  }

  valueLength(key: string): number {
    return this.#values.get(key) ?? 0;
  }

  set(key: string, length: number): void {
    this.total = this.totalWith(key, length);
    this.#values.set(key, length);
  }

  delete(key: string): void {
    this.total -= this.#entry(key);
    this.#values.delete(key);
  }

  #entry(key: string): number {
    const length = this.#values.get(key);
    return length === undefined ? 0 : entryLength(key, length);
  }
}

/** With the colon, and a comma or the closing brace. */
function entryLength(key: string, valueLength: number): number {
  return JSON.stringify(key).length + valueLength + 2;
}
