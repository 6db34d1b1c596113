import { STATUS_CODES } from 'node:http';
import { HttpException, Logger } from '@nestjs/common';
import { statusOf } from '../http/failure-response.js';
import {
  SessionError,
  SessionGoneError,
  SessionLimitError,
  SessionsPerUserError,
  SessionStoreUnavailableError,
} from '../session.errors.js';
import { safeMessage } from '../session/safe-message.js';

/** Errors of sessions that are nobody's mistake. Callers are told of them, whatever they call by. */
export const FAILURES = [
  SessionStoreUnavailableError,
  SessionGoneError,
  SessionLimitError,
  SessionsPerUserError,
] as const;
export type Failure = InstanceType<(typeof FAILURES)[number]>;

export function isFailure(error: unknown): error is Failure {
  return FAILURES.some((kind) => error instanceof kind);
}

/**
 * What a gateway's client is told: the status as text, in Nest's form. Of anything but its own exception Nest would tell
 * nothing, and log all that is in it. Mistakes of the application stay what they are.
 */
export async function toWsException(error: unknown): Promise<unknown> {
  const status = statusIn(error);
  if (status === undefined) return error;
  // An optional dependency; it is there where gateways are.
  const { WsException } = await import('@nestjs/websockets');
  // Of our own errors the cause is the driver's, which tells less.
  if (status >= 409) reportFailure((error instanceof HttpException && error.cause) || error);
  return Object.assign(new WsException(STATUS_CODES[status] ?? 'Internal Server Error'), { cause: error });
}

/** Of an outage of the store the log tells when it begins and when it is over, and not with each message. */
export function reportFailure(error: unknown): void {
  if (error instanceof SessionStoreUnavailableError) return;
  new Logger('Sessions').error(`A message handler failed: ${safeMessage(error)}`);
}

function statusIn(error: unknown): number | undefined {
  if (error instanceof HttpException) return error.getStatus();
  if (error instanceof SessionGoneError) return 409;
  return isFailure(error) || !(error instanceof SessionError) ? statusOf(error) : undefined;
}
