import { type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { makePlaceForGate } from '../http/response-gate.js';
import { makePlaceForSession } from '../http/session-middleware.js';

/** Servers that do so already. */
const prepared = new WeakSet<Server>();

/**
 * Makes places for the session on every request and response before Express sees them, because afterwards that is slow.
 * What does not come through this server, as in functions without one, does without.
 */
export function makePlaces(server: Server | undefined): void {
  if (server === undefined || prepared.has(server)) return;
  prepared.add(server);
  server.prependListener('request', (request: IncomingMessage, response: ServerResponse) => {
    makePlaceForSession(request);
    makePlaceForGate(response);
  });
}
