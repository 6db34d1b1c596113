import { inspect } from 'node:util';
import { SessionGoneError, SessionKeyError } from '../session.errors.js';
import { DictionaryMethods, read, LIVE } from './dictionary-methods.js';
import { type ExpiryInput, expiresAtBrowserClose, expiryAge, expiryDate, parseExpiry } from './expiry.js';
import { SessionCookie } from './session-cookie.js';
import { type LoginOptions, userIdOf } from './login.js';
import { type LiveSession } from './live-session.js';

/** What `logout` does besides ending the session. */
export interface LogoutOptions {
  /**
   * Asks the browser to delete what it stored for this site: everything (true), or these types. Browsers obey over TLS
   * only.
   * @default false
   */
  clearSiteData?: boolean | readonly ('cache' | 'cookies' | 'storage' | 'executionContexts')[];
}

/** The Node callback of express-session's methods. */
export type SessionCallback = (error?: unknown) => void;

/**
 * The methods of a session: Django's, express-session's, and ours. They are synchronous, except `load`, `save`, `reload`,
 * `regenerate` and `destroy`, which reach the store at once. Handlers do not need these, because their changes are
 * committed before the response leaves.
 */
export class SessionMethods<Data extends object> extends DictionaryMethods<Data> {
  // --- Identity ---

  /** The session id. It is public and opens nothing. `cycleKey` keeps it, `login` makes a new one. */
  get id(): string {
    read(this).accessed = true;
    return this[LIVE].id;
  }

  /**
   * The session key: **what the cookie or the client's header holds**. Null until the first save, and after `login` until
   * the next one. Anybody who has it has the session, so never log it. It is a method, so that no name that a client
   * chose (`session[name]`), no template and no copy of the properties finds it.
   */
  sessionKey(): string | null {
    this[LIVE].assertLoaded();
    this[LIVE].observed = true;
    return this[LIVE].token;
  }

  /** Ends the session: deletes the record and the cookie. Later writes start a new session. */
  flush(): void {
    this[LIVE].end();
  }

  /** Gives the session a new key; the old key stops working. Call it when the user's rights change. */
  cycleKey(): void {
    this[LIVE].rotate();
  }

  /**
   * Starts a new session for a user, with a new id and key, and ends the old one. Data of an anonymous session is carried
   * over as `keep` says; another user's data never is. There is nothing to await: it is saved with the response.
   * @param userId the user's id: a finite number, or a string of 1 to 255 characters
   * @throws SessionKeyError if it cannot be a user id
   *
   * @example
   * ```ts
   * session.login(user.id, { keep: ['cart'], remember: body.remember, stamp: user.passwordHash });
   * ```
   */
  login(userId: string | number, options: LoginOptions = {}): void {
    const live = this[LIVE];
    live.assertWritable();
    const id = userIdOf(userId);
    if (id === null) {
      throw new SessionKeyError(
        'userId',
        'cannot be the value that login() got. Pass the id of the user, such as `user.id`: a finite number, or a string ' +
          'of 1 to 255 characters without NUL and lone surrogates.',
      );
    }
    live.login(id, options);
  }

  /**
   * Ends the session, as `flush` does.
   * @param clearSiteData also asks the browser to delete what it stored for this site, with a `Clear-Site-Data` header:
   * everything (true), or these types, such as `['cache', 'storage']`. Browsers obey over TLS only.
   */
  logout({ clearSiteData = false }: LogoutOptions = {}): void {
    const live = this[LIVE];
    live.end();
    if (clearSiteData === false) return;
    const types = clearSiteData === true ? ['*'] : clearSiteData;
    live.slot.clearSiteData = types.map((type) => JSON.stringify(type)).join(', ');
  }

  /** The user who logged in, or null. */
  get userId(): string | null {
    read(this).accessed = true;
    return this[LIVE].userId;
  }

  /** When the user last logged in, with `login`; null without a user, and in a session from another library. */
  get authenticatedAt(): Date | null {
    read(this).accessed = true;
    const { authenticatedAt } = this[LIVE];
    return authenticatedAt === null ? null : new Date(authenticatedAt);
  }

