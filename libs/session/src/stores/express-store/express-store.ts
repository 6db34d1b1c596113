import { hash } from 'node:crypto';
import { type FactoryProvider } from '@nestjs/common';
import { corruptRecord, type EncodedRecord, isEncodedRecord } from '../record-codec.js';
import { type EncryptionOptions } from '../sealing.js';
import { type SessionEngine } from '../session-engine.js';
import { WholeRecordStore } from '../whole-record-store.js';
import { type CallbackStore, checkCallbackStore, StoreCalls } from './callback-store.js';

export interface ExpressStoreOptions {
  /**
   * Encrypts data and metadata. Session id, key hash, user id and times stay readable.
   * @default off
   */
  encryption?: EncryptionOptions;
}

/** A store from a factory, for what has to be injected: a pool, a client, a configuration. */
export interface ExpressStoreEngineFactory extends Pick<SessionEngine, 'imports' | 'inject'> {
  useFactory: FactoryProvider<CallbackStore>['useFactory'];
}

/**
 * Sessions in any store that was written for express-session. The store, and what it is connected to, is the
 * application's: the engine never closes it.
 *
 * @throws SessionConfigError when it is no such store
 *
 * @example
 * ```ts
 * SessionModule.forRoot(expressStoreEngine(new FileStore({ path: '/var/lib/shop/sessions', retries: 0 })))
 * SessionModule.forRoot(expressStoreEngine({
 *   inject: [Pool],
 *   useFactory: (pool: Pool) => new PostgresStore({ pool }),
 * }))
 * ```
 */
export function expressStoreEngine(
  store: CallbackStore | ExpressStoreEngineFactory,
  options: ExpressStoreOptions = {},
): SessionEngine {
  if (typeof store === 'object' && store !== null && 'useFactory' in store) {
    const { useFactory, ...wiring } = store;
    return {
      ...wiring,
      useFactory: async (...dependencies: Parameters<typeof useFactory>) =>
        new ExpressStore(await useFactory(...dependencies), options),
    };
  }
  checkCallbackStore(store);
  return { useFactory: () => new ExpressStore(store, options) };
}

/** A small text that is no session. */
interface Mark {
  mark: string;
  /** Epoch milliseconds. */
  expiresAt: number;
}

/** Session ids, and the names under which marks are kept. */
const SID = /^[\w-]{22}$|^m[\w-]{32}$/;
/** Later dates do not fit the columns of some stores. */
const LAST_MOMENT = Date.UTC(9999, 11, 31);

/**
 * Keeps sessions in a store that was written for express-session, under their session ids. Such a store can only get, set
 * and destroy. Of two processes that save one session at once, the later one wins.
 *
 * A touch goes by way of `set`: a store's own `touch` moves its deadline, and with many of them not the one in the record.
 *
 * @throws SessionConfigError when it is no such store, or a secret is weak
 */
export class ExpressStore extends WholeRecordStore {
  private readonly calls: StoreCalls;

  constructor(store: CallbackStore, { encryption }: ExpressStoreOptions = {}) {
    super(encryption);
    this.calls = new StoreCalls(store);
  }

  /** Leaves it to the store, which does not tell how many there were. */
  override async clearExpired(_batchSize: number): Promise<number> {
    await this.calls.prune();
    return 0;
  }

  protected async get(operation: string, id: string): Promise<EncodedRecord | null> {
    const kept = await this.keptAt(operation, id);
    if (!kept) return null;
    // Not every store keeps a null.
    const { userId = null, expiry = null, meta = null, ...rest } = kept as Partial<EncodedRecord>;
    const record = { ...rest, userId, expiry, meta };
    if (isEncodedRecord(record)) return record;
    throw corruptRecord();
  }

  protected put(operation: string, id: string, record: EncodedRecord): Promise<void> {
    return this.keep(operation, id, record);
  }

  protected async remove(operation: string, id: string): Promise<boolean> {
    await this.calls.destroy(operation, checked(id));
    return true;
  }

  protected async getMark(operation: string, name: string): Promise<string | null> {
    const { mark, expiresAt = 0 } = ((await this.keptAt(operation, sidOf(name))) ?? {}) as Partial<Mark>;
    return typeof mark === 'string' && expiresAt > Date.now() ? mark : null;
  }

  protected putMark(operation: string, name: string, text: string, lifetime: number): Promise<void> {
    return this.keep(operation, sidOf(name), { mark: text, expiresAt: Date.now() + lifetime });
  }

  /**
   * What we have put there. The cookie beside it says nothing, for many a store extends the life of a session without
   * writing that down.
   */
  private async keptAt(operation: string, sid: string): Promise<object | null> {
    const session = await this.calls.get(operation, checked(sid));
    if (!session) return null;
    const { cookie, nestSession } = session as { cookie?: unknown; nestSession?: unknown };
    // Some stores make such a thing of an expired session.
    if (typeof session === 'object' && !cookie) return null;
    if (typeof nestSession === 'object' && nestSession !== null) return nestSession;
    throw corruptRecord();
  }

  /**
   * Ours is under one name, and its data and metadata are text: no key in them can clash with `cookie` or with what
   * stores add, and no store changes what it has no room for. A new object with every call, for stores write into it.
   */
  private keep(operation: string, sid: string, content: EncodedRecord | Mark): Promise<void> {
    const expiresAt = Math.min(content.expiresAt, LAST_MOMENT);
    const maxAge = Math.ceil(expiresAt - Date.now());
    // Every store has an opinion of its own about a deadline that has passed; some take it for none.
    if (maxAge <= 0) return this.calls.destroy(operation, checked(sid));
    const cookie = new StoredCookie(new Date(expiresAt), maxAge);
    return this.calls.set(operation, checked(sid), { cookie, nestSession: content });
  }
}

/**
 * What stores read of express-session's cookie: until when to keep the session. Some take the moment, some the length
 * of time, some either of them from the JSON.
 */
class StoredCookie {
  readonly path = '/';
  readonly httpOnly = true;

  /** @param maxAge milliseconds */
  constructor(
    readonly expires: Date,
    readonly maxAge: number,
    readonly _expires = expires,
    readonly originalMaxAge = maxAge,
  ) {}

  toJSON(): object {
    const { originalMaxAge, expires, httpOnly, path } = this;
    return { originalMaxAge, expires, httpOnly, path };
  }
}

/** Stores make file names and queries of it. */
function checked(sid: string): string {
  if (SID.test(sid)) return sid;
  throw new TypeError('This is no session id, so the express-session store is not asked for it.');
}

/**
 * Where a mark is kept: under a hash, because the name of a mark is longer than some stores take. Its length is that of
 * no session id, so that nobody can ask for a mark as if it were a session.
 */
function sidOf(name: string): string {
  return `m${hash('sha256', `nest-sessions mark ${name}`, 'base64url').slice(0, 32)}`;
}
