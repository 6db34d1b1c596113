import { type IncomingMessage } from 'node:http';
import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import { type RequestSession } from '../http/request-session.js';
import { requestSessionOf } from '../http/session-middleware.js';
import { type MessageSession } from '../http/socket-session.js';
import { SessionNotLoadedError } from '../session.errors.js';
import { type Session as SessionType, type SessionData, type StorableData } from '../session/session.js';
import { currentMessage } from './message-saver.interceptor.js';
import { messageOfGateway, messageOfOperation, operationOf } from './sockets.js';

/**
 * What `@Session()` does; exported so that handlers which take it can be told from others. In HTTP, the session has been
 * loaded ahead of them, and a promise would cost every request.
 */
export function injectSession(key: string | undefined, context: ExecutionContext): unknown {
  const holder = (context.getType() === 'ws' && currentMessage.getStore()) || sessionHolderIn(context);
  const inject = (): unknown => {
    const { session } = holder;
    return key === undefined ? session : (session as Record<string, unknown> | undefined)?.[key];
  };
  return holder.load()?.then(inject) ?? inject();
}

/**
 * Injects the session of the request, loaded; `@Session('cart')` injects one value of it. In a gateway, and in GraphQL
 * over a socket, it is the session of the request that opened the socket, as it is now.
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

/** What has the session that a handler takes: a request, or a message over a socket. */
export type SessionHolder = RequestSession | MessageSession;

/**
 * What has the session behind an execution context.
 * @throws SessionNotLoadedError where there is none
 */
export function sessionHolderIn(context: ExecutionContext): SessionHolder {
  const holder = findSessionHolder(context);
  if (holder) return holder;
  throw new SessionNotLoadedError(adviceFor(context));
}

/**
 * The request session of HTTP on either platform, and of GraphQL, whose context carries the request as `req`; in gateways
 * and in GraphQL over a socket, the session of the message. Undefined in other contexts, and where the middleware did not
 * run.
 */
export function findSessionHolder(context: ExecutionContext): SessionHolder | undefined {
  const type = context.getType<string>();
  if (type === 'ws') return messageOfGateway(context);
  if (type === 'graphql') {
    const message = messageOfOperation(operationOf(context.getArgs()));
    if (message) return message;
  }
  const request = platformRequest(context);
  return request && requestSessionOf(request.raw ?? request);
}

function platformRequest(context: ExecutionContext): PlatformRequest | undefined {
  const type = context.getType<string>();
  if (type === 'http') return context.switchToHttp().getRequest<PlatformRequest>();
  if (type === 'graphql') return operationOf(context.getArgs()).context?.req;
  return undefined;
}

/** Why there is no session in this context, and what to do. */
function adviceFor(context: ExecutionContext): string {
  const type = context.getType<string>();
  const request = platformRequest(context);
  if (request?.headers !== undefined) {
    return (
      'There is no session on this request: the path is excluded, or the session middleware did not run. Check the ' +
      'option "exclude", and that SessionModule.forRoot() is imported by the application.'
    );
  }
  if (type === 'graphql') {
    return (
      'There is no session in this context of type "graphql", because it has no request. If GraphQLModule has an option ' +
      '"context", let it return the request as `req`, and for subscriptions also what it gets about the socket: ' +
      '`context: ({ req, extra }) => ({ req, extra })` for Apollo, `subscription: { context: (socket, request) => ({ ' +
      'request }) }` for Mercurius.'
    );
  }
  if (type === 'rpc') {
    return (
      'There is no session in a context of type "rpc": messages between services carry no cookie. Send the session key ' +
      'with the message, and open it with `sessions.open(sessionKey)` of the service Sessions.'
    );
  }
  return (
    `There is no session in a context of type "${type}". Take it in handlers of HTTP, GraphQL or gateways; elsewhere ` +
    'open it with `sessions.openFrom(request)` of the service Sessions.'
  );
}
