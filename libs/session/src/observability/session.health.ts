/**
 * The health indicator for `@nestjs/terminus`.
 *
 * @example
 * ```ts
 * import { SessionHealthIndicator } from 'nest-sessions/terminus';
 * ```
 * @module nest-sessions/terminus
 */
import { Inject, Injectable } from '@nestjs/common';
import { type HealthIndicatorResult, HealthIndicatorService } from '@nestjs/terminus';
import { type HttpEnvironment } from '../http/request-session.js';
import { SessionError, SessionStoreUnavailableError } from '../session.errors.js';
import { HTTP_ENVIRONMENT } from '../session.tokens.js';

/** What is told of a store that is down. No message: drivers quote addresses and credentials in theirs. */
type Failure = {
  /** Of an error of this library, such as `SESSION_STORE_UNAVAILABLE`; else the driver's own, or `UNKNOWN`. */
  code: string;
  /** The operation that failed, where the error names one. */
  operation?: string;
};

/**
 * Tells `@nestjs/terminus` whether the session store answers, by asking it for a session that does not exist.
 * The question has the time limit of every call of the store, the option `storeTimeout`.
 *
 * @example
 * ```ts
 * @Controller('health')
 * export class HealthController {
 *   constructor(
 *     private readonly health: HealthCheckService,
 *     private readonly sessions: SessionHealthIndicator, // among the providers of the module
 *   ) {}
 *
 *   @Get()
 *   @HealthCheck()
 *   check() {
 *     return this.health.check([() => this.sessions.isHealthy()]); // { sessions: { status: 'up' } }
 *   }
 * }
 * ```
 */
@Injectable()
export class SessionHealthIndicator {
  constructor(
    private readonly health: HealthIndicatorService,
    @Inject(HTTP_ENVIRONMENT) private readonly environment: HttpEnvironment,
  ) {}

  /**
   * Resolves, and never rejects, with `up`, or with `down` and the code of the error and the operation that failed.
   * @param key under which the result stands in the report
   */
  async isHealthy<const Key extends string = 'sessions'>(
    key: Key = 'sessions' as Key,
  ): Promise<HealthIndicatorResult<Key>> {
    const indicator = this.health.check(key);
    try {
      await this.environment.sessions.tokens.ping();
      return indicator.up();
    } catch (error) {
      return indicator.down(failureOf(error));
    }
  }
}

function failureOf(error: unknown): Failure {
  return {
    code: codeOf(error),
    ...(error instanceof SessionStoreUnavailableError && { operation: error.operation }),
  };
}

function codeOf(error: unknown): string {
  const { code } = (error ?? {}) as { code?: unknown };
  if (error instanceof SessionError) return error.code;
  // `ECONNREFUSED`, `42P01`: nothing that could hold an address or a credential.
  return typeof code === 'string' && /^[A-Z0-9_]{1,40}$/.test(code) ? code : 'UNKNOWN';
}
