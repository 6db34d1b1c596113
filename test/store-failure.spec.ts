import { type ServerResponse } from 'node:http';
import { setTimeout } from 'node:timers/promises';
import { inspect } from 'node:util';
import {
  Controller,
  Get,
  HttpCode,
  type LoggerService,
  Post,
  Redirect,
  Req,
  Res,
  Sse,
  StreamableFile,
  UseGuards,
} from '@nestjs/common';
import { TypeOrmModule, type TypeOrmModuleOptions } from '@nestjs/typeorm';
import { Session, SessionGuard, type SessionOptions, SessionStoreUnavailableError } from 'nest-sessions';
import { databaseEngine } from 'nest-sessions/database';
import { Readable } from 'node:stream';
import { interval, map, take } from 'rxjs';
import { platforms, type RunningApp, startApp } from './support/app.js';
import { testDatabase, type TestDatabase } from './support/data-source.js';
import { type Operation, RecordingStore } from './support/recording-store.js';
import { describeWithService } from './support/services.js';
import { startTcpProxy, type TcpProxy } from './support/tcp-proxy.js';
import { type Answer, exchange, sessionCookie } from './support/wire.js';

const SECRET = 'hunter2';

const seen = { callbacks: [] as unknown[], caught: [] as unknown[] };

@Controller()
class FailureController {
  @Get('ping')
  ping() {
    return 'pong';
  }

  @Get('read')
  read(@Session() session: Session) {
    return { name: session.get('name') ?? null };
  }

  @Get('nest')
  nest(@Req() _request: unknown, @Session('name') name: unknown) {
    return { name: name ?? null };
  }

  @Get('guarded')
  @UseGuards(SessionGuard)
  guarded() {
    return 'welcome';
  }

  @Get('write')
  write(
    @Session() session: Session,
    @Res({ passthrough: true }) reply: { header(name: string, value: string): void },
  ) {
    session.increment('count');
    reply.header('Set-Cookie', 'theme=dark');
    reply.header('Cache-Control', 'public, max-age=60');
    reply.header('X-Frame-Options', 'DENY');
    return 'written';
  }

  @Get('redirect')
  @Redirect('/elsewhere')
  redirect(@Session() session: Session): void {
    session.increment('count');
  }

  @Get('stream')
  stream(@Session() session: Session) {
    session.increment('count');
    return new StreamableFile(Readable.from(Array.from({ length: 40 }, () => Buffer.alloc(50_000))));
  }

  @Get('generator')
  async *generator(@Session() session: Session) {
    session.increment('count');
    for (let part = 0; part < 100; part += 1) yield `part ${part} `;
  }

  @Sse('events')
  events(@Session() session: Session) {
    session.increment('count');
    return interval(1).pipe(
      take(30),
      map((n) => ({ data: n })),
    );
  }

  @Get('raw')
  async raw(@Session() session: Session, @Res() reply: ServerResponse & { raw?: ServerResponse }) {
    session.increment('count');
    const response = reply.raw ?? reply;
    seen.callbacks = [];
    response.writeHead(200, { 'Set-Cookie': 'theme=dark', 'Content-Type': 'text/plain' });
    response.write('a', (error) => seen.callbacks.push(error));
    // Somewhere on the way the store fails. Whoever writes on, unaware of that, must come to no harm.
    for (let turn = 0; turn < 500; turn += 1) {
      await Promise.resolve();
      response.write('and on ');
    }
    response.end('b', (error?: Error) => seen.callbacks.push(error));
  }

  @Post('login')
  @HttpCode(200)
  login(@Session() session: Session) {
    session.login(7);
    return 'in';
  }

  @Post('logout')
  @HttpCode(200)
  logout(@Session() session: Session) {
    session.logout();
    return 'out';
  }

  @Post('logout-and-crash')
  logoutAndCrash(@Session() session: Session): never {
    session.logout();
    throw new Error('afterwards');
  }

  @Get('save')
  async save(@Session() session: Session) {
    session.increment('count');
    await session.save();
    return 'saved';
  }

  @Get('save-and-ignore')
  async saveAndIgnore(@Session() session: Session) {
    session.increment('count');
    await session.save().catch((error: unknown) => seen.caught.push(error));
    return 'saved';
  }

  @Get('destroy')
  async destroy(@Session() session: Session) {
    await session.destroy();
    return 'destroyed';
  }
}

const store = new RecordingStore();
const logged: string[] = [];
const write = (...message: unknown[]): void => void logged.push(inspect(message, { depth: 10 }));
const logger: LoggerService = {
  log() {},
  error: write,
  warn: write,
  debug: write,
  verbose: write,
  fatal: write,
};

/** A fault of ours is told of each time; a store that is not to be had once, when the outage begins. */
function expectLogged(status: 500 | 503, what: string): void {
  const told = logged.filter((line) => /could not be|does not serve/.test(line));
  const isRight = status === 500 ? told.some((line) => line.includes(what)) : told.length <= 1;
  expect([isRight, told]).toEqual([true, told]);
}

