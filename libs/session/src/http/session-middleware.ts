import { type IncomingMessage, type ServerResponse } from 'node:http';
import { type HttpEnvironment, REQUEST_SESSION, RequestSession } from './request-session.js';

type RawRequest = IncomingMessage & {
  originalUrl?: string;
  session?: unknown;
  [REQUEST_SESSION]?: RequestSession | undefined;
};

export type SessionMiddleware = (
  request: IncomingMessage,
  response: ServerResponse,
  next: (error?: unknown) => void,
) => void;

/** `request.session`: shared by all requests, because it costs nothing until somebody looks. */
const SESSION: PropertyDescriptor & ThisType<RawRequest> = {
  configurable: true,
  enumerable: true,
  get() {
    return this[REQUEST_SESSION]?.session;
  },
  set(value: unknown) {
    if (value === this[REQUEST_SESSION]?.session) return;
    // Nothing, or the session of some other library: this request does not speak for ours any more.
    this[REQUEST_SESSION]?.abandon();
    Object.defineProperty(this, 'session', { value, writable: true, configurable: true, enumerable: true });
  },
};

/** Makes place for a session on a request that has just come from Node, for the same reason as `makePlaceForGate`. */
export function makePlaceForSession(request: IncomingMessage): void {
  if ('session' in request) return;
  Object.defineProperty(request, 'session', SESSION);
  Object.assign(request, { [REQUEST_SESSION]: undefined });
}

/** Makes the session available on the raw request. It does no I/O of its own, unless loading is eager. */
export function createSessionMiddleware(environment: HttpEnvironment): SessionMiddleware {
  const { excluded, loading, saveEveryRequest } = environment.options;
  return (request: RawRequest, response: ServerResponse & { locals?: { session?: unknown } }, next) => {
    const hasPlace = REQUEST_SESSION in request && request[REQUEST_SESSION] === undefined;
    // Somebody else's session, or ours, mounted twice: the first one wins.
    const isTaken = hasPlace ? request.session !== undefined : 'session' in request;
    if (isTaken || excluded(pathOf(request))) {
      // A request without a session has no place for one either.
      if (!isTaken && hasPlace) delete request.session;
      next();
      return;
    }
    const requestSession = new RequestSession(environment, request, response);
    request[REQUEST_SESSION] = requestSession;
    if (!hasPlace) Object.defineProperty(request, 'session', SESSION);
    if (response.locals) requestSession.showIn(response.locals);
    if (saveEveryRequest) requestSession.expectCommit();
    const pending = loading === 'eager' ? requestSession.load() : undefined;
    if (pending) pending.then(() => next(), next);
    else next();
  };
}

/** The session of a raw request, or undefined where the middleware did not run. */
export function requestSessionOf(request: IncomingMessage): RequestSession | undefined {
  return (request as RawRequest)[REQUEST_SESSION];
}

/** Without the query. Under a prefix Express strips `url`, hence the original one. */
function pathOf(request: RawRequest): string {
  const url = request.originalUrl ?? request.url ?? '/';
  const end = url.indexOf('?');
  return end === -1 ? url : url.slice(0, end);
}
