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

  /** A moment; null or false for "until the browser closes". */
  set expires(expires: Date | null | false) {
    this.#live.expiry = parseExpiry(expires instanceof Date ? expires : 0);
  }

  /** Milliseconds until the session ends, or null when it ends with the browser. */
  get maxAge(): number | null {
    return this.expires && this.expires.getTime() - this.#live.now();
  }

  /** Milliseconds since the last use; null for "until the browser closes". */
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

  /** The same as `maxAge`. */
  set originalMaxAge(milliseconds: number | null) {
    this.maxAge = milliseconds;
  }

  /** The option `cookie.path`. */
  get path(): string {
    return this.#live.cookie.path;
  }

  /** The option `cookie.domain`. */
  get domain(): string | undefined {
    return this.#live.cookie.domain;
  }

  /** The option `cookie.httpOnly`. */
  get httpOnly(): boolean {
    return this.#live.cookie.httpOnly;
  }

  /** The option `cookie.secure`. */
  get secure(): boolean | 'auto' {
    return this.#live.cookie.secure;
  }

  /** The option `cookie.sameSite`. */
  get sameSite(): 'lax' | 'strict' | 'none' | false {
    return this.#live.cookie.sameSite;
  }

  /** The option `cookie.partitioned`. */
  get partitioned(): boolean {
    return this.#live.cookie.partitioned;
  }

  /** The option `cookie.priority`. */
  get priority(): 'low' | 'medium' | 'high' | undefined {
    return this.#live.cookie.priority;
  }

  /** All attributes as a plain object, as express-session has them. */
  get data(): object {
    const { originalMaxAge, partitioned, priority, expires, secure, httpOnly, domain, path, sameSite } = this;
    return { originalMaxAge, partitioned, priority, expires, secure, httpOnly, domain, path, sameSite };
  }

  /** A `Set-Cookie` header with these attributes. */
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

  /** The same as `data`. */
  toJSON(): object {
    return this.data;
  }

  #attributes(): CookieAttributes & { expires: Date | null } {
    return { ...this.#live.cookie, expires: this.expires };
  }
}