interface Fault {
  status: 500 | 503;
  strike: (operation: Operation) => void;
}

const faults: Record<string, Fault> = {
  'is unavailable': {
    status: 503,
    strike: (operation) =>
      store.fail(
        operation,
        new SessionStoreUnavailableError(operation, 'it is away.', {
          cause: new Error(`password ${SECRET}`),
        }),
      ),
  },
  hangs: { status: 503, strike: (operation) => store.hang(operation) },
  'throws what a driver throws': {
    status: 500,
    strike: (operation) =>
      store.fail(
        operation,
        Object.assign(new Error(`refused: postgres://app:${SECRET}@db/shop`), { code: 'E_DRIVER' }),
      ),
  },
};

describe.each(platforms)('on %s, when the store', (platform) => {
  let app: RunningApp;
  let cookie: string;

  const start = (options: SessionOptions = {}): Promise<RunningApp> =>
    startApp(platform, {
      engine: { useFactory: () => store },
      options: { storeTimeout: '50ms', ...options },
      controllers: [FailureController],
      logger,
    });
  const send = (path: string, given?: string, to = app): Promise<Answer> =>
    exchange(`${to.url}${path}`, {
      method: path.startsWith('/log') ? 'POST' : 'GET',
      headers: given === undefined ? {} : { Cookie: given },
    }).answer;

  beforeAll(async () => {
    app = await start();
  });
  beforeEach(async () => {
    store.reset();
    cookie = sessionCookie(await send('/login')) as string;
    logged.length = 0;
    store.calls = [];
  });
  afterAll(() => app.close());

  function expectFailure(answer: Answer, status: 500 | 503): void {
    const messages = { 500: 'Internal Server Error', 503: 'Service Unavailable' };
    expect(answer.status).toBe(status);
    expect(JSON.parse(answer.body.toString())).toEqual({ statusCode: status, message: messages[status] });
    expect(answer.headers['content-type']).toMatch(/^application\/json/);
    expect(answer.headers['retry-after']).toBe(status === 503 ? '5' : undefined);
    expect(answer.headers).not.toHaveProperty('set-cookie');
    expect(answer.headers).not.toHaveProperty('location');
    const [sessionKey] = cookie.split('=').slice(1);
    for (const secret of [SECRET, sessionKey as string, ...store.records.keys()]) {
      expect(logged.join('\n')).not.toContain(secret);
    }
  }

  describe.each(Object.entries(faults))('%s', (_name, { status, strike }) => {
    it.each(['/read', '/nest', '/guarded', '/write', '/stream', '/events', '/logout'])(
      'S94 S115: at the load for %s, the visitor is told so and loses nothing',
      async (path) => {
        strike('load');
        expectFailure(await send(path, cookie), status);
        expect(store.writes).toEqual([]);
        expectLogged(status, 'could not be loaded');

        store.heal();
        expect((await send(path, cookie)).status).toBe(200);
      },
    );

    it('at an eager load, the visitor is told so, and routes without sessions work', async () => {
      const eager = await start({ loading: 'eager', exclude: ['/ping'] });
      try {
        strike('load');
        expectFailure(await send('/nowhere', cookie, eager), status);
        expect((await send('/ping', cookie, eager)).status).toBe(200);

        store.heal();
        expect((await send('/guarded', cookie, eager)).status).toBe(200);
      } finally {
        await eager.close();
      }
    });

    const writes: [operation: Operation, path: string, visitor: 'new' | 'known'][] = [
      ['create', '/write', 'new'],
      ['create', '/redirect', 'new'],
      ['create', '/stream', 'new'],
      ['create', '/generator', 'new'],
      ['create', '/events', 'new'],
      ['create', '/raw', 'new'],
      ['create', '/login', 'new'],
      ['save', '/write', 'known'],
      ['save', '/redirect', 'known'],
      ['save', '/stream', 'known'],
      ['save', '/events', 'known'],
      ['save', '/raw', 'known'],
      ['take', '/login', 'known'],
      ['delete', '/logout', 'known'],
      ['delete', '/logout-and-crash', 'known'],
    ];

    it.each(writes)(
      'S94 S115: at the %s for %s of a %s visitor, nothing is answered but that',
      async (operation, path, visitor) => {
        const before = new Map(store.records);
        strike(operation);
        const given = visitor === 'known' ? cookie : undefined;
        expectFailure(await send(path, given), status);
        expect(store.records).toEqual(before);
        expectLogged(status, 'could not be committed');
        expect((await send('/ping')).status).toBe(200);

        store.heal();
        expect((await send('/guarded', cookie)).status).toBe(200);
        const again = await send(path, given);
        expect(again.status).toBe(path === '/redirect' ? 302 : path === '/logout-and-crash' ? 500 : 200);
        expect(store.records.size).toBe(operation === 'create' ? 2 : operation === 'delete' ? 0 : 1);
      },
    );

    it('at an explicit save that the handler ignores, the commit meets it again', async () => {
      seen.caught = [];
      strike('save');
      expectFailure(await send('/save-and-ignore', cookie), status);
      expect(seen.caught).toHaveLength(1);
    });

    it.each([
      ['save', '/save'],
      ['delete', '/destroy'],
    ] as const)('S94: at an explicit %s, the handler does not go on', async (operation, path) => {
      strike(operation);
      const answer = await send(path, cookie);
      expect(answer.status).toBe(status);
      expect(answer.headers['retry-after']).toBe(status === 503 ? '5' : undefined);
      expect(answer.headers).not.toHaveProperty('set-cookie');
      expect(answer.body.toString()).not.toContain(SECRET);

      store.heal();
      expect((await send('/guarded', cookie)).status).toBe(200);
    });
  });

  it('has lost the session, a handler that saves by itself is told so', async () => {
    const held = store.hold('save');
    const answer = send('/save', cookie);
    await held.reached;
    store.records.clear();
    held.release();
    expect((await answer).status).toBe(409);
    expect((await send('/save', cookie)).status).toBe(200); // a new session
  });

  it('fails, headers that protect the answer stay', async () => {
    store.fail('create', new Error('no'));
    const { headers } = await send('/write');
    expect(headers).toMatchObject({ 'x-frame-options': 'DENY', 'cache-control': 'no-store' });
  });

  it('fails, writes that came to nothing are told so', async () => {
    store.fail('create', new Error('no'));
    await send('/raw');
    expect(seen.callbacks).toEqual([expect.any(Error), expect.any(Error)]);
  });

  it('fails without being asked, nobody notices', async () => {
    for (const operation of ['load', 'create', 'save', 'touch', 'take', 'delete'] as const)
      store.hang(operation);
    expect((await send('/ping', cookie)).body.toString()).toBe('pong');
    expect((await send('/read')).status).toBe(200);
  });
});

