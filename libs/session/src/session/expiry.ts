import { types } from 'node:util';
import ms from 'ms';
import { SessionValueError } from '../session.errors.js';
import { type SessionExpiry, type SessionRecord } from '../stores/session-store.js';

/** How long sessions live that have no expiry of their own. Milliseconds. */
export interface ExpiryPolicy {
  /** How long the browser keeps the cookie; what Django calls the session cookie age. */
  cookieAge: number;
  /** A session ends when it was not used for so long. */
  idleTimeout: number;
  /** A session ends so long after its creation, however much it is used. Null: it does not. */
  absoluteTimeout: number | null;
  expireAtBrowserClose: boolean;
  /** Does every use restart the idle clock (true), or only a save (false, as in Django)? */
  sliding: boolean;
}

/**
 * How long one session lives. A number of seconds or a duration such as `'30m'` counts from the last use; `0` means
 * until the browser closes; a Date is that moment; null is whatever the options say. Negative: it has expired already.
 */
export type ExpiryInput = number | string | Date | null;

/** The timeouts that apply to a session with this metadata. */
export function policyOf(
  { meta }: Pick<SessionRecord, 'meta'>,
  { policy, rememberedPolicy }: { policy: ExpiryPolicy; rememberedPolicy: ExpiryPolicy },
): ExpiryPolicy {
  return meta.remembered ? rememberedPolicy : policy;
}

type Timing = Pick<SessionRecord, 'expiry' | 'createdAt' | 'lastSeenAt' | 'expiresAt' | 'meta'>;

const SECOND = 1000;
/** A thousand years. Numbers up to here, added to a moment up to there, are valid dates with a year of four digits. */
const LONGEST = 1000 * 365.25 * 24 * 3600 * SECOND;
const FIRST_MOMENT = Date.UTC(1900, 0, 1);
const LAST_MOMENT = Date.UTC(8999, 11, 31);

/** No browser keeps a cookie for longer than 400 days. Milliseconds. */
export const LONGEST_COOKIE = 400 * 24 * 3600 * SECOND;

/**
 * Milliseconds of a duration: a number is seconds, a string has a unit (`'500ms'`, `'30m'`, `'2w'`). Undefined when it
 * is no duration, or longer than a thousand years.
 */
export function parseDuration(input: unknown): number | undefined {
  const duration = typeof input === 'number' ? input * SECOND : parseUnits(input);
  return duration !== undefined && Math.abs(duration) <= LONGEST ? duration : undefined;
}

function parseUnits(input: unknown): number | undefined {
  // Without a unit `ms` takes a number for milliseconds, here it would be seconds: too easy to mix up.
  if (typeof input !== 'string' || !/[a-z]$/i.test(input)) return undefined;
  const duration: number | undefined = ms(input as ms.StringValue);
  return duration;
}

/**
 * What is stored for this expiry.
 * @param path what it was given as, for the error
 * @throws SessionValueError when it is none
 */
export function parseExpiry(input: unknown, path = 'expiry'): SessionExpiry {
  if (input === null) return null;
  if (types.isDate(input)) return parseMoment(input, path);
  const duration = parseDuration(input);
  if (duration === undefined) {
    throw new SessionValueError(
      path,
      'must be a number of seconds, a duration with a unit such as "30m" or "2w", a Date, or null, and at most a ' +
        'thousand years.',
    );
  }
  return duration === 0 ? 0 : duration / SECOND;
}

function parseMoment(date: Date, path: string): string {
  const moment = date.getTime();
  if (moment >= FIRST_MOMENT && moment <= LAST_MOMENT) return new Date(moment).toISOString();
  throw new SessionValueError(
    path,
    Number.isNaN(moment)
      ? 'is an invalid Date. Use a valid one.'
      : 'is a Date outside the years 1900 to 8999. Use null to go back to the options.',
  );
}

