import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { connect as connectHttp2, type ClientHttp2Session, type IncomingHttpHeaders } from 'node:http2';
import { type IncomingMessage, type ServerResponse } from 'node:http';
import { connect, type Socket } from 'node:net';
import { Readable } from 'node:stream';
import { buffer, text } from 'node:stream/consumers';
import { gunzipSync } from 'node:zlib';
import {
  type ArgumentsHost,
  BadRequestException,
  type CallHandler,
  type CanActivate,
  Catch,
  Controller,
  createParamDecorator,
  Delete,
  type ExceptionFilter,
  type ExecutionContext,
  Get,
  HttpCode,
  type INestApplication,
  Injectable,
  Module,
  type NestInterceptor,
  type NestModule,
  type MiddlewareConsumer,
  Query,
  Redirect,
  Res,
  Sse,
  StreamableFile,
  UseFilters,
  UseGuards,
  UseInterceptors,
} from '@nestjs/common';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import compression from 'compression';
import { mountSessions, Session, SessionCommittedError, SessionStoreUnavailableError } from 'nest-sessions';
import { of } from 'rxjs';
import { type AppSetup, type Platform, platforms, type RunningApp, silent, startApp } from './support/app.js';
import { barrier, RecordingStore } from './support/recording-store.js';
import { type Answer, connectionsOf, exchange, type Exchange, sessionCookie } from './support/wire.js';

type RawRequest = IncomingMessage & { session?: Session };
type Framed<Raw> = Raw & { raw?: Raw };
interface Reply {
  status(code: number): this;
  header(name: string, value: string | string[]): this;
  send(body?: unknown): void;
}

const rawOf = <Raw>(framed: Framed<Raw>): Raw => framed.raw ?? framed;

/** Changes the session, if the application has such a thing. */
async function visit(request: RawRequest): Promise<Session | undefined> {
  await request.session?.load();
  request.session?.increment('visits');
  return request.session;
}

const Visit = createParamDecorator((_: unknown, context: ExecutionContext) =>
  visit(rawOf(context.switchToHttp().getRequest<Framed<RawRequest>>())),
);

@Injectable()
class VisitAndReject implements CanActivate {
  async canActivate(context: ExecutionContext): Promise<boolean> {
    await visit(rawOf(context.switchToHttp().getRequest<Framed<RawRequest>>()));
    return false;
  }
}

class Teapot extends Error {}

@Catch(Teapot)
class TeapotFilter implements ExceptionFilter {
  catch(_error: Teapot, host: ArgumentsHost): void {
    host.switchToHttp().getResponse<Reply>().status(418).header('X-Tea', 'green').send({ short: 'stout' });
  }
}

@Injectable()
class PassThrough implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler) {
    return next.handle();
  }
}

const MEGABYTE = 1024 * 1024;
const LARGE = 4 * MEGABYTE;

/** Large enough to fill every buffer on the way, and different everywhere. Tells how much was taken from it. */
function source(total: number, size: number): { stream: Readable; taken: () => number } {
  let taken = 0;
  const stream = new Readable({
    highWaterMark: size,
    read() {
      if (taken >= total) {
        this.push(null);
        return;
      }
      const chunk = Buffer.alloc(Math.min(size, total - taken));
      for (let at = 0; at + 4 <= chunk.length; at += 4) chunk.writeUInt32LE(taken + at, at);
      taken += chunk.length;
      this.push(chunk);
    },
  });
  return { stream, taken: () => taken };
}

const seen = {
  taken: (): number => 0,
  callbacks: [] as string[],
  errors: [] as unknown[],
  gate: { arrive: (): void => {}, wait: Promise.resolve() },
};

@Controller()
class ShapesController {
  @Get('json')
  json(@Visit() _session: unknown) {
    return { hello: 'wörld', list: [1, 2, 3] };
  }

  @Get('string')
  string(@Visit() _session: unknown) {
    return 'plain text, ünd more';
  }

  @Delete('nothing')
  @HttpCode(204)
  nothing(@Visit() _session: unknown): void {}

  @Get('res')
  res(@Visit() _session: unknown, @Res() reply: Reply): void {
    reply.status(201).header('X-Own', '1').send({ own: true });
  }

