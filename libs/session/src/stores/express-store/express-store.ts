import { hash, randomUUID } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import { SessionRecordCorruptError, SessionStoreUnavailableError } from '../../session.errors.js';
import { corruptRecord, type EncodedRecord, isEncodedRecord } from '../record-codec.js';
import { type EncryptionOptions } from '../sealing.js';
import { type EngineFactory, engineOf, type SessionEngine } from '../session-engine.js';
import { endOf, WholeRecordStore } from '../whole-record-store.js';
import { type CallbackStore, checkCallbackStore, StoreCalls } from './callback-store.js';

/** The options of `ExpressStore`. Every member may be left out. */
export interface ExpressStoreOptions {
  /**
   * Encrypts data and metadata. Session id, key hash, user id and times stay readable.
   * @default off
   */
  encryption?: EncryptionOptions;
}

/**
 * Sessions in any store that was written for express-session. The store, and what it is connected to, is the
 * application's: the engine never closes it.
 *
 * @throws SessionConfigError when it is no such store
 *
 * @example
 * ```ts
 * SessionModule.forRoot(expressStoreEngine(new MemcachedStore({ hosts: ['127.0.0.1:11211'] })))
 * SessionModule.forRoot(expressStoreEngine({
 *   inject: [Pool],
 *   useFactory: (pool: Pool) => new PostgresStore({ pool }),
 * }))
 * ```
 */
export function expressStoreEngine(
  store: CallbackStore | EngineFactory<CallbackStore>,
  options: ExpressStoreOptions = {},
): SessionEngine {
  return engineOf(store, checkCallbackStore, (given) => open(given, options));
}

async function open(store: CallbackStore, options: ExpressStoreOptions): Promise<ExpressStore> {
  const sessions = new ExpressStore(store, options);
  // A store that does not answer holds the start-up up for no longer than that.
  await Promise.race([sessions.tryOut(new Logger('Sessions')), setTimeout(5000, null, { ref: false })]);
  return sessions;
}

/** A small text that is no session. */
interface Mark {
  mark: string;
  /** Epoch milliseconds. */
  expiresAt: number;
}

/** Session ids, and the names under which marks are kept. */
const SID = /^[\w-]{22}$|^m[\w-]{32}$/;
/** Later dates do not fit the columns of some stores, whose last one is in 2106. */
const LAST_MOMENT = Date.UTC(2100, 0);
const DAY = 86_400_000;
/** The longest that anything has to be kept, and the longest that memcached keeps anything, a day less. In days. */
const LIFETIMES = [400, 29] as const;
/** When to look again for what was stored, for stores that read from a copy. Milliseconds. */
const PAUSES = [0, 50, 500] as const;

/**
 * Keeps sessions in a store that was written for express-session, under their session ids. Such a store can only get, set
 * and destroy. Of two processes that save one session at once, the later one wins.
 *
 * A touch goes by way of `set`: a store's own `touch` moves its deadline, and with many of them not the one in the record.
 *
 * @throws SessionConfigError when it is no such store, or a secret is weak
 *
 * @example
 * ```ts
 * const store = new ExpressStore(new FileStore({ path: '/var/lib/shop/sessions' }));
 * ```
 */
export class ExpressStore extends WholeRecordStore {
  private readonly calls: StoreCalls;
  /** Nothing is kept for longer. Milliseconds. */
  private longest = Infinity;

  constructor(store: CallbackStore, { encryption }: ExpressStoreOptions = {}) {
    super(encryption);
    this.calls = new StoreCalls(store);
  }

  /**
   * Tries out an entry with the longest sid and the longest life that there can be, and tells of what will not work. A
   * store that keeps nothing for so long is asked for less from then on.
   */
  async tryOut(logger: Pick<Logger, 'log' | 'warn'>): Promise<void> {
    if (this.calls.clearingMethod === undefined) logger.log(NEVER_CLEARED);
    try {
      for (const days of LIFETIMES) {
        if (!(await this.keepsFor(days * DAY))) continue;
        if (days === LIFETIMES[0]) return;
        this.longest = days * DAY;
        logger.warn(
          `The express-session store keeps nothing for ${LIFETIMES[0]} days. Sessions end at most ${days} days ` +
            'after their last write, whatever the timeouts say. Keep the timeouts below that, or use another store.',
        );
        return;
      }
      logger.warn(`The express-session store failed a trial at the start: ${STORES_NOTHING}`);
    } catch (error) {
      logger.warn(`The express-session store failed a trial at the start. ${(error as Error).message}`);
    }
  }

