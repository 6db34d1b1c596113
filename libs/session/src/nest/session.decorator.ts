import { type IncomingMessage } from 'node:http';
import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import { type RequestSession } from '../http/request-session.js';
import { requestSessionOf } from '../http/session-middleware.js';
import { SessionNotLoadedError } from '../session.errors.js';
import { type Session as SessionType, type SessionData, type StorableData } from '../session/session.js';

/**
 * What `@Session()` does; exported so that handlers which take it can be told from others. In HTTP, the session has been
 * loaded ahead of them, and a promise would cost every request.
 */
export function injectSession(key: string | undefined, context: ExecutionContext): unknown {
  const requestSession = requestSessionIn(context);
  const inject = (): unknown => {
    const { session } = requestSession;
    return key === undefined ? session : (session as Record<string, unknown> | undefined)?.[key];
  };
  return requestSession.load()?.then(inject) ?? inject();
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

/**
 * The session that handlers take: the data as properties, and the methods of {@link SessionMethods}. Where a method and a
 * value share a name, the property is the method, and the value is reached by `get` and `set`.
 *
 * @example
 * ```ts
 * add(@Session() session: Session<{ cart: string[] }>) {
 *   session.push('cart', 'apple');
 * }
 * ```
 */
export type Session<Data extends StorableData<Data> = SessionData> = SessionType<Data>;

type PlatformRequest = IncomingMessage & { raw?: IncomingMessage };

/**
 * The request session behind an execution context.
 * @throws SessionNotLoadedError where there is none
 */
export function requestSessionIn(context: ExecutionContext): RequestSession {
  const requestSession = findRequestSession(context);
  if (requestSession) return requestSession;
  throw new SessionNotLoadedError(
    platformRequest(context)
      ? 'There is no session on this request: the path is excluded, or the session middleware did not run. Check the ' +
          'option "exclude", and that SessionModule.forRoot() is imported by the application.'
      : `There is no session in a context of type "${context.getType()}". Take it in HTTP or GraphQL handlers only.`,
  );
}

/**
 * The request session of HTTP on either platform, and of GraphQL, whose context carries the request as `req`. Undefined in
 * other contexts, and where the middleware did not run.
 */
export function findRequestSession(context: ExecutionContext): RequestSession | undefined {
  const request = platformRequest(context);
  return request && requestSessionOf(request.raw ?? request);
}

function platformRequest(context: ExecutionContext): PlatformRequest | undefined {
  const type = context.getType<string>();
  if (type === 'http') return context.switchToHttp().getRequest<PlatformRequest>();
  if (type === 'graphql') return context.getArgByIndex<{ req?: PlatformRequest } | undefined>(2)?.req;
  return undefined;
}
