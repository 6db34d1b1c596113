import { stringifySetCookie } from 'cookie';
import { match, type MatchFunction } from 'path-to-regexp';
import { SessionConfigError } from '../session.errors.js';
import { parseDuration } from '../session/expiry.js';
import { LONGEST_TIMER, type ParsedOptions } from './options-schema.js';

/**
 * What browsers would ignore, or what no header can carry, is refused at the start instead.
 * @throws SessionConfigError
 */
export function checkCookie(cookie: ParsedOptions['cookie']): void {
  checkAttributes(cookie, 'cookie');
  checkSyntax('cookie.name', () => stringifySetCookie({ name: cookie.name, value: '' }));
  cookie.former.forEach((place, index) => {
    const given = Object.entries(place).filter(([, value]) => value !== undefined);
    checkSyntax(`cookie.former[${index}]`, () =>
      stringifySetCookie({ name: 'a', value: '', ...Object.fromEntries(given) }),
    );
  });
}

type Attributes = Pick<
  ParsedOptions['cookie'],
  'name' | 'secure' | 'sameSite' | 'partitioned' | 'path' | 'domain'
>;

/**
 * @param at the option that the attributes are from
 * @throws SessionConfigError
 */
export function checkAttributes(cookie: Attributes, at: string): void {
  const { name, secure, sameSite, partitioned, path, domain } = cookie;
  const prefix = /^__(host|secure)-/i.exec(name)?.[0];
  if (prefix && prefix !== '__Host-' && prefix !== '__Secure-') {
    throw new SessionConfigError(
      'cookie.name',
      `starts with ${prefix}; spell the prefix "__Host-" or "__Secure-".`,
    );
  }
  const needsSecure = [
    prefix && `the name prefix ${prefix}`,
    sameSite === 'none' && 'sameSite: none',
    partitioned && 'partitioned',
  ].find(Boolean);
  if (needsSecure && secure !== true) {
    throw new SessionConfigError(
      `${at}.secure`,
      `must be true, because browsers demand it for ${needsSecure}.`,
    );
  }
  if (prefix === '__Host-' && path !== '/') {
    throw new SessionConfigError(`${at}.path`, 'must be "/" for a name with the prefix __Host-.');
  }
  if (prefix === '__Host-' && domain !== undefined) {
    throw new SessionConfigError(`${at}.domain`, 'must be left out for a name with the prefix __Host-.');
  }
  checkSyntax(`${at}.path`, () => stringifySetCookie({ name: 'a', value: '', path }));
  if (domain !== undefined)
    checkSyntax(`${at}.domain`, () => stringifySetCookie({ name: 'a', value: '', domain }));
}

/** What the cookie library refuses to put into a header would be refused at every response: say so at the start. */
function checkSyntax(option: string, serialize: () => string): void {
  try {
    serialize();
  } catch {
    throw new SessionConfigError(
      option,
      'holds characters that a Set-Cookie header cannot carry. Change it.',
    );
  }
}

/** When and how expired sessions are cleared. */
export interface ClearingPlan {
  schedule: { cron: string } | { every: number };
  /** Milliseconds. */
  jitter: number;
  batchSize: number;
}

/** @throws SessionConfigError */
export function resolveClearing(clearExpired: ParsedOptions['clearExpired']): false | ClearingPlan {
  if (clearExpired === false) return false;
  checkJitter(clearExpired.jitter);
  return { ...clearExpired, schedule: resolveSchedule(clearExpired.schedule) };
}

function resolveSchedule(schedule: string | number): { cron: string } | { every: number } {
  const every = parseDuration(schedule);
  if (every === undefined && typeof schedule === 'string' && /^\S+(\s+\S+){4,5}$/.test(schedule.trim())) {
    return { cron: schedule.trim() };
  }
  if (every === undefined || every <= 0) {
    throw new SessionConfigError(
      'clearExpired.schedule',
      `must be a cron expression or a duration such as '1d', but is ${JSON.stringify(schedule)}. Use false for none.`,
    );
  }
  if (every > LONGEST_TIMER) {
    throw new SessionConfigError(
      'clearExpired.schedule',
      'is an interval of more than 24 days. Use a cron expression.',
    );
  }
  return { every };
}

function checkJitter(jitter: number): void {
  if (jitter <= LONGEST_TIMER) return;
  throw new SessionConfigError('clearExpired.jitter', 'is more than 24 days. Use a shorter time.');
}

/**
 * Tells of a path whether one of these patterns matches it.
 * @throws SessionConfigError for what is no pattern
 */
export function compileExclude(patterns: string[]): (path: string) => boolean {
  const matchers = patterns.map((pattern, index): MatchFunction<object> => {
    try {
      // Decoding would throw at paths such as `/%zz`, and exclusion needs no parameters.
      return match(pattern, { decode: false });
    } catch {
      throw new SessionConfigError(
        `exclude[${index}]`,
        `is not a path pattern: ${JSON.stringify(pattern)}. Write it like '/health' or '/assets/*path'.`,
      );
    }
  });
  return matchers.length === 0 ? () => false : (path) => matchers.some((matches) => matches(path) !== false);
}
