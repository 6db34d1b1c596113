import { type IncomingMessage, type ServerResponse } from 'node:http';
import { type Logger } from '@nestjs/common';
import vary from 'vary';
import { SessionsPerUserError } from '../session.errors.js';
import { type ResolvedSessionOptions } from '../session.options.js';
import { planCookie, variesByCookie } from '../session/commit-plan.js';
import { deadlineOf, expiresAtBrowserClose, lastLoginOf } from '../session/expiry.js';
import { createSessionView } from '../session/session-view.js';
import { createSession, type Session } from '../session/session.js';
import { type SessionEnvironment } from '../session/session-environment.js';
import { type SessionSlot, SessionState } from '../session/session-state.js';
import { tellable } from '../session/tellable.js';
import { readCookie, removeCookieHeader, setCookieHeader } from './cookie-header.js';
import { describeDevice } from './device.js';
import { sendFailure, toHttpException } from './failure-response.js';
import { installResponseGate } from './response-gate.js';
import { isSecureConnection } from './secure-connection.js';

/** What the sessions of all requests share. */
export interface HttpEnvironment {
  options: ResolvedSessionOptions;
  sessions: SessionEnvironment;
  logger: Logger;
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
 * The session of one request. Nothing exists behind it before the session is first asked for: then the cookie is read
 * and the response gate installed. The gate calls `commit`.
 */
export class RequestSession {
  #slot: SessionSlot | null = null;
  #object: { state: SessionState; session: Session } | null = null;
  /** The application took the session off the request, so the request has nothing to say about it any more. */
  #abandoned = false;

  constructor(
    private readonly environment: HttpEnvironment,
    private readonly request: IncomingMessage,
    private readonly response: ServerResponse,
  ) {}

  /** The session that stands on the request now; undefined after `destroy()` and after `request.session = null`. */
  get session(): Session | undefined {
    if (this.#abandoned) return undefined;
    const { state, vacated } = this.#open();
    if (vacated) return undefined;
    if (this.#object?.state !== state) this.#object = { state, session: createSession(state) };
    return this.#object.session;
  }

  /**
   * The session id, also as `request.sessionID`, once the session is loaded. Access logs ask for it, and must not be an
   * access themselves.
   */
  get id(): string | undefined {
    const state = this.#slot?.state;
    return state?.loaded && !this.#abandoned ? state.id : undefined;
  }

  /** Shows the session to the templates that get these locals, as `session`. */
  showIn(locals: { session?: unknown }): void {
    locals.session = createSessionView(() => this.session);
  }

  abandon(): void {
    this.#abandoned = true;
  }

  /**
   * Loads the session, from the store if it must.
   * @throws ServiceUnavailableException when the store is not to be had; the response then says when to try again
   */
  load(): void | Promise<void> {
    return this.#open()
      .state.load()
      ?.catch((error: unknown) => {
        this.#report('could not be loaded', error);
        throw toHttpException(error, this.response);
      });
  }

  /** Makes sure of a commit even if the application never asks for the session. */
  expectCommit(): void {
    this.#open();
  }

  #open(): SessionSlot {
    if (this.#slot) return this.#slot;
    const { options, sessions } = this.environment;
    const state = new SessionState(
      sessions,
      readCookie(this.request.headers.cookie, options.cookie.name, sessions.keeper.isToken),
    );
    this.#slot = state.slot;
    const { device } = options;
    if (device.ip || device.userAgent) state.slot.describeDevice = () => describeDevice(this.request, device);
    // Not in the middleware: before the session is asked for it is undefined anyway, and every property costs.
    Object.defineProperty(this.request, 'sessionID', SESSION_ID);
    if (this.response.headersSent) {
      state.close();
    } else {
      installResponseGate(this.response, {
        commit: (statusCode) => this.#commit(statusCode >= 500),
        setHeaders: (statusCode) => this.#setHeaders(statusCode >= 500),
        onFailure: (error, end) => {
          // The application chose that limit, and somebody has met it: nothing for the log of errors.
          if (!(error instanceof SessionsPerUserError))
            this.#report('could not be committed, so the response was withheld', error);
          state.close();
          sendFailure(this.response, error, end);
        },
      });
    }
    return this.#slot;
  }

  /** Brings the store up to date; nothing to wait for when nothing has to be told. */
  #commit(failed: boolean): void | Promise<void> {
    const { state } = this.#open();
    // Nothing is saved any more, but what was ended before, or is on its way to the store, is waited for.
    if (this.#detached()) return state.settled(true) ? undefined : state.persist(true);
    if (state.loaded) return state.settled(failed) ? undefined : state.persist(failed);
    if (!this.environment.options.saveEveryRequest) return;
    return Promise.resolve(state.load()).then(() => state.persist(failed));
  }

  /** Says in the headers what the browser and caches have to know. */
  #setHeaders(failed: boolean): void {
    const { environment, response } = this;
    const { state, clearSiteData } = this.#open();
    if (clearSiteData !== undefined) response.setHeader('Clear-Site-Data', clearSiteData);
    if (this.#detached()) return;
    const facts = state.facts(failed);
    const cookie = planCookie(facts);
    if (state.observed || variesByCookie(facts, cookie)) vary(response, 'Cookie');
    state.close();
    if (cookie === 'keep') return;
    const { name } = environment.options.cookie;
    const attributes = { ...environment.options.cookie, secure: this.#secure() };
    const header =
      cookie === 'remove'
        ? removeCookieHeader(name, attributes)
        : setCookieHeader(
            name,
            state.sessionKey as string,
            attributes,
            this.#cookieAge(state),
            environment.sessions.now(),
          );
    response.appendHeader('Set-Cookie', header);
    response.setHeader('Cache-Control', uncacheable(String(response.getHeader('Cache-Control') ?? '')));
  }

  /** Did the application take the session off the request, by assignment or by `delete`? */
  #detached(): boolean {
    return this.#abandoned || !('session' in this.request);
  }

  #cookieAge({ expiry, policy, record }: SessionState): number | null {
    if (expiresAtBrowserClose(expiry, policy)) return null;
    const now = this.environment.sessions.now();
    const begunAt = record ? lastLoginOf(record) : now;
    return deadlineOf(expiry, begunAt, now, { ...policy, idleTimeout: policy.cookieAge }) - now;
  }

  #secure(): boolean {
    const { secure } = this.environment.options.cookie;
    if (secure !== 'auto') return secure;
    return process.env['NODE_ENV'] === 'production' || isSecureConnection(this.request);
  }

  #report(what: string, error: unknown): void {
    const { logger } = this.environment;
    logger.error(`The session ${what}: ${tellable(error)}`);
  }
}

/**
 * A cache that keeps an answer with a cookie would hand one visitor's session to the next. What else is said to keep the
 * answer as it is stays: server-sent events rely on `no-transform` not to be held up by a compression.
 */
function uncacheable(cacheControl: string): string {
  if (/\bno-store\b/i.test(cacheControl)) return cacheControl;
  return /\bno-transform\b/i.test(cacheControl) ? 'no-store, no-transform' : 'no-store';
}
