import { parseCookie, stringifySetCookie } from 'cookie';
import { type CookieAttributes } from '../session/cookie-attributes.js';

/** Milliseconds; a session's own expiry is at most a thousand years. */
const LONGEST_EXPIRY = 1000 * 366 * 86_400_000;

/**
 * The session cookie of a request, exactly as it was sent. Names are compared byte by byte and nothing is decoded.
 * A cookie may come twice (a subdomain can plant one): the first that could be a token counts, because browsers
 * send the one with the longest path first; if none could be, the first counts as malformed.
 */
export function readCookie(
  header: string | undefined,
  name: string,
  isToken: (text: string) => boolean,
): string | undefined {
  // Most requests carry no session cookie: a look is cheaper than a parse.
  if (!header?.includes(name)) return undefined;
  const values = header
    .split(';')
    .map((pair) => parseCookie(pair, { decode: (text) => text })[name])
    .filter((value) => value !== undefined);
  return values.find(isToken) ?? values[0];
}

/** @param maxAge milliseconds from now; null: until the browser closes */
export function setCookieHeader(
  name: string,
  sessionKey: string,
  attributes: CookieAttributes & { secure: boolean },
  maxAge: number | null,
  now: number,
): string {
  return stringifySetCookie(name, sessionKey, {
    ...common(attributes),
    // The browser's end never comes before the server's, hence rounded up.
    ...(maxAge !== null && { maxAge: Math.ceil(maxAge / 1000), expires: new Date(now + maxAge) }),
  });
}

/** The bytes of a Set-Cookie header without the value, at the most. */
export function cookieOverhead(name: string, attributes: CookieAttributes): number {
  return Buffer.byteLength(setCookieHeader(name, '', { ...attributes, secure: true }, LONGEST_EXPIRY, 0));
}

/** A removal has the attributes that the cookie was set with: browsers ignore it otherwise. */
export function removeCookieHeader(name: string, attributes: CookieAttributes & { secure: boolean }): string {
  return stringifySetCookie(name, '', { ...common(attributes), maxAge: 0, expires: new Date(0) });
}

function common({
  path,
  domain,
  httpOnly,
  secure,
  sameSite,
  partitioned,
  priority,
}: CookieAttributes & { secure: boolean }) {
  return {
    path,
    httpOnly,
    secure,
    sameSite,
    partitioned,
    ...(domain !== undefined && { domain }),
    ...(priority && { priority }),
  };
}
