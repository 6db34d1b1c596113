import { type IncomingMessage, type ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
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
  type NestInterceptor,
  Query,
  Redirect,
  Res,
  Sse,
  StreamableFile,
  UseFilters,
  UseGuards,
  UseInterceptors,
} from '@nestjs/common';
import { mountSessions, Session } from 'nest-sessions';
import { of } from 'rxjs';
import { type Platform } from '../support/app.js';

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

export const MEGABYTE = 1024 * 1024;
export const LARGE = 4 * MEGABYTE;

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

/** What the handlers saw; one request at a time. */
export const seen = {
  taken: (): number => 0,
  callbacks: [] as string[],
  errors: [] as unknown[],
  gate: { arrive: (): void => {}, wait: Promise.resolve() },
};

/** Every shape that an answer can have. */
@Controller()
export class ShapesController {
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

  @Get('visits')
  visits(@Session() session: Session) {
    return { visits: session.get('visits') as number };
  }

  @Get('gate')
  gate(@Res({ passthrough: true }) reply: Framed<ServerResponse>) {
    // Whatever place is made for one.
    const response = rawOf(reply);
    const [place] = Object.getOwnPropertySymbols(response).filter(
      ({ description }) => description === 'nest-sessions:response-gate',
    );
    return place !== undefined && Reflect.get(response, place) !== undefined;
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

/** Session or not, the same application. */
export async function prepareShapes(
  app: INestApplication,
  platform: Platform,
  sessions: boolean,
): Promise<void> {
  // Without a header of its own, Express leaves Node its shortest way through writeHead.
  if (platform === 'express')
    (app.getHttpAdapter().getInstance() as { disable(name: string): void }).disable('x-powered-by');
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
}

/** How to get each of them. */
export const shapes: [
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
