import { type IncomingMessage, type ServerResponse } from 'node:http';
import { Reflector } from '@nestjs/core';
import { ExecutionContextHost } from '@nestjs/core/helpers/execution-context-host.js';
import { type HttpEnvironment, REQUEST_SESSION, RequestSession } from '../http/request-session.js';
import { requestSessionIn } from './session.decorator.js';
import { SessionGuard } from './session.guard.js';

const request = { headers: {} } as IncomingMessage & { [REQUEST_SESSION]?: RequestSession };
const requestSession = new RequestSession({} as HttpEnvironment, request, {} as ServerResponse);
request[REQUEST_SESSION] = requestSession;

function contextOf(type: string, ...args: unknown[]): ExecutionContextHost {
  const context = new ExecutionContextHost(args);
  context.setType(type);
  return context;
}

describe('S102: the session of a context', () => {
  it.each([
    ['http on Express', contextOf('http', request)],
    ['http on Fastify', contextOf('http', { raw: request })],
    ['graphql on Express', contextOf('graphql', {}, {}, { req: request })],
    ['graphql on Fastify', contextOf('graphql', {}, {}, { req: { raw: request } })],
  ])('is that of the request: %s', (_what, context) => {
    expect(requestSessionIn(context)).toBe(requestSession);
  });

  it.each([
    ['rpc', contextOf('rpc', {}), 'context of type "rpc"'],
    ['ws', contextOf('ws', {}), 'context of type "ws"'],
    ['graphql over a socket', contextOf('graphql', {}, {}, {}), 'context of type "graphql"'],
    ['http without the middleware', contextOf('http', { headers: {} }), 'SessionModule.forRoot()'],
  ])('is an error that says what to do, and lets nobody pass: %s', async (_what, context, message) => {
    const error = { code: 'SESSION_NOT_LOADED', message: expect.stringContaining(message) as unknown };
    expect(() => requestSessionIn(context)).toThrow(expect.objectContaining(error));
    const guard = new SessionGuard(new Reflector(), {} as never);
    await expect(guard.canActivate(context)).rejects.toMatchObject({ code: 'SESSION_NOT_LOADED' });
  });
});
