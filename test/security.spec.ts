import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text as textOf } from 'node:stream/consumers';
import { type ServerResponse } from 'node:http';
import { createHash, randomBytes } from 'node:crypto';
import { inspect } from 'node:util';
import {
  Body,
  Controller,
  Get,
  HttpCode,
  Inject,
  type LoggerService,
  Param,
  Post,
  Query,
  Redirect,
  Req,
  Res,
  UseGuards,
} from '@nestjs/common';
import { EventEmitterModule } from '@nestjs/event-emitter';
import {
  type Engine,
  type JsonObject,
  type JsonValue,
  Session,
  SessionConfigError,
  SessionGuard,
  SessionModule,
  SessionRecordCorruptError,
  type SessionOptions,
  Sessions,
  SessionSealer,
  SessionStore,
} from 'nest-sessions';
import { cookieEngine } from 'nest-sessions/cookie';
import { fileEngine } from 'nest-sessions/file';
import { memoryEngine } from 'nest-sessions/memory';
import { type HttpEnvironment } from '../libs/session/src/http/request-session.js';
import { LIVE } from '../libs/session/src/session/dictionary-methods.js';
import { fromRecordText, plainCodec } from '../libs/session/src/stores/record-codec.js';
import { decodeData } from '../libs/session/src/stores/record-log.js';
import { newRecord } from '../libs/session/src/testing/store-bench.js';
import { keyHasher, parseSessionKey } from '../libs/session/src/session/session-key.js';
import { HTTP_ENVIRONMENT } from '../libs/session/src/session.tokens.js';
import { type Area, KeyRing, type Use } from '../libs/session/src/stores/secrets.js';
import { platforms, type RunningApp, startApp } from './support/app.js';
import { sessionKeyIn } from './support/database-app.js';
import { type LaidOpen, laidOpenStores, lines } from './support/laid-open.js';
import { type Reached, reachableFrom } from './support/reachable.js';
import { barrier, RecordingStore } from './support/recording-store.js';
import { describeWithService } from './support/services.js';
import { testsAll } from './support/test-all.js';
import { exchange } from './support/wire.js';

type Data = JsonObject;
type RawRequest = {
  session: Session;
  headers: Record<string, unknown>;
  rawHeaders: string[];
  raw?: RawRequest;
};
type Reply = ServerResponse & { raw?: ServerResponse };
type Header = { header(name: string, value: string): void };

const gates = { entered: barrier(), left: barrier() };

@Controller()
class VaultController {
  @Get('plain')
  plain() {
    return 'plain';
  }

  @Get('data')
  data(@Session() session: Session<Data>) {
    return { userId: session.userId, entries: session.entries() };
  }

  @Post('data')
  @HttpCode(200)
  write(@Session() session: Session<Data>, @Body() entries: [string, JsonValue][]) {
    for (const [key, value] of entries) session.set(key, value);
    return { id: session.id };
  }

  @Post('nothing')
  nothing(@Session() session: Session<Data>) {
    session['name'] = 'Ada';
    delete session['name'];
  }

  @Post('login')
  login(@Session() session: Session<Data>, @Query('user') user: string) {
    session.login(user);
    return { id: session.id };
  }

  @Post('logout')
  logout(@Session() session: Session<Data>) {
    session.logout();
  }

  @Post('write-and-fail')
  writeAndFail(@Session() session: Session<Data>): never {
    session['name'] = 'Mallory';
    session.cycleKey();
    throw new Error('afterwards');
  }

  @Post('logout-and-fail')
  logoutAndFail(@Session() session: Session<Data>): never {
    session.logout();
    throw new Error('afterwards');
  }

  /** What docs/session.md warns of: a name that the client has chosen, by property syntax. */
  @Post('property')
  @HttpCode(200)
  property(@Session() session: Session<Data>, @Body() { name, value }: { name: string; value?: JsonValue }) {
    if (value !== undefined) Object.assign(session, { [name]: value });
    return { read: session[name] ?? null };
  }

  @Post('expiry')
  setExpiry(@Session() session: Session<Data>, @Query('age') age: string) {
    session.setExpiry(age.startsWith('2') ? new Date(age) : age);
  }

