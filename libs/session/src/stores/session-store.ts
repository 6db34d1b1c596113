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
 * What a store holds for one session: data and metadata. It stays under its session id for life.
 * Moments are epoch milliseconds **on the clock of this process**. A store that has a clock of its own converts
 * at its border (in and out), so that clocks which disagree end no session early or late.
 */
export interface SessionRecord {
  /** The session id: 128 random bits as base64url, 22 characters. Public; it opens nothing. */
  id: string;
  /** What is kept of the secret in the cookie. A request opens the record when the hash of its secret is this one. */
  keyHash: string;
  /** The user that `session.login` started this session for, or null. It never changes. */
  userId: string | null;
  /** The dictionary of the session. */
  data: JsonObject;
  /** What `setExpiry` was called with. */
  expiry: SessionExpiry;
  /** When the session was first saved. */
  createdAt: number;
  /** The last save or touch. */
  lastSeenAt: number;
  /** From this moment on the store must not return the record any more. */
  expiresAt: number;
  /** Raised by every save. As loaded; a store need not maintain the number in the object. */
  version: number;
  /** What logins and rotations have left. Stores keep it as JSON and need not know what is in it. */
  meta: SessionMeta;
}

/**
 * What is known of a session beside its data. Times are milliseconds **after `createdAt`**, so that they need no
 * conversion between clocks.
 */
export interface SessionMeta {
  /** The user asked to be remembered, so the longer pair of timeouts applies. */
  remembered?: true;
  /** The session was moved in from another library, so nobody knows when its user logged in. */
  moved?: true;
  /** A hash of the credential's stamp that `login` was given. */
  stamp?: string;
  /** Where the user logged in from, if the options ask for it. */
  device?: SessionDevice;
  /** How the session got its present secret; absent while it has its first one. */
  rotation?: SessionRotation;
}

/** A description for the list of a user's sessions. */
export interface SessionDevice {
  /** Shortened to the network: `192.0.2.0`, `2001:db8:1::`. */
  ip?: string;
  /** The first 256 characters of the header. */
  userAgent?: string;
}

/** The last change of the secret. */
export interface SessionRotation {
  /** When it was, in milliseconds after `createdAt`. */
  after: number;
  /** A renewal only: the key hash of the replaced secret. Within the overlap its saves still count. */
  formerHash?: string;
  /** A renewal only: the present secret, sealed so that nothing but the former one opens it. */
  successor?: string;
  /** A renewal only: when the present secret was first seen from the client. */
  usedAfter?: number;
}

/**
 * What one request did to a record. `clear` comes first; after it every key appears in at most one of the other
 * members. A member that is absent changes nothing.
 */
export interface SessionChanges {
  /** All keys are removed first. */
  clear?: true;
  /** Keys to set, with their new values. */
  set?: JsonObject;
  /** Keys to remove. */
  unset?: string[];
  /** Added to the stored number (a key that is missing counts from 0). */
  increment?: { [key: string]: number };
  /** Appended to the stored array (a key that is missing starts as an empty one). */
  push?: { [key: string]: JsonValue[] };
  /** What `setExpiry` was called with. */
  expiry?: SessionExpiry;
  /** Takes the place of the whole `meta`. */
  meta?: SessionMeta;
  /** A new secret: from now on only its hash opens the record. */
  keyHash?: string;
}

/** What one record may hold at most, no matter how many requests add to it. */
export interface RecordLimits {
  /** Characters of the data as JSON. */
  size: number;
  /** Keys of the data. */
  keys: number;
}

/** How many sessions there are. */
export interface SessionCount {
  /** Sessions that are live. */
  live: number;
  /** Those of them in which a user is logged in; null where the store would have to read every session to tell. */
  loggedIn: number | null;
}

/** Some of the live records of a store, and where the next ones begin. */
export interface RecordPage {
  /** The records. There may be none of them although there is a next page. */
  records: SessionRecord[];
  /** What the next call of `list` takes as `after`; null: there are no more. 1 to 64 of `A-Z a-z 0-9 _ - .`. */
  next: string | null;
}

/**
 * The contract of a store. Records are kept under their session id, which is safe in SQL, in a file name and in a Redis
 * key: 22 characters of `A-Z a-z 0-9 _ -`.
 *
 * Four methods make a store with every feature. It may ignore `changes` and write `record` whole; stores that apply
 * `changes` in one atomic step lose no concurrent write.
 *
 * Absent and expired are `null` or `false`. A record that cannot be read throws `SessionRecordCorruptError`, a store
 * that cannot be reached throws `SessionStoreUnavailableError`.
 *
 * Records and changes belong to the caller: encode or copy what is kept before the first `await`.
 *
 * @example
 * ```ts
 * class MapStore extends SessionStore {
 *   readonly #records = new Map<string, SessionRecord>();
 *
 *   async load(id: string) {
 *     const record = this.#records.get(id);
 *     return record && record.expiresAt > Date.now() ? structuredClone(record) : null;
 *   }
 *
 *   async create(id: string, record: SessionRecord) {
 *     if (await this.load(id)) return false;
 *     this.#records.set(id, structuredClone(record));
 *     return true;
 *   }
 *
 *   async save(id: string, keyHash: string, changes: SessionChanges, record: SessionRecord) {
 *     const current = await this.load(id);
 *     if (current?.keyHash !== keyHash) return false;
 *     this.#records.set(id, structuredClone({ ...record, version: current.version + 1 }));
 *     return true;
 *   }
 *
 *   async delete(id: string) {
 *     return this.#records.delete(id);
 *   }
 * }
 * ```
 */
