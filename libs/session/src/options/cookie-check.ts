import { stringifySetCookie } from 'cookie';
import { SessionConfigError } from '../session.errors.js';
import { type ParsedOptions } from './options-schema.js';

/**
 * What browsers would ignore, or what no header can carry, is refused at the start instead.
 * @throws SessionConfigError
 */
export function checkCookie(cookie: ParsedOptions['cookie']): void {
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
      'cookie.secure',
      `must be true, because browsers demand it for ${needsSecure}.`,
    );
  }
  if (prefix === '__Host-' && path !== '/') {
    throw new SessionConfigError('cookie.path', 'must be "/" for a name with the prefix __Host-.');
  }
  if (prefix === '__Host-' && domain !== undefined) {
    throw new SessionConfigError('cookie.domain', 'must be left out for a name with the prefix __Host-.');
  }
  checkSyntax('cookie.name', () => stringifySetCookie({ name, value: '' }));
  checkSyntax('cookie.path', () => stringifySetCookie({ name: 'a', value: '', path }));
  if (domain !== undefined)
    checkSyntax('cookie.domain', () => stringifySetCookie({ name: 'a', value: '', domain }));
  cookie.former.forEach((place, index) => {
    const given = Object.entries(place).filter(([, value]) => value !== undefined);
    checkSyntax(`cookie.former[${index}]`, () =>
      stringifySetCookie({ name: 'a', value: '', ...Object.fromEntries(given) }),
    );
  });
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
