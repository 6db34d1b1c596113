import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { InternalServerErrorException, ServiceUnavailableException } from '@nestjs/common';
import { SessionStoreUnavailableError, SessionUnsupportedError } from '../session.errors.js';
import { sendFailure, toHttpException } from './failure-response.js';

const response = (): ServerResponse => new ServerResponse(new IncomingMessage(new Socket()));
const unavailable = new SessionStoreUnavailableError('save', 'it is away.');

describe('sendFailure', () => {
  it('drops what described the withheld answer, and keeps what holds for any', () => {
    const failed = response();
    const dropped = {
      'Content-Encoding': 'gzip',
      'Content-Disposition': 'attachment',
      'Content-Range': 'bytes 0-1/2',
      ETag: '"1"',
      'Last-Modified': 'Tue, 01 Jan 2030 00:00:00 GMT',
      Location: '/inside',
      'Set-Cookie': ['a=1', 'b=2'],
      Expires: '0',
      'Accept-Ranges': 'bytes',
      'Transfer-Encoding': 'chunked',
      Trailer: 'Checksum',
    };
    const kept = { 'Access-Control-Allow-Origin': '*', 'X-Frame-Options': 'DENY', Vary: 'Accept, Cookie' };
    for (const [name, value] of Object.entries({ ...dropped, ...kept })) failed.setHeader(name, value);
    failed.statusCode = 201;
    failed.statusMessage = 'Made';
    let body = '';
    sendFailure(failed, unavailable, (sent) => (body = sent));

    expect(failed).toMatchObject({ statusCode: 503, statusMessage: 'Service Unavailable' });
    expect(failed.getHeaders()).toEqual({
      'access-control-allow-origin': '*',
      'x-frame-options': 'DENY',
      vary: 'Accept, Cookie',
      'cache-control': 'no-store',
      'content-length': body.length,
      'content-type': 'application/json; charset=utf-8',
      'retry-after': 5,
    });
  });

  it.each([new Error('secret'), 'secret', undefined])('tells nothing of %p', (error) => {
    const failed = response();
    let body = '';
    sendFailure(failed, error, (sent) => (body = sent));
    expect(JSON.parse(body)).toEqual({ statusCode: 500, message: 'Internal Server Error' });
    expect(failed.hasHeader('retry-after')).toBe(false);
  });
});

describe('toHttpException', () => {
  it('makes 503 of an unavailable store, and says when to come back', () => {
    const loading = response();
    const exception = toHttpException(unavailable, loading);
    expect(exception).toBeInstanceOf(ServiceUnavailableException);
    expect((exception as Error).cause).toBe(unavailable);
    expect(loading.getHeader('retry-after')).toBe(5);
  });

  it("passes on the library's own errors, which hold no secret", () => {
    const error = new SessionUnsupportedError('no');
    expect(toHttpException(error, response())).toBe(error);
  });

  it('wraps foreign errors, whose messages Nest would log', () => {
    const error = new Error('secret');
    const exception = toHttpException(error, response()) as Error;
    expect(exception).toBeInstanceOf(InternalServerErrorException);
    expect(exception.message).not.toContain('secret');
    expect(exception.cause).toBe(error);
  });
});