export abstract class SessionStore {
  /**
   * Set once by the module, to twice the option `limits`. A store that adds changes to what is there refuses a save that
   * would go beyond, with `SessionLimitError`, and keeps the record as it was.
   */
  limits: Readonly<RecordLimits> = { size: Infinity, keys: Infinity };

  /**
   * Set once by the module, to the option `storeTimeout`: after so many milliseconds nobody waits for an answer any more.
   * A store whose connections can fall silent gives up those that have not answered by then.
   */
  timeLimit = 5000;

  /** The live record with this session id, or null. */
  abstract load(id: string): Promise<SessionRecord | null>;

  /** Inserts, never overwrites. False: the id is taken. */
  abstract create(id: string, record: SessionRecord): Promise<boolean>;

  /**
   * Updates a live record while its key hash is `keyHash`, and never creates one. False: the record is gone, or its
   * secret was replaced.
   * @param changes what this request did, to be applied to the record as it is in the store now
   * @param record the record as this request sees it, changes included; `version` is the one that was loaded
   * @throws SessionLimitError when the record would grow past `limits`
   */
  abstract save(
    id: string,
    keyHash: string,
    changes: SessionChanges,
    record: SessionRecord,
  ): Promise<boolean>;

  /** Deletes the record. False: there was none, which is no error. */
  abstract delete(id: string): Promise<boolean>;

  /**
   * Deletes the live record and returns what it was; null when there was none. Of two callers only one gets it.
   * The default can miss a write between its load and its delete.
   */
  async take(id: string): Promise<SessionRecord | null> {
    const record = await this.load(id);
    return record && (await this.delete(id)) ? record : null;
  }

  /**
   * Restarts the idle clock: moves `expiresAt` and `lastSeenAt` of a live record to those of `record`, and only forward.
   * A record that was saved since it was loaded (its version differs) is left alone, because that save has set its
   * deadline. False: the record was not touched.
   */
  async touch(id: string, record: SessionRecord): Promise<boolean> {
    // With the data as they are now: a store that writes records whole must not bring back those that were loaded.
    const current = await this.load(id);
    if (!current || current.version !== record.version || current.expiresAt >= record.expiresAt) return false;
    const { expiresAt, lastSeenAt } = record;
    return this.save(id, current.keyHash, {}, { ...current, expiresAt, lastSeenAt });
  }

  /**
   * The live records of this user, in no particular order.
   * @throws SessionUnsupportedError unless the store can
   */
  listByUser(_userId: string): Promise<SessionRecord[]> {
    return this.unsupported("list a user's sessions");
  }

  /**
   * Deletes the records of this user, except those with the given session ids. Resolves with how many.
   * @throws SessionUnsupportedError unless the store can
   */
  deleteByUser(_userId: string, _exceptIds: readonly string[] = []): Promise<number> {
    return this.unsupported("end a user's sessions");
  }

  /**
   * How many live records there are. May count those that have just expired, and may be an estimate where there are very
   * many.
   * @throws SessionUnsupportedError unless the store can
   */
  count(): Promise<SessionCount> {
    return this.unsupported('count its sessions');
  }

  /**
   * One page of the live records, in an order of the store's own. From the first page to the last, a caller meets every
   * record that is there the whole time. `after` is null for the first page, then the `next` of the page before. `limit` is
   * about how many records, from 1 to 1000. A page may have fewer, and one of a store that reads in portions a few more.
   * @throws SessionUnsupportedError unless the store can
   */
  list(_after: string | null, _limit: number): Promise<RecordPage> {
    return this.unsupported('list its sessions');
  }

  /**
   * Deletes one batch of expired records and returns how many; fewer than `batchSize` means that no more are left.
   * The default is for stores that expire records by themselves.
   */
  clearExpired(_batchSize: number): Promise<number> {
    return Promise.resolve(0);
  }

  /**
   * The clock that sessions of this store live by, in epoch milliseconds: the one that the moments in records are on.
   * A store for tests may have a clock that can be moved.
   */
  now(): number {
    return Date.now();
  }

  /** Releases what the store opened itself; never a connection that the application handed in. */
  close(): Promise<void> {
    return Promise.resolve();
  }

  /** Rejects with `SessionUnsupportedError`. For methods that a store does not have. */
  protected unsupported(operation: string): Promise<never> {
    return Promise.reject(
      new SessionUnsupportedError(`${this.constructor.name} cannot ${operation}. Use a store that can.`),
    );
  }
}
