import { type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import vary from 'vary';
import { type ResolvedSessionOptions } from '../options/resolve-options.js';
import { type KeyHeader } from '../options/transport.js';
import { readCookies } from './cookie-header.js';

/** What a request came with, and how the answer reaches its client. */
export interface Presented {
  by: 'cookie' | KeyHeader;
  /** As they were sent, the likeliest first. Not all of them need be session keys. */
  keys: string[];
  /** Do its cookies count? Not if it brings its key in a header. */
  cookies: boolean;
}

/**
 * The session keys of a request. A header counts by being there, with whatever value: a page that could have its cookie
 * answered in a header could read a key that it must not see.
 */
export function readSessionKeys(
  headers: IncomingHttpHeaders,
  { transport, cookie }: Pick<ResolvedSessionOptions, 'transport' | 'cookie'>,
): Presented {
  for (const header of transport.headers) {
    const key = keyIn(headers[header.name], header);
    if (key !== undefined) return { by: header, keys: key === '' ? [] : [key], cookies: false };
  }
  const keys = transport.cookie ? readCookies(headers.cookie, cookie.name) : [];
  return { by: keys.length > 0 ? 'cookie' : transport.first, keys, cookies: transport.cookie };
}

/** `''`: the header is there, and empty. Undefined: it is not there, or has to do with something else. */
function keyIn(value: unknown, { bearer }: KeyHeader): string | undefined {
  if (typeof value !== 'string' || !bearer) return typeof value === 'string' ? value : undefined;
  const match = /^bearer(?: +(.*))?$/i.exec(value);
  return match ? (match[1] ?? '') : undefined;
}

/** Tells caches what an answer depends on. Most responses vary by nothing yet. */
export function varyBy(response: ServerResponse, names: string): void {
  if (typeof response.hasHeader === 'function' && !response.hasHeader('Vary'))
    response.setHeader('Vary', names);
  else vary(response, names);
}
