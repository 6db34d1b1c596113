import { type IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import { type TLSSocket } from 'node:tls';
import ipaddr from 'ipaddr.js';
import { type CookieRequest, type DeviceTraits } from '../session.options.js';
import { type SessionDevice } from '../stores/session-store.js';

/** Where the Fastify hook leaves the framework's view of a raw request, which knows of trusted proxies. */
export const FASTIFY_REQUEST = Symbol.for('nest-sessions:fastify-request');

/** Express tells it of the raw request itself. */
type PlatformRequest = IncomingMessage & {
  ip?: string;
  secure?: boolean;
  [FASTIFY_REQUEST]?: CookieRequest;
};

/** Did this request come over TLS, as far as the platform's own trust in proxies tells? */
export function isSecureConnection(request: IncomingMessage): boolean {
  const { socket, secure, [FASTIFY_REQUEST]: fastify } = request as PlatformRequest;
  return (socket as TLSSocket).encrypted || secure === true || fastify?.protocol === 'https';
}

/** The request as handlers get it; where middleware has answered before the platform came to it, as good as it is known. */
export function platformRequestOf(request: IncomingMessage): CookieRequest {
  const { [FASTIFY_REQUEST]: fastify } = request as PlatformRequest;
  if (fastify) return fastify;
  if ('hostname' in request) return request as unknown as CookieRequest;
  const { headers, url = '/' } = request;
  return {
    headers,
    hostname: (headers.host ?? '').replace(/:\d*$/, ''),
    protocol: isSecureConnection(request) ? 'https' : 'http',
    originalUrl: url,
  };
}

const LONGEST_USER_AGENT = 256;
/** Leading bytes of an address that name a network: /24 and /48, about as much as an access log with privacy keeps. */
const NETWORK_BYTES = { ipv4: 3, ipv6: 6 };

/** From where this request comes, in so far as that is wanted and known. */
export function describeDevice(request: IncomingMessage, wanted: DeviceTraits): SessionDevice | undefined {
  const ip = wanted.ip ? networkOf(addressOf(request)) : undefined;
  const userAgent = wanted.userAgent
    ? request.headers['user-agent']?.slice(0, LONGEST_USER_AGENT)
    : undefined;
  if (ip === undefined && userAgent === undefined) return undefined;
  return { ...(ip !== undefined && { ip }), ...(userAgent !== undefined && { userAgent }) };
}

/** As the platform tells it, which believes the headers of those proxies that the application trusts, and no others. */
function addressOf(request: IncomingMessage): string | undefined {
  const { socket, ip, [FASTIFY_REQUEST]: fastify } = request as PlatformRequest;
  return fastify?.ip ?? ip ?? socket.remoteAddress;
}

/** @param address what a trusted proxy says of its client is not always one */
function networkOf(address: string | undefined): string | undefined {
  if (address === undefined || isIP(address) === 0) return undefined;
  // An IPv4 address in the clothes of IPv6 (::ffff:192.0.2.7) comes out as what it is.
  const parsed = ipaddr.process(address);
  const bytes = parsed.toByteArray();
  return ipaddr.fromByteArray(bytes.fill(0, NETWORK_BYTES[parsed.kind()])).toString();
}
