import { type CanActivate, type ExecutionContext, type Type } from '@nestjs/common';
import { MetadataScanner, type ModulesContainer } from '@nestjs/core';
import { findRequestSession, injectSession } from './session.decorator.js';

/** Nest's own metadata, by the names it has had since its beginnings; it exports them from no package root. */
const ROUTE_ARGUMENTS = '__routeArguments__';
const RENDER_TEMPLATE = '__renderTemplate__';
const GUARDS = '__guards__';
/** The kind of parameter that Nest's own `@Session()` makes. */
const NEST_SESSION = /^7:/;

/**
 * Loads the session, and lets everybody pass.
 *
 * A guard and not an interceptor, because Nest treats routes with interceptors in another way: an `@Sse()` handler that
 * fails or waits before its first event would have answered 200 by then. And what an interceptor holds while the handler
 * works, such as a connection for its transaction, is not held while the session is loaded.
 */
const sessionLoader: CanActivate = {
  canActivate(context: ExecutionContext): boolean | Promise<boolean> {
    return findRequestSession(context)?.load() ?? true;
  },
};

/**
 * Has the session loaded ahead of every handler that takes it, by our `@Session()` or by Nest's own, and of those whose
 * `@Render()` template may show it. Other handlers get no guard, which would cost all of their requests. To be called
 * before the routes are made.
 */
export function loadAheadOfHandlers(modules: ModulesContainer): void {
  const scanner = new MetadataScanner();
  for (const { controllers, providers } of modules.values()) {
    // Resolvers of GraphQL are providers.
    for (const { metatype } of [...controllers.values(), ...providers.values()]) {
      const prototype = (metatype as Partial<Type> | null)?.prototype as Record<string, unknown> | undefined;
      if (!prototype) continue;
      for (const name of scanner.getAllMethodNames(prototype)) {
        const handler = prototype[name] as object;
        if (takesSession(metatype as Type, name, handler)) guard(handler);
      }
    }
  }
}

function takesSession(owner: Type, name: string, handler: object): boolean {
  if (Reflect.hasMetadata(RENDER_TEMPLATE, handler)) return true;
  const parameters = (Reflect.getMetadata(ROUTE_ARGUMENTS, owner, name) ?? {}) as Record<
    string,
    { factory?: unknown }
  >;
  return Object.entries(parameters).some(
    ([kind, { factory }]) => NEST_SESSION.test(kind) || factory === injectSession,
  );
}

/** Once, however many applications have this handler. */
function guard(handler: object): void {
  const guards = (Reflect.getMetadata(GUARDS, handler) ?? []) as unknown[];
  if (!guards.includes(sessionLoader)) Reflect.defineMetadata(GUARDS, [sessionLoader, ...guards], handler);
}
