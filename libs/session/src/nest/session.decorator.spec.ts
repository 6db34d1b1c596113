import { type IncomingMessage, type ServerResponse } from 'node:http';
import { Reflector } from '@nestjs/core';
import { ExecutionContextHost } from '@nestjs/core/helpers/execution-context-host.js';
import { type HttpEnvironment, REQUEST_SESSION, RequestSession } from '../http/request-session.js';
import { sessionHolderIn } from './session.decorator.js';
import { SessionGuard } from './session.guard.js';

const request = { headers: {} } as IncomingMessage & { [REQUEST_SESSION]?: RequestSession };
const requestSession = new RequestSession({} as HttpEnvironment, request, {} as ServerResponse);
request[REQUEST_SESSION] = requestSession;

/** What GraphQL tells of an operation. */
const info = { variableValues: {} };

function contextOf(type: string, ...args: unknown[]): ExecutionContextHost {
  const context = new ExecutionContextHost(args);
  context.setType(type);
  return context;
}

describe('S102: the session of a context', () => {
  it.each([
    ['http on Express', contextOf('http', request)],
    ['http on Fastify', contextOf('http', { raw: request })],
    ['graphql on Express', contextOf('graphql', {}, {}, { req: request }, info)],
    ['graphql on Fastify', contextOf('graphql', {}, {}, { req: { raw: request } }, info)],
    ['a reference in a federation of graphql', contextOf('graphql', {}, { req: request }, info)],
  ])('is that of the request: %s', (_what, context) => {
    expect(sessionHolderIn(context)).toBe(requestSession);
  });

  it.each([
    ['rpc', contextOf('rpc', {}), 'sessions.open(sessionKey)'],
    ['a gateway whose adapter tells of no handshake', contextOf('ws', {}), 'bindClientConnect'],
    ['graphql without a request', contextOf('graphql', {}, {}, {}, info), '({ req, extra })'],
    [
      'graphql over a socket without its request',
      contextOf('graphql', {}, {}, { req: {} }, info),
      '({ req, extra })',
    ],
    [
      'graphql over a socket of a server without sessions',
      contextOf('graphql', {}, {}, { request: { raw: { headers: {}, socket: {}, upgrade: true } } }, info),
      'SessionModule.forRoot()',
    ],
    ['something else', contextOf('telegram', {}), 'sessions.openFrom(request)'],
    ['http without the middleware', contextOf('http', { headers: {} }), '"exclude"'],
    [
      'graphql without the middleware',
      contextOf('graphql', {}, {}, { req: { headers: {} } }, info),
      '"exclude"',
    ],
  ])('is an error that says what to do, and lets nobody pass: %s', async (_what, context, message) => {
    const error = { code: 'SESSION_NOT_LOADED', message: expect.stringContaining(message) as unknown };
    expect(() => sessionHolderIn(context)).toThrow(expect.objectContaining(error));
    const guard = new SessionGuard(new Reflector(), {} as never);
    await expect(guard.canActivate(context)).rejects.toMatchObject({ code: 'SESSION_NOT_LOADED' });
  });
});