  /** Seconds since that login, or null. It uses the clock of the store, which tests can move. */
  get authenticationAge(): number | null {
    const live = this[LIVE];
    const { authenticatedAt } = live;
    read(this).accessed = true;
    return authenticatedAt === null ? null : (live.now() - authenticatedAt) / 1000;
  }

  // --- Time ---

  /**
   * Sets how long this session lives: seconds (or `'30m'`) since its last use, a `Date`, 0 for "until the browser closes",
   * or null to go back to the options. A past moment or a negative number ends the session.
   * @throws SessionValueError for anything else
   */
  setExpiry(expiry: ExpiryInput): void {
    this[LIVE].expiry = parseExpiry(expiry);
  }

  /**
   * Seconds from `modification` (default: now) to the session's own expiry or, without one, the cookie's age, as in
   * Django. `expiresAt` is when the stored session really ends, timeouts included.
   */
  getExpiryAge(given: { modification?: Date; expiry?: ExpiryInput } = {}): number {
    return expiryAge(...expiryArguments(this, given));
  }

  /** The moment of that expiry, counted from `modification` (default: now). */
  getExpiryDate(given: { modification?: Date; expiry?: ExpiryInput } = {}): Date {
    return expiryDate(...expiryArguments(this, given));
  }

  /** Will the session end when the browser closes? */
  getExpireAtBrowserClose(): boolean {
    read(this).accessed = true;
    return expiresAtBrowserClose(this[LIVE].expiry, this[LIVE].policy);
  }

  /** When the session was first saved, or null. */
  get createdAt(): Date | null {
    return moment(this, 'createdAt');
  }

  /** When the session was last saved, or its idle clock last restarted; null before the first save. */
  get lastSeenAt(): Date | null {
    return moment(this, 'lastSeenAt');
  }

  /** When the stored session ends if nobody uses it; null before the first save. */
  get expiresAt(): Date | null {
    return moment(this, 'expiresAt');
  }

  /**
   * Looks at the session without using it: what `look` reads does not restart the idle clock. For pages that poll, which
   * would otherwise keep a session alive while they are open. The response still varies by cookie.
   * @param look reads the session; reads after an `await` count as use
   *
   * @example
   * ```ts
   * return { expiresAt: session.peek(() => session.expiresAt) };
   * ```
   */
  peek<Answer>(look: () => Answer): Answer {
    const live = this[LIVE];
    live.assertLoaded();
    live.observed = true;
    const { accessed } = live.data;
    try {
      return look();
    } finally {
      live.data.accessed = accessed;
    }
  }

  // --- Reaching the store at once; express-session's methods ---

  /** Has the session been loaded? Handlers that take `@Session()` need not ask. */
  get loaded(): boolean {
    return this[LIVE].loaded;
  }

  /** Loads the session, once. For middleware, and for handlers that do not take `@Session()`. */
  async load(): Promise<this> {
    await this[LIVE].load();
    return this;
  }

  /**
   * Saves now instead of with the response.
   * @throws SessionGoneError if the session has ended
   * @throws SessionStoreUnavailableError if the store does not answer
   */
  save(): Promise<void>;
  save(callback: SessionCallback): this;
  save(...[callback]: [SessionCallback?]): Promise<void> | this;
  save(callback?: SessionCallback): Promise<void> | this {
    return settle(this, callback, () => {
      this[LIVE].assertLoaded();
      return this[LIVE].save();
    });
  }

  /** Drops unsaved changes and reads the session again. */
  reload(): Promise<void>;
  reload(callback: SessionCallback): this;
  reload(callback?: SessionCallback): Promise<void> | this {
    return settle(this, callback, () => {
      this[LIVE].assertLoaded();
      return this[LIVE].reload().then((found) => {
        if (!found) throw new SessionGoneError('failed to load session: it has ended, or was never saved.');
      });
    });
  }

