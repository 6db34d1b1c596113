import { type SessionChanges, type SessionRecord, type SessionRotation } from '../stores/session-store.js';
import {
  createSecret,
  createSessionId,
  formatSessionKey,
  isSessionKey,
  type KeyHasher,
  openSuccessor,
  parseSessionKey,
  sealSuccessor,
  type SessionKey,
} from './session-key.js';
import { type StoreGuard } from './store-guard.js';

/** Where a record is, by the token that leads to it. */
export interface Held {
  token: string;
  record: SessionRecord;
}

/** What a token leads to. */
export type Found =
  /** A live record. `token` is the one that it has now: after a renewal perhaps another than was asked for. */
  | ({ standing: 'live' } & Held)
  /** A moment ago the session got another token, and the client was told of it. */
  | { standing: 'replaced'; sessionId: string }
  /** A renewal has replaced the token, so long ago that nobody should have it any more. */
  | ({ standing: 'reused' } & Held);

/**
 * Where sessions are kept, by their **tokens**: what the cookie holds. For stores on the server a token is a session key,
 * for the cookie engine it is the sealed record itself. This is the one place where the two differ.
 *
 * A write resolves with the record as it is then, under the token that it has then. If that is another token, the client
 * has to be told.
 */
export interface TokenStore {
  /** Could this text be a token? Anything else is never looked up. */
  readonly isToken: (text: string) => boolean;
  /** Does a write that is not a rotation make a new token, too, so that only a response can deliver it? */
  readonly everyWriteRenames: boolean;
  /** Null: there is no live record. Without a promise where there is nothing to wait for. */
  load(token: string): Found | null | Promise<Found | null>;
  /** The record may get another id, when its own is taken. */
  create(record: SessionRecord): Promise<Held>;
  /** Under this token, and so under one id only. Null: the id is taken. */
  createAs(token: string, record: SessionRecord): Promise<Held | null>;
  /** Null: the record is gone, or the token was replaced. Without a promise like `load`. */
  save(held: Held, changes: SessionChanges, record: SessionRecord): Held | null | Promise<Held | null>;
  /**
   * A save with a new token.
   * @param overlap does the old token go on to lead to the record for a while? That is a renewal; else it is dead at once
   */
  rotate(
    held: Held,
    changes: SessionChanges,
    record: SessionRecord,
    options: { overlap: boolean },
  ): Promise<Held | null>;
  /** Restarts the idle clock. Null: it was not moved. */
  touch(held: Held, record: SessionRecord): Promise<Held | null>;
  /** Ends the session and returns what it was; null when somebody else has ended it. */
  take(held: Held): Promise<SessionRecord | null>;
  /** False: there was no such record any more. */
  end(held: Held): Promise<boolean>;
  /**
   * Asks whether the session that this token leads to is still there, as often as it is called, through all rotations. To
   * ask is no use of the session. Null: it has ended.
   * @param admitted the token has opened the session already, and may have been replaced since
   */
  watch(token: string, admitted?: boolean): () => Promise<SessionRecord | null>;
  /** Is this a session of this application, and not of another one that has the same store? */
  isOwn(record: SessionRecord): boolean;
  /** Asks for a session that does not exist, to see whether there is an answer. */
  ping(): Promise<void>;
}

/** What a key opens, and how the key hash fits it. */
type Admitted = Exclude<Found, Held> | Live | ({ standing: 'reused' } & Fitting);
type Live = { standing: 'live' } & Fitting;
type Fitting = Held & { match: 'current' | 'outdated' };

/** For so long after a renewal the former secret still opens the session. Milliseconds. */
const OVERLAP = 60_000;
/** Once the client has shown the new secret, requests with the former one can only be some that were on their way. */
const OVERLAP_AFTER_USE = 10_000;

/** So far apart the clocks of processes may be, by which `createdAt` differs between them. Milliseconds. */
const CLOCKS_DIFFER = 900_000;

/** New ids that are taken, one after the other, are no chance but a fault of the store or of the random numbers. */
const ATTEMPTS = 3;

