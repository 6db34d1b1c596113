import { type IncomingMessage } from 'node:http';
import { type ExecutionContext, type WebSocketAdapter } from '@nestjs/common';
import { type ApplicationConfig } from '@nestjs/core';
import { type HttpEnvironment } from '../http/request-session.js';
import { MessageSession, SocketSession } from '../http/socket-session.js';
import { SessionNotLoadedError } from '../session.errors.js';

/** What a gateway's client may be: a socket of socket.io, or a WebSocket. */
interface Client {
  /** Of socket.io. */
  request?: IncomingMessage;
  /** Of socket.io. */
  connected?: boolean;
  /** Of a WebSocket: 2 and more when it is closing or closed. */
  readyState?: number;
  once(event: 'close' | 'disconnect', listener: () => void): void;
  emit?(event: string, payload: object): void;
  /** Of socket.io. */
  disconnect?(connectionToo: boolean): void;
  close(code: number, reason: string): void;
}

interface Handshake {
  request: IncomingMessage;
  environment: HttpEnvironment;
}

/** Of every client that a gateway has accepted. */
const handshakes = new WeakMap<object, Handshake>();
/** Of every handshake that a message has needed the session of. */
const socketSessions = new WeakMap<IncomingMessage, SocketSession>();
/**
 * By what stands for one message: in a gateway its arguments, in GraphQL the variables. Those are made anew for each
 * operation, and for each event of a subscription; the context may be one for the whole socket.
 */
const messages = new WeakMap<object, MessageSession>();
/** Clients that are closed when their session ends. */
const watched = new WeakSet<object>();
const patched = new WeakSet<WebSocketAdapter>();

/** Applications by their servers, for GraphQL, whose sockets are none of Nest's. */
const servers = new WeakMap<object, HttpEnvironment>();
const running = new Set<HttpEnvironment>();

/**
 * Has the handshake of every client of a gateway remembered. The adapter is asked for, and wrapped, when gateways are
 * made: the application chooses it only when this module has long been constructed.
 */
export function rememberHandshakes(
  config: Pick<ApplicationConfig, 'getIoAdapter'> | undefined,
  environment: HttpEnvironment,
): void {
  if (!config) return;
  const getIoAdapter = config.getIoAdapter.bind(config);
  config.getIoAdapter = () => {
    const adapter = getIoAdapter() as WebSocketAdapter | undefined;
    if (adapter && !patched.has(adapter)) {
      patched.add(adapter);
      const bind = adapter.bindClientConnect.bind(adapter);
      adapter.bindClientConnect = (server: unknown, callback: (...given: unknown[]) => void) =>
        bind(server, (client: Client, ...rest: unknown[]) => {
          const request = rest.find(isRequest) ?? client.request;
          if (request) handshakes.set(client, { request, environment });
          callback(client, ...rest);
        });
    }
    return adapter as WebSocketAdapter;
  };
}

/** Sockets that are opened on this server belong to this application. */
export function serveSockets(server: object | undefined, environment: HttpEnvironment): void {
  if (server) servers.set(server, environment);
  running.add(environment);
}

export function leaveSockets(environment: HttpEnvironment): void {
  running.delete(environment);
}

/**
 * The session of the message that a gateway handles. From now on the socket is closed when the session ends.
 * @throws SessionNotLoadedError where the adapter tells of no handshake
 */
export function messageOfGateway(context: ExecutionContext): MessageSession {
  const args = context.getArgs<[Client]>();
  const known = messages.get(args);
  if (known) return known;
  const [client] = args;
  const handshake = handshakes.get(client);
  if (!handshake) {
    throw new SessionNotLoadedError(
      'There is no session of this socket, because the adapter of the gateway does not pass on its handshake. Import ' +
        'SessionModule.forRoot() in the application, and let the adapter call the callback of `bindClientConnect` with the ' +
        'client and the request, as WsAdapter does, or with a client that has its `request`, as IoAdapter does.',
    );
  }
  const message = new MessageSession(socketSessionOf(handshake));
  messages.set(args, message);
  if (!watched.has(client)) closeWithSession(client, message, handshake.environment);
  return message;
}