  @Get('passthrough')
  passthrough(@Visit() _session: unknown, @Res({ passthrough: true }) reply: Reply) {
    reply.header('Set-Cookie', ['theme=dark; Path=/', 'lang=eo']);
    return 'with cookies';
  }

  @Get('redirect')
  @Redirect('/json', 302)
  redirect(@Visit() _session: unknown): void {}

  @Get('file')
  file(@Visit() _session: unknown) {
    return new StreamableFile(Buffer.from('a,b\n1,2\n'), { type: 'text/csv', disposition: 'attachment' });
  }

  @Get('large')
  large(@Visit() _session: unknown, @Query('chunk') chunk = '65536') {
    const { stream, taken } = source(LARGE, Number(chunk));
    seen.taken = taken;
    return new StreamableFile(stream);
  }

  @Get('small-chunks')
  smallChunks(@Visit() _session: unknown, @Res() reply: Framed<ServerResponse>): void {
    source(64 * 1024, 256).stream.pipe(rawOf(reply));
  }

  @Sse('sse')
  sse(@Visit() _session: unknown) {
    return of({ data: { n: 1 } }, { data: 'two', type: 'named' }, { data: 'three' });
  }

  @Sse('sse-intercepted')
  @UseInterceptors(PassThrough)
  sseIntercepted(@Session() session: Session) {
    session.increment('visits');
    return of({ data: session.get('visits') as object });
  }

  @Get('iterable')
  async *iterable(@Visit() _session: unknown) {
    yield 'one ';
    await Promise.resolve();
    yield 'two';
  }

  @Get('web-response')
  webResponse(@Visit() _session: unknown) {
    return new Response('from the web', { status: 203, headers: { 'X-Web': 'yes' } });
  }

  @Get('bad-request')
  badRequest(@Visit() _session: unknown): never {
    throw new BadRequestException('not like this');
  }

  @Get('crash')
  crash(@Visit() _session: unknown): never {
    throw new Error('unforeseen');
  }

  @Get('filtered')
  @UseFilters(TeapotFilter)
  filtered(@Visit() _session: unknown): never {
    throw new Teapot();
  }

  @Get('forbidden')
  @UseGuards(VisitAndReject)
  forbidden(): void {}

  @Get('unchanged')
  unchanged(@Visit() _session: unknown, @Res() reply: Reply): void {
    reply.status(304).header('ETag', '"v1"').send();
  }

  @Get('flush-headers')
  flushHeaders(@Visit() _session: unknown, @Res() reply: Framed<ServerResponse>): void {
    const response = rawOf(reply);
    response.setHeader('X-Early', 'bird');
    response.flushHeaders();
    response.write('first ');
    response.end('last');
  }

  @Get('write-head/object')
  headObject(@Visit() _session: unknown, @Res() reply: Framed<ServerResponse>): void {
    rawOf(reply)
      .writeHead(202, { 'Content-Type': 'text/plain', 'set-COOKIE': ['a=1', 'b=2'], 'X-Number': 7 })
      .end('object');
  }

  @Get('write-head/reason')
  headReason(@Visit() _session: unknown, @Res() reply: Framed<ServerResponse>): void {
    rawOf(reply)
      .writeHead(202, 'Quite Fine', { 'Set-Cookie': 'a=1', 'Cache-Control': 'max-age=60' })
      .end('r');
  }

  @Get('write-head/flat')
  headFlat(@Visit() _session: unknown, @Res() reply: Framed<ServerResponse>): void {
    rawOf(reply).writeHead(200, ['Set-Cookie', 'a=1', 'X-One', '1', 'Set-Cookie', 'b=2']).end('flat');
  }

  @Get('write-head/nested')
  headNested(@Visit() _session: unknown, @Res() reply: Framed<ServerResponse>): void {
    const pairs = [
      ['Set-Cookie', 'a=1'],
      ['X-One', '1'],
      ['Set-Cookie', 'b=2'],
    ];
    rawOf(reply)
      .writeHead(200, pairs as unknown as string[])
      .end('nested');
  }

  @Get('write-head/bare')
  headBare(@Visit() _session: unknown, @Res() reply: Framed<ServerResponse>): void {
    const response = rawOf(reply);
    response.setHeader('Set-Cookie', 'a=1');
    response.writeHead(206);
    response.write('part');
    response.end();
  }

