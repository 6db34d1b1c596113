import { type CanActivate, type ExecutionContext, type Type } from '@nestjs/common';
import { type ExternalContextCreator, MetadataScanner, type ModulesContainer } from '@nestjs/core';
import { toWsException } from './gateway-errors.js';
import { messageSaver, savingField } from './message-saver.interceptor.js';
import { findSessionHolder, injectSession } from './session.decorator.js';

/** Nest's own metadata, by the names it has had since its beginnings; it exports them from no package root. */
const ROUTE_ARGUMENTS = '__routeArguments__';
const RENDER_TEMPLATE = '__renderTemplate__';
const GUARDS = '__guards__';
const INTERCEPTORS = '__interceptors__';
/** Of `@SubscribeMessage()`. */
const MESSAGE = 'websockets:message_mapping';
/** Of `@Query()`, `@Mutation()` and `@Subscription()` of GraphQL. */
const RESOLVER_TYPE = 'graphql:resolver_type';
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
    const loading = findSessionHolder(context)?.load();
    if (!loading) return true;
    if (context.getType() !== 'ws') return loading;
    return loading.catch(async (error: unknown) => {
      throw await toWsException(error);
    });
  },
};

/**
 * Has the session loaded ahead of every handler that takes it, by our `@Session()` or by Nest's own, and of those whose
 * `@Render()` template may show it; and has it saved before the answers to messages over sockets. Other handlers get
 * neither, which would cost all of their requests. To be called before Nest makes routes and gateways.
 */
export function prepareHandlers(modules: ModulesContainer): void {
  const scanner = new MetadataScanner();
  for (const { controllers, providers } of modules.values()) {
    // Gateways, and resolvers of GraphQL, are providers.
    for (const { metatype } of [...controllers.values(), ...providers.values()]) {
      const prototype = (metatype as Partial<Type> | null)?.prototype as Record<string, unknown> | undefined;
      if (!prototype) continue;
      for (const name of scanner.getAllMethodNames(prototype)) {
        const handler = prototype[name] as object;
        const takes = takesSession(metatype as Type, name, handler);
        if (takes) putFirst(GUARDS, sessionLoader, handler);
        if (answersMessages(handler, takes)) putFirst(INTERCEPTORS, messageSaver, handler);
      }
    }
  }
}

/**
 * Has the session saved, too, when a field of GraphQL below the top level takes it: Nest makes their resolvers here. To be
 * called before it does.
 */
export function prepareFields(creator: ExternalContextCreator): void {
  const create = creator.create.bind(creator) as (...given: unknown[]) => ReturnType<typeof creator.create>;
  creator.create = (instance, handler, name, ...rest) => {
    const resolve = create(instance, handler, name, ...rest);
    const isField = rest.at(-1) === 'graphql' && !Reflect.hasMetadata(RESOLVER_TYPE, handler);
    return isField && takesSession(instance.constructor as Type, name, handler)
      ? savingField(resolve)
      : resolve;
  };
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

/** Guards use the session, too: of every message to a gateway, and where a subscription is to end with it. */
function answersMessages(handler: object, takesTheSession: boolean): boolean {
  if (Reflect.hasMetadata(MESSAGE, handler)) return true;
  const type: unknown = Reflect.getMetadata(RESOLVER_TYPE, handler);
  return type === 'Subscription' || (takesTheSession && (type === 'Query' || type === 'Mutation'));
}

/** Once, however many applications have this handler. */
function putFirst(kind: string, enhancer: object, handler: object): void {
  const enhancers = (Reflect.getMetadata(kind, handler) ?? []) as unknown[];
  if (!enhancers.includes(enhancer)) Reflect.defineMetadata(kind, [enhancer, ...enhancers], handler);
}
