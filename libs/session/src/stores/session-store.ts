import { SessionUnsupportedError } from '../session.errors.js';

/** What JSON can carry, and therefore what a session can hold. */
export type JsonValue = string | number | boolean | null | JsonValue[] | { [key: string]: JsonValue };

/** An object without prototype: no key in it, not even `__proto__`, means anything but itself. */
export type JsonObject = { [key: string]: JsonValue };

/**
 * How long a session lives when `setExpiry` was called on it: a number of seconds after the last use, `0` for
 * "until the browser closes", an ISO 8601 moment, or `null` for whatever the options say.
 */
export type SessionExpiry = number | string | null;

/**
 * What a store holds for one session: data and metadata.
 * Moments are epoch milliseconds **on the clock of this process**. A store that has a clock of its own converts
 * at its border (in and out), so that clocks which disagree end no session early or late.
 */
export interface SessionRecord {
  /** The session id: public, opens nothing, stays the same when the session key rotates. */
  id: string;
  /** The user bound by `session.login`, or null. */
  userId: string | null;
  data: JsonObject;
  expiry: SessionExpiry;
  createdAt: number;
  /** The last save or touch. */
  lastSeenAt: number;
  /** From this moment on the store must not return the record any more. */
  expiresAt: number;
  /** Raised by every write of data. As loaded; a store need not maintain the number in the object. */
  version: number;
  /** What logins and rotations have left. Stores keep it as JSON, and have nothing to do with what is in it. */
  meta: SessionMeta;
}

/**
 * What is known of a session beside its data. Times are milliseconds **after `createdAt`**, so that they need no
 * conversion between clocks.
 */
export interface SessionMeta {
  /** When the user last logged in. */
  authenticatedAfter?: number;
  /** The user wished to be remembered, so that the longer pair of timeouts holds. */
  remembered?: true;
  /** A hash of the credential's stamp that `login` was given. */
  stamp?: string;
  /** From where the user logged in, where the options ask for it. */
  device?: SessionDevice;
  /** How the session came to its present key; absent while it has its first one. */
  rotation?: SessionRotation;
}

/** A description for the list of a user's sessions. */
export interface SessionDevice {
  /** Shortened to the network: `192.0.2.0`, `2001:db8:1::`. */
  ip?: string;
  userAgent?: string;
}

export interface SessionRotation {
  after: number;
  /** A renewal only: the present session key, sealed so that nothing but the former session key opens it. */
  successor?: string;
  /** A renewal only: when the present key was first seen from the client. */
  usedAfter?: number;
}

/** Stands for a while where a session was that a rotation has moved. */
export interface SessionMoved {
  /** The store key that it was moved to. */
  movedTo: string;
}

/**
 * What one request did to a record. `clear` comes first; after it every key appears in at most one of the other
 * members. A member that is absent changes nothing.
 */
export interface SessionChanges {
  clear?: true;
  set?: JsonObject;
  unset?: string[];
  /** Added to the stored number (a key that is missing counts from 0). */
  increment?: { [key: string]: number };
  /** Appended to the stored array (a key that is missing starts as an empty one). */
  push?: { [key: string]: JsonValue[] };
  expiry?: SessionExpiry;
  userId?: string | null;
  /** Takes the place of the whole `meta`. */
  meta?: SessionMeta;
}

/**
 * The contract of a store. `key` is always a store key (a hash of the session key), safe in SQL, in a file name and
 * in a Redis key: `v1-` and 64 hexadecimal digits.
 *
 * Four methods make a store. It may ignore `changes` and write `record` whole; stores that apply `changes` in one
 * atomic step lose no concurrent write.
 *
 * Absent and expired are `null` or `false`. A record that cannot be read throws `SessionRecordCorruptError`, a store
 * that cannot be reached throws `SessionStoreUnavailableError`.
 */
export abstract class SessionStore {
  /** Does `find` know where `rename` has moved a record? What the option `renewAfter` needs. */
  readonly remembersMoves: boolean = false;

  /** The live record under this key, or null. */
  abstract load(key: string): Promise<SessionRecord | null>;

