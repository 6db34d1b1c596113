import type { Session } from '../session/session.js';

/** `import 'nest-sessions/express'`, once in an application, types `request.session` of every Express request. */
declare global {
  namespace Express {
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
