import { stringifySetCookie } from 'cookie';
import { z } from 'zod';
import { SessionConfigError } from '../session.errors.js';
import { type CookiePlace, type RequestCookie, type SessionCookieOptions } from '../session.options.js';
import { type CookieAttributes } from '../session/session-environment.js';
import { DAY, duration, type SchemaOf } from './timeouts.js';

/** Attributes of the cookie, in the options and for one request. */
const attributes = {
  domain: z.string(),
  path: z.string().startsWith('/', "must start with '/'"),
  secure: z.union([z.boolean(), z.literal('auto')], "must be true, false or 'auto'"),
  httpOnly: z.boolean(),
  sameSite: z.union(
    [z.enum(['lax', 'strict', 'none', 'auto']), z.literal(false)],
    "must be 'lax', 'strict', 'none', 'auto' or false",
  ),
  partitioned: z.boolean(),
  priority: z.enum(['low', 'medium', 'high']),
} satisfies SchemaOf<RequestCookie>;

const cookiePlace = z
  .strictObject({ domain: attributes.domain, path: attributes.path } satisfies SchemaOf<CookiePlace>)
  .partial();

export const cookieOptions = z.strictObject({
  name: z.string().default('sessionid'),
  maxAge: duration.default(14 * DAY),
  domain: attributes.domain.optional(),
  path: attributes.path.default('/'),
  former: z.array(cookiePlace).default([]),
  secure: attributes.secure.default('auto'),
  httpOnly: attributes.httpOnly.default(true),
  sameSite: attributes.sameSite.default('lax'),
  partitioned: attributes.partitioned.default(false),
  priority: attributes.priority.optional(),
  forRequest: z
    .custom<NonNullable<SessionCookieOptions['forRequest']>>(
      (value) => typeof value === 'function',
      'must be a function',
    )
    .optional(),
} satisfies SchemaOf<SessionCookieOptions>);

/** What `cookie.forRequest` may return. */
export const requestCookie = z
  .strictObject(attributes, 'must be an object with attributes of the cookie')
  .partial();

export interface ResolvedCookieOptions extends CookieAttributes {
  name: string;
  /** Where a logout removes the cookie as well. What a place leaves out is as in the cookie itself. */
  former: CookiePlace[];
  forRequest?: SessionCookieOptions['forRequest'];
}

/**
 * What browsers would ignore, or what no header can carry, is refused at the start instead.
 * @throws SessionConfigError
 */
export function resolveCookie(cookie: z.output<typeof cookieOptions>): ResolvedCookieOptions {
  checkAttributes(cookie, 'cookie');
  checkSyntax('cookie.name', () => stringifySetCookie({ name: cookie.name, value: '' }));
  cookie.former.forEach((place, index) => {
    const given = Object.entries(place).filter(([, value]) => value !== undefined);
    checkSyntax(`cookie.former[${index}]`, () =>
      stringifySetCookie({ name: 'a', value: '', ...Object.fromEntries(given) }),
    );
  });
  const { maxAge: _, domain, priority, ...others } = cookie;
  return { ...others, ...(domain !== undefined && { domain }), ...(priority && { priority }) };
}

type Attributes = Pick<
  z.output<typeof cookieOptions>,
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
