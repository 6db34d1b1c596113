import { inspect } from 'node:util';
import { SessionGoneError, SessionKeyError } from '../session.errors.js';
import { DictionaryApi, read, STATE } from './dictionary-api.js';
import { type ExpiryInput, expiresAtBrowserClose, expiryAge, expiryDate, parseExpiry } from './expiry.js';
import { SessionCookie } from './session-cookie.js';
import { type LoginOptions } from './session-draft.js';
import { type SessionState } from './session-state.js';

export interface LogoutOptions {
  clearSiteData?: boolean | readonly ('cache' | 'cookies' | 'storage' | 'executionContexts')[];
}

/** The Node callback of express-session's methods. */
export type SessionCallback = (error?: unknown) => void;

/**
 * The methods of a session: Django's, express-session's, and ours. All of them are synchronous but `load`, `save`,
 * `reload`, `regenerate` and `destroy`, which reach the store at once; a handler needs none of these, because what it
 * did is committed before the response leaves.
 */
export class SessionApi<Data extends object> extends DictionaryApi<Data> {
  // --- Identity ---

  /** The session id: public, the same after `cycleKey`, and no help to anybody who wants in. */
  get id(): string {
    read(this).accessed = true;
    return this[STATE].id;
  }

  /**
   * The session key: **the secret in the cookie**, or null before the first save. Whoever has it has the session. For
   * code outside of requests that hands it to a client; never log it.
   */
  get sessionKey(): string | null {
    this[STATE].assertLoaded();
    this[STATE].observed = true;
    return this[STATE].sessionKey;
  }

  /** Ends the session: the record and the cookie go. What is written afterwards starts a new one. */
  flush(): void {
    this[STATE].end();
  }

  /** A new session key for the same session; the old one opens nothing any more. Do it when rights change. */
  cycleKey(): void {
    this[STATE].rotate();
  }

  /**
   * Binds the session to a user, under a new session key; the old one is dead at once. Data of the anonymous session
   * stay as `keep` says, data of another user never do. Nothing to wait for: it is saved with the response.
   * @param userId the user's id, as text
   *
   * @example
   * ```ts
   * session.login(user.id, { keep: ['cart'], remember: body.remember, stamp: user.passwordHash });
   * ```
   */
  login(userId: string | number, options: LoginOptions = {}): void {
    const state = this[STATE];
    state.assertWritable();
    if ((typeof userId !== 'string' && typeof userId !== 'number') || userId === '' || Number.isNaN(userId)) {
      throw new SessionKeyError(
        'userId',
        'must be bound to the id of a user. Pass login() a string or a number.',
      );
    }
    state.bindUser(String(userId), options);
  }

  /**
   * Ends the session, as `flush` does.
   * @param clearSiteData asks the browser to forget what it keeps of this site as well, by a `Clear-Site-Data` header:
   * everything (true), or the types named, such as `['cache', 'storage']`. Browsers heed it over TLS only.
   */
  logout({ clearSiteData = false }: LogoutOptions = {}): void {
    const state = this[STATE];
    state.end();
    if (clearSiteData === false) return;
    const types = clearSiteData === true ? ['*'] : clearSiteData;
    state.slot.clearSiteData = types.map((type) => JSON.stringify(type)).join(', ');
  }

  /** The user bound by `login`, or null. */
  get userId(): string | null {
    read(this).accessed = true;
    return this[STATE].userId;
  }

  /** When the user last logged in, with `login`; null without a user. */
  get authenticatedAt(): Date | null {
    read(this).accessed = true;
    const { authenticatedAt } = this[STATE];
    return authenticatedAt === null ? null : new Date(authenticatedAt);
  }

  /** Seconds since that login; null without a user. By the same clock, which tests can move. */
  get authenticationAge(): number | null {
    const { authenticatedAt, environment } = this[STATE];
    read(this).accessed = true;
    return authenticatedAt === null ? null : (environment.now() - authenticatedAt) / 1000;
  }

  // --- Time ---

  /**
   * How long this session lives: seconds (or `'30m'`) since its last use, a moment, 0 for "until the browser closes",
   * or null for what the options say. A moment that has passed, or a negative number, ends the session.
   * @throws SessionValueError for anything else
   */
  setExpiry(expiry: ExpiryInput): void {
    this[STATE].expiry = parseExpiry(expiry);
  }

  /**
   * Seconds from `modification` (now, unless given) to the session's own expiry, or the cookie's age where it has none,
   * as in Django. When the stored session really ends, timeouts included, says `expiresAt`.
   */
  getExpiryAge(given: { modification?: Date; expiry?: ExpiryInput } = {}): number {
    return expiryAge(...expiryArguments(this, given));
  }

  /** The moment of that expiry, counted from `modification` (now, unless given). */
  getExpiryDate(given: { modification?: Date; expiry?: ExpiryInput } = {}): Date {
    return expiryDate(...expiryArguments(this, given));
  }

  /** Will the session end when the browser is closed? */
  getExpireAtBrowserClose(): boolean {
    read(this).accessed = true;
    return expiresAtBrowserClose(this[STATE].expiry, this[STATE].policy);
  }

