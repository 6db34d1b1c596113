/**
 * Types `request.session` of Fastify, by one import in the application.
 *
 * @example
 * ```ts
 * import 'nest-sessions/fastify';
 * ```
 * @module nest-sessions/fastify
 */
// Without it the module that is added to below would not be looked for.
/// <reference types="fastify" preserve="true" />
import type { Session } from '../session/session.js';

/** `import 'nest-sessions/fastify'`, once in an application, types `request.session` of every Fastify request. */
declare module 'fastify' {
  interface FastifyRequest {
    /**
     * Not loaded before `await request.session.load()`, unless the handler takes `@Session()` as well. There is none
     * on the paths of the option `exclude`, and after `destroy()`.
     */
    session: Session;
    /** The session id, once the session is loaded. */
    sessionID: string | undefined;
  }
}