  @Get('callbacks')
  callbacks(@Visit() _session: unknown, @Res() reply: Framed<ServerResponse>): void {
    const response = rawOf(reply);
    seen.callbacks = [];
    response.write('a', () => seen.callbacks.push('a'));
    response.write('ü', 'latin1', () => seen.callbacks.push('ü'));
    response.end('b', () => seen.callbacks.push('end'));
  }

  @Get('hints')
  async hints(@Visit() _session: unknown, @Res({ passthrough: true }) reply: Framed<ServerResponse>) {
    const response = rawOf(reply);
    response.writeContinue();
    await new Promise<void>((sent) => {
      response.writeEarlyHints({ link: '</style.css>; rel=preload; as=style' }, sent);
    });
    return 'hinted';
  }

  @Get('mistakes')
  mistakes(@Visit() _session: unknown, @Res() reply: Framed<ServerResponse>): void {
    const response = rawOf(reply);
    const attempt = (mistake: () => unknown): void => {
      try {
        mistake();
        seen.errors.push('none');
      } catch (error) {
        seen.errors.push((error as NodeJS.ErrnoException).code);
      }
    };
    seen.errors = [];
    attempt(() => response.writeHead(42));
    attempt(() => response.writeHead(200, { 'bad name': 'x' }));
    attempt(() => response.writeHead(200, ['odd']));
    response.writeHead(200, { 'X-Good': '1' });
    attempt(() => response.setHeader('X-Late', '1'));
    attempt(() => response.appendHeader('X-Late', '1'));
    attempt(() => response.removeHeader('X-Good'));
    attempt(() => response.writeHead(404, { 'X-Late': '1' }));
    attempt(() => response.write(42));
    seen.errors.push(response.headersSent, response.writableEnded);
    response.end('corrected');
    seen.errors.push(response.headersSent, response.writableEnded);
  }

  @Get('slow')
  async slow(@Visit() session: Session | undefined, @Query('as') as: string) {
    seen.gate.arrive();
    await seen.gate.wait;
    session?.set('late', true);
    return as === 'json' ? { slow: true } : 'slow';
  }

  @Get('ping')
  ping() {
    return 'pong';
  }

  @Get('gate')
  gate(@Res({ passthrough: true }) reply: Framed<ServerResponse>) {
    return Object.hasOwn(rawOf(reply), 'writeHead');
  }

  @Get('after')
  async after(@Session() session: Session, @Res() reply: Framed<ServerResponse>) {
    const response = rawOf(reply);
    session['before'] = 1;
    await new Promise<void>((left) => response.write('begun ', () => left()));
    seen.errors = [];
    try {
      session['after'] = 1;
    } catch (error) {
      seen.errors.push(error);
    }
    await session.reload();
    session['afterReload'] = 1;
    await session.save();
    response.end('done');
  }
}

const store = new RecordingStore();

/** Session or not, the same application. */
async function start(
  platform: Platform,
  sessions: boolean,
  { prepare, ...setup }: Partial<AppSetup> = {},
): Promise<RunningApp> {
  return startApp(platform, {
    engine: sessions ? { useFactory: () => store } : 'none',
    controllers: [ShapesController],
    logger: silent,
    prepare: async (app: INestApplication) => {
      // Without a header of its own, Express leaves Node its shortest way through writeHead.
      if (platform === 'express')
        (app.getHttpAdapter().getInstance() as { disable(name: string): void }).disable('x-powered-by');
      await prepare?.(app);
      if (sessions) mountSessions(app);
      app.use((request: RawRequest, response: ServerResponse, next: (error?: unknown) => void) => {
        const early = /^\/(moved|missing)/.test(request.url ?? '') || 'x-touch' in request.headers;
        const respond = (): void => {
          if (request.url !== '/moved') return next();
          response.statusCode = 307;
          response.setHeader('Location', '/json');
          response.end();
        };
        Promise.resolve(early && visit(request)).then(respond, next);
      });
    },
    ...setup,
  });
}

/** Everything but what this library adds and what changes by itself. */
function comparable({ status, statusMessage, headerLines, body }: Answer) {
  const ours = /^(vary|cache-control|date)$/i;
  return {
    status,
    statusMessage,
    headers: headerLines
      .filter(([name, value]) => !ours.test(name) && !value.startsWith('sessionid='))
      .map(([name, value]) => `${name.toLowerCase()}: ${value}`)
      .toSorted(),
    body: body.length > 10_000 ? createHash('sha256').update(body).digest('hex') : body.toString(),
  };
}

