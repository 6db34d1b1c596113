import { type IncomingMessage, type ServerResponse } from 'node:http';
import { requestSessionOf, type SessionMiddleware } from '../http/session-middleware.js';
import { FASTIFY_REQUEST } from '../http/platform-request.js';

interface FastifyRequest {
  raw: IncomingMessage & { session?: unknown; sessionID?: string; [FASTIFY_REQUEST]?: FastifyRequest };
  protocol: string;
}

interface FastifyReply {
  raw: ServerResponse;
  /** What templates get; only @fastify/view makes it. */
  locals?: object | null;
}

/** As much of a Fastify instance as is needed here; Fastify is the application's choice, not a dependency. */
export interface FastifyInstance {
  hasRequestDecorator(name: string): boolean;
  decorateRequest(
    name: string,
    accessor: { getter(this: FastifyRequest): unknown; setter?(value: unknown): void },
  ): void;
  addHook(
    name: 'preHandler' | 'onRequest',
    hook: (request: FastifyRequest, reply: FastifyReply, done: (error?: unknown) => void) => void,
  ): void;
  addHook(name: 'onRegister', hook: (plugin: FastifyInstance) => void): void;
  /** Of @fastify/middie, which runs middleware of Express. */
  use?: (this: FastifyInstance, ...middleware: unknown[]) => unknown;
}

/**
 * Makes Fastify's own request show the session of the raw one, so that `request.session` and Nest's `@Session()` are the
 * same object on both platforms. Must run before Fastify is ready.
 */
export function decorateFastify(instance: FastifyInstance): void {
  if (instance.hasRequestDecorator('session')) return;
  instance.decorateRequest('session', {
    getter() {
      return this.raw.session;
    },
    setter(this: FastifyRequest, value: unknown) {
      this.raw.session = value;
    },
  });
  instance.decorateRequest('sessionID', {
    getter() {
      return this.raw.sessionID;
    },
  });
  instance.addHook('onRequest', (request, reply, done) => {
    request.raw[FASTIFY_REQUEST] = request;
    done();
  });
  // Not earlier: @fastify/view makes the object in a hook of its own.
  instance.addHook('preHandler', (request, { locals }, done) => {
    if (locals) requestSessionOf(request.raw)?.showIn(locals);
    done();
  });
}

/**
 * Runs the session middleware as a hook of Fastify. Where there is other middleware, which may read the session, it runs
 * ahead of that instead: not always, because @fastify/middie costs every request about a tenth of what Nest does.
 * @returns false: it must be mounted as middleware, because other middleware may be there already
 */
export function hookIntoFastify(instance: FastifyInstance, middleware: SessionMiddleware): boolean {
  if (instance.use === undefined) return false;
  comeAheadOfOthers(instance, middleware);
  instance.addHook('onRegister', (plugin) => comeAheadOfOthers(plugin, middleware));
  instance.addHook('onRequest', ({ raw }, reply, done) => {
    if (requestSessionOf(raw)) done();
    else middleware(raw, reply.raw, done);
  });
  return true;
}

/** Mounts the middleware when others are about to be mounted. Every plugin has a list of its own. */
function comeAheadOfOthers(instance: FastifyInstance, middleware: SessionMiddleware): void {
  const { use } = instance;
  if (use === undefined) return;
  instance.use = (...others) => {
    instance.use = use;
    use.call(instance, middleware);
    return use.apply(instance, others);
  };
}
