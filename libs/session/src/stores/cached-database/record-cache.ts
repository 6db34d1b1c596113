/**
 * What a cache in front of the database has to do: five operations on texts, each one atomic step on one key.
 * Times to live are milliseconds. An operation that could not be carried out rejects.
 */
export interface RecordCache {
  get(key: string): Promise<string | null>;

  /** Sets the value if nothing is held under the key. True: it is set. */
  add(key: string, value: string, ttl: number): Promise<boolean>;

  /**
   * Replaces the value if the one that is held begins so, and leaves it the time to live that it has.
   * True: it is replaced.
   */
  replace(key: string, beginning: string, value: string): Promise<boolean>;

  set(key: string, value: string, ttl: number): Promise<void>;

  delete(key: string): Promise<void>;

  /** Called when the application shuts down. Releases what the cache opened itself. */
  close?(): Promise<void>;
}
