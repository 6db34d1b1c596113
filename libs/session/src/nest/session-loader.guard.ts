import { type CanActivate, type ExecutionContext, Injectable, type Type } from '@nestjs/common';
import { findRequestSession, injectSession } from './session.decorator.js';

/** Nest's own metadata, by the names it has had since its beginnings; it exports them from no package root. */
const ROUTE_ARGUMENTS = '__routeArguments__';
const RENDER_TEMPLATE = '__renderTemplate__';
/** The kind of parameter that Nest's own `@Session()` makes. */
const NEST_SESSION = /^7:/;

/**
 * Loads the session ahead of handlers that take it, by our `@Session()` or Nest's own, and of those whose `@Render()`
 * template may show it. Parameters are made inside of interceptors: there it would be too late for Nest's decorator,
 * which cannot wait, for `@Sse()` handlers, whose headers have left, and for an interceptor that holds a connection of the
 * pool in which the sessions are. It lets everybody pass.
 *
 * A guard and not an interceptor, because Nest treats routes with interceptors in another way: an `@Sse()` handler that
 * fails or waits before its first event would have answered 200 by then.
 */
@Injectable()
export class SessionLoaderGuard implements CanActivate {
  readonly #needed = new WeakMap<object, boolean>();

  canActivate(context: ExecutionContext): boolean | Promise<boolean> {
    if (!this.#needsSession(context)) return true;
    const loading = findRequestSession(context)?.load();
    return loading ? loading.then(() => true) : true;
  }

  #needsSession(context: ExecutionContext): boolean {
    const handler = context.getHandler();
    let needed = this.#needed.get(handler);
    if (needed === undefined) {
      needed = needsSession(handler, context.getClass());
      this.#needed.set(handler, needed);
    }
    return needed;
  }
}

function needsSession(handler: object, controller: Type): boolean {
  if (Reflect.hasMetadata(RENDER_TEMPLATE, handler)) return true;
  const parameters = Reflect.getMetadata(ROUTE_ARGUMENTS, controller, nameOf(handler, controller)) as
    Record<string, { factory?: unknown }> | undefined;
  return Object.entries(parameters ?? {}).some(
    ([kind, { factory }]) => NEST_SESSION.test(kind) || factory === injectSession,
  );
}

/** The name of the method. A decorator that wraps it, as for a transaction, may have given the function another one. */
function nameOf(handler: object, controller: Type): string {
  let prototype = controller.prototype as object | null;
  while (prototype !== null) {
    for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(prototype))) {
      if (value === handler) return name;
    }
    prototype = Object.getPrototypeOf(prototype) as object | null;
  }
  return '';
}
