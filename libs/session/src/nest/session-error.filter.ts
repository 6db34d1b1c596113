import { type ServerResponse } from 'node:http';
import { type ArgumentsHost, Catch, ConflictException, Injectable } from '@nestjs/common';
import { BaseExceptionFilter, HttpAdapterHost } from '@nestjs/core';
import { toHttpException } from '../http/failure-response.js';
import { SessionGoneError, SessionStoreUnavailableError } from '../session.errors.js';

/**
 * Answers for handlers that reach the store themselves (`session.save()`, `sessions.open()`) and let its errors pass:
 * 503 when the store is not to be had, 409 when the session ended meanwhile. An application's own filter for these
 * errors, or for all errors, comes first.
 */
@Injectable()
@Catch(SessionStoreUnavailableError, SessionGoneError)
export class SessionErrorFilter extends BaseExceptionFilter {
  constructor(adapterHost: HttpAdapterHost) {
    super(adapterHost.httpAdapter);
  }

  override catch(error: SessionStoreUnavailableError | SessionGoneError, host: ArgumentsHost): void {
    if (host.getType() !== 'http') throw error;
    const response = host.switchToHttp().getResponse<ServerResponse & { raw?: ServerResponse }>();
    const exception =
      error instanceof SessionGoneError
        ? new ConflictException('The session ended meanwhile.', { cause: error })
        : toHttpException(error, response.raw ?? response);
    super.catch(exception, host);
  }
}
