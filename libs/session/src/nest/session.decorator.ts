import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import { type Session as SessionType, type SessionData } from '../session/session.js';
import { type StorableData } from '../session/storable-data.js';
import { requestSessionIn } from './request-of.js';

/** What `@Session()` does; exported so that handlers which take it can be told from others. */
export async function injectSession(key: string | undefined, context: ExecutionContext): Promise<unknown> {
  const requestSession = requestSessionIn(context);
  await requestSession.load();
  const { session } = requestSession;
  return key === undefined ? session : (session as Record<string, unknown> | undefined)?.[key];
}

/**
 * Injects the session of the request, loaded; `@Session('cart')` injects one value of it.
 *
 * @example
 * ```ts
 * @Get()
 * show(@Session() session: Session, @Session('userId') userId: string | null) { … }
 * ```
 */
export const Session = createParamDecorator(injectSession);

export type Session<Data extends StorableData<Data> = SessionData> = SessionType<Data>;