/** The message with these arguments of a gateway's handler, if something has asked for its session. */
export function knownMessage(args: object): MessageSession | undefined {
  return messages.get(args);
}

/** The operation with these arguments of a resolver, if something has asked for its session and it came over a socket. */
export function knownOperation(args: readonly unknown[]): MessageSession | undefined {
  return messages.get(operationOf(args).info.variableValues);
}

/** What GraphQL tells a resolver of the operation. */
export interface Operation {
  context: OperationContext | undefined;
  info: { variableValues: object };
}

export function operationOf(args: readonly unknown[]): Operation {
  // The resolver of a reference, in a federation, has no arguments of a field.
  const [context, info] = args.slice(args.length === 3 ? 1 : 2) as [Operation['context'], Operation['info']];
  return { context, info };
}

/**
 * The session of a GraphQL operation that came over a socket; undefined: it did not.
 * @throws SessionNotLoadedError when the socket is none of an application with sessions
 */
export function messageOfOperation({ context, info }: Operation): MessageSession | undefined {
  const known = messages.get(info.variableValues);
  if (known) return known;
  const request = context && upgradeRequestIn(context);
  if (!request) return undefined;
  const { server } = request.socket as { server?: object };
  const environment = (server && servers.get(server)) ?? (running.size === 1 ? [...running][0] : undefined);
  if (!environment) {
    throw new SessionNotLoadedError(
      'There is no session of this socket, because its server does not belong to an application that imports ' +
        'SessionModule.forRoot(). Import it there.',
    );
  }
  const message = new MessageSession(socketSessionOf({ request, environment }));
  messages.set(info.variableValues, message);
  return message;
}

function socketSessionOf({ request, environment }: Handshake): SocketSession {
  let session = socketSessions.get(request);
  if (!session) {
    session = new SocketSession(environment, request);
    socketSessions.set(request, session);
  }
  return session;
}

function closeWithSession(client: Client, { ended }: MessageSession, { options }: HttpEnvironment): void {
  watched.add(client);
  // Nobody would tell that it closes: it has, while some guard made the message wait.
  if (client.connected === false || (client.readyState ?? 0) >= 2) return;
  const { closeCode, closeReason } = options.sockets;
  const watch = ended.subscribe(() => {
    if (client.disconnect) {
      // socket.io has neither codes nor reasons of the server's own.
      client.emit?.('exception', { status: 'error', message: closeReason, code: closeCode });
      client.disconnect(true);
    } else {
      client.close(closeCode, closeReason);
    }
  });
  for (const event of ['close', 'disconnect'] as const) client.once(event, () => watch.unsubscribe());
}

interface OperationContext {
  /** The request over HTTP; over graphql-ws its context, unless the application says something else. */
  req?: IncomingMessage & { extra?: { request?: unknown }; raw?: IncomingMessage };
  extra?: { request?: unknown };
  /** Of Mercurius, or of an application that returns what `extra` of graphql-ws holds. */
  request?: { raw?: unknown };
}

/** The request that opened the socket, wherever servers of GraphQL leave it. */
function upgradeRequestIn({ req, extra, request }: OperationContext): IncomingMessage | undefined {
  const candidates = [req?.extra?.request, extra?.request, req?.raw ?? req, request?.raw ?? request];
  return candidates.find((candidate) => isRequest(candidate) && candidate.upgrade === true) as
    IncomingMessage | undefined;
}

function isRequest(value: unknown): value is IncomingMessage & { upgrade?: boolean | null } {
  const request = value as Partial<IncomingMessage> | null | undefined;
  return typeof request?.headers === 'object' && typeof request.socket === 'object';
}