  /**
   * Leaves it to the store. Where a store only lists what it has, all of that is looked through at once. Neither way tells
   * how many there were: of two processes that destroy the same entry, both are told that it is done.
   */
  override async clearExpired(_batchSize: number): Promise<number> {
    const { clearingMethod } = this.calls;
    if (clearingMethod === undefined) return 0;
    const answer = await this.calls.clear(clearingMethod);
    if (clearingMethod !== 'list' || !Array.isArray(answer)) return 0;
    for (const name of answer as unknown[]) {
      // Names of files have an ending.
      const sid = String(name).split('.', 1)[0] ?? '';
      if (SID.test(sid) && (await this.hasExpired(sid))) await this.calls.destroy('clearExpired', sid);
    }
    return 0;
  }

  private async hasExpired(sid: string): Promise<boolean> {
    try {
      const { expiresAt = 0 } = ((await this.keptAt('clearExpired', sid)) ?? {}) as Partial<Mark>;
      return expiresAt <= Date.now();
    } catch (error) {
      if (error instanceof SessionRecordCorruptError) return false;
      throw error;
    }
  }

  /** @param lifetime milliseconds */
  private async keepsFor(lifetime: number): Promise<boolean> {
    const sid = sidOf(`try-out ${randomUUID()}`);
    await this.keep('try out', sid, { mark: '1', expiresAt: Date.now() + lifetime });
    const isKept = await this.isKept('try out', sid);
    await this.calls.destroy('try out', sid);
    return isKept;
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

  /** Some stores report no errors, so what was written is read back. */
  protected async put(operation: string, id: string, record: EncodedRecord): Promise<void> {
    if (!(await this.keep(operation, id, record))) return;
    const isThere = await this.isKept(operation, id, (kept) => {
      const { keyHash, version = 0 } = kept as Partial<EncodedRecord>;
      // With another key it is what another process has put there since.
      return keyHash !== record.keyHash || version >= record.version;
    });
    // Or another process has ended the session since.
    if (!isThere && (await this.getMark(operation, endOf(id))) === null) throw storesNothing(operation);
  }

  protected async remove(operation: string, id: string): Promise<boolean> {
    await this.calls.destroy(operation, checked(id));
    return true;
  }

  protected async getMark(operation: string, name: string): Promise<string | null> {
    const { mark, expiresAt = 0 } = ((await this.keptAt(operation, sidOf(name))) ?? {}) as Partial<Mark>;
    return typeof mark === 'string' && expiresAt > Date.now() ? mark : null;
  }

  /** Sets a small text beside the sessions, for this long. */
  protected async putMark(operation: string, name: string, text: string, lifetime: number): Promise<void> {
    const sid = sidOf(name);
    await this.keep(operation, sid, { mark: text, expiresAt: Date.now() + lifetime });
    if (!(await this.isKept(operation, sid))) throw storesNothing(operation);
  }

  /** Is something there that was just written? */
  private async isKept(
    operation: string,
    sid: string,
    isMeant: (kept: object) => boolean = () => true,
  ): Promise<boolean> {
    for (const pause of PAUSES) {
      if (pause > 0) await setTimeout(pause);
      const kept = await this.keptAt(operation, sid);
      if (kept && isMeant(kept)) return true;
    }
    return false;
  }

  /**
   * What we have put there. The cookie beside it says nothing, because many stores extend the life of a session without
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
   * stores add, and no store changes what it has no room for. A new object with every call, because stores write into it.
   * @returns false: its deadline has passed, so that nothing is there now
   */
  private async keep(operation: string, sid: string, content: EncodedRecord | Mark): Promise<boolean> {
    const now = Date.now();
    const expiresAt = Math.min(content.expiresAt, LAST_MOMENT, now + this.longest);
    const maxAge = Math.ceil(expiresAt - now);
    if (maxAge <= 0) {
      // Every store has an opinion of its own about a deadline that has passed; some take it for none.
      await this.calls.destroy(operation, checked(sid));
      return false;
    }
    const cookie = new StoredCookie(new Date(expiresAt), maxAge);
    await this.calls.set(operation, checked(sid), { cookie, nestSession: content });
    return true;
  }
}

const STORES_NOTHING =
  'it reported that it stored an entry, but did not have it afterwards. Check its connection, its settings and its own ' +
  'log: it reports no errors.';

function storesNothing(operation: string): SessionStoreUnavailableError {
  return new SessionStoreUnavailableError(operation, STORES_NOTHING);
}

const NEVER_CLEARED =
  'The express-session store has no method to delete expired sessions. If it does not delete them itself, it keeps them ' +
  'for ever.';

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
  throw new TypeError('This is not a session id, so the express-session store is not asked for it.');
}

/**
 * Where a mark is kept: under a hash, because the name of a mark is longer than some stores take. Its length is that of
 * no session id, so that nobody can ask for a mark as if it were a session.
 */
function sidOf(name: string): string {
  return `m${hash('sha256', `nest-sessions mark ${name}`, 'base64url').slice(0, 32)}`;
}