  @Post('slow')
  async slow(@Session() session: Session<Data>) {
    session['name'] = 'slow';
    gates.entered.open();
    await gates.left.passed;
  }

  @Post('flash')
  @Redirect('/flash')
  addFlash(@Session() session: Session<Data>, @Query('message') message: string) {
    session.addFlash('info', message);
  }

  @Get('flash')
  takeFlash(@Session() session: Session<Data>) {
    return session.takeFlash().map(({ message }) => message);
  }

  @Post('late')
  async late(@Session() session: Session<Data>, @Res() reply: Reply) {
    const response = reply.raw ?? reply;
    response.writeHead(200, { 'Content-Type': 'text/plain' });
    response.write('begun: ');
    await new Promise((resolve) => setImmediate(resolve));
    try {
      session['name'] = 'late';
      response.end('and nobody minded');
    } catch (error) {
      response.end((error as { code: string }).code);
    }
  }

  /** Everything that might show what stands behind the session; the request as it came is taken off it first. */
  @Get('inspect')
  async inspect(@Session() session: Session<Data>, @Req() request: RawRequest) {
    const raw = request.raw ?? request;
    delete raw.headers['cookie'];
    raw.rawHeaders.length = 0;
    if (session.userId === null) {
      session.login('eve');
      await session.save();
    }
    const unknown: unknown = session;
    const all = { depth: 12, showHidden: true, showProxy: true, customInspect: false };
    // Requests lead to the server and everything else: that deep is far enough to meet the session on every way.
    const around = { depth: 9, showHidden: true, customInspect: false };
    shown.splice(
      0,
      Infinity,
      inspect(session, { getters: true, showHidden: true }),
      inspect(session, all),
      inspect(session, { ...all, getters: true }),
      inspect({ session }, { ...all, showProxy: false }),
      JSON.stringify(session),
      JSON.stringify(session.cookie),
      String(unknown),
      Object.prototype.toString.call(session),
      inspect({ ...session }),
      inspect(Reflect.ownKeys(session).map((name) => Reflect.get(session, name))),
      inspect(request),
      inspect(request, around),
      inspect(request, { ...around, getters: true }),
      inspect(raw, around),
      inspect(raw, { ...around, getters: true }),
    );
    return 'shown';
  }
}

/** What can be reached from a request, its response and its session, in a handler. */
let reached: Reached[] = [];

@Controller('reach')
class ReachController {
  constructor(
    private readonly sessions: Sessions,
    @Inject(HTTP_ENVIRONMENT) private readonly environment: HttpEnvironment,
  ) {}

  @Get()
  async reach(
    @Session() session: Session<Data>,
    @Req() request: RawRequest,
    @Res({ passthrough: true }) reply: Reply,
  ) {
    session.set('seen', true);
    await session.save();
    // Inspection sees through the proxy of a session, and an application may hang what it injects on its request.
    reached = reachableFrom({
      session,
      behind: Reflect.get(session, LIVE) as unknown,
      request,
      raw: request.raw ?? request,
      reply,
      response: reply.raw ?? reply,
      cookie: session.cookie,
      sessions: this.sessions,
      environment: this.environment,
    });
    return 'reached';
  }
}

const touches: Record<string, (session: Session<Data>) => unknown> = {
  'session.name': (session) => session['name'],
  'get()': (session) => session.get('name'),
  'get() of what is missing': (session) => session.get('nobody'),
  'has()': (session) => session.has('name'),
  in: (session) => 'name' in session,
  'isEmpty()': (session) => session.isEmpty(),
  sessionKey: (session) => session.sessionKey(),
  'keys()': (session) => session.keys(),
  'entries()': (session) => session.entries(),
  'Object.keys()': (session) => Object.keys(session),
  spread: (session) => ({ ...session }),
  'JSON.stringify()': (session) => JSON.stringify(session),
  userId: (session) => session.userId,
  'getExpiryAge()': (session) => session.getExpiryAge(),
  'takeFlash()': (session) => session.takeFlash(),
  'testCookieWorked()': (session) => session.testCookieWorked(),
};

