import { Observable } from 'rxjs';
import { SessionConfigError, SessionRecordCorruptError, SessionUnsupportedError } from '../session.errors.js';
import { parseDuration } from '../session/expiry.js';
import { type SessionEnvironment } from '../session/session-environment.js';
import { LIVE } from '../session/dictionary-methods.js';
import { LiveSession } from '../session/live-session.js';
import { userIdOf } from '../session/login.js';
import { isSessionId } from '../session/session-key.js';
import { createSession, type Session, type SessionData, type StorableData } from '../session/session.js';
import { type StoreGuard } from '../session/store-guard.js';
import { acceptanceOf, liveSessionsOf } from '../session/user-sessions.js';
import { type SessionDevice, type SessionRecord, type SessionStore } from '../stores/session-store.js';
import { clearExpired, type ClearingOptions } from './clear-expired.js';

/** A session, or its session id. */
type SessionOrId = string | Pick<Session, 'id'>;

/**
 * Sessions outside of requests, in jobs, commands, sockets and tests, and sessions of others: the list of a user's
 * sessions, and their end. What was done to an opened one is kept by `await session.save()`, since there is no response
 * to wait for.
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

  /** @internal `guard` is null on the cookie engine: clients carry the sessions. */
  constructor(
    backend: Pick<SessionStore, 'clearExpired'>,
    environment: SessionEnvironment,
    guard: StoreGuard | null,
  ) {
    this.#backend = backend;
    this.#environment = environment;
    this.#guard = guard;
  }

  /** The live session with this session key (the value of the cookie, or what a header carries), or null. */
  async open<Data extends StorableData<Data> = SessionData>(
    sessionKey: string,
  ): Promise<Session<Data> | null> {
    const live = new LiveSession(this.#environment, [sessionKey]);
    await live.load();
    return live.record && (createSession(live) as unknown as Session<Data>);
  }

  /** A new session with these data, saved; its `sessionKey()` is what a cookie or header would carry. */
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
   * The live sessions into which this user logged in, the last used first. Nothing in them is secret.
   * @throws SessionUnsupportedError when the engine cannot list
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
   * @param options.userId ends it only if it is this user's; null is nobody. Where the id comes from a client, always pass
   * the user who is logged in, and answer 404 for false.
   * @returns was there such a session?
   * @throws SessionUnsupportedError when the engine cannot end sessions of others
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
   * Ends all sessions of a user, or all but some: after a change of the password, when somebody is locked out.
   * @param userId the user, as `login` was given it
   * @param options `except`: sessions that stay, such as the one of this request
   * @returns how many have ended
   * @throws SessionUnsupportedError when the engine cannot end sessions of others
   * @throws SessionStoreUnavailableError
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
   * Tells when a session ends, in whatever process: emits once, about a second later, and completes. For answers
   * and sockets that outlive the request which opened them. The store is asked as long as somebody is subscribed; while it
   * does not answer, the session counts as alive. A rotation is no end; a login is one, because it starts another session.
   * @param session the session of a request, or a session key
   * @param every how often to look; default: once a second
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
   * Deletes the expired sessions of the store, in small batches, and resolves with how many.
   * @see clearExpired for the options and errors
   */
  clearExpired(options?: ClearingOptions): Promise<number> {
    return clearExpired(this.#backend, options, this.#environment.emit);
  }

  /** @throws SessionUnsupportedError on the cookie engine */
  private store(purpose: 'list' | 'end'): StoreGuard {
    if (this.#guard) return this.#guard;
    throw new SessionUnsupportedError(
      `The cookie engine cannot ${purpose} the sessions of others: clients carry them. Use an engine that keeps sessions on the server.`,
    );
  }

  private watch(token: string): () => Promise<boolean> {
    const look = this.#environment.tokens.watch(token);
    return async () => {
      const record = await look().catch(nullIfUnreadable);
      return record !== null && (await acceptanceOf(record.userId, this.#environment))(record);
    };
  }

  /**
   * The session behind this object. Before it is saved there is nothing that could end; a key that the object has lost is
   * still the one to ask for.
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

/** A session in which somebody has just logged in still stands for the one that it takes the place of, too. */
function idsOf(session: Pick<Session, 'id'>): string[] {
  const live = (session as { [LIVE]?: LiveSession })[LIVE];
  return live ? live.recordIds : [session.id];
}

/** A record that cannot be read lets nobody in. */
function nullIfUnreadable(error: unknown): null {
  if (error instanceof SessionRecordCorruptError) return null;
  throw error;
}

/** One of a user's sessions, for the page on which the user ends those that should not be. It opens nothing. */
export interface UserSession {
  /** The session id: `session.id` of the session itself, and what `Sessions.revoke` takes. */
  id: string;
  /** The user, as `login` was given it, as text. */
  userId: string;
  /** When the session began. */
  createdAt: Date;
  /** The last save or touch: when it was last used, give or take a tenth of the idle timeout. */
  lastSeenAt: Date;
  /** When it ends unless it is used again. */
  expiresAt: Date;
  /** The login: a session of a user starts with it. */
  authenticatedAt: Date;
  /** Did the user ask to be remembered? */
  remembered: boolean;
  /** From where the user logged in, if the option `device` was on. */
  device?: SessionDevice;
}

function toUserSession(userId: string, record: SessionRecord): UserSession {
  const { id, createdAt, lastSeenAt, expiresAt, meta } = record;
  return {
    id,
    userId,
    createdAt: new Date(createdAt),
    lastSeenAt: new Date(lastSeenAt),
    expiresAt: new Date(expiresAt),
    authenticatedAt: new Date(createdAt),
    remembered: meta.remembered ?? false,
    ...(meta.device && { device: { ...meta.device } }),
  };
}

/**
 * Emits once, and completes, when a session has ended. It looks only while somebody is subscribed, and an unsubscribed
 * process can exit. While the store is away nothing is known, and nothing is emitted.
 * @param every milliseconds from one look to the next, on average: many sockets do not ask all at once
 */
function watchEnd(isAlive: () => Promise<boolean>, every: number): Observable<void> {
  return new Observable((subscriber) => {
    let timer: NodeJS.Timeout | undefined;
    const wait = (): void => {
      if (!subscriber.closed) timer = setTimeout(look, every * (0.75 + Math.random() / 2)).unref();
    };
    const look = (): void => {
      isAlive().then((alive) => {
        if (alive) return wait();
        subscriber.next();
        subscriber.complete();
      }, wait);
    };
    look();
    return () => clearTimeout(timer);
  });
}
