import { type ServerResponse } from 'node:http';
import { type ArgumentsHost, Catch, ConflictException, Injectable } from '@nestjs/common';
import { BaseExceptionFilter, HttpAdapterHost } from '@nestjs/core';
import { toHttpException } from '../http/failure-response.js';
import {
  SessionGoneError,
  SessionLimitError,
  SessionsPerUserError,
  SessionStoreUnavailableError,
} from '../session.errors.js';

/**
 * Answers for handlers that reach the store themselves (`session.save()`, `sessions.open()`) and let its errors pass:
 * 503 when the store is not to be had, 413 when the session would be too large, 409 when the session ended while the
 * handler worked on it or the user has too many. An application's
 * own filter for these errors, or for all errors, comes first.
 */
@Injectable()
@Catch(SessionStoreUnavailableError, SessionGoneError, SessionLimitError, SessionsPerUserError)
export class SessionErrorFilter extends BaseExceptionFilter {
  constructor(adapterHost: HttpAdapterHost) {
    super(adapterHost.httpAdapter);
  }

  override catch(error: Caught, host: ArgumentsHost): void {
    if (host.getType() !== 'http') throw error;
    const response = host.switchToHttp().getResponse<ServerResponse & { raw?: ServerResponse }>();
    super.catch(conflict(error) ?? toHttpException(error, response.raw ?? response), host);
  }
}

type Caught = SessionStoreUnavailableError | SessionGoneError | SessionLimitError | SessionsPerUserError;

function conflict(error: Caught): ConflictException | undefined {
  if (error instanceof SessionsPerUserError) return new ConflictException(undefined, { cause: error });
  if (error instanceof SessionGoneError) {
    return new ConflictException('The session ended meanwhile.', { cause: error });
  }
  return undefined;
}