describeWithService('postgres', 'when PostgreSQL', () => {
  let database: TestDatabase;
  let proxy: TcpProxy;

  beforeAll(async () => {
    database = await testDatabase('postgres');
    const target = new URL((database.options as { url: string }).url);
    proxy = await startTcpProxy(target.hostname, Number(target.port || 5432));
  });
  afterAll(async () => {
    await proxy.close();
    await database.dispose();
  });

  describe.each(platforms)('(%s)', (platform) => {
    let app: RunningApp;
    const send = (path: string, cookie?: string): Promise<Answer> =>
      exchange(`${app.url}${path}`, {
        method: path.startsWith('/log') ? 'POST' : 'GET',
        headers: cookie === undefined ? {} : { Cookie: cookie },
      }).answer;

    beforeAll(async () => {
      const url = new URL((database.options as { url: string }).url);
      url.hostname = '127.0.0.1';
      url.port = String(proxy.port);
      app = await startApp(platform, {
        imports: [
          TypeOrmModule.forRoot({
            ...database.options,
            url: url.href,
            autoLoadEntities: true,
            synchronize: true,
            logging: false,
          } as TypeOrmModuleOptions),
        ],
        engine: databaseEngine(),
        options: { storeTimeout: '1s' }, // as a busy machine may need for an answer
        controllers: [FailureController],
        logger,
      });
    });
    afterAll(() => app.close());
    afterEach(() => proxy.mend());

    /** The answer to somebody who tries again as long as he is told to. */
    const insist = async (path: string, cookie?: string): Promise<Answer> => {
      for (const deadline = Date.now() + 100_000; ; await setTimeout(20)) {
        const answer = await send(path, cookie);
        if (answer.status !== 503 || Date.now() > deadline) return answer;
      }
    };

    it.each(['cut', 'stall'] as const)(
      'is out of reach (%s), visitors are told so and come back',
      async (outage) => {
        const cookie = sessionCookie(await insist('/login')) as string;
        expect((await insist('/guarded', cookie)).status).toBe(200);

        proxy[outage]();
        for (const [path, given] of [
          ['/guarded', cookie],
          ['/write', cookie],
          ['/write', undefined],
          ['/logout', cookie],
        ] as const) {
          const answer = await send(path, given);
          expect(answer).toMatchObject({ status: 503, headers: { 'retry-after': '5' } });
          expect(answer.headers).not.toHaveProperty('set-cookie');
        }
        expect((await send('/ping', cookie)).status).toBe(200);

        proxy.mend();
        expect((await insist('/guarded', cookie)).status).toBe(200);
        expect((await insist('/logout', cookie)).status).toBe(200);
        expect((await insist('/guarded', cookie)).status).toBe(401);
      },
    );
  });
});