  /** When the session was first saved; null before. */
  get createdAt(): Date | null {
    return moment(this, 'createdAt');
  }

  /** When the session was last saved, or its idle clock last restarted; null before the first save. */
  get lastSeenAt(): Date | null {
    return moment(this, 'lastSeenAt');
  }

  /** When the stored session ends unless it is used again; null before the first save. */
  get expiresAt(): Date | null {
    return moment(this, 'expiresAt');
  }

  // --- Reaching the store at once; express-session's methods ---

  /** Has the session been loaded? Handlers that take `@Session()` need not ask. */
  get loaded(): boolean {
    return this[STATE].loaded;
  }

  /** Loads the session, once. For middleware, and for handlers that do not take `@Session()`. */
  async load(): Promise<this> {
    await this[STATE].load();
    return this;
  }

  /**
   * Saves now instead of with the response.
   * @throws SessionGoneError when the session ended meanwhile
   * @throws SessionStoreUnavailableError when the store does not answer
   */
  save(): Promise<void>;
  save(callback: SessionCallback): this;
  save(...[callback]: [SessionCallback?]): Promise<void> | this;
  save(callback?: SessionCallback): Promise<void> | this {
    this[STATE].assertLoaded();
    return settle(this[STATE].save(), callback, this);
  }

  /** Reads the session again and forgets what was not saved. */
  reload(): Promise<void>;
  reload(callback: SessionCallback): this;
  reload(callback?: SessionCallback): Promise<void> | this {
    this[STATE].assertLoaded();
    const reloaded = this[STATE].reload().then((found) => {
      if (!found)
        throw new SessionGoneError('failed to load session: it ended meanwhile, or was never saved.');
    });
    return settle(reloaded, callback, this);
  }

  /**
   * Ends this session and puts a new, empty one in its place on the request, as express-session does; `login` and
   * `cycleKey` keep both the data and the object.
   * @param keep names of values that the new session takes over
   */
  regenerate(keep?: string[]): Promise<void>;
  regenerate(callback: SessionCallback): this;
  regenerate(given?: SessionCallback | string[]): Promise<void> | this {
    const dictionary = read(this);
    const successor = this[STATE].replace();
    for (const key of Array.isArray(given) ? given : []) {
      if (dictionary.has(key)) successor.dictionary.set(key, dictionary.get(key));
    }
    return settle(Promise.resolve(), typeof given === 'function' ? given : undefined, this);
  }

  /** Ends the session, takes it off the request, and deletes its record at once. */
  destroy(): Promise<void>;
  destroy(callback: SessionCallback): this;
  destroy(callback?: SessionCallback): Promise<void> | this {
    const state = this[STATE];
    state.end();
    state.slot.vacated = true;
    return settle(state.persist(), callback, this);
  }

  /** Restarts the idle clock, even if no touch is due. */
  touch(): this {
    this[STATE].renew();
    return this;
  }

  /** The same as `touch`. */
  resetMaxAge(): this {
    return this.touch();
  }

  /** The cookie in express-session's terms: times are milliseconds. Assigning another one copies its lifetime. */
  get cookie(): SessionCookie {
    read(this).accessed = true;
    return new SessionCookie(this[STATE]);
  }

  set cookie(given: Pick<SessionCookie, 'originalMaxAge'>) {
    const cookie = new SessionCookie(this[STATE]);
    if (given.originalMaxAge !== cookie.originalMaxAge) cookie.originalMaxAge = given.originalMaxAge;
  }

  [inspect.custom](): unknown {
    const state = this[STATE];
    if (!state.loaded) return 'Session (not loaded)';
    const { accessed } = state.dictionary;
    const data = Object.fromEntries(state.dictionary.entries());
    state.dictionary.accessed = accessed;
    return { id: state.id, userId: state.userId, ...data };
  }
}

function expiryArguments(
  session: { [STATE]: SessionState },
  given: { modification?: Date; expiry?: ExpiryInput },
) {
  const state = session[STATE];
  read(session).accessed = true;
  const expiry = given.expiry === undefined ? state.expiry : parseExpiry(given.expiry);
  const now = state.environment.now();
  return [expiry, state.policy, { now, modification: given.modification?.getTime() ?? now }] as const;
}

function moment(
  session: { [STATE]: SessionState },
  name: 'createdAt' | 'lastSeenAt' | 'expiresAt',
): Date | null {
  read(session).accessed = true;
  const { record } = session[STATE];
  return record && new Date(record[name]);
}

/**
 * Hands the outcome to a callback, if there is one: once, later than the call, and outside of the promise chain, so
 * that an error thrown by the callback is the caller's own and does not call it again.
 */
function settle<Self>(
  outcome: Promise<void>,
  callback: SessionCallback | undefined,
  self: Self,
): Promise<void> | Self {
  // A forgotten promise must not bring the process down; the commit meets the same error again.
  outcome.catch(() => {});
  if (typeof callback !== 'function') return outcome;
  outcome.then(
    () => setImmediate(callback),
    (error: unknown) => setImmediate(callback, error),
  );
  return self;
}
