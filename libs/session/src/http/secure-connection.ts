import { type IncomingMessage } from 'node:http';
import { type TLSSocket } from 'node:tls';

/** Where the Fastify hook leaves the framework's view of a raw request, which knows of trusted proxies. */
export const FASTIFY_REQUEST = Symbol.for('nest-sessions:fastify-request');

type Seen = IncomingMessage & { secure?: boolean; [FASTIFY_REQUEST]?: { protocol: string } };

/** Did this request come over TLS, as far as the platform's own trust in proxies tells? */
export function isSecureConnection(request: IncomingMessage): boolean {
  const { socket, secure, [FASTIFY_REQUEST]: fastify } = request as Seen;
  return (socket as TLSSocket).encrypted || secure === true || fastify?.protocol === 'https';
}