/** Django's get_expiry_age: seconds from `modification` (default: now) to the expiry. Whole ones for a moment. */
export function expiryAge(
  expiry: SessionExpiry,
  policy: ExpiryPolicy,
  { now, modification = now }: { now: number; modification?: number | undefined },
): number {
  if (typeof expiry === 'string') return Math.floor((Date.parse(expiry) - modification) / SECOND);
  return expiry === null || expiry === 0 ? policy.cookieAge / SECOND : expiry;
}

/** Django's get_expiry_date: the moment of the expiry if the session was saved at `modification` (default: now). */
export function expiryDate(
  expiry: SessionExpiry,
  policy: ExpiryPolicy,
  { now, modification = now }: { now: number; modification?: number | undefined },
): Date {
  if (typeof expiry === 'string') return new Date(expiry);
  return new Date(modification + expiryAge(expiry, policy, { now }) * SECOND);
}

/** Django's get_expire_at_browser_close: an expiry of its own decides, whichever it is. */
export function expiresAtBrowserClose(expiry: SessionExpiry, policy: ExpiryPolicy): boolean {
  return expiry === null ? policy.expireAtBrowserClose : expiry === 0;
}

/**
 * The moment, in epoch milliseconds, at which a session that is used `now` ends on the server, unless it is used again.
 * Browsers do not tell when they close, so an expiry of 0 ends after the idle timeout.
 * @param createdAt from when the absolute timeout counts
 */
export function deadlineOf(
  expiry: SessionExpiry,
  createdAt: number,
  now: number,
  policy: Pick<ExpiryPolicy, 'idleTimeout' | 'absoluteTimeout'>,
): number {
  const own = typeof expiry === 'string' ? Date.parse(expiry) : now + idleTimeOf(expiry, policy);
  const last = policy.absoluteTimeout === null ? Infinity : createdAt + policy.absoluteTimeout;
  return Math.floor(Math.min(own, last));
}

/** Has this record expired, by what is stored or by today's options? Shorter options shorten existing sessions. */
export function isExpired(record: Timing, now: number, policy: ExpiryPolicy): boolean {
  // Not `now >= deadline`: a moment that cannot be read gives NaN, and such a session has to end.
  return !(now < currentDeadline(record, policy));
}

/**
 * Is it time to restart the idle clock of this record? Not with every use, but once in a tenth of the idle time, or of
 * the cookie's age, which a touch renews as well; and only if that moves the deadline. If the options have been shortened,
 * the new deadline can be earlier than the stored one. Then it takes a save: a touch moves a deadline only forward.
 */
export function touchDue(record: Timing, now: number, policy: ExpiryPolicy): boolean {
  if (!policy.sliding || typeof record.expiry === 'string') return false;
  if (now - record.lastSeenAt < shortestLife(record.expiry, policy) / 10) return false;
  return deadlineOf(record.expiry, record.createdAt, now, policy) > currentDeadline(record, policy);
}

/** Is the secret so old that it has to be replaced? @param renewAfter milliseconds; null: it never is */
export function renewalDue(
  { createdAt, meta }: Pick<SessionRecord, 'createdAt' | 'meta'>,
  now: number,
  renewAfter: number | null,
): boolean {
  return renewAfter !== null && now - createdAt - (meta.rotation?.after ?? 0) >= renewAfter;
}

function currentDeadline(record: Timing, policy: ExpiryPolicy): number {
  return Math.min(record.expiresAt, deadlineOf(record.expiry, record.createdAt, record.lastSeenAt, policy));
}

/** Of the session on the server and of its cookie, whichever ends first. */
function shortestLife(expiry: number | null, policy: ExpiryPolicy): number {
  return Math.min(idleTimeOf(expiry, policy), expiry === null ? policy.cookieAge : LONGEST_COOKIE);
}

function idleTimeOf(expiry: number | null, policy: Pick<ExpiryPolicy, 'idleTimeout'>): number {
  return expiry === null || expiry === 0 ? policy.idleTimeout : expiry * SECOND;
}
