import { type Observable } from 'rxjs';
import { type RequestOrHeaders } from '../http/presented-keys.js';
import {
  SessionConfigError,
  SessionStoreUnavailableError,
  SessionUnsupportedError,
} from '../session.errors.js';
import { parseDuration } from '../session/expiry.js';
import { type SessionEnvironment } from '../session/session-environment.js';
import { LIVE } from '../session/dictionary-methods.js';
import { LiveSession } from '../session/live-session.js';
import { userIdOf } from '../session/login.js';
import { isSessionId } from '../session/session-key.js';
import { createSession, type Session, type SessionData, type StorableData } from '../session/session.js';
import { type StoreGuard } from '../session/store-guard.js';
import { TrackedData } from '../session/tracked-data.js';
import { acceptanceOf, liveSessionsOf } from '../session/user-sessions.js';
import { nullIfUnreadable, watchEnd, watchSession } from '../session/watch-end.js';
import {
  type JsonObject,
  type SessionCount,
  type SessionDevice,
  type SessionRecord,
  type SessionStore,
} from '../stores/session-store.js';
import { clearExpired, type ClearingOptions } from './clear-expired.js';

/** How often an update is tried while other requests rotate the session. */
const UPDATE_ATTEMPTS = 8;

/** A session, or its session id. */
type SessionOrId = string | Pick<Session, 'id'>;

/**
 * Sessions outside requests, in jobs, commands, sockets and tests, and the sessions of others: list them, end them, look
 * into them. There is no response, so changes to an opened session are only saved by `await session.save()`.
 *
 * @example
 * ```ts
 * const session = await sessions.open(sessionKey);
 * if (session) {
 *   session.set('seen', true);
 *   await session.save();
 * }
 * ```
 */
export class Sessions {
  // Private at run time, too: applications hang services on requests, and requests are logged.
  readonly #backend: Pick<SessionStore, 'clearExpired'>;
  readonly #environment: SessionEnvironment;
  readonly #guard: StoreGuard | null;
  readonly #keysIn: (request: RequestOrHeaders) => string[];

  /** @internal `guard` is null on the cookie engine: clients carry the sessions. */
  constructor(
    backend: Pick<SessionStore, 'clearExpired'>,
    environment: SessionEnvironment,
    guard: StoreGuard | null,
    keysIn: (request: RequestOrHeaders) => string[],
  ) {
    this.#backend = backend;
    this.#environment = environment;
    this.#guard = guard;
    this.#keysIn = keysIn;
  }

  /**
   * The live session with this session key (the value of the cookie or header), or null.
   * @throws SessionStoreUnavailableError
   */
  async open<Data extends StorableData<Data> = SessionData>(
    sessionKey: string,
  ): Promise<Session<Data> | null> {
    return this.openFirst<Data>([sessionKey]);
  }