  /**
   * Ends this session and puts a new, empty one on the request, as in express-session and @fastify/session. (`login` and
   * `cycleKey` keep the data and the object.)
   * @param keep keys that the new session takes over
   */
  regenerate(keep?: readonly string[]): Promise<void>;
  regenerate(callback: SessionCallback): this;
  regenerate(keep: readonly string[] | undefined, callback: SessionCallback): this;
  regenerate(...given: [(SessionCallback | readonly string[])?, SessionCallback?]): Promise<void> | this {
    const keep = Array.isArray(given[0]) ? (given[0] as readonly string[]) : [];
    const callback = given.find((argument) => typeof argument === 'function');
    return settle(this, callback, () => {
      const dictionary = read(this);
      const successor = this[LIVE].replace();
      for (const key of keep) {
        if (dictionary.has(key)) successor.data.set(key, dictionary.get(key));
      }
      return Promise.resolve();
    });
  }

  /** Ends the session, takes it off the request, and deletes its record at once. */
  destroy(): Promise<void>;
  destroy(callback: SessionCallback): this;
  destroy(callback?: SessionCallback): Promise<void> | this {
    return settle(this, callback, () => {
      const live = this[LIVE];
      live.end();
      live.slot.vacated = true;
      return live.persist();
    });
  }

  /** Restarts the idle clock, even if no touch is due. */
  touch(): this {
    this[LIVE].renew();
    return this;
  }

  /** The same as `touch`. */
  resetMaxAge(): this {
    return this.touch();
  }

  /** The cookie in express-session's terms: times are milliseconds. Assigning another one copies its lifetime. */
  get cookie(): SessionCookie {
    read(this).accessed = true;
    return new SessionCookie(this[LIVE]);
  }

  /** Takes over the lifetime of another cookie, and nothing else of it. */
  set cookie(given: SessionCookie) {
    new SessionCookie(this[LIVE]).assign(given);
  }

  /** @internal */
  [inspect.custom](): unknown {
    const live = this[LIVE] as LiveSession | undefined;
    // An inspection that sees through proxies asks what stands behind a session's one, which holds nothing.
    if (!live) return 'Session';
    if (!live.loaded) return 'Session (not loaded)';
    const { accessed } = live.data;
    const data = Object.fromEntries(live.data.entries());
    live.data.accessed = accessed;
    return { id: live.id, userId: live.userId, ...data };
  }
}

function expiryArguments(
  session: { [LIVE]: LiveSession },
  given: { modification?: Date; expiry?: ExpiryInput },
) {
  const live = session[LIVE];
  read(session).accessed = true;
  const expiry = given.expiry === undefined ? live.expiry : parseExpiry(given.expiry);
  const now = live.now();
  return [expiry, live.policy, { now, modification: given.modification?.getTime() ?? now }] as const;
}

// All sessions share these, and `session[name]` leads to them. Where a client chooses names, it must not change them.
for (const { prototype } of [DictionaryMethods, SessionMethods]) {
  for (const { value } of Object.values(Object.getOwnPropertyDescriptors(prototype))) Object.freeze(value);
  Object.freeze(prototype);
}

function moment(
  session: { [LIVE]: LiveSession },
  name: 'createdAt' | 'lastSeenAt' | 'expiresAt',
): Date | null {
  read(session).accessed = true;
  const { record } = session[LIVE];
  return record && new Date(record[name]);
}

/**
 * Hands the outcome to a callback, if there is one: once, later than the call, and outside of the promise chain, so
 * that an error thrown by the callback is the caller's own and does not call it again. With a callback nothing is
 * thrown, because code that waits for it has no other way to go on.
 */
function settle<Self>(
  self: Self,
  callback: SessionCallback | undefined,
  work: () => Promise<void>,
): Promise<void> | Self {
  if (typeof callback !== 'function') {
    const outcome = work();
    // A forgotten promise must not bring the process down; the commit meets the same error again.
    outcome.catch(() => {});
    return outcome;
  }
  new Promise<void>((resolve) => resolve(work())).then(
    () => setImmediate(callback),
    (error: unknown) => setImmediate(callback, error),
  );
  return self;
}
