/**
 * Types `request.session` of Express, by one import in the application.
 *
 * @example
 * ```ts
 * import 'nest-sessions/express';
 * ```
 * @module nest-sessions/express
 */
import type { Session } from '../session/session.js';

/** `import 'nest-sessions/express'`, once in an application, types `request.session` of every Express request. */
declare global {
  namespace Express {
    /** What `import 'nest-sessions/express'` adds to the request of Express. */
    interface Request {
      /**
       * Not loaded before `await request.session.load()`, unless the handler takes `@Session()` as well. There is none
       * on the paths of the option `exclude`, and after `destroy()`.
       */
      session: Session;
      /** The session id, once the session is loaded. */
      sessionID: string | undefined;
    }
  }
}