@Controller('touch')
class TouchController {
  @Get('by/:what')
  by(
    @Session() session: Session<Data>,
    @Param('what') what: string,
    @Res({ passthrough: true }) reply: Header,
  ) {
    reply.header('Vary', 'Accept');
    touches[what]?.(session);
    return 'ok';
  }

  @Get('value')
  value(@Session('userId') userId: string | null, @Res({ passthrough: true }) reply: Header) {
    reply.header('Vary', 'Accept');
    return { userId };
  }

  @Get('guarded')
  @UseGuards(SessionGuard)
  guarded(@Res({ passthrough: true }) reply: Header) {
    reply.header('Vary', 'Accept');
    return 'ok';
  }
}

const shown: string[] = [];
const logged: string[] = [];
const note = (...message: unknown[]): void => void logged.push(message.map(String).join(' '));
const logger: LoggerService = { log() {}, error: note, warn: note, debug: note, verbose: note, fatal: note };

const send = async (app: RunningApp, method: 'get' | 'post', path: string, key?: string, body?: unknown) => {
  const request = app.request[method](path);
  if (key !== undefined) void request.set('Cookie', `sessionid=${key}`);
  return body === undefined ? request : request.send(body as object);
};

/** Somebody without a session, and somebody with one: their session keys. */
const visitorsOf = async (app: RunningApp): Promise<(string | undefined)[]> => [
  undefined,
  sessionKeyIn(await send(app, 'post', '/login?user=ada')),
];

const requestOf = (method: string, path: string, headers = ''): string =>
  `${method} ${path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n${headers}\r\n`;

/** So many requests by somebody whom nobody knows. */
const MANY = testsAll ? 10_000 : 1000;

/** How many answers of which status there are to requests on one connection, where they cost next to nothing. */
const answersTo = async (app: RunningApp, requests: string[]): Promise<Record<string, number>> => {
  const socket = connect(Number(new URL(app.url).port), '127.0.0.1');
  const answers = textOf(socket);
  socket.write(requests.join(''));
  socket.write(requestOf('GET', '/plain', 'Connection: close\r\n'));
  const statuses = [...(await answers).matchAll(/HTTP\/1\.1 (\d+) /g)].map(([, status]) => status as string);
  statuses.pop();
  return Object.fromEntries(
    [...new Set(statuses)].map((one) => [one, statuses.filter((other) => other === one).length]),
  );
};

/** What a store keeps of a session key. */
const keyHashOf = (key: string, userId: string | null): string =>
  keyHasher().hash({ ...parseSessionKey(key), userId });

/** Every text in which the same secret could be kept. */
const formsOf = (key: string): string[] => {
  const bytes = Buffer.from(key, 'base64url');
  const hash = createHash('sha256').update(key);
  return [
    key,
    bytes.toString('hex'),
    bytes.toString('base64').slice(0, 43),
    Buffer.from(key).toString('base64').slice(0, 56),
    Buffer.from(key).toString('hex'),
    hash.copy().digest('hex'),
    hash.copy().digest('base64url'),
    createHash('sha256').update(bytes).digest('hex'),
  ];
};

