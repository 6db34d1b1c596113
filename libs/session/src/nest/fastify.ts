import { type IncomingMessage } from 'node:http';
import { requestSessionOf } from '../http/session-middleware.js';
import { FASTIFY_REQUEST } from '../http/platform-request.js';

interface FastifyRequest {
  raw: IncomingMessage & { session?: unknown; sessionID?: string };
  protocol: string;
}

interface FastifyReply {
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
    hook: (request: FastifyRequest, reply: FastifyReply, done: () => void) => void,
  ): void;
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
    Object.assign(request.raw, { [FASTIFY_REQUEST]: request });
    done();
  });
  // Not earlier: @fastify/view makes the object in a hook of its own.
  instance.addHook('preHandler', (request, reply, done) => {
    const requestSession = requestSessionOf(request.raw);
    if (requestSession) {
      reply.locals ??= {};
      requestSession.showIn(reply.locals);
    }
    done();
  });
}