/** Keeps records in a store, each under its session id, to be opened with its secret. */
export class StoredTokens implements TokenStore {
  // Private, as sessions lead here, and nobody may reach the records of others from a request.
  readonly #store: StoreGuard;
  readonly #hasher: KeyHasher;
  readonly isToken = isSessionKey;
  readonly everyWriteRenames = false;

  constructor(
    store: StoreGuard,
    hasher: KeyHasher,
    private readonly now: () => number,
  ) {
    this.#store = store;
    this.#hasher = hasher;
  }

  load(token: string): Promise<Found | null> {
    const key = parseSessionKey(token);
    return this.#store.load(key.id, (record) => {
      const found = record && this.admit(key, record);
      return found?.standing === 'live' ? this.settle(token, found) : found;
    });
  }

  async create(record: SessionRecord): Promise<Held> {
    const secret = createSecret();
    for (let id = record.id, attempt = 0; attempt < ATTEMPTS; id = createSessionId(), attempt += 1) {
      const created = { ...record, id, keyHash: this.#hasher.hash({ id, secret, userId: record.userId }) };
      if (await this.#store.create(id, created)) {
        return { token: formatSessionKey({ id, secret }), record: created };
      }
    }
    throw new Error('The session could not be created: the store reports that every new id is taken.');
  }

  async createAs(token: string, record: SessionRecord): Promise<Held | null> {
    const key = parseSessionKey(token);
    const keyHash = this.#hasher.hash({ ...key, userId: record.userId });
    const created = { ...record, id: key.id, keyHash };
    return (await this.#store.create(key.id, created)) ? { token, record: created } : null;
  }

  save(held: Held, changes: SessionChanges, record: SessionRecord): Promise<Held | null> {
    const { id, keyHash, version } = held.record;
    return this.#store.save(id, keyHash, changes, record, (saved) =>
      saved
        ? { token: held.token, record: { ...record, version: version + 1 } }
        : this.saveAgain(held.token, changes, record),
    );
  }

  /** Perhaps a renewal has replaced the secret, and the token still opens the record. */
  private async saveAgain(
    token: string,
    changes: SessionChanges,
    record: SessionRecord,
  ): Promise<Held | null> {
    const present = await this.admitAgain(token);
    if (present === null) return null;
    const { id, keyHash, meta, version } = present.record;
    const next = { ...record, keyHash, meta };
    if (!(await this.#store.save(id, keyHash, changes, next))) return null;
    return { token: present.token, record: { ...next, version: version + 1 } };
  }

  async rotate(
    held: Held,
    changes: SessionChanges,
    record: SessionRecord,
    { overlap }: { overlap: boolean },
  ): Promise<Held | null> {
    const rotated = await this.replaceSecret(held, changes, record, overlap);
    if (rotated !== null) return rotated;
    const present = await this.admitAgain(held.token);
    if (present === null) return null;
    // Another request was faster with a renewal: a second one has its new token from it.
    const { keyHash, meta } = present.record;
    if (overlap) return this.save(present, changes, { ...record, keyHash, meta });
    return this.replaceSecret(present, changes, { ...record, keyHash, meta }, overlap);
  }

  async touch({ token, record }: Held, next: SessionRecord): Promise<Held | null> {
    return (await this.#store.touch(record.id, next)) ? { token, record: next } : null;
  }

  take({ record }: Held): Promise<SessionRecord | null> {
    return this.#store.take(record.id);
  }

  end({ record }: Held): Promise<boolean> {
    return this.#store.delete(record.id);
  }

  watch(token: string, admitted = false): () => Promise<SessionRecord | null> {
    const key = parseSessionKey(token);
    return async () => {
      const record = this.isToken(token) ? await this.#store.load(key.id) : null;
      // The secret has to open the session once; rotations replace it later.
      admitted ||= record !== null && this.admit(key, record)?.standing === 'live';
      return admitted ? record : null;
    };
  }

  isOwn({ keyHash }: SessionRecord): boolean {
    return this.#hasher.isOwn(keyHash);
  }

  async ping(): Promise<void> {
    await this.#store.load(createSessionId());
  }

  /** What a key opens, without asking the store anything more. */
  private admit(key: SessionKey, record: SessionRecord): Admitted | null {
    const { id, userId, meta, createdAt, keyHash } = record;
    const match = this.#hasher.match(keyHash, { id: key.id, secret: key.secret, userId });
    if (match !== null) return { standing: 'live', token: formatSessionKey(key), record, match };
    const { rotation } = meta;
    if (rotation === undefined || !this.isOwn(record)) return null;
    const sinceRotation = this.now() - createdAt - rotation.after;
    const sinceUse = rotation.usedAfter === undefined ? 0 : this.now() - createdAt - rotation.usedAfter;
    const successor =
      rotation.successor === undefined ? null : openSuccessor(rotation.successor, key, this.#hasher);
    const secret = successor && successor.secret;
    // A writer to the store may have moved one of the moments, so that the overlap would not end.
    const isGenuine =
      successor?.after === rotation.after && Math.abs(successor.createdAt - createdAt) <= CLOCKS_DIFFER;
    const overlaps = isGenuine && sinceRotation < OVERLAP && sinceUse < OVERLAP_AFTER_USE;
    // Only a seal over the secret that the record has now: anybody who can write to the store can seal another one.
    const successorMatch = secret === null ? null : this.#hasher.match(keyHash, { id, secret, userId });
    if (secret !== null && successorMatch !== null) {
      const standing = overlaps ? 'live' : 'reused';
      return { standing, token: formatSessionKey({ id, secret }), record, match: successorMatch };
    }
    return sinceRotation < OVERLAP ? { standing: 'replaced', sessionId: id } : null;
  }

  /** The record under the secret that it has now, if this token still opens it. */
  private async admitAgain(token: string): Promise<Held | null> {
    const key = parseSessionKey(token);
    const record = await this.#store.load(key.id);
    const found = record && this.admit(key, record);
    return found?.standing === 'live' ? found : null;
  }

  /**
   * Notes what the store does not know yet: that the client has the renewed secret, so that the former one need not be
   * accepted much longer, and the hash under the newest pepper. Neither is worth an error to somebody who only reads.
   */
  private settle(asked: string, found: Live): Found | Promise<Found | null> {
    const { rotation } = found.record.meta;
    const isUsedFirst =
      rotation?.successor !== undefined && rotation.usedAfter === undefined && found.token === asked;
    if (!isUsedFirst && found.match === 'current') return found;
    return this.note(asked, found, isUsedFirst ? rotation : undefined);
  }

  private async note(asked: string, found: Live, used: SessionRotation | undefined): Promise<Found | null> {
    const { token, record, match } = found;
    const key = { ...parseSessionKey(token), userId: record.userId };
    const changes: SessionChanges = {
      ...(used && {
        meta: { ...record.meta, rotation: { ...used, usedAfter: this.now() - record.createdAt } },
      }),
      ...(match === 'outdated' && { keyHash: this.#hasher.hash(key) }),
    };
    const noted = { ...record, ...changes };
    try {
      if (await this.#store.save(record.id, record.keyHash, changes, noted)) {
        return { ...found, record: { ...noted, version: record.version + 1 } };
      }
    } catch {
      return found;
    }
    // Another request was faster, or the session has just ended.
    const present = await this.admitAgain(asked);
    return present && { standing: 'live', ...present };
  }

  private async replaceSecret(
    { token, record: { id, userId, keyHash, version } }: Held,
    changes: SessionChanges,
    record: SessionRecord,
    overlap: boolean,
  ): Promise<Held | null> {
    const secret = createSecret();
    const { createdAt } = record;
    const after = this.now() - createdAt;
    const meta = {
      ...record.meta,
      rotation: {
        after,
        ...(overlap && {
          formerHash: keyHash,
          successor: sealSuccessor({ secret, after, createdAt }, parseSessionKey(token), this.#hasher),
        }),
      },
    };
    const next = { ...record, meta, keyHash: this.#hasher.hash({ id, secret, userId }) };
    const rotation = { ...changes, meta, keyHash: next.keyHash };
    if (!(await this.#store.save(id, keyHash, rotation, next))) return null;
    return { token: formatSessionKey({ id, secret }), record: { ...next, version: version + 1 } };
  }
}
