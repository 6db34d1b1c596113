import { parseCookie, type SetCookie, stringifySetCookie } from 'cookie';
import { LONGEST_COOKIE } from '../session/expiry.js';
import { type CookieAttributes, sameSiteOf, type SentAttributes } from '../session/session-environment.js';
import { type ResponseCookie } from './response-cookie.js';

/**
 * The session cookies of a request, exactly as they were sent. Names are compared byte by byte and nothing is decoded.
 * A cookie may come several times: one that was set under another domain or path, or one that a subdomain has planted.
 * Browsers send the one with the longest path first.
 */
export function readCookies(header: string | undefined, name: string): string[] {
  // Most requests carry no session cookie: a look is cheaper than a parse.
  if (!header?.includes(name)) return [];
  const values: string[] = [];
  for (const pair of header.split(';')) {
    const value = pair.includes(name) ? parseCookie(pair, AS_IT_IS)[name] : undefined;
    if (value !== undefined) values.push(value);
  }
  return values;
}

const asItIs = (text: string): string => text;
/** All characters of a session key may stand in a cookie. */
const AS_IT_IS = { encode: asItIs, decode: asItIs };

/** @param maxAge milliseconds from now; null: until the browser closes */
export function setCookieHeader(
  name: string,
  token: string,
  attributes: SentAttributes,
  maxAge: number | null,
  now: number,
): string {
  const cookie = cookieWith(name, token, attributes);
  if (maxAge !== null) {
    // The browser's end never comes before the server's, hence rounded up.
    cookie.maxAge = Math.ceil(maxAge / 1000);
    cookie.expires = new Date(now + maxAge);
  }
  return stringifySetCookie(cookie, AS_IT_IS);
}

/** The bytes of a Set-Cookie header without the value, at the most. */
export function cookieOverhead(name: string, attributes: CookieAttributes): number {
  const sent = { ...attributes, secure: true, sameSite: sameSiteOf(attributes.sameSite, true) };
  return Buffer.byteLength(setCookieHeader(name, '', sent, LONGEST_COOKIE, 0));
}

/**
 * Removes the cookie wherever the options know that it may be. A removal has the attributes that the cookie was set with:
 * browsers ignore it otherwise.
 */
export function removeCookieHeaders({ name, former, ...attributes }: ResponseCookie): string[] {
  const places = [
    attributes,
    ...former.map((place) => ({
      ...attributes,
      path: place.path ?? attributes.path,
      // A domain that is given as undefined means none; one that is left out, the present one.
      ...('domain' in place && { domain: place.domain }),
    })),
  ];
  const headers = places.map((place) =>
    stringifySetCookie({ ...cookieWith(name, '', place), maxAge: 0, expires: new Date(0) }),
  );
  return [...new Set(headers)];
}

/** Not made by spreading, which costs more than to write the header. */
function cookieWith(
  name: string,
  value: string,
  { path, domain, httpOnly, secure, sameSite, partitioned, priority }: SentAttributes,
): SetCookie {
  const cookie: SetCookie = { name, value, path, httpOnly, secure, sameSite, partitioned };
  if (domain !== undefined) cookie.domain = domain;
  if (priority) cookie.priority = priority;
  return cookie;
}
