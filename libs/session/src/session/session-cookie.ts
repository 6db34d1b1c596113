import { stringifySetCookie } from 'cookie';
import { expiresAtBrowserClose, expiryDate, parseExpiry } from './expiry.js';
import { type LiveSession } from './live-session.js';
import { type CookieAttributes } from './session-environment.js';

/**
 * `session.cookie` as express-session has it, for code that was written for it. Its times are **milliseconds**.
 * Setting one of them is `session.setExpiry` in other words; the attributes can only be read here.
 */
export class SessionCookie {
  readonly #live: LiveSession;

  constructor(live: LiveSession) {
    this.#live = live;
  }

  /** The moment the session ends, or null when it ends with the browser. */
  get expires(): Date | null {
    const { expiry, policy, record } = this.#live;
    if (expiresAtBrowserClose(expiry, policy)) return null;
    return record && record.expiry === expiry
      ? new Date(record.expiresAt)
      : expiryDate(expiry, policy, { now: this.#live.now() });
  }

  set expires(expires: Date | null | false) {
    this.#live.expiry = parseExpiry(expires instanceof Date ? expires : 0);
  }

  /** Milliseconds until the session ends, or null when it ends with the browser. */
  get maxAge(): number | null {
    return this.expires && this.expires.getTime() - this.#live.now();
  }

  set maxAge(milliseconds: number | null | undefined) {
    this.#live.expiry = parseExpiry(typeof milliseconds === 'number' ? milliseconds / 1000 : 0);
  }

  /** The lifetime that every use of the session restarts, in milliseconds; null when it ends with the browser. */
  get originalMaxAge(): number | null {
    const { expiry, policy } = this.#live;
    if (expiresAtBrowserClose(expiry, policy)) return null;
    return typeof expiry === 'number'
      ? expiry * 1000
      : typeof expiry === 'string'
        ? this.maxAge
        : policy.cookieAge;
  }

  set originalMaxAge(milliseconds: number | null) {
    this.maxAge = milliseconds;
  }

  get path(): string {
    return this.#live.cookie.path;
  }

  get domain(): string | undefined {
    return this.#live.cookie.domain;
  }

  get httpOnly(): boolean {
    return this.#live.cookie.httpOnly;
  }

  get secure(): boolean | 'auto' {
    return this.#live.cookie.secure;
  }

  get sameSite(): 'lax' | 'strict' | 'none' | false {
    return this.#live.cookie.sameSite;
  }

  get partitioned(): boolean {
    return this.#live.cookie.partitioned;
  }

  get priority(): 'low' | 'medium' | 'high' | undefined {
    return this.#live.cookie.priority;
  }

  get data(): object {
    const { originalMaxAge, partitioned, priority, expires, secure, httpOnly, domain, path, sameSite } = this;
    return { originalMaxAge, partitioned, priority, expires, secure, httpOnly, domain, path, sameSite };
  }

  serialize(name: string, value: string): string {
    const { domain, expires, secure, priority, ...rest } = this.#attributes();
    return stringifySetCookie(name, value, {
      ...rest,
      secure: secure === true,
      ...(domain !== undefined && { domain }),
      ...(priority && { priority }),
      ...(expires && { expires }),
    });
  }

  toJSON(): object {
    return this.data;
  }

  #attributes(): CookieAttributes & { expires: Date | null } {
    return { ...this.#live.cookie, expires: this.expires };
  }
}