describe.each(platforms)('on %s', (platform) => {
  describe.each(laidOpenStores)('a session in %s', (name, service, open) => {
    if (service === undefined) suite();
    else describeWithService(service, 'that is there', suite);

    function suite(): void {
      let store: LaidOpen;
      let app: RunningApp;
      beforeAll(async () => {
        store = await open();
        app = await startApp(platform, {
          ...store,
          // With the events, so that they are searched for secrets as well.
          imports: [...(store.imports ?? []), EventEmitterModule.forRoot()],
          controllers: [VaultController],
          logger,
        });
      });
      beforeEach(() => (logged.length = 0));
      afterAll(async () => {
        await app.close();
        await store.dispose();
      });

      const write = async (entries: [string, unknown][] = [['name', 'Ada']]): Promise<string> =>
        sessionKeyIn(await send(app, 'post', '/data', undefined, entries)) as string;
      const dataOf = async (key: string): Promise<Data> => {
        const { entries } = (await send(app, 'get', '/data', key)).body as { entries: [string, unknown][] };
        return Object.assign(Object.create(null) as Data, Object.fromEntries(entries));
      };
      const login = async (user: string): Promise<[key: string, id: string]> => {
        const answer = await send(app, 'post', `/login?user=${user}`);
        return [sessionKeyIn(answer) as string, (answer.body as { id: string }).id];
      };

      it('S04: has a key that means nothing', async () => {
        const sessions = await Promise.all(Array.from({ length: 20 }, () => login('ada-lovelace')));
        const parts = new Map<string, string>();
        for (const [key, id] of sessions) {
          expect(key.slice(0, 23)).toBe(`${id}.`);
          const known = [id, 'ada-lovelace', Buffer.from('ada-lovelace').toString('base64url')].join(' ');
          // By chance, two of these secrets share ten characters less than once in 10^11 runs.
          for (let at = 23; at + 10 <= key.length; at += 1) {
            const part = key.slice(at, at + 10);
            expect(parts.get(part) ?? key).toBe(key);
            expect(known).not.toContain(part);
            parts.set(part, key);
          }
        }
      });

      it('S05: leaves no trace of its secret in the store', async () => {
        const [key] = await login('ada');
        await send(app, 'post', '/data', key, [['name', 'Ada']]);
        const rotated = sessionKeyIn(await send(app, 'post', '/login?user=bob', key)) as string;
        const dump = await store.dump();
        expect(dump).toContain(keyHashOf(rotated, 'bob').slice(3));
        for (const form of [key, rotated].flatMap((each) => formsOf(each.slice(23)))) {
          expect(dump).not.toContain(form);
        }
      });

      it('S06: is not opened by what the store holds', async () => {
        const [key] = await login('ada');
        const [id, hash] = [key.slice(0, 22), keyHashOf(key, 'ada')];
        for (const stolen of [hash, id, `${id}.${hash}`, `${id}.${hash.slice(3)}`, `${id}.`]) {
          expect((await send(app, 'get', '/data', stolen)).body).toEqual({ userId: null, entries: [] });
        }
        expect((await send(app, 'get', '/data', key)).body).toMatchObject({ userId: 'ada' });
      });

      it('S12: is dead after its end, and its key is never taken up again', async () => {
        const [key] = await login('ada');
        await send(app, 'post', '/logout', key);
        const answer = await send(app, 'post', '/data', key, [['name', 'Eve']]);
        expect(sessionKeyIn(answer)).toMatch(/^[\w-]{22}\.[\w-]{43}$/);
        expect(sessionKeyIn(answer)).not.toBe(key);
        expect((await send(app, 'get', '/data', key)).body).toEqual({ userId: null, entries: [] });
      });

      it('S55 S86: is not made by visitors who store nothing', async () => {
        const before = await store.dump();
        for (let time = 0; time < 10; time += 1) {
          const answers = await Promise.all([
            send(app, 'get', '/plain'),
            send(app, 'get', '/data'),
            send(app, 'get', '/flash'),
            send(app, 'post', '/nothing'),
            send(app, 'post', '/logout'),
            send(app, 'post', '/logout', randomBytes(32).toString('base64url')),
          ]);
          for (const answer of answers) expect(sessionKeyIn(answer) ?? '').toBe('');
        }
        expect(await store.dump()).toBe(before);
      });

      it('S67: keeps odd keys apart', async () => {
        const entries: [string, unknown][] = [
          ['', 'empty'],
          ['a', 'a'],
          ['a\0b', 'NUL'],
          ['a=b&c', 'query'],
          ['a:b', 'colon'],
          ['a\nb', 'line'],
          ['a\tb', 'tab'],
          ['🔑', 'emoji'],
          ['toString', 'name of a method'],
          ['0', 'digit'],
        ];
        const key = await write(entries);
        expect(await dataOf(key)).toEqual(Object.assign(Object.create(null), Object.fromEntries(entries)));
        await send(app, 'post', '/data', key, [['a\0b', 'changed']]);
        expect(await dataOf(key)).toMatchObject({ a: 'a', 'a\0b': 'changed', 'a:b': 'colon', '': 'empty' });
      });

      it('S113: has each message after a redirect, once', async () => {
        let key: string | undefined;
        for (let time = 0; time < 25; time += 1) {
          const redirect = await send(app, 'post', `/flash?message=${time}`, key);
          expect(redirect.status).toBe(302);
          key = sessionKeyIn(redirect) ?? key;
          expect((await send(app, 'get', '/flash', key)).body).toEqual([String(time)]);
        }
        expect((await send(app, 'get', '/flash', key)).body).toEqual([]);
      });

      it('S114: is not changed after the first byte', async () => {
        const key = await write();
        expect((await send(app, 'post', '/late', key)).text).toBe('begun: SESSION_COMMITTED');
        expect(await dataOf(key)).toEqual({ name: 'Ada' });
      });

      describe('S115: of a request that fails', () => {
        it('keeps neither data nor a new key', async () => {
          const key = await write();
          const answer = await send(app, 'post', '/write-and-fail', key);
          expect([answer.status, sessionKeyIn(answer)]).toEqual([500, undefined]);
          expect(await dataOf(key)).toEqual({ name: 'Ada' });
        });

        it('ends all the same', async () => {
          const [key] = await login('ada');
          const answer = await send(app, 'post', '/logout-and-fail', key);
          expect([answer.status, sessionKeyIn(answer)]).toEqual([500, '']);
          expect((await send(app, 'get', '/data', key)).body).toMatchObject({ userId: null });
        });

        it('keeps what a visitor did who left before the answer', async () => {
          const key = await write();
          Object.assign(gates, { entered: barrier(), left: barrier() });
          const visit = exchange(`${app.url}/slow`, {
            method: 'POST',
            headers: { Cookie: `sessionid=${key}` },
          });
          await gates.entered.passed;
          visit.abort();
          gates.left.open();
          let data = await dataOf(key);
          while (data['name'] === 'Ada') data = await dataOf(key);
          expect(data).toEqual({ name: 'slow' });
        });
      });

      if (name !== 'memory') {
        it('S62: comes to no harm by prototypes that were put into the store', async () => {
          const key = await write([['marker', 'x'.repeat(60)]]);
          const stored = JSON.stringify({ marker: 'x'.repeat(60) });
          const poison = '{"__proto__":{"polluted":1},"constructor":{"polluted":1}}';
          await store.replace(stored, poison.padEnd(stored.length));
          expect((await send(app, 'get', '/data', key)).body).toEqual({
            userId: null,
            entries: [
              ['__proto__', { polluted: 1 }],
              ['constructor', { polluted: 1 }],
            ],
          });
          expect(({} as { polluted?: number }).polluted).toBeUndefined();
        });

        it('S64: that cannot be decoded is nobody’s, told of, and left as it is', async () => {
          const key = await write([['marker', 'y'.repeat(60)]]);
          const stored = JSON.stringify({ marker: 'y'.repeat(60) });
          await store.replace(stored, '{"marker": Fe26.2*'.padEnd(stored.length, '*'));
          const before = await store.dump();
          expect(before).toContain('Fe26.2*');

          const written = await send(app, 'post', '/data', key, [['name', 'Eve']]);
          expect([written.status, sessionKeyIn(written) === key]).toEqual([200, false]);
          expect(logged.join('\n')).toMatch(/could not be decoded/);
          expect(logged.join('\n')).not.toContain('Fe26');

          for (let time = 0; time < 3; time += 1) {
            expect((await send(app, 'get', '/data', key)).body).toMatchObject({ entries: [] });
          }
          const after = await store.dump();
          expect(before.split('\n').filter((line) => !after.includes(line))).toEqual([]);
          expect(lines(after)).toBe(lines(before) + 1);
        });
      }
    }
  });

  describe('S95: a request leads to no secret of the server', () => {
    const secret = randomBytes(32).toString('base64url');
    const keysOf = (use: Use, area: Area): Buffer[] =>
      new KeyRing([secret], use, area).all.map(({ bytes }) => bytes);
    const directory = mkdtempSync(join(tmpdir(), 'nest-sessions-'));
    afterAll(() => rmSync(directory, { recursive: true, force: true }));

    it.each<[what: string, Engine, SessionOptions, keys: Buffer[]]>([
      [
        'the pepper, and the records of others',
        memoryEngine(),
        { pepper: { secrets: secret }, sessionsPerUser: { max: 3, policy: 'evict-oldest' } },
        keysOf('pepper', 'store-key'),
      ],
      ['the keys of the cookie', cookieEngine({ secrets: secret }), {}, keysOf('encrypt', 'cookie')],
      [
        'the keys of a cookie that is only signed',
        cookieEngine({ secrets: secret, signedOnly: true, revocations: memoryEngine() }),
        {},
        keysOf('sign', 'cookie'),
      ],
      [
        'the keys of encrypted records',
        fileEngine({ directory, encryption: { secrets: secret } }),
        {},
        keysOf('encrypt', 'record'),
      ],
    ])('%s', async (_what, engine, options, keys) => {
      const app = await startApp(platform, {
        engine,
        options,
        controllers: [VaultController, ReachController],
        logger,
      });
      const other = sessionKeyIn(await send(app, 'post', '/login?user=bob')) as string;
      const own = sessionKeyIn(await send(app, 'post', '/login?user=ada')) as string;
      const kept = await app.app.get<SessionStore | null>(SessionStore)?.load(other.slice(0, 22));
      expect((await send(app, 'get', '/reach', own)).text).toBe('reached');
      // It went all the way to what stands behind the session.
      const names = new Set(reached.map(({ value }) => (value as object | null)?.constructor?.name));
      expect(names).toContain('LiveSession');
      expect(names).toContain('RequestSession');

      const texts = [secret, other, other.slice(-43), ...(kept ? [kept.keyHash] : [])];
      const bytes = [...keys, ...texts.map((text) => Buffer.from(text))].map((each) =>
        each.toString('latin1'),
      );
      const isSecret = (value: unknown): boolean => {
        if (typeof value === 'string') return texts.some((text) => value.includes(text));
        if (!ArrayBuffer.isView(value))
          return value instanceof SessionStore || value instanceof SessionSealer;
        const content = Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('latin1');
        return bytes.some((each) => content.includes(each));
      };
      expect(reached.filter(({ value }) => isSecret(value)).map(({ path }) => path)).toEqual([]);
      expect(reached.length).toBeGreaterThan(1000);
      await app.close();
    });
  });

  describe('a visitor', () => {
    const store = new RecordingStore();
    let app: RunningApp;
    const start = (options: SessionOptions = {}): Promise<RunningApp> =>
      startApp(platform, {
        engine: { useFactory: () => store },
        options,
        controllers: [VaultController, TouchController],
        logger,
      });
    beforeAll(async () => {
      app = await start();
    });
    beforeEach(() => store.reset());
    afterAll(() => app.close());

    it('S03: brings no UUID along for a key', async () => {
      const uuid = '3f2b8c1e-7a54-4f1d-9c1b-1d2e3f405162';
      for (const key of [uuid, uuid.replaceAll('-', ''), `${uuid}${uuid}`.slice(0, 44)]) {
        expect((await send(app, 'get', '/data', key)).body).toEqual({ userId: null, entries: [] });
      }
      expect(store.calls).toEqual([]);
    });

    it('S57: sees the name that Django’s visitors see, or the one of the options', async () => {
      const [line] = (await send(app, 'post', '/login?user=ada')).headers[
        'set-cookie'
      ] as unknown as string[];
      expect(line).toMatch(/^sessionid=/);
      expect(line).not.toMatch(/nest|express|fastify|connect|node/i);
      const named = await start({ cookie: { name: 'sid' } });
      expect(sessionKeyIn(await send(named, 'post', '/login?user=ada'), 'sid')).toMatch(
        /^[\w-]{22}\.[\w-]{43}$/,
      );
      await named.close();
    });

    it('S54: has no cookie for longer than 400 days, whoever sets its age', async () => {
      const longest = 400 * 86_400;
      const ageOf = (answer: Awaited<ReturnType<typeof send>>): number[] => {
        const [line = ''] = answer.headers['set-cookie'] as unknown as string[];
        const expires = Date.parse(/Expires=([^;]+)/.exec(line)?.[1] ?? '') - Date.now();
        return [Number(/Max-Age=(\d+)/.exec(line)?.[1]), Math.round(expires / 86_400_000)];
      };
      const key = sessionKeyIn(await send(app, 'post', '/login?user=ada'));
      for (const age of ['100y', '401d', '2999-01-01']) {
        expect(ageOf(await send(app, 'post', `/expiry?age=${age}`, key))).toEqual([longest, 400]);
      }
      for (const value of [{ originalMaxAge: 1e12 }, { maxAge: 2e12 }]) {
        const answer = await send(app, 'post', '/property', key, { name: 'cookie', value });
        expect(ageOf(answer)).toEqual([longest, 400]);
      }
      expect(store.records.get(key?.slice(0, 22) as string)?.expiry).toBe(2e9);
    });

    it('S56: is not told their key by a name that they choose', async () => {
      const key = sessionKeyIn(await send(app, 'post', '/login?user=ada')) as string;
      for (const name of ['sessionKey', 'session_key', 'token', 'secret', 'id', 'cookie', 'save']) {
        const answer = await send(app, 'post', '/property', key, { name });
        expect(answer.status).toBe(200);
        expect(answer.text).not.toContain(key.slice(23));
      }
    });

    it(`S86: without a cookie costs the store nothing, ${MANY} times`, async () => {
      const requests = Array.from({ length: MANY / 2 }, () => [
        requestOf('GET', '/data'),
        requestOf('POST', '/logout'),
      ]);
      expect(await answersTo(app, requests.flat())).toEqual({ 200: MANY / 2, 201: MANY / 2 });
      expect(store.calls).toEqual([]);
    });

    it(`S87: with ${MANY} made-up keys makes the store read once each, and write nothing`, async () => {
      const keys = Array.from({ length: MANY }, () =>
        [16, 32].map((size) => randomBytes(size).toString('base64url')).join('.'),
      );
      const requests = keys.map((key) => requestOf('GET', '/data', `Cookie: sessionid=${key}\r\n`));
      expect(await answersTo(app, requests)).toEqual({ 200: MANY });
      expect(store.writes).toEqual([]);
      expect(store.calls).toHaveLength(keys.length);
      expect(store.records.size).toBe(0);
    });

    describe('S95: is not betrayed', () => {
      it.each(['new', 'known'])('by anything that shows the session or the request: %s', async (visitor) => {
        const known = sessionKeyIn(await send(app, 'post', '/login?user=ada')) as string;
        const answer = await send(app, 'get', '/inspect', visitor === 'known' ? known : undefined);
        expect(answer.text).toBe('shown');
        const key = sessionKeyIn(answer) ?? known;
        expect(key === known).toBe(visitor === 'known');
        const everything = shown.join('\n');
        // It went all the way to what stands behind the session.
        expect(shown.filter((each) => each.includes('[authenticationAge]: [Getter')).length).toBeGreaterThan(
          2,
        );
        expect(shown.filter((each) => each.includes('RequestSession')).length).toBeGreaterThan(3);
        for (const secret of [
          ...formsOf(key.slice(23)),
          ...[...store.records.values()].map(({ keyHash }) => keyHash),
        ]) {
          expect(everything.includes(secret)).toBe(false);
        }
      });
    });

    describe('S59: gets an answer that varies by cookie', () => {
      it.each(Object.keys(touches))('when the handler does this: %s', async (what) => {
        for (const key of await visitorsOf(app)) {
          const { status, headers } = await send(app, 'get', `/touch/by/${encodeURIComponent(what)}`, key);
          expect([status, headers['vary']]).toEqual([200, 'Accept, Cookie']);
        }
      });

      it('when the handler takes one value', async () => {
        for (const key of await visitorsOf(app)) {
          expect((await send(app, 'get', '/touch/value', key)).headers['vary']).toBe('Accept, Cookie');
        }
      });

      it('when a guard decides by the session', async () => {
        const [nobody, ada] = await visitorsOf(app);
        const refused = await send(app, 'get', '/touch/guarded', nobody);
        expect([refused.status, refused.headers['vary']]).toEqual([401, 'Cookie']);
        const admitted = await send(app, 'get', '/touch/guarded', ada);
        expect([admitted.status, admitted.headers['vary']]).toEqual([200, 'Accept, Cookie']);
      });

      it('but not when nobody looks at the session', async () => {
        for (const key of await visitorsOf(app)) {
          expect((await send(app, 'get', '/touch/by/nothing', key)).headers['vary']).toBe('Accept');
        }
      });
    });
  });
});

