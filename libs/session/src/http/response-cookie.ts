import { type IncomingMessage } from 'node:http';
import { checkAttributes, type ResolvedCookieOptions } from '../options/cookie-options.js';
import { parseRequestCookie } from '../options/resolve-options.js';
import { sameSiteOf, type SentAttributes } from '../session/session-environment.js';
import { type CookiePlace } from '../session.options.js';
import { isSecureConnection, platformRequestOf } from './platform-request.js';

/** The session cookie of one response, with nothing left open. */
export interface ResponseCookie extends SentAttributes {
  name: string;
  former: CookiePlace[];
}

/**
 * The cookie as this request has it, to be set or to be removed.
 * @throws SessionConfigError when `forRequest` returns what no browser would keep
 */
export function responseCookie(options: ResolvedCookieOptions, request: IncomingMessage): ResponseCookie {
  const { forRequest } = options;
  const attributes = forRequest
    ? { ...options, ...parseRequestCookie(forRequest(platformRequestOf(request))) }
    : options;
  const secure = isSecure(attributes.secure, request);
  const cookie = { ...attributes, secure, sameSite: sameSiteOf(attributes.sameSite, secure) };
  if (forRequest) checkAttributes(cookie, 'cookie.forRequest()');
  return cookie;
}

function isSecure(secure: boolean | 'auto', request: IncomingMessage): boolean {
  if (secure !== 'auto') return secure;
  return process.env['NODE_ENV'] === 'production' || isSecureConnection(request);
}
