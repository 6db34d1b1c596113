import { type IncomingMessage, type ServerResponse } from 'node:http';
import { type Logger } from '@nestjs/common';
import { type ResolvedSessionOptions } from '../options/resolve-options.js';
import {
  SessionCookieTooLargeError,
  SessionLimitError,
  SessionsPerUserError,
  SessionStoreUnavailableError,
} from '../session.errors.js';
import { type CookieStep, planCookie } from '../session/commit-plan.js';
import { deadlineOf, expiresAtBrowserClose, LONGEST_COOKIE } from '../session/expiry.js';
import { LiveSession, type SessionSlot } from '../session/live-session.js';
import { type OldSession, type OldSessions } from '../session/old-session.js';
import { safeMessage } from '../session/safe-message.js';
import { LARGEST_COOKIE } from '../session/sealed-tokens.js';
import { createSession, type Session } from '../session/session.js';
import { type SessionEnvironment } from '../session/session-environment.js';
import { type JsonValue } from '../stores/session-store.js';
import { readCookies, removeCookieHeaders, setCookieHeader } from './cookie-header.js';
import { sendFailure, takesHeaders, toHttpException } from './failure-response.js';
import { type Presented, readSessionKeys, varyBy } from './key-transport.js';
import { describeDevice } from './platform-request.js';
import { responseCookie } from './response-cookie.js';
import { installResponseGate } from './response-gate.js';

/** The options without what no request may reach. */
export type HttpOptions = Omit<
  ResolvedSessionOptions,
  'application' | 'pepper' | 'sessionsPerUser' | 'accept' | 'storeTimeout'
>;

/** What the sessions of all requests share. */
export interface HttpEnvironment {
  options: HttpOptions;
  sessions: SessionEnvironment;
  logger: Logger;
  /** Those of another library, which are moved in. */
  oldSessions?: OldSessions | undefined;
}

/** Where a raw request keeps its `RequestSession`. */
export const REQUEST_SESSION = Symbol.for('nest-sessions:request-session');

/** `request.sessionID`. Shared by all requests, like everything of this kind: that keeps them fast objects. */
const SESSION_ID: PropertyDescriptor & ThisType<{ [REQUEST_SESSION]?: RequestSession }> = {
  configurable: true,
  enumerable: true,
  get() {
    return this[REQUEST_SESSION]?.id;
  },
};

/**
 * The session of one request. Nothing exists behind it before the session is first asked for: then the session key is
 * read and the response gate installed. The gate calls `commit`.
 */
export class RequestSession {
  #slot: SessionSlot | null = null;
  /** How the answer reaches the client. */
  #by: Presented['by'] = 'cookie';
  #object: { live: LiveSession; session: Session } | null = null;
  /** What the request came with of another library. */
  #old: OldSession | undefined;
  /** The application took the session off the request, so the request has nothing to say about it any more. */
  #abandoned = false;

  readonly #environment: HttpEnvironment;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;

  constructor(environment: HttpEnvironment, request: IncomingMessage, response: ServerResponse) {
    this.#environment = environment;
    this.#request = request;
    this.#response = response;
  }