describe('S03: options', () => {
  it.each(['genid', 'generateId', 'keyGenerator', 'createKey', 'uuid'])(
    'take no generator of keys: %s',
    (name) => {
      const options = { [name]: () => 'constant' };
      expect(() => SessionModule.forRoot({ useFactory: () => new RecordingStore() }, options)).toThrow(
        SessionConfigError,
      );
    },
  );
});

describe('the sources of the library', () => {
  const root = join(import.meta.dirname, '../libs/session/src');
  const sources = readdirSync(root, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts') && !path.endsWith('.spec.ts') && !path.startsWith('testing'))
    .map((path): [path: string, text: string] => [path, readFileSync(join(root, path), 'utf8')]);
  const using = (pattern: RegExp): string[] =>
    sources.filter(([, text]) => pattern.test(text)).map(([path]) => path);

  it('S01: draw what must not be guessed from the operating system', () => {
    expect(using(/randomBytes/).length).toBeGreaterThan(3);
    // Only when to do something is left to anything else, such as the length of a pause: it is no secret.
    const predictable = sources.flatMap(([path, text]) =>
      text
        .split('\n')
        .flatMap((line) => (/Math\.random|pseudoRandomBytes/.test(line) ? [{ path, line }] : [])),
    );
    for (const { path, line } of predictable) {
      expect(
        /^(management\/|session\/watch-end)/.test(path) || /setTimeout\(Math\.random\(\) \* \w+\)/.test(line),
      ).toBe(true);
    }
    const imports = sources.flatMap(([, text]) => [...text.matchAll(/import \{([^}]*)\} from '([^']+)'/g)]);
    const random = imports.filter(([, names]) => /random/i.test(names as string));
    expect(new Set(random.map(([, , from]) => from))).toEqual(new Set(['node:crypto']));
  });

  it('S07: compare what comes with a request in constant time', () => {
    const comparing = using(/timingSafeEqual\(/);
    expect(comparing.toSorted()).toEqual([
      'session/login.ts',
      'session/session-key.ts',
      'stores/express-store/accept-sessions.ts',
      'stores/sealing.ts',
    ]);
    expect(using(/\.equals\(|Buffer\.compare\(/)).toEqual([]);
    // A hash is compared with what is in the store by others only where both come from there.
    const [, keys = ''] = sources.find(([path]) => path === 'session/session-key.ts') ?? [];
    expect(keys).not.toMatch(/keyHash [!=]==? [^']/);
  });

  it('S63: decode no text that is code', () => {
    const seen = globalThis as { wasRun?: true };
    const code = '(globalThis.wasRun = true, { "a": 1 })';
    const record = plainCodec.encode({ ...newRecord(), data: {} });
    for (const decode of [
      () => decodeData(code, ''),
      () => decodeData('{}', code),
      () => plainCodec.decodeMeta(code, record.id),
      () => fromRecordText(`${code}\n{}`),
      () => plainCodec.decode({ ...record, data: code }),
    ]) {
      expect(decode).toThrow(SessionRecordCorruptError);
    }
    expect(seen.wasRun).toBeUndefined();
  });

  it('S63: run nothing that was stored', () => {
    expect(using(/new Function|node:v8|node:vm|child_process|\beval\((?!text|NO_SCRIPT)/)).toEqual([]);
  });
});