  /**
   * The live session of this request, or null. It finds the cookie; if there are several of the name, it takes the first
   * live one, as for a handler. For socket handshakes, and for servers outside Nest.
   * @param request a request of Node, Express or Fastify, or its headers
   * @throws SessionNotLoadedError if it has no headers, such as a socket
   * @throws SessionStoreUnavailableError
   *
   * @example
   * ```ts
   * io.use(async (socket, next) => {
   *   const session = await sessions.openFrom(socket.request);
   *   next(session?.userId ? undefined : new Error('Log in first.'));
   * });
   * ```
   */
  async openFrom<Data extends StorableData<Data> = SessionData>(
    request: RequestOrHeaders,
  ): Promise<Session<Data> | null> {
    return this.openFirst<Data>(this.#keysIn(request));
  }

  /**
   * Creates and saves a session with this data. Its `sessionKey()` is the value for a cookie or header.
   * @throws SessionKeyError, SessionValueError or SessionLimitError, as `session.set`
   * @throws SessionStoreUnavailableError
   */
  async create<Data extends StorableData<Data> = SessionData>(
    data: Partial<Data> = {},
  ): Promise<Session<Data>> {
    const live = new LiveSession(this.#environment);
    await live.load();
    for (const [key, value] of Object.entries(data)) live.data.set(key, value);
    await live.createRecord();
    return createSession(live) as unknown as Session<Data>;
  }

  /**
   * The user's live sessions, last used first. Nothing in them is secret.
   * @throws SessionUnsupportedError if the engine cannot list
   * @throws SessionStoreUnavailableError
   */
  async listByUser(userId: string | number): Promise<UserSession[]> {
    const store = this.store('list');
    const owner = userIdOf(userId);
    if (owner === null) return [];
    const records = await liveSessionsOf(owner, store, this.#environment);
    return records
      .toSorted((one, other) => other.lastSeenAt - one.lastSeenAt)
      .map((record) => toUserSession(owner, record));
  }

  /**
   * Ends the session with this session id, wherever it is used.
   * @param options.userId ends it only if it belongs to this user; null means nobody. If the id comes from a client, always
   * pass the user who is logged in, and answer 404 for false.
   * @returns false if there was no such session
   * @throws SessionUnsupportedError if the engine cannot end sessions of others
   * @throws SessionStoreUnavailableError
   *
   * @example
   * ```ts
   * if (!(await sessions.revoke(id, { userId: session.userId }))) throw new NotFoundException();
   * ```
   */
  async revoke(sessionId: string, options: { userId?: string | number | null } = {}): Promise<boolean> {
    const store = this.store('end');
    const ofAnybody = !('userId' in options);
    const owner = userIdOf(options.userId);
    // If there is no such user, no session is theirs. What cannot be an id never reaches the store.
    if (!isSessionId(sessionId) || (owner === null && !ofAnybody)) return false;
    const record = await store.load(sessionId).catch(nullIfUnreadable);
    if (!ofAnybody && record?.userId !== owner) return false;
    if (record && !this.#environment.tokens.isOwn(record)) return false;
    const ended = await store.delete(sessionId);
    if (ended) this.emitRevoked(sessionId, record?.userId ?? null);
    return ended;
  }

  /**
   * Ends all sessions of a user, or all but some, for example when the password changes or the user is locked.
   * @param userId the user, as given to `login`
   * @param options `except`: sessions that stay, such as the one of this request
   * @returns how many have ended
   * @throws SessionUnsupportedError if the engine cannot end sessions of others
   * @throws SessionStoreUnavailableError
   *
   * @example
   * ```ts
   * await sessions.revokeAll(user.id, { except: session });
   * ```
   */
  async revokeAll(
    userId: string | number,
    { except = [] }: { except?: SessionOrId | SessionOrId[] } = {},
  ): Promise<number> {
    const store = this.store('end');
    const owner = userIdOf(userId);
    if (owner === null) return 0;
    const spared = [except]
      .flat()
      .flatMap((one) => (typeof one === 'string' ? one : idsOf(one)))
      .filter(isSessionId);
    const known = await store.listByUser(owner);
    // Another application may have sessions of this user in the same store.
    spared.push(...known.filter((record) => !this.#environment.tokens.isOwn(record)).map(({ id }) => id));
    const count = await store.deleteByUser(owner, spared);
    for (const { id } of known) if (!spared.includes(id)) this.emitRevoked(id, owner);
    return count;
  }

  /**
   * How many sessions are live, and how many of them have a user. "Support and operations" says what it costs on each
   * engine. All sessions in the store count, even those of other applications.
   * @throws SessionUnsupportedError if the engine cannot count
   * @throws SessionStoreUnavailableError
   */
  async count(): Promise<SessionCount> {
    return this.store('count').count();
  }

  /**
   * The live sessions page by page, with and without a user. Nothing in them is secret. `after` is the `next` of the page
   * before, and `limit` about how many sessions a page has (from 1 to 1000, by default 100).
   * @throws SessionConfigError for another limit, or if `after` is not a cursor
   * @throws SessionUnsupportedError if the engine cannot list all sessions
   * @throws SessionStoreUnavailableError
   *
   * @example
   * ```ts
   * for (let after: string | undefined; ; ) {
   *   const page = await sessions.all({ after });
   *   for (const session of page.sessions) report(session);
   *   if (page.next === null) break;
   *   after = page.next;
   * }
   * ```
   */
  async all({ after, limit = 100 }: SessionPageOptions = {}): Promise<SessionPage> {
    checkPage(after, limit);
    const { records, next } = await this.store('list').list(after ?? null, limit);
    const sessions: SessionSummary[] = [];
    const accepts = new Map<string | null, (record: SessionRecord) => boolean>();
    for (const record of records) {
      const { userId } = record;
      const accept = accepts.get(userId) ?? (await acceptanceOf(userId, this.#environment));
      accepts.set(userId, accept);
      if (accept(record)) sessions.push(toSummary(record));
    }
    return { sessions, next };
  }

  /**
   * A copy of the data of the live session with this session id, or null. Asking does not count as use.
   * @throws SessionUnsupportedError on the cookie engine
   * @throws SessionStoreUnavailableError
   */
  async data(sessionId: string): Promise<JsonObject | null> {
    const record = await this.load(sessionId, this.store('read'));
    return record && { ...record.data };
  }

  /**
   * Sets these keys in the data of the session with this session id, and removes those whose value is undefined. Other
   * keys keep what parallel requests write. It does not count as use, so the deadline stays.
   * @returns false if there is no such session
   * @throws SessionKeyError, SessionValueError or SessionLimitError, as `session.set`
   * @throws SessionUnsupportedError on the cookie engine
   * @throws SessionStoreUnavailableError also if the store keeps refusing the save of an existing session
   *
   * @example
   * ```ts
   * await sessions.update(id, { banner: 'We have restored your cart.', cart: undefined });
   * ```
   */
  async update<Data extends StorableData<Data>>(sessionId: string, values: Data): Promise<boolean> {
    const store = this.store('change');
    for (let attempt = 0; attempt < UPDATE_ATTEMPTS; attempt++) {
      const record = await this.load(sessionId, store);
      if (record === null) return false;
      const data = new TrackedData(record.data, this.#environment.limits);
      for (const [key, value] of Object.entries(values)) data.set(key, value);
      const { changes, changesAnything, snapshot } = data.delta();
      if (!changesAnything) return true;
      if (await store.save(record.id, record.keyHash, changes, { ...record, data: snapshot })) return true;
      // It has ended or has just got another secret. The next load shows which.
    }
    throw new SessionStoreUnavailableError(
      'save',
      `it refused ${UPDATE_ATTEMPTS} saves of an existing session. Try again later; if that does not help, check the store.`,
    );
  }

  /**
   * Everything that the store keeps about this user's sessions, with their data, for a subject access request. Ready for
   * `JSON.stringify`. It contains no secret of the library.
   * @throws SessionUnsupportedError if the engine cannot list
   * @throws SessionStoreUnavailableError
   */
  async export(userId: string | number): Promise<ExportedSession[]> {
    const store = this.store('export');
    const owner = userIdOf(userId);
    if (owner === null) return [];
    const records = await store.listByUser(owner);
    return records
      .filter((record) => this.#environment.tokens.isOwn(record))
      .toSorted((one, other) => other.lastSeenAt - one.lastSeenAt)
      .map((record) => ({ ...toUserSession(owner, record), data: { ...record.data } }));
  }

  /**
   * Emits once and completes when the session has ended in any process, about a second later. For responses and sockets
   * that outlive their request. It asks the store while somebody is subscribed; while the store does not answer, the
   * session counts as alive. A rotation is not an end; a login is, because it starts another session.
   * @param session the session of a request, or a session key
   * @param every how often to ask: seconds, or a string such as `'5s'`; default: once a second
   * @throws SessionConfigError if `every` is not a duration
   *
   * @example
   * ```ts
   * @Sse('news')
   * news(@Session() session: Session) {
   *   return this.news$.pipe(takeUntil(this.sessions.whenEnded(session)));
   * }
   *
   * sessions.whenEnded(sessionKey).subscribe(() => socket.close());
   * ```
   */
  whenEnded(
    session: string | Pick<Session, 'sessionKey'>,
    { every = 1 }: { every?: number | string } = {},
  ): Observable<void> {
    const interval = parseDuration(every);
    if (interval === undefined || interval <= 0) {
      throw new SessionConfigError('every', 'must be a number of seconds or a duration such as "5s".');
    }
    return watchEnd(typeof session === 'string' ? this.watch(session) : this.watchObject(session), interval);
  }

  /**
   * Deletes expired sessions from the store in small batches, and resolves with how many.
   * @see clearExpired for the options and errors
   */
  clearExpired(options?: ClearingOptions): Promise<number> {
    return clearExpired(this.#backend, options, this.#environment.emit);
  }

  /** The live session with this id, if it is one of this application. */
  private async load(sessionId: string, store: StoreGuard): Promise<SessionRecord | null> {
    if (!isSessionId(sessionId)) return null;
    const record = await store.load(sessionId).catch(nullIfUnreadable);
    return record && (await acceptanceOf(record.userId, this.#environment))(record) ? record : null;
  }

  private async openFirst<Data extends StorableData<Data>>(keys: string[]): Promise<Session<Data> | null> {
    const live = new LiveSession(this.#environment, keys);
    await live.load();
    return live.record && (createSession(live) as unknown as Session<Data>);
  }

  /** @throws SessionUnsupportedError on the cookie engine */
  private store(purpose: 'list' | 'end' | 'count' | 'read' | 'change' | 'export'): StoreGuard {
    if (this.#guard) return this.#guard;
    throw new SessionUnsupportedError(
      `The cookie engine cannot ${purpose} the sessions of others: clients carry them. Use an engine that keeps sessions on the server.`,
    );
  }

  private watch(token: string): () => Promise<boolean> {
    const look = watchSession(this.#environment, token);
    return async () => (await look()) !== null;
  }

  /**
   * The session behind this object. Before it is saved, nothing can end. If the object has lost its key, the last one is
   * still watched.
   */
  private watchObject(session: Pick<Session, 'sessionKey'>): () => Promise<boolean> {
    let isAlive: (() => Promise<boolean>) | undefined;
    let watched: string | null = null;
    return async () => {
      const sessionKey = session.sessionKey();
      if (sessionKey !== null && sessionKey !== watched) {
        isAlive = this.watch(sessionKey);
        watched = sessionKey;
      }
      return isAlive ? isAlive() : true;
    };
  }

  private emitRevoked(sessionId: string, userId: string | null): void {
    this.#environment.emit({ type: 'ended', reason: 'revoked', sessionId, userId });
  }
}

/** After a login, the object also stands for the session that the new one replaces. */
function idsOf(session: Pick<Session, 'id'>): string[] {
  const live = (session as { [LIVE]?: LiveSession })[LIVE];
  return live ? live.recordIds : [session.id];
}

/** The public facts about a session. They open nothing. */
export interface SessionSummary {
  /** The session id: the same as `session.id`, and what `Sessions.revoke` takes. */
  id: string;
  /** The user, as given to `login`, as text; null if nobody is logged in. */
  userId: string | null;
  /** When the session was first saved. */
  createdAt: Date;
  /** The last save or touch, so accurate to a tenth of the idle timeout. */
  lastSeenAt: Date;
  /** When it ends if nobody uses it. */
  expiresAt: Date;
  /** When the user logged in; null if nobody is logged in. */
  authenticatedAt: Date | null;
  /** Did the user ask to be remembered? */
  remembered: boolean;
  /** Where the user logged in from, if the option `device` was on. */
  device?: SessionDevice;
}

/** One of a user's sessions, for a page on which the user can end them. It opens nothing. */
export interface UserSession extends SessionSummary {
  /** The user, as given to `login`, as text. */
  userId: string;
  /** When the user logged in. */
  authenticatedAt: Date;
}

/** A session of a user with its data, as `Sessions.export` returns it. */
export interface ExportedSession extends UserSession {
  /** The application's data in the session. */
  data: JsonObject;
}

/** Which sessions `Sessions.all` returns. Every member may be left out. */
export interface SessionPageOptions {
  /** The `next` of the page before. Default: the first page. */
  after?: string | undefined;
  /** About how many sessions the page has, from 1 to 1000. Default 100. */
  limit?: number;
}

/** What `Sessions.all` returns. */
export interface SessionPage {
  /** The sessions. A page may be empty although there is a next one. */
  sessions: SessionSummary[];
  /** Where the next page begins, or null if there is none. */
  next: string | null;
}

const MOST_ON_A_PAGE = 1000;
const CURSOR = /^[\w.-]{1,64}$/;

/** @throws SessionConfigError */
function checkPage(after: unknown, limit: number): void {
  if (after !== undefined && !(typeof after === 'string' && CURSOR.test(after))) {
    throw new SessionConfigError('after', 'is not a cursor that sessions.all() returned as "next".');
  }
  if (Number.isSafeInteger(limit) && limit >= 1 && limit <= MOST_ON_A_PAGE) return;
  throw new SessionConfigError('limit', `is ${limit}. Use a whole number from 1 to ${MOST_ON_A_PAGE}.`);
}

function toUserSession(userId: string, record: SessionRecord): UserSession {
  return { ...toSummary(record), userId, authenticatedAt: new Date(record.createdAt) };
}

function toSummary(record: SessionRecord): SessionSummary {
  const { id, userId, createdAt, lastSeenAt, expiresAt, meta } = record;
  return {
    id,
    userId,
    createdAt: new Date(createdAt),
    lastSeenAt: new Date(lastSeenAt),
    expiresAt: new Date(expiresAt),
    authenticatedAt: userId === null ? null : new Date(createdAt),
    remembered: meta.remembered ?? false,
    ...(meta.device && { device: { ...meta.device } }),
  };
}
