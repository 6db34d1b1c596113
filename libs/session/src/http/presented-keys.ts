import { type ResolvedSessionOptions } from '../options/resolve-options.js';
import { SessionNotLoadedError } from '../session.errors.js';
import { isObject } from '../stores/record-log.js';
import { readSessionKeys } from './key-transport.js';

type HeaderObject = Exclude<AnyHeaders, Pick<Headers, 'get'>>;

/** Headers as Node has them, an object of texts, or as the web has them, `Headers`. */
export type AnyHeaders =
  Readonly<Record<string, string | readonly string[] | undefined>> | Pick<Headers, 'get'>;

/** What `Sessions.openFrom` takes: a request of Node, Express or Fastify, a `Request` of the web, or only its headers. */
export type RequestOrHeaders = AnyHeaders | RequestLike;

/** As much of a request as a session needs. */
export interface RequestLike {
  /** With the cookies in them. */
  readonly headers: AnyHeaders;
}

/**
 * The session keys that a request brings, the likeliest first, well-formed or not.
 * @throws SessionNotLoadedError for what has no headers
 */
export function presentedKeys(
  request: RequestOrHeaders,
  options: Pick<ResolvedSessionOptions, 'transport' | 'cookie'>,
): string[] {
  const headerOf = headerReader(request);
  const names = ['cookie', ...options.transport.headers.map(({ name }) => name)];
  return readSessionKeys(Object.fromEntries(names.map((name) => [name, headerOf(name)])), options).keys;
}

function headerReader(request: unknown): (name: string) => string | undefined {
  const headers = isObject(request) && isObject(request['headers']) ? request['headers'] : request;
  if (isObject(headers)) {
    if (typeof headers['get'] === 'function')
      return (name) => (headers as unknown as Headers).get(name) ?? undefined;
    if (areHeaders(headers)) {
      return (name) => {
        const value = headers[Object.keys(headers).find((key) => key.toLowerCase() === name) ?? name];
        return typeof value === 'object' ? value.join('; ') : value;
      };
    }
  }
  throw new SessionNotLoadedError(
    'A session can be opened from a request or its headers, and this is neither. For a socket, pass the request of its ' +
      'handshake: `socket.request` of socket.io, the second argument of the event "connection" of ws, `extra.request` ' +
      'of graphql-ws.',
  );
}

function areHeaders(value: Record<string, unknown>): value is HeaderObject {
  return Object.values(value).every(
    (header) => header === undefined || typeof header === 'string' || Array.isArray(header),
  );
}