function unzipped(answer: Answer) {
  const zipped = answer.headers['content-encoding'] === 'gzip' && answer.body.length > 0;
  const { headers, ...rest } = comparable({
    ...answer,
    body: zipped ? gunzipSync(answer.body) : answer.body,
  });
  return { ...rest, headers: headers.filter((line) => !(zipped && line.startsWith('content-length'))) };
}

/** Resolves when the server has noticed that the client is gone. */
async function leave(going: Exchange, socket: Socket | undefined): Promise<void> {
  const closed = once(socket as Socket, 'close');
  going.abort();
  await closed;
}

const shapes: [
  name: string,
  path: string,
  options?: { method?: string; headers?: Record<string, string> },
][] = [
  ['JSON', '/json'],
  ['a string', '/string'],
  ['204', '/nothing', { method: 'DELETE' }],
  ['@Res()', '/res'],
  ['passthrough with other cookies', '/passthrough'],
  ['@Redirect()', '/redirect'],
  ['a redirect by middleware', '/moved'],
  ['a StreamableFile', '/file'],
  ['a large stream', '/large'],
  ['a stream of small chunks', '/small-chunks'],
  ['server-sent events', '/sse'],
  ['an async generator', '/iterable'],
  ['a web Response', '/web-response'],
  ['an HttpException', '/bad-request'],
  ['a custom filter', '/filtered'],
  ['a rejection by a guard', '/forbidden'],
  ['404', '/missing'],
  ['HEAD', '/json', { method: 'HEAD' }],
  ['HEAD of a stream', '/large', { method: 'HEAD' }],
  // Node swallows the body, and so never asks the writer to wait as the gate does.
  ['HEAD of a piped stream', '/small-chunks', { method: 'HEAD' }],
  ['HEAD of a 404', '/missing', { method: 'HEAD' }],
  ['304', '/unchanged', { headers: { 'If-None-Match': '"v1"' } }],
  ['flushHeaders', '/flush-headers'],
  ['writeHead with an object', '/write-head/object'],
  ['writeHead with a reason', '/write-head/reason'],
  ['writeHead with a flat array', '/write-head/flat'],
  ['writeHead with pairs', '/write-head/nested'],
  ['writeHead after setHeader', '/write-head/bare'],
  ['write callbacks', '/callbacks'],
];