  /** The session that stands on the request now; undefined after `destroy()` and after `request.session = null`. */
  get session(): Session | undefined {
    if (this.#abandoned) return undefined;
    const { session: live, vacated } = this.#open();
    if (vacated) return undefined;
    if (this.#object?.live !== live) this.#object = { live, session: createSession(live) };
    return this.#object.session;
  }

  /**
   * The session id, also as `request.sessionID`, once the session is loaded. Access logs ask for it, and must not be an
   * access themselves.
   */
  get id(): string | undefined {
    const live = this.#slot?.session;
    return live?.loaded && !this.#abandoned ? live.id : undefined;
  }

  /** Shows the session to the templates that get these locals, as `session`. */
  showIn(locals: { session?: unknown }): void {
    locals.session = createSessionView(this);
  }

  abandon(): void {
    this.#abandoned = true;
  }

  /**
   * Loads the session, from the store if it must. What is resolved with is what a guard answers.
   * @throws ServiceUnavailableException when the store is not to be had; the response then says when to try again
   */
  load(): undefined | Promise<true> {
    return this.#open()
      .session.load()
      ?.then(
        () => true,
        (error: unknown) => {
          this.#report('could not be loaded', error);
          throw toHttpException(error, this.#response);
        },
      );
  }

  /** Makes sure of a commit even if the application never asks for the session. */
  expectCommit(): void {
    this.#open();
  }

  #open(): SessionSlot {
    if (this.#slot) return this.#slot;
    const { options, sessions, oldSessions } = this.#environment;
    const { by, keys, cookies } = readSessionKeys(this.#request.headers, options);
    if (cookies)
      this.#old = oldSessions?.find(readCookies(this.#request.headers.cookie, oldSessions.cookie.name));
    const live = new LiveSession(sessions, keys, undefined, this.#old);
    this.#slot = live.slot;
    // Who comes with the cookie of another library is a browser, and keeps ours as well.
    this.#by = this.#old ? 'cookie' : by;
    const { device } = options;
    if (device.ip || device.userAgent) live.slot.describeDevice = () => describeDevice(this.#request, device);
    // Not in the middleware: before the session is asked for it is undefined anyway, and every property costs.
    Object.defineProperty(this.#request, 'sessionID', SESSION_ID);
    if (this.#response.headersSent) {
      live.close();
    } else {
      installResponseGate(this.#response, {
        commit: (statusCode) => this.#commit(statusCode >= 500),
        setHeaders: (statusCode) => this.#setHeaders(statusCode >= 500),
        onFailure: (error, end) => {
          // The application chose the limits, and somebody has met one: nothing for the log of errors.
          if (!(error instanceof SessionsPerUserError || error instanceof SessionLimitError))
            this.#report('could not be committed, so the response was withheld', error);
          live.close();
          sendFailure(this.#response, error, end);
        },
      });
    }
    return this.#slot;
  }

  /** Brings the store up to date; nothing to wait for when nothing has to be told. */
  #commit(failed: boolean): void | Promise<void> {
    const { session: live } = this.#open();
    // Nothing is saved any more, but what was ended before, or is on its way to the store, is waited for.
    if (this.#detached()) return live.commit(true);
    if (live.loaded) return live.commit(failed);
    if (!this.#environment.options.saveEveryRequest) return;
    return Promise.resolve(live.load()).then(() => live.commit(failed));
  }

  /** Says in the headers what the client and caches have to know. */
  #setHeaders(failed: boolean): void {
    const [environment, response] = [this.#environment, this.#response];
    const { session: live, clearSiteData } = this.#open();
    if (!takesHeaders(response)) return live.close();
    if (clearSiteData !== undefined) response.setHeader('Clear-Site-Data', clearSiteData);
    // The answer depends on the session key, so that a shared cache must not give it to others: also where the
    // application has read the session, and has taken it off the request since.
    const { vary } = environment.options.transport;
    if (live.observed || live.data.accessed) varyBy(response, vary);
    if (this.#detached()) return;
    const [by, facts] = [this.#by, live.cookieFacts(failed)];
    // A header has no lifetime that could be another one.
    const step = planCookie(by === 'cookie' ? facts : { ...facts, deadlineMoved: false });
    live.close();
    if (step !== 'keep') varyBy(response, vary);
    if (step === 'keep' && !this.#old?.spent) return;
    if (by === 'cookie') appendHeader(response, 'Set-Cookie', this.#cookieHeaders(live, step));
    else response.setHeader(by.answer, step === 'set' ? (live.token as string) : '');
    forbidCaching(response);
  }

  #cookieHeaders(live: LiveSession, step: CookieStep): string[] {
    const { options, sessions, oldSessions } = this.#environment;
    const cookie = responseCookie(options.cookie, this.#request);
    const headers: string[] = [];
    if (oldSessions && this.#old?.spent) {
      // With the attributes of ours, which is set in the same surroundings.
      const { domain: _, ...attributes } = cookie;
      headers.push(...removeCookieHeaders({ ...attributes, former: [], ...oldSessions.cookie }));
    }
    if (step === 'remove') headers.push(...removeCookieHeaders(cookie));
    if (step !== 'set') return headers;
    const token = live.token as string;
    const header = setCookieHeader(cookie.name, token, cookie, this.#cookieAge(live), sessions.now());
    const size = Buffer.byteLength(header);
    // What the cookie engine has made fits with the attributes of the options, but perhaps not with other ones.
    if (size > LARGEST_COOKIE) throw new SessionCookieTooLargeError(LARGEST_COOKIE, size);
    headers.push(header);
    return headers;
  }

  /** Did the application take the session off the request, by assignment or by `delete`? */
  #detached(): boolean {
    return this.#abandoned || !('session' in this.#request);
  }

  #cookieAge({ expiry, policy, record }: LiveSession): number | null {
    if (expiresAtBrowserClose(expiry, policy)) return null;
    const now = this.#environment.sessions.now();
    const { cookieAge, absoluteTimeout } = policy;
    const end = deadlineOf(expiry, record?.createdAt ?? now, now, {
      idleTimeout: cookieAge,
      absoluteTimeout,
    });
    return Math.min(end - now, LONGEST_COOKIE);
  }

  /** A store that is not to be had is told of once, by the observer of its calls. */
  #report(what: string, error: unknown): void {
    if (error instanceof SessionStoreUnavailableError) return;
    const { logger } = this.#environment;
    logger.error(`The session ${what}: ${safeMessage(error)}`);
  }
}

/** What only stands in for a response may take no headers, or only one by one. */
function appendHeader(response: ServerResponse, name: string, value: string | string[]): void {
  if (typeof response.appendHeader === 'function') response.appendHeader(name, value);
  else response.setHeader(name, [response.getHeader(name) ?? [], value].flat().map(String));
}

/**
 * A cache that keeps an answer with a session key would hand one visitor's session to the next. What else is said to keep the
 * answer as it is stays: server-sent events rely on `no-transform` not to be held up by a compression.
 */
function forbidCaching(response: ServerResponse): void {
  const given = String(response.getHeader('Cache-Control') ?? '')
    .toLowerCase()
    .split(',')
    .map((directive) => directive.trim());
  // A cache that understands `must-understand` may overlook `no-store` beside it.
  if (!given.includes('no-store') || given.includes('must-understand'))
    response.setHeader(
      'Cache-Control',
      given.includes('no-transform') ? 'no-store, no-transform' : 'no-store',
    );
  for (const name of CACHES_OF_THE_SITE) {
    if (response.getHeader(name) !== undefined) response.setHeader(name, 'no-store');
  }
}

/** Headers that caches in front of a site prefer to Cache-Control. */
const CACHES_OF_THE_SITE = ['CDN-Cache-Control', 'Surrogate-Control'];

type View = Record<string, unknown>;

/** Names that a template finds besides the data. */
const METADATA = new Set(['id', 'userId', 'createdAt', 'lastSeenAt', 'expiresAt']);

/** None of the traps puts anything into it, so that all views can share it. */
const NOTHING = Object.create(null) as View;

/**
 * The session as templates see it: data and a little metadata, read-only, missing keys undefined. Nothing is asked of
 * the session before the template looks.
 * @param holder has the session at the time of the look, or undefined when there is none any more
 */
function createSessionView(holder: Pick<RequestSession, 'session'>): Readonly<View> {
  return new Proxy(NOTHING, new ViewTraps(holder));
}

/** A class, because every request makes a view and few templates look. */
class ViewTraps implements ProxyHandler<View> {
  readonly #holder: Pick<RequestSession, 'session'>;

  constructor(holder: Pick<RequestSession, 'session'>) {
    this.#holder = holder;
  }

  get(_target: View, name: string | symbol): unknown {
    const current = this.#holder.session;
    if (typeof name === 'symbol' || !current) return undefined;
    // Whatever the application declares its data to be: a template asks for any name.
    const session = current as Session<Record<string, JsonValue>>;
    return session.has(name)
      ? session.get(name)
      : METADATA.has(name)
        ? Reflect.get(session, name)
        : undefined;
  }

  has(target: View, name: string | symbol): boolean {
    return this.get(target, name) !== undefined;
  }

  ownKeys(): string[] {
    return this.#holder.session?.keys() ?? [];
  }

  getOwnPropertyDescriptor(target: View, name: string | symbol): PropertyDescriptor | undefined {
    const value = this.get(target, name);
    return value === undefined ? undefined : { value, enumerable: true, configurable: true, writable: false };
  }

  set(): boolean {
    return false;
  }

  deleteProperty(): boolean {
    return false;
  }

  defineProperty(): boolean {
    return false;
  }

  setPrototypeOf(): boolean {
    return false;
  }

  preventExtensions(): boolean {
    return false;
  }
}
