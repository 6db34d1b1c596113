import { types } from 'node:util';
import { stringifySetCookie } from 'cookie';
import { SessionValueError } from '../session.errors.js';
import { expiresAtBrowserClose, LONGEST_COOKIE, parseExpiry } from './expiry.js';
import { type LiveSession } from './live-session.js';
import { type CookieAttributes, sameSiteOf } from './session-environment.js';

/**
 * `session.cookie` as express-session has it, for code that was written for it. Its times are **milliseconds**.
 * Setting one of them is `session.setExpiry` in other words, and as strict; the attributes can only be read here.
 */
export class SessionCookie {
  readonly #live: LiveSession;

  constructor(live: LiveSession) {
    this.#live = live;
  }

  /** The moment the session ends, or null when it ends with the browser. `touch()` moves it. */
  get expires(): Date | null {
    const { expiry, policy, endsAt } = this.#live;
    return expiresAtBrowserClose(expiry, policy) ? null : new Date(endsAt);
  }

  /** @throws SessionValueError for anything but a Date, or null or false for the end of the browser session */
  set expires(expires: Date | null | false) {
    if (expires !== null && expires !== false && !types.isDate(expires)) {
      throw new SessionValueError(
        'cookie.expires',
        'is not a moment. Assign a Date, or null for a session that ends with the browser.',
      );
    }
    this.#live.expiry = parseExpiry(expires || 0, 'cookie.expires');
  }

  /** Milliseconds until the session ends, or null when it ends with the browser. */
  get maxAge(): number | null {
    return this.expires && this.expires.getTime() - this.#live.now();
  }

  /**
   * Null is until the browser closes. 0, and less, ends the session.
   * @throws SessionValueError for anything else that is no number
   */
  set maxAge(milliseconds: number | null) {
    this.#setAge('cookie.maxAge', milliseconds);
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
    this.#setAge('cookie.originalMaxAge', milliseconds);
  }

  /**
   * Takes over the lifetime of another cookie, or of an object with one of its times. Attributes are as configured.
   * @throws SessionValueError for what has no lifetime, or other attributes
   */
  assign(given: unknown): void {
    const other = (typeof given === 'object' && given !== null ? given : {}) as Record<string, unknown>;
    const name = ATTRIBUTES.find(
      (attribute) => other[attribute] !== undefined && other[attribute] !== this[attribute],
    );
    if (name !== undefined) {
      throw new SessionValueError(
        `cookie.${name}`,
        'cannot be set per session. It is an option of the module.',
      );
    }
    const time = TIMES.find((candidate) => other[candidate] !== undefined);
    if (time === undefined) {
      throw new SessionValueError(
        'cookie',
        'has no lifetime. Assign session.cookie.maxAge, in milliseconds, or call session.setExpiry().',
      );
    }
    if (other[time] !== this[time]) this[time] = other[time] as never;
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
  get sameSite(): 'lax' | 'strict' | 'none' | 'auto' | false {
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
    const { path, domain, httpOnly, secure, sameSite, partitioned, priority } = this.#live.cookie;
    const { expires } = this;
    return stringifySetCookie(name, value, {
      path,
      httpOnly,
      secure: secure === true,
      sameSite: sameSiteOf(sameSite, secure === true),
      partitioned,
      ...(domain !== undefined && { domain }),
      ...(priority && { priority }),
      ...(expires && { expires: new Date(Math.min(expires.getTime(), this.#live.now() + LONGEST_COOKIE)) }),
    });
  }

  /** The same as `data`. */
  toJSON(): object {
    return this.data;
  }

  #setAge(path: string, milliseconds: unknown): void {
    if (milliseconds !== null && typeof milliseconds !== 'number') {
      throw new SessionValueError(
        path,
        'is not a number of milliseconds. Assign one, or null for a session that ends with the browser; assign a Date ' +
          'to cookie.expires.',
      );
    }
    // Unlike setExpiry, express-session takes 0 for now, and null for the end of the browser session.
    const seconds = (milliseconds ?? 0) / 1000;
    const isNow = milliseconds !== null && Math.abs(milliseconds) < 1;
    this.#live.expiry = parseExpiry(isNow ? new Date(this.#live.now()) : seconds, path);
  }
}

const TIMES = ['originalMaxAge', 'maxAge', 'expires'] as const;
const ATTRIBUTES = [
  'path',
  'domain',
  'httpOnly',
  'secure',
  'sameSite',
  'partitioned',
  'priority',
] as const satisfies (keyof CookieAttributes)[];