describe.each(platforms)('the response gate on %s', (platform) => {
  let plain: RunningApp;
  let app: RunningApp;
  let connections: Socket[];

  beforeAll(async () => {
    [plain, app] = await Promise.all([start(platform, false), start(platform, true)]);
    connections = connectionsOf(app);
  });
  beforeEach(() => store.reset());
  afterAll(() => Promise.all([plain.close(), app.close()]));

  /** Requests that need no session are answered meanwhile: whatever was to leave before them has left. */
  const others = async (): Promise<void> => {
    for (let turn = 0; turn < 3; turn += 1) {
      expect((await exchange(`${app.url}/ping`).answer).body.toString()).toBe('pong');
    }
  };

  /** One request whose load and commit are held back until it is clear that nothing has left before. */
  async function heldBack(
    path: string,
    {
      cookie,
      operation,
      ...options
    }: { cookie?: string; operation: 'create' | 'save'; method?: string; headers?: Record<string, string> },
  ): Promise<Answer> {
    const steps = [...(cookie === undefined ? [] : [store.hold('load')]), store.hold(operation)];
    const first = connections.length;
    const headers = { ...options.headers, ...(cookie !== undefined && { Cookie: cookie }) };
    const going = exchange(`${app.url}${path}`, { ...options, headers });
    for (const step of steps) {
      await step.reached;
      await others();
      expect(going.arrived()).toBe(false);
      expect(connections[first]?.bytesWritten).toBe(0);
      step.release();
    }
    return going.answer;
  }

  describe.each(shapes)('%s', (_name, path, options = {}) => {
    it('is the same as without sessions, after one commit, and never before it', async () => {
      const expected = comparable(await exchange(`${plain.url}${path}`, options).answer);

      const first = await heldBack(path, { ...options, operation: 'create' });
      expect(comparable(first)).toEqual(expected);
      expect(store.writes).toEqual(['create']);
      expect(first.headers['set-cookie']?.filter((line) => line.startsWith('sessionid='))).toHaveLength(1);
      expect(first.headers['cache-control']).toMatch(/\bno-store\b/);
      expect(first.headers.vary).toMatch(/\bCookie\b/);

      store.calls = [];
      const again = await heldBack(path, {
        ...options,
        operation: 'save',
        cookie: sessionCookie(first) as string,
      });
      expect(comparable(again)).toEqual(expected);
      expect(store.calls).toEqual(['load', 'save']);
      expect(sessionCookie(again)).toBeUndefined();
      expect([...store.records.values()].map(({ data }) => data['visits'])).toEqual([2]);
    });
  });

  it('gives the session to an intercepted @Sse() handler in time, however slow the store', async () => {
    const first = await heldBack('/sse-intercepted', { operation: 'create' });
    const cookie = sessionCookie(first) as string;
    const again = await heldBack('/sse-intercepted', { operation: 'save', cookie });
    expect(again.status).toBe(200);
    expect(again.body.toString()).toContain('data: 2');
  });

  it('lets a server error through without a write', async () => {
    const expected = comparable(await exchange(`${plain.url}/crash`).answer);
    const answer = await exchange(`${app.url}/crash`).answer;

    expect(comparable(answer)).toEqual(expected);
    expect(store.calls).toEqual([]);
    expect(answer.headers['set-cookie']).toBeUndefined();
  });

  it('keeps a stream waiting instead of buffering it', async () => {
    const held = store.hold('create');
    const going = exchange(`${app.url}/large`);
    await held.reached;
    await others();
    expect(seen.taken()).toBeLessThan(MEGABYTE);
    held.release();
    expect((await going.answer).body).toHaveLength(LARGE);
  });

  it('calls the callbacks of writes, in their order, when they were carried out', async () => {
    const held = store.hold('create');
    const going = exchange(`${app.url}/callbacks`);
    await held.reached;
    await others();
    expect(seen.callbacks).toEqual([]);
    held.release();
    await going.answer;
    expect(seen.callbacks).toEqual(['a', 'ü', 'end']);
  });

  it('throws the mistakes of a handler where they are made, and looks sent while it holds', async () => {
    const held = store.hold('create');
    const going = exchange(`${app.url}/mistakes`);
    await held.reached;
    await others();
    const whileHeld = seen.errors;
    held.release();
    const answer = await going.answer;

    expect(whileHeld).toEqual([
      'ERR_HTTP_INVALID_STATUS_CODE',
      'ERR_INVALID_HTTP_TOKEN',
      'ERR_INVALID_ARG_VALUE',
      'ERR_HTTP_HEADERS_SENT',
      'ERR_HTTP_HEADERS_SENT',
      'ERR_HTTP_HEADERS_SENT',
      'ERR_HTTP_HEADERS_SENT',
      'ERR_INVALID_ARG_TYPE',
      true,
      false,
      true,
      true,
    ]);
    expect(answer).toMatchObject({ status: 200, headers: { 'x-good': '1' } });
    expect(answer.body.toString()).toBe('corrected');
    expect(answer.headers['x-late']).toBeUndefined();
  });

  it('passes 1xx responses at once', async () => {
    const held = store.hold('create');
    const going = exchange(`${app.url}/hints`);
    await held.reached;
    await others();
    expect(going.hints).toEqual([100, 103]);
    expect(going.arrived()).toBe(false);
    held.release();
    expect((await going.answer).body.toString()).toBe('hinted');
  });

  it('answers pipelined requests in their order', async () => {
    const held = store.hold('create');
    const { port } = new URL(app.url);
    const client = connect(Number(port), '127.0.0.1');
    const received = text(client);
    client.write('GET /json HTTP/1.1\r\nHost: a\r\n\r\nGET /ping HTTP/1.1\r\nHost: a\r\n\r\n');
    client.write('GET /string HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
    await held.reached;
    await others();
    expect(client.bytesRead).toBe(0);
    held.release();

    const bodies = (await received).split('HTTP/1.1 200 OK\r\n').slice(1);
    expect(bodies).toHaveLength(3);
    expect(bodies[0]).toContain('wörld');
    expect(bodies[1]).toContain('pong');
    expect(bodies[2]).toContain('plain text');
    expect(store.writes).toEqual(['create', 'create']);
  });

  it('keeps a connection alive across held responses', async () => {
    const browser = app.browser();
    for (let turn = 1; turn <= 3; turn += 1) await browser.get('/json').expect(200);
    expect([...store.records.values()].map(({ data }) => data['visits'])).toEqual([3]);
  });

  it.each(['/json', '/large', '/sse', '/redirect', '/flush-headers'])(
    'commits %s although the client left while it was held back',
    async (path) => {
      const held = store.hold('create');
      const first = connections.length;
      const going = exchange(`${app.url}${path}`);
      await held.reached;
      await leave(going, connections[first]);
      held.release();
      await others();

      expect(store.writes).toEqual(['create']);
      expect(store.records.size).toBe(1);
    },
  );

  it.each(['json', 'text'])('commits %s although the client left before the handler was done', async (as) => {
    const arrived = new Promise<void>((arrive) => (seen.gate.arrive = arrive));
    const resumed = barrier();
    seen.gate.wait = resumed.passed;
    const first = connections.length;
    const going = exchange(`${app.url}/slow?as=${as}`);
    await arrived;
    await leave(going, connections[first]);
    resumed.open();
    await others();

    expect(store.writes).toEqual(['create']);
    expect([...store.records.values()][0]?.data).toEqual({ visits: 1, late: true });
  });

  describe('untouched', () => {
    it.each([{}, { Cookie: `sessionid=${'k'.repeat(43)}` }])('costs nothing: %j', async (headers) => {
      const expected = comparable(await exchange(`${plain.url}/ping`).answer);
      const answer = await exchange(`${app.url}/ping`, { headers }).answer;

      expect(comparable(answer)).toEqual(expected);
      expect(answer.headers).not.toHaveProperty('vary');
      expect(answer.headers).not.toHaveProperty('cache-control');
      expect((await exchange(`${app.url}/gate`, { headers }).answer).body.toString()).toBe('false');
      expect(store.calls).toEqual([]);
    });
  });

  describe('after the response has begun', () => {
    it('refuses changes, and takes them after a reload', async () => {
      const answer = await exchange(`${app.url}/after`).answer;

      expect(answer.body.toString()).toBe('begun done');
      expect(seen.errors).toEqual([expect.any(SessionCommittedError)]);
      expect(store.writes).toEqual(['create', 'save']);
      expect([...store.records.values()][0]?.data).toEqual({ before: 1, afterReload: 1 });
    });
  });
});

const gzip = { 'Accept-Encoding': 'gzip' };

@Module({})
class CompressionModule implements NestModule {
  configure(consumer: MiddlewareConsumer): void {
    consumer.apply(compression({ threshold: 0 })).forRoutes('{*splat}');
  }
}

/** Where the compression is mounted. It is above the gate when the session was touched before it. */
const mountings: [name: string, setup: Partial<AppSetup>, headers: Record<string, string>][] = [
  ['in main.ts, before the sessions', { prepare: (app) => void app.use(compression({ threshold: 0 })) }, {}],
  ['by a module', { imports: [CompressionModule] }, {}],
  ['by a module, above the gate', { imports: [CompressionModule] }, { 'X-Touch': 'early' }],
];

describe.each(platforms)('the response gate and compression on %s', (platform) => {
  describe.each(mountings)('mounted %s', (_name, setup, headers) => {
    let plain: RunningApp;
    let app: RunningApp;

    beforeAll(async () => {
      [plain, app] = await Promise.all([start(platform, false, setup), start(platform, true, setup)]);
    });
    beforeEach(() => store.reset());
    afterAll(() => Promise.all([plain.close(), app.close()]));

    it.each([
      '/json',
      '/large',
      '/large?chunk=5000',
      '/small-chunks',
      '/iterable',
      '/sse',
      '/redirect',
      '/missing',
    ])('%s is the same as without sessions, after one commit', async (path) => {
      const options = { headers: { ...gzip, ...headers } };
      const expected = unzipped(await exchange(`${plain.url}${path}`, options).answer);
      const held = store.hold('create');
      const going = exchange(`${app.url}${path}`, options);
      await held.reached;
      await exchange(`${app.url}/ping`).answer;
      expect(going.arrived()).toBe(false);
      held.release();
      const answer = await going.answer;

      expect(unzipped(answer)).toEqual(expected);
      expect(sessionCookie(answer)).toBeDefined();
      expect(store.writes).toEqual(['create']);
    });

    it('answers a failure of the store legibly', async () => {
      store.fail('create', new Error('no'));
      const answer = await exchange(`${app.url}/large`, { headers: { ...gzip, ...headers } }).answer;

      expect(unzipped(answer)).toMatchObject({
        status: 500,
        body: expect.stringContaining('"statusCode":500'),
      });
      expect((await exchange(`${app.url}/ping`).answer).status).toBe(200);
    });
  });
});

// Express does not support HTTP/2: its request and response inherit from those of node:http.
describe('the response gate on fastify over HTTP/2', () => {
  let plain: RunningApp;
  let app: RunningApp;

  beforeAll(async () => {
    [plain, app] = await Promise.all([
      start('fastify', false, { adapter: new FastifyAdapter({ http2: true }) }),
      start('fastify', true, { adapter: new FastifyAdapter({ http2: true }) }),
    ]);
  });
  beforeEach(() => store.reset());
  afterAll(() => Promise.all([plain.close(), app.close()]));

  const paths = [
    '/json',
    '/redirect',
    '/moved',
    '/large',
    '/sse',
    '/missing',
    '/flush-headers',
    '/write-head/flat',
  ];

  it.each(paths)(
    '%s is the same as without sessions, after one commit, and never before it',
    async (path) => {
      const [plainClient, client] = [connectHttp2(plain.url), connectHttp2(app.url)];
      const expected = await http2Exchange(plainClient, path).answer;
      const held = store.hold('create');
      const going = http2Exchange(client, path);
      await held.reached;
      await http2Exchange(client, '/ping').answer;
      expect(going.arrived()).toBe(false);
      held.release();
      const answer = await going.answer;
      plainClient.close();
      client.close();

      expect(comparableHttp2(answer)).toEqual(comparableHttp2(expected));
      expect(answer.headers['set-cookie']?.filter((line) => line.startsWith('sessionid='))).toHaveLength(1);
      expect(store.writes).toEqual(['create']);
    },
  );

  it.each(['/json', '/large', '/sse'])(
    'commits %s although the client left while it was held back',
    async (path) => {
      const client = connectHttp2(app.url);
      const held = store.hold('create');
      const going = http2Exchange(client, path);
      await held.reached;
      client.destroy();
      await expect(going.answer).rejects.toThrow(/closed|aborted|canceled/i);
      const other = connectHttp2(app.url);
      await http2Exchange(other, '/ping').answer;
      held.release();
      expect((await http2Exchange(other, '/ping').answer).body.toString()).toBe('pong');
      other.close();

      expect(store.writes).toEqual(['create']);
    },
  );

  it.each(['/json', '/large', '/sse'])('answers a failure of the store instead of %s', async (path) => {
    const client = connectHttp2(app.url);
    store.fail('create', new SessionStoreUnavailableError('create', 'it is away.'));
    const { headers, body } = await http2Exchange(client, path).answer;
    client.close();

    expect(headers).toMatchObject({ ':status': 503, 'retry-after': '5', 'cache-control': 'no-store' });
    expect(headers).not.toHaveProperty('set-cookie');
    expect(JSON.parse(body.toString())).toEqual({ statusCode: 503, message: 'Service Unavailable' });
  });

  interface Http2Answer {
    headers: IncomingHttpHeaders;
    body: Buffer;
  }

  function http2Exchange(client: ClientHttp2Session, path: string) {
    let arrived = false;
    const stream = client.request({ ':path': path });
    const head = new Promise<IncomingHttpHeaders>((resolve, reject) => {
      stream.once('response', (headers) => {
        arrived = true;
        resolve(headers);
      });
      stream.once('error', reject);
      stream.once('close', () => reject(new Error('closed without an answer')));
    });
    const answer = Promise.all([head, buffer(stream)]).then(([headers, body]): Http2Answer => ({
      headers,
      body,
    }));
    answer.catch(() => {});
    return { answer, arrived: () => arrived };
  }

  function comparableHttp2({ headers, body }: Http2Answer) {
    const { vary: _vary, date: _date, 'cache-control': _cache, 'set-cookie': cookies, ...rest } = headers;
    return {
      ...rest,
      cookies: cookies?.filter((line) => !line.startsWith('sessionid=')) ?? [],
      body: createHash('sha256').update(body).digest('hex'),
    };
  }
});