  /** Inserts, never overwrites. False: the key is taken. */
  abstract create(key: string, record: SessionRecord): Promise<boolean>;

  /**
   * Updates a live record, never creates one. False: the record is gone.
   * @param changes what this request did, to be applied to the record as it is in the store now
   * @param record the record as this request sees it, changes included; `version` is the one that was loaded
   */
  abstract save(key: string, changes: SessionChanges, record: SessionRecord): Promise<boolean>;

  /**
   * Deletes the record. False: there was none, which is no error.
   * @param id the session id of the record. A store that can find records by it deletes this one even if a concurrent
   * `rename` has moved it to another key, so that a logout holds against a rotation that was faster.
   */
  abstract delete(key: string, id?: string): Promise<boolean>;

  /**
   * Restarts the idle clock: moves `expiresAt` and `lastSeenAt` of a live record to those of `record`, and only forward.
   * A record that somebody else has written since it was loaded (its version differs) is left alone, for that write
   * has set its deadline. False: the record was not moved.
   */
  async touch(key: string, record: SessionRecord): Promise<boolean> {
    // With the data as they are now: a store that writes records whole must not bring back those that were loaded.
    const current = await this.load(key);
    if (!current || current.version !== record.version || current.expiresAt >= record.expiresAt) return false;
    return this.save(key, {}, { ...current, expiresAt: record.expiresAt, lastSeenAt: record.lastSeenAt });
  }

  /**
   * Moves a live record to another key and applies `changes` on the way; the old key dies. False: the old key is gone,
   * and nothing lives under the new one. Never deletes before the new key is there.
   */
  async rename(
    key: string,
    newKey: string,
    changes: SessionChanges,
    record: SessionRecord,
  ): Promise<boolean> {
    if (!(await this.exists(key))) return false;
    if (!(await this.create(newKey, record))) return false;
    if (await this.delete(key)) return true;
    await this.delete(newKey); // somebody ended the session in between: ended stays ended
    return false;
  }

  /**
   * Like `load`. Under the key that the last `rename` has left, a store that remembers it for at least a minute (see
   * `remembersMoves`) tells where the record was moved to. If that has gone meanwhile, it may tell it or not.
   */
  find(key: string): Promise<SessionRecord | SessionMoved | null> {
    return this.load(key);
  }

  async exists(key: string): Promise<boolean> {
    return (await this.load(key)) !== null;
  }

  /**
   * The live records bound to this user, in no particular order.
   * @throws SessionUnsupportedError unless the store can
   */
  listByUser(_userId: string): Promise<SessionRecord[]> {
    return this.unsupported("list a user's sessions");
  }

  /**
   * Deletes the records bound to this user, but for those with the given session ids. Resolves with how many.
   * @throws SessionUnsupportedError unless the store can
   */
  deleteByUser(_userId: string, _exceptIds: readonly string[] = []): Promise<number> {
    return this.unsupported("end a user's sessions");
  }

  /**
   * Deletes the live record with this session id, wherever rotations have moved it. False: there was none.
   * @param userId the record must be bound to this user; it also makes the record easier to find for some stores
   * @throws SessionUnsupportedError unless the store can
   */
  deleteById(_id: string, _userId?: string): Promise<boolean> {
    return this.unsupported('end a session by its id');
  }

  /**
   * Deletes one batch of expired records and returns how many; fewer than `batchSize` means that no more are left.
   * The default is for stores that expire records by themselves.
   */
  clearExpired(_batchSize: number): Promise<number> {
    return Promise.resolve(0);
  }

  /**
   * The clock of this process, in epoch milliseconds, by which sessions of this store live: the one that the moments in
   * records are on. A store for tests may have a clock that can be moved.
   */
  now(): number {
    return Date.now();
  }

  /** Releases what the store opened itself; never a connection that the application handed in. */
  close(): Promise<void> {
    return Promise.resolve();
  }

  protected unsupported(operation: string): Promise<never> {
    return Promise.reject(
      new SessionUnsupportedError(`${this.constructor.name} cannot ${operation}. Use a store that can.`),
    );
  }
}
