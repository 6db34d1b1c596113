import { type IncomingMessage } from 'node:http';
import { type CanActivate, type ExecutionContext, Injectable } from '@nestjs/common';
import { requestSessionOf } from '../http/session-middleware.js';
import { injectSession } from './session.decorator.js';

/** Nest's own metadata, by the names it has had since its beginnings; it exports them from no package root. */
const ROUTE_ARGUMENTS = '__routeArguments__';
const RENDER_TEMPLATE = '__renderTemplate__';
const SERVER_SENT_EVENTS = '__sse__';
/** The kind of parameter that Nest's own `@Session()` makes. */
const NEST_SESSION = /^7:/;

/**
 * Loads the session ahead of handlers that cannot wait for it: those that take Nest's own `@Session()`, those whose
 * `@Render()` template may show it, and `@Sse()` handlers, whose headers leave while their parameters are still being
 * made as soon as an interceptor is in play. It lets everybody pass.
 *
 * A guard and not an interceptor, because Nest treats routes with interceptors in another way: an `@Sse()` handler that
 * fails or waits before its first event would have answered 200 by then.
 */
@Injectable()
export class SessionLoaderGuard implements CanActivate {
  readonly #needed = new WeakMap<object, boolean>();

  canActivate(context: ExecutionContext): boolean | Promise<boolean> {
    if (context.getType() !== 'http' || !this.#needsSession(context)) return true;
    const request = context.switchToHttp().getRequest<IncomingMessage & { raw?: IncomingMessage }>();
    const loading = requestSessionOf(request.raw ?? request)?.load();
    return loading ? loading.then(() => true) : true;
  }

  #needsSession(context: ExecutionContext): boolean {
    const handler = context.getHandler();
    let needed = this.#needed.get(handler);
    if (needed === undefined) {
      needed = needsSession(context);
      this.#needed.set(handler, needed);
    }
    return needed;
  }
}

function needsSession(context: ExecutionContext): boolean {
  const handler = context.getHandler();
  if (Reflect.hasMetadata(RENDER_TEMPLATE, handler)) return true;
  const parameters = Object.entries(
    (Reflect.getMetadata(ROUTE_ARGUMENTS, context.getClass(), handler.name) ?? {}) as Record<
      string,
      { factory?: unknown }
    >,
  );
  const events = Reflect.hasMetadata(SERVER_SENT_EVENTS, handler);
  return parameters.some(
    ([kind, { factory }]) => NEST_SESSION.test(kind) || (events && factory === injectSession),
  );
}
