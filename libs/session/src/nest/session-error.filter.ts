import { type ServerResponse, STATUS_CODES } from 'node:http';
import { type ArgumentsHost, Catch, ConflictException, Injectable } from '@nestjs/common';
import { BaseExceptionFilter, HttpAdapterHost } from '@nestjs/core';
import { type Observable, throwError } from 'rxjs';
import { statusOf, toHttpException } from '../http/failure-response.js';
import { SessionGoneError, SessionsPerUserError } from '../session.errors.js';
import { type Failure, FAILURES, reportFailure } from './gateway-errors.js';
import { SessionRedirect } from './session.guard.js';

/**
 * Answers for handlers that reach the store themselves (`session.save()`, `sessions.open()`) and let its errors pass:
 * 503 when the store is not to be had, 413 when the session would be too large, 409 when the session ended while the
 * handler worked on it or the user has too many. It also sends the redirect of SessionGuard. A caller of a message
 * handler gets the same as an error of Nest's form, and GraphQL the error itself. An application's own filter for these
 * errors, or for all errors, comes first.
 */
@Injectable()
@Catch(...FAILURES, SessionRedirect)
export class SessionErrorFilter extends BaseExceptionFilter {
  constructor(private readonly adapterHost: HttpAdapterHost) {
    super(adapterHost.httpAdapter);
  }

  override catch(error: Caught, host: ArgumentsHost): void | Observable<never> {
    if (host.getType() === 'rpc') return toCaller(error);
    if (host.getType() !== 'http') throw error;
    const response = host.switchToHttp().getResponse<ServerResponse & { raw?: ServerResponse }>();
    if (error instanceof SessionRedirect) {
      this.adapterHost.httpAdapter.redirect(response, error.getStatus(), error.location);
      return;
    }
    super.catch(conflict(error) ?? toHttpException(error, response.raw ?? response), host);
  }
}

type Caught = Failure | SessionRedirect;

function conflict(error: Failure): ConflictException | undefined {
  if (error instanceof SessionsPerUserError) return new ConflictException(undefined, { cause: error });
  if (error instanceof SessionGoneError) {
    return new ConflictException('The session has ended.', { cause: error });
  }
  return undefined;
}

/** What is thrown here reaches no caller, and what Nest sends of an unknown error would not tell an outage. */
function toCaller(error: Caught): Observable<never> {
  const status = error instanceof SessionGoneError ? 409 : statusOf(error);
  reportFailure(error);
  return throwError(() => ({ status: 'error', message: STATUS_CODES[status] }));
}
