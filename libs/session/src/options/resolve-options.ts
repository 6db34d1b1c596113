import { type CookiePlace, type SessionCookieOptions, type SessionOptions } from '../session.options.js';
import { checkCookie, compileExclude, resolveClearing } from './option-checks.js';
import { type ParsedOptions, parseOptions } from './options-schema.js';
import { resolveRenewal, resolveTimeouts } from './timeouts.js';
import { resolveTransport } from './transport.js';
import { type CookieAttributes } from '../session/session-environment.js';

/** The options with defaults filled in and durations in milliseconds: what the rest of the library reads. */
export type ResolvedSessionOptions = ReturnType<typeof resolveOptions>;

/**
 * Checks the options and fills in the defaults.
 * @throws SessionConfigError naming the option at fault
 */
export function resolveOptions(options: SessionOptions = {}) {
  const parsed = parseOptions(options);
  const { cookie, transport, device, exclude, renewAfter, clearExpired } = parsed;
  const { application, login, onReuse, sessionsPerUser, currentStamp, pepper } = parsed;
  const { saveEveryRequest, loading, limits, accept, storeTimeout, sockets } = parsed;
  return {
    ...resolveTimeouts(parsed),
    application,
    cookie: resolveCookie(cookie),
    transport: resolveTransport(transport),
    login,
    renewAfter: resolveRenewal(renewAfter),
    onReuse,
    sessionsPerUser,
    device: typeof device === 'boolean' ? { ip: device, userAgent: device } : device,
    currentStamp,
    pepper,
    saveEveryRequest,
    clearExpired: resolveClearing(clearExpired),
    loading,
    /** Does this path have no session? */
    excluded: compileExclude(exclude),
    limits,
    accept,
    storeTimeout,
    sockets,
  };
}

export interface ResolvedCookieOptions extends CookieAttributes {
  name: string;
  /** Where a logout removes the cookie as well. What a place leaves out is as in the cookie itself. */
  former: CookiePlace[];
  forRequest?: SessionCookieOptions['forRequest'];
}

function resolveCookie(cookie: ParsedOptions['cookie']): ResolvedCookieOptions {
  checkCookie(cookie);
  const { maxAge: _, domain, priority, ...attributes } = cookie;
  return { ...attributes, ...(domain !== undefined && { domain }), ...(priority && { priority }) };
}
