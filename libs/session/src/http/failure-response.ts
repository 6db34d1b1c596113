import { STATUS_CODES, type ServerResponse } from 'node:http';
import {
  InternalServerErrorException,
  PayloadTooLargeException,
  ServiceUnavailableException,
} from '@nestjs/common';
import {
  SessionError,
  SessionLimitError,
  SessionsPerUserError,
  SessionStoreUnavailableError,
} from '../session.errors.js';

/** Seconds after which a client may try again when the store was not to be had. */
export const RETRY_AFTER = 5;

/** Not every object that middleware gets for a response can take headers: the example of `ws` hands in `{}`. */
export function takesHeaders(response: Partial<ServerResponse>): boolean {
  return typeof response.setHeader === 'function' && typeof response.getHeader === 'function';
}

/** Headers that describe the answer which is not given now; all others (CORS, security) hold for this one as well. */
const OF_THE_ANSWER =
  /^(content-.*|etag|last-modified|location|set-cookie|cache-control|expires|accept-ranges|transfer-encoding|trailer)$/;

/**
 * Answers a request whose session could not be kept: 503 when the store was not to be had, 409 when the user has too many
 * sessions, 413 when the session is too large, 500 otherwise, in the shape of Nest's own error responses. No cause is
 * told, and the client's cookie is left alone.
 */
export function sendFailure(response: ServerResponse, error: unknown, end: (body: string) => void): void {
  if (!takesHeaders(response) || typeof response.getHeaderNames !== 'function') {
    end('');
    return;
  }
  const statusCode = statusOf(error);
  for (const name of response.getHeaderNames()) {
    if (OF_THE_ANSWER.test(name)) response.removeHeader(name);
  }
  const body = JSON.stringify({ statusCode, message: STATUS_CODES[statusCode] });
  response.statusCode = statusCode;
  if (!(response.req?.httpVersionMajor >= 2)) response.statusMessage = STATUS_CODES[statusCode] ?? '';
  if (statusCode === 503) response.setHeader('Retry-After', RETRY_AFTER);
  response.setHeader('Cache-Control', 'no-store');
  response.setHeader('Content-Type', 'application/json; charset=utf-8');
  response.setHeader('Content-Length', Buffer.byteLength(body));
  end(body);
}

/**
 * What a handler's caller meets when the session cannot be loaded: an exception that Nest answers with 503, or 500 for
 * other faults, so that the application's own filters see it; its `cause` is the store's error. A foreign error is not
 * passed on as it is, because Nest would log its message, in which drivers quote what is nobody's business.
 */
export function toHttpException(error: unknown, response?: ServerResponse): unknown {
  if (error instanceof SessionStoreUnavailableError) {
    try {
      if (response && takesHeaders(response) && !response.headersSent)
        response.setHeader('Retry-After', RETRY_AFTER);
    } catch {
      // What only stands in for a response may refuse it; the caller has to hear of the store.
    }
    return new ServiceUnavailableException(undefined, { cause: error });
  }
  if (error instanceof SessionLimitError) return new PayloadTooLargeException(undefined, { cause: error });
  return error instanceof SessionError
    ? error
    : new InternalServerErrorException(undefined, { cause: error });
}

export function statusOf(error: unknown): number {
  if (error instanceof SessionStoreUnavailableError) return 503;
  if (error instanceof SessionLimitError) return 413;
  return error instanceof SessionsPerUserError ? 409 : 500;
}
