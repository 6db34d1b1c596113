import { type ChildProcess, fork } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Writable } from 'node:stream';
import {
  type BeforeApplicationShutdown,
  Controller,
  type DynamicModule,
  HttpCode,
  type INestApplication,
  Logger,
  Module,
  type ModuleMetadata,
  Param,
  Post,
  type Type,
} from '@nestjs/common';
import { type AbstractHttpAdapter } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import { type Result } from 'autocannon';
import { Queue } from 'bullmq';
import { type Store } from 'express-session';
import { createClient } from 'graphql-ws';
import { sealData } from 'iron-session';
import { Session, type SessionEngine, SessionModule, type SessionOptions, Sessions } from 'nest-sessions';
import { SessionEntity } from 'nest-sessions/database';
import { loggedInCookie, testingEngine } from 'nest-sessions/testing';
import { io, type Socket } from 'socket.io-client';
import request from 'supertest';
import { WebSocket } from 'ws';
import { type Platform, platforms } from './support/app.js';
import { certificate } from './support/certificate.js';
import { Checkpoint } from './suites/checkpoint.js';
import { testDataSource } from './support/data-source.js';
import { snippetsOf } from './support/markdown.js';
import { describeWithService, serviceUrl } from './support/services.js';
import { transpile, transpileLibrary } from './support/transpile.js';

type LambdaHandler = (
  event: object,
  context: object,
  callback: undefined,
) => Promise<{ body: string; cookies?: string[] }>;

/** What the snippets of a recipe export. */
interface Recipe {
  AppModule: NonNullable<ModuleMetadata['imports']>[number];
  modules: (engine: SessionEngine, secrets?: string) => NonNullable<ModuleMetadata['imports']>;
  configure?: (app: INestApplication, stream?: NodeJS.WritableStream) => void;
  loadTest: (url: string, users: number, seconds: number) => Promise<Result>;
  app: INestApplication;
  handler: LambdaHandler;
  handlerOf: (app: INestApplication) => Promise<LambdaHandler>;
  clearExpired: () => Promise<number>;
  mountBoard: (app: INestApplication, queues: Queue[]) => Promise<void> | void;
  options: SessionOptions;
  expressAdapter: () => AbstractHttpAdapter;
  fastifyAdapter: () => AbstractHttpAdapter;
  oldStore: Store;
  PersonalData: new (...dependencies: never[]) => {
    export(userId: string): Promise<{ data: unknown; device: unknown }[]>;
    erase(userId: string): Promise<number>;
  };
}

const written = resolve('var/recipes', String(process.pid));
const running: INestApplication[] = [];

const children: ChildProcess[] = [];
const sockets: { close(): unknown }[] = [];

beforeAll(install);
afterEach(async () => {
  for (const child of children.splice(0)) child.disconnect();
  for (const socket of sockets.splice(0)) socket.close();
  await Promise.all(running.splice(0).map((app) => app.close()));
});
afterAll(() => rmSync(written, { recursive: true }));

/** A file with a snippet of a recipe, or of another page, as it stands there. */
function write(name: string, number = 0): string {
  const page = name.includes('/') ? `docs/${name}.md` : `docs/recipes/${name}.md`;
  const { code = '' } = snippetsOf(readFileSync(page, 'utf8'))[number] ?? {};
  const file = join(written, `${name.replace('/', '-')}.${number}.ts`);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, code);
  return file;
}

async function recipe(name: string, number = 0): Promise<Recipe> {
  return (await import(pathToFileURL(write(name, number)).href)) as Recipe;
}

/** The library as it is installed, beside the snippets. */
function install(): void {
  const installed = join(written, 'node_modules/nest-sessions');
  transpileLibrary(join(installed, 'dist'));
  cpSync('libs/session/package.json', join(installed, 'package.json'));
}

/** In a process of its own: for packages in CommonJS that require Nest, which Jest on Node 20 cannot load, and for an environment. */
async function serve(
  name: string,
  platform: Platform,
  environment: Record<string, string> = {},
): Promise<Visitor> {
  const file = write(name);
  const { url } = await forked('recipe-server', [transpile(file, file), platform], environment);
  return new Visitor(url);
}

/** Starts a server of `test/support`, which tells its address. */
async function forked(
  server: string,
  parameters: string[],
  environment: Record<string, string> = {},
): Promise<{ url: string; child: ChildProcess }> {
  const env = { ...process.env, ...environment };
  const child = fork(`test/support/${server}.mjs`, parameters, { execArgv: [], env });
  children.push(child);
  const [url] = await Promise.race([
    once(child, 'message') as Promise<[string]>,
    once(child, 'exit').then(() => Promise.reject(new Error(`The ${server} has ended.`))),
  ]);
  return { url, child };
}

interface Start {
  imports: NonNullable<ModuleMetadata['imports']>;
  configure?: ((app: INestApplication) => Promise<void> | void) | undefined;
  adapter?: AbstractHttpAdapter;
}

async function start(platform: Platform, { imports, configure, adapter }: Start): Promise<Visitor> {
  const testing = await Test.createTestingModule({ imports }).compile();
  const app = testing.createNestApplication(
    adapter ?? (platform === 'express' ? new ExpressAdapter() : new FastifyAdapter()),
    { logger: false },
  );
  running.push(app);
  await configure?.(app);
  await app.listen(0, '127.0.0.1');
  const { port } = app.getHttpServer().address() as { port: number };
  return new Visitor(`http://127.0.0.1:${port}`);
}

/** Keeps its cookies, also the `Secure` ones, which a browser would send over TLS. */
class Visitor {
  readonly cookies = new Map<string, string>();

  constructor(readonly url: string) {}

  get(path: string, headers: Record<string, string> = {}): Promise<Response> {
    return this.ask(path, { headers });
  }

  post(path: string, body: object = {}, headers: Record<string, string> = {}): Promise<Response> {
    return this.ask(path, {
      method: 'POST',
      body: JSON.stringify(body),
      headers: { 'Content-Type': 'application/json', ...headers },
    });
  }

  async json(path: string): Promise<unknown> {
    return (await this.get(path)).json();
  }

  async ask(
    path: string,
    init: Omit<RequestInit, 'headers'> & { headers: Record<string, string> },
  ): Promise<Response> {
    const Cookie = [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const headers = { Connection: 'close', ...(Cookie !== '' && { Cookie }), ...init.headers };
    const response = await fetch(`${this.url}${path}`, { redirect: 'manual', ...init, headers });
    for (const cookie of response.headers.getSetCookie()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(cookie) ?? [];
      if (value === '') this.cookies.delete(name);
      else this.cookies.set(name, value);
    }
    return response;
  }
}

/** A database of its own with the table of sessions, by one URL. What connects with it can be told by its name. */
async function databaseWithTable(name = 'recipes') {
  const { dataSource, dispose } = await testDataSource('postgres', [SessionEntity]);
  const { url, extra } = dataSource.options as { url: string; extra: { options: string } };
  const parameters = new URLSearchParams({ ...extra, application_name: name });
  return { url: `${url}?${parameters.toString().replaceAll('+', '%20')}`, dataSource, dispose };
}

/** For a load that changes its keys. */
@Controller()
class CyclingController {
  @Post('login/:user')
  @HttpCode(204)
  login(@Session() session: Session, @Param('user') user: string): void {
    session.login(user);
  }

  @Post('visit')
  visit(@Session() session: Session<{ visits: number }>) {
    session.cycleKey();
    return { visits: session.increment('visits') };
  }
}

@Module({ controllers: [CyclingController] })
class CyclingModule {}

/** The next event of this name. */
function heard(socket: Socket, event: string): Promise<unknown> {
  return new Promise((done) => socket.once(event, done));
}

/** Calls a function as the HTTP API of AWS does, for a visitor who keeps the cookies. */
function callerOf() {
  const cookies: string[] = [];
  return async (handler: LambdaHandler, method: string, path: string): Promise<unknown> => {
    const event = {
      version: '2.0',
      rawPath: path,
      rawQueryString: '',
      headers: { host: 'shop.example.com' },
      cookies,
      requestContext: { http: { method, path, sourceIp: '192.0.2.7' } },
      isBase64Encoded: false,
    };
    const answer = await handler(event, {}, undefined);
    for (const cookie of answer.cookies ?? []) cookies.splice(0, 1, cookie.replace(/;.*/, ''));
    return JSON.parse(answer.body);
  };
}

/** The address by which the provider and browsers know the site; a proxy would lead from there to the application. */
const SITE = 'https://shop.example.com';

/** The application of the recipe, an OpenID provider, and what a browser does there. */
async function startWithProvider(platform: Platform) {
  const { url: issuer, child } = await forked('oidc-provider', [SITE, JSON.stringify(certificate)]);
  const authority = join(written, 'authority.pem');
  writeFileSync(authority, certificate.cert);
  const visitor = await serve('oidc', platform, {
    NODE_EXTRA_CA_CERTS: authority,
    SITE_URL: SITE,
    OIDC_ISSUER: issuer,
    OIDC_CLIENT_ID: 'shop',
    OIDC_CLIENT_SECRET: 'the secret of the shop, which is long enough',
  });
  child.send(visitor.url);
  const browser = request.agent(issuer, { ca: certificate.cert });

  /** From the login page of the site to the path of the callback, with what the provider has put into it. */
  async function signIn(from: Visitor): Promise<string> {
    let address = (await from.get('/login')).headers.get('location') ?? '';
    while (!address.startsWith(SITE)) {
      const { pathname, search } = new URL(address, issuer);
      const page = await browser.get(pathname + search);
      const [, prompt] = /name="prompt" value="(\w+)"/.exec(page.text) ?? [];
      const form = { prompt, login: 'ada', password: 'engine' };
      const { headers } = prompt ? await browser.post(pathname).type('form').send(form) : page;
      address = headers['location'] as string;
    }
    return address.slice(SITE.length);
  }

  /** Says yes to the provider's question whether to log out, and returns where it sends the browser then. */
  async function endAtProvider({ pathname, search }: URL): Promise<string | undefined> {
    const { text } = await browser.get(pathname + search);
    const [, xsrf] = /name="xsrf" value="(\w+)"/.exec(text) ?? [];
    const confirmed = await browser.post(`${pathname}/confirm`).type('form').send({ xsrf, logout: 'yes' });
    return confirmed.headers['location'];
  }
  return { visitor, signIn, endAtProvider };
}

/** A token that nobody has signed. */
function unsigned(claims: object): string {
  const parts = [{ alg: 'none' }, claims].map((part) => JSON.stringify(part));
  return `${parts.map((part) => Buffer.from(part).toString('base64url')).join('.')}.`;
}

describe.each(platforms)('the recipes, on %s', (platform) => {
  const boot = async (name: string, number = 0): Promise<Visitor> => {
    const { AppModule, configure } = await recipe(name, number);
    return start(platform, { imports: [AppModule], configure });
  };

  it('spa: the origin of the page may bring the cookie, and no other', async () => {
    const visitor = await boot('spa');
    const preflight = (origin: string) =>
      visitor.ask('/login', {
        method: 'OPTIONS',
        headers: {
          Origin: origin,
          'Access-Control-Request-Method': 'POST',
          'Access-Control-Request-Headers': 'content-type',
        },
      });
    const allowed = await preflight('https://app.example.com');
    expect(allowed.headers.get('access-control-allow-origin')).toBe('https://app.example.com');
    expect(allowed.headers.get('access-control-allow-credentials')).toBe('true');
    const other = await preflight('https://evil.example');
    expect(other.headers.get('access-control-allow-origin')).toBeNull();

    const login = await visitor.post('/login', { name: 'ada' }, { Origin: 'https://app.example.com' });
    expect(login.status).toBe(204);
    expect(login.headers.get('access-control-allow-origin')).toBe('https://app.example.com');
    expect(login.headers.getSetCookie()[0]).toMatch(/^__Host-sid=.*HttpOnly; Secure; SameSite=Lax/);
    expect(await visitor.json('/me')).toEqual({ userId: 'ada' });
  });

  it('spa: the cookie for another site says so', async () => {
    const { options } = await recipe('spa', 1);
    const { modules } = await recipe('kubernetes');
    const [, visits] = modules(testingEngine());
    const visitor = await start(platform, {
      imports: [SessionModule.forRoot(testingEngine(), options), visits as never],
    });
    const [cookie] = (await visitor.post('/visit')).headers.getSetCookie();
    expect(cookie).toMatch(
      /^__Host-sid=.*Secure; Partitioned; SameSite=None|Secure; SameSite=None; Partitioned/,
    );
  });

  it('passport: checks the password, and the session is ours', async () => {
    const visitor = await boot('passport');
    expect((await visitor.post('/login', { name: 'ada', password: 'wrong' })).status).toBe(401);
    expect((await visitor.get('/me')).status).toBe(401);
    expect((await visitor.post('/login', { name: 'ada', password: 'engine' })).status).toBe(204);
    expect(await visitor.json('/me')).toEqual({ userId: '1' });
    await visitor.post('/logout');
    expect((await visitor.get('/me')).status).toBe(401);
  });

  it('mobile: a phone has the key in a header, a browser has the cookie, and neither leads to the other', async () => {
    const browser = await boot('mobile');
    const ada = { name: 'ada', password: 'engine' };
    const login = await browser.post('/login', ada);
    expect([login.status, login.headers.get('session-key')]).toEqual([204, null]);
    expect(await browser.json('/me')).toEqual({ userId: '1' });
    const forged = { 'Sec-Fetch-Site': 'cross-site', Origin: 'https://evil.example' };
    expect((await browser.post('/logout', {}, forged)).status).toBe(403);

    const phone = new Visitor(browser.url);
    const wrong = await phone.post('/login', { ...ada, password: 'wrong' }, { Authorization: 'Bearer' });
    expect([wrong.status, wrong.headers.get('session-key')]).toEqual([401, null]);
    const answer = await phone.post('/login', ada, { Authorization: 'Bearer' });
    const Authorization = `Bearer ${answer.headers.get('session-key')}`;
    expect(Authorization).toMatch(/^Bearer [\w-]{22}\.[\w-]{43}$/);
    expect(phone.cookies.size).toBe(0);
    expect(await (await phone.get('/me', { Authorization })).json()).toEqual({ userId: '1' });
    const logout = await phone.post('/logout', {}, { Authorization });
    expect([logout.status, logout.headers.get('session-key')]).toEqual([204, '']);
    expect((await phone.get('/me', { Authorization })).status).toBe(401);
    expect((await browser.get('/me')).status).toBe(200);
    expect((await browser.get('/me', { Authorization: 'Bearer' })).status).toBe(401);
  });

  it('oidc: a login holds for the browser that began it, once, and for no other', async () => {
    const { visitor, signIn } = await startWithProvider(platform);
    const forged = (await signIn(visitor)).replace(/state=[\w-]+/, 'state=forged');
    expect((await visitor.get(forged)).status).toBe(401);
    const callback = await signIn(visitor);

    const victim = new Visitor(visitor.url);
    expect((await victim.get(callback)).status).toBe(401);
    await victim.get('/login');
    expect((await victim.get(callback)).status).toBe(401);

    const anonymous = visitor.cookies.get('sessionid');
    expect((await visitor.get('/me')).status).toBe(401);
    expect((await visitor.get(callback)).headers.get('location')).toBe('/');
    expect(visitor.cookies.get('sessionid')).not.toBe(anonymous);
    expect(await visitor.json('/me')).toEqual({ userId: 'ada' });
    expect((await visitor.get(callback)).status).toBe(401);
    expect((await visitor.get('/callback?error=access_denied')).status).toBe(401);
  });

  it('oidc: a logout here is one at the provider, and a logout there is one here', async () => {
    const { visitor, signIn, endAtProvider } = await startWithProvider(platform);
    await visitor.get(await signIn(visitor));
    const logout = await visitor.post('/logout');
    expect((await visitor.get('/me')).status).toBe(401);
    const atProvider = new URL(logout.headers.get('location') ?? '');
    expect([logout.status, await endAtProvider(atProvider)]).toEqual([303, `${SITE}/`]);

    const phone = new Visitor(visitor.url);
    for (const device of [visitor, phone]) await device.get(await signIn(device));
    const tell = async (token: string): Promise<number> =>
      (await visitor.post('/backchannel-logout', { logout_token: token })).status;
    const idToken = atProvider.searchParams.get('id_token_hint') ?? '';
    expect(idToken).toMatch(/^ey/);
    expect([await tell(idToken), await tell(''), await tell(unsigned({ sub: 'ada', events: {} }))]).toEqual([
      400, 400, 400,
    ]);
    expect(await phone.json('/me')).toEqual({ userId: 'ada' });
    await endAtProvider(new URL(atProvider.pathname, atProvider));
    expect([(await visitor.get('/me')).status, (await phone.get('/me')).status]).toEqual([401, 401]);
  });

  it("csrf: Nest's protection refuses a page of somebody else", async () => {
    const visitor = await boot('csrf');
    expect((await visitor.post('/cart')).status).toBe(201);
    const forged = { 'Sec-Fetch-Site': 'cross-site', Origin: 'https://evil.example' };
    expect((await visitor.post('/cart', {}, forged)).status).toBe(403);
    expect(await (await visitor.post('/cart')).json()).toEqual({ items: 2 });
  });

  it('throttler: counts a user on all devices, and visitors by their address', async () => {
    const visitor = await serve('throttler', platform);
    await visitor.post('/login/ada');
    const statuses = [];
    for (let count = 0; count < 4; count++) statuses.push((await visitor.get('/news')).status);
    expect(statuses).toEqual([200, 200, 200, 429]);
    const otherDevice = new Visitor(visitor.url);
    await otherDevice.post('/login/ada');
    expect((await otherDevice.get('/news')).status).toBe(429);
    expect((await new Visitor(visitor.url).get('/news')).status).toBe(200);
  });

  it('cls: a service knows who is logged in', async () => {
    const visitor = await serve('cls', platform);
    expect(await visitor.json('/who')).toEqual({ who: 'nobody' });
    await visitor.post('/login');
    expect(await visitor.json('/who')).toEqual({ who: 'ada' });
    expect(await new Visitor(visitor.url).json('/who')).toEqual({ who: 'nobody' });
  });

  it('swagger: the document says which routes need the cookie', async () => {
    const visitor = await boot('swagger');
    expect(await visitor.json('/api-docs-json')).toMatchObject({
      components: { securitySchemes: { cookie: { type: 'apiKey', in: 'cookie', name: 'sessionid' } } },
      paths: { '/me': { get: { security: [{ cookie: [] }] } } },
    });
    await visitor.post('/login');
    expect(visitor.cookies.has('sessionid')).toBe(true);
    expect(await visitor.json('/me')).toEqual({ userId: 'ada' });
  });

  it('pino: requests are logged, and no session key', async () => {
    const lines: string[] = [];
    const stream = new Writable({
      write(line: Buffer, _encoding, done) {
        lines.push(line.toString());
        done();
      },
    });
    const { AppModule, configure } = await recipe('pino');
    const visitor = await start(platform, {
      imports: [AppModule],
      configure: (app) => configure?.(app, stream),
    });
    await visitor.post('/visit');
    await visitor.post('/visit');
    const log = lines.join('');
    expect(log.match(/"msg":"request completed"/g)).toHaveLength(2);
    expect(log).toContain('/visit');
    expect(log).not.toContain(visitor.cookies.get('sessionid'));
    expect(log).not.toMatch(/"(set-)?cookie":/);
  });

  it('several-apps: one login for all, and one logout', async () => {
    const { modules } = await recipe('several-apps');
    const engine = testingEngine();
    const shop = await start(platform, { imports: modules(engine) });
    const forum = await start(platform, { imports: modules(engine) });
    const login = await shop.post('/login');
    expect(login.headers.getSetCookie()[0]).toMatch(/^__Secure-sid=.*Domain=example\.com/);
    for (const cookie of shop.cookies) forum.cookies.set(...cookie);
    expect(await forum.json('/me')).toEqual({ userId: 'ada' });
    await forum.post('/logout');
    expect((await shop.get('/me')).status).toBe(401);
  });

  it('nginx: the cookie is Secure when a trusted proxy says that the visitor came over TLS', async () => {
    const { AppModule, expressAdapter, fastifyAdapter } = await recipe('nginx');
    const adapter = platform === 'express' ? expressAdapter() : fastifyAdapter();
    const visitor = await start(platform, { imports: [AppModule], adapter });
    const setCookie = async (headers: Record<string, string>): Promise<string> =>
      (await new Visitor(visitor.url).post('/visit', {}, headers)).headers.getSetCookie()[0] ?? '';
    expect(await setCookie({ 'X-Forwarded-Proto': 'https', 'X-Forwarded-For': '192.0.2.7' })).toContain(
      '; Secure',
    );
    expect(await setCookie({})).not.toContain('Secure');

    const untrusting = await start(platform, { imports: [AppModule] });
    const answer = await untrusting.post('/visit', {}, { 'X-Forwarded-Proto': 'https' });
    expect(answer.headers.getSetCookie()[0]).not.toContain('Secure');
  });

  it('kubernetes: an instance takes over from another, and no visit is lost', async () => {
    const { modules, configure } = await recipe('kubernetes');
    const engine = testingEngine();
    const old = await start(platform, { imports: modules(engine), configure });
    expect(await (await old.post('/visit')).json()).toEqual({ visits: 1 });
    const fresh = await start(platform, { imports: modules(engine), configure });
    for (const cookie of old.cookies) fresh.cookies.set(...cookie);

    const inStore = new Checkpoint();
    const save = engine.store.save.bind(engine.store);
    engine.store.save = async (...given) => {
      await inStore.wait();
      return save(...given);
    };
    const last = old.post('/visit');
    await inStore.reached;
    const closed = running.shift()?.close();
    inStore.open();
    expect(await (await last).json()).toEqual({ visits: 2 });
    await closed;
    expect(await (await fresh.post('/visit')).json()).toEqual({ visits: 3 });
    expect(await fresh.json('/health/live')).toEqual({ status: 'ok' });
  });

  it.each([
    ['each virtual user has one session, however many requests they make', undefined],
    ['a virtual user follows a key that changes', CyclingModule],
  ])('load-test: %s', async (_title, cycling) => {
    const { loadTest } = await recipe('load-test');
    const { modules } = await recipe('load-test', 1);
    const [session, application] = modules(testingEngine()) as [DynamicModule, Type];
    const visitor = await start(platform, { imports: [session, cycling ?? application] });
    const sessions = (running[0] as INestApplication).get(Sessions);
    const result = await loadTest(visitor.url, 5, 1);
    expect([result.non2xx, result.errors]).toEqual([0, 0]);
    expect(await sessions.count()).toEqual({ live: 5, loggedIn: 5 });
    const visits: number[] = [];
    for (let user = 0; user < 5; user++) {
      const [held] = await sessions.export(`user-${user}`);
      visits.push(held?.data['visits'] as number);
    }
    expect(Math.min(...visits)).toBeGreaterThan(0);
    expect(visits.reduce((sum, count) => sum + count)).toBeGreaterThanOrEqual(result['2xx']);
  });

  it('sockets: socket.io has the session of the browser until it ends', async () => {
    const { AppModule } = await recipe('sockets');
    const visitor = await start(platform, { imports: [AppModule] });
    const connect = async (): Promise<Socket> => {
      const extraHeaders = { cookie: `sessionid=${visitor.cookies.get('sessionid')}` };
      const socket = io(visitor.url, { forceNew: true, reconnection: false, extraHeaders });
      sockets.push(socket);
      await heard(socket, 'connect');
      return socket;
    };

    const stranger = await connect();
    const refused = heard(stranger, 'exception');
    stranger.emit('add', 'tea');
    expect(await refused).toMatchObject({ message: 'Unauthorized' });

    await visitor.post('/login');
    const socket = await connect();
    const [cart, closed] = [heard(socket, 'cart'), heard(socket, 'disconnect')];
    socket.emit('add', 'tea');
    expect(await cart).toEqual(['tea']);
    expect(await visitor.json('/cart')).toEqual(['tea']);
    await visitor.post('/logout');
    expect(await closed).toBe('io server disconnect');
  });

  it('sockets: a WebSocket has the session of the browser until it ends', async () => {
    const { AppModule, configure } = await recipe('sockets');
    const visitor = await start(platform, { imports: [AppModule], configure });
    await visitor.post('/login');
    const socket = new WebSocket(visitor.url.replace('http', 'ws'), {
      headers: { cookie: `sessionid=${visitor.cookies.get('sessionid')}` },
    });
    sockets.push(socket);
    await once(socket, 'open');
    const [cart, closed] = [once(socket, 'message'), once(socket, 'close')];
    socket.send(JSON.stringify({ event: 'add', data: 'tea' }));
    expect(JSON.parse(String((await cart)[0]))).toEqual({ event: 'cart', data: ['tea'] });
    expect(await visitor.json('/cart')).toEqual(['tea']);
    await visitor.post('/logout');
    expect((await closed)[0]).toBe(4401);
  });

  it('graphql: a session over HTTP, and a subscription that ends with it', async () => {
    const visitor = await boot('graphql');
    const ask = async (query: string): Promise<unknown> => {
      const { data, errors } = (await (await visitor.post('/graphql', { query })).json()) as {
        data: unknown;
        errors?: [{ message: string }];
      };
      return errors?.[0].message ?? data;
    };
    expect(await ask('mutation { say(text: "hello") }')).toBe('Unauthorized');
    expect(await ask('mutation { login(name: "ada") }')).toEqual({ login: true });
    expect(await ask('{ me }')).toEqual({ me: 'ada' });

    const cookie = `sessionid=${visitor.cookies.get('sessionid')}`;
    const client = createClient({
      url: `${visitor.url.replace('http', 'ws')}/graphql`,
      webSocketImpl: class extends WebSocket {
        constructor(address: string, protocols: string) {
          super(address, protocols, { headers: { cookie } });
        }
      },
      retryAttempts: 0,
    });
    const messages = client.iterate({ query: 'subscription { message }' });
    const received: unknown[] = [];
    const first = messages.next().then(({ value }) => received.push(value));
    // Nothing tells a client that its subscription has begun, so it talks until it hears itself.
    while (received.length === 0) expect(await ask('mutation { say(text: "hello") }')).toEqual({ say: true });
    await first;
    expect(received).toMatchObject([{ data: { message: 'hello' } }]);
    await ask('mutation { logout }');
    let done: boolean | undefined = false;
    while (!done) ({ done } = await messages.next());
    await client.dispose();
  });

  it('key-rotation: nobody is logged out by the three steps, and everybody by skipping them', async () => {
    const { modules } = await recipe('key-rotation');
    const [old = '', next = ''] = [1, 2].map((n) =>
      Buffer.alloc(32, `secret ${n} of the test`).toString('base64url'),
    );
    const engine = testingEngine();
    let visitor = await start(platform, { imports: modules(engine, old) });
    await visitor.post('/login');
    const step = async (secrets: string): Promise<number> => {
      const { cookies } = visitor;
      visitor = await start(platform, { imports: modules(engine, secrets) });
      for (const cookie of cookies) visitor.cookies.set(...cookie);
      return (await visitor.get('/me')).status;
    };
    expect(await step(`${old},${next}`)).toBe(200);
    expect(await step(`${next},${old}`)).toBe(200);
    expect(await step(next)).toBe(200);
    expect(await step(old)).toBe(401);
  });

  it('gdpr: what the sessions of a user hold is exported, and deleted', async () => {
    const { modules, PersonalData } = await recipe('gdpr');
    const { modules: accounts } = await recipe('several-apps');
    const engine = testingEngine();
    const [, account] = accounts(engine);
    const visitor = await start(platform, { imports: [...modules(engine), account as never] });
    await visitor.post('/login', {}, { 'User-Agent': 'Firefox on Linux' });
    const personal = (running[0] as INestApplication).get(PersonalData);
    expect(await personal.export('ada')).toEqual([
      expect.objectContaining({ data: {}, device: { ip: '127.0.0.0', userAgent: 'Firefox on Linux' } }),
    ]);
    expect(await personal.erase('ada')).toBe(1);
    expect(await personal.export('ada')).toEqual([]);
    expect((await visitor.get('/me')).status).toBe(401);
  });
});

describeWithService('redis', 'the recipes of queues', () => {
  let mails: Queue;

  beforeAll(() => {
    const connection = { url: serviceUrl('redis') as string };
    mails = new Queue('mails', { connection, prefix: `recipes-${process.pid}` });
  });
  afterAll(async () => {
    await mails.obliterate();
    await mails.close();
  });

  it.each(platforms)(
    'bull-board: shows and changes queues for administrators only, on %s',
    async (platform) => {
      const { mountBoard } = await recipe('bull-board', platforms.indexOf(platform));
      const engine = testingEngine();
      const visitor = await start(platform, {
        imports: [SessionModule.forRoot(engine, { idleTimeout: '30m' })],
        configure: (app) => mountBoard(app, [mails]),
      });
      const [app] = running as [INestApplication];
      const statusAs = async (cookie: string, path = ''): Promise<number> =>
        (await visitor.get(`/queues${path}`, { Cookie: cookie })).status;
      const user = await loggedInCookie(app, 'ada');
      const admin = await loggedInCookie(app, 'grace', { role: 'admin' });
      for (const path of ['', '/api/queues', '/static/images/logo.svg']) {
        expect([
          path,
          await statusAs('', path),
          await statusAs(user, path),
          await statusAs(admin, path),
        ]).toEqual([path, 401, 403, 200]);
      }

      const { id } = await mails.add('welcome', { to: 'ada' });
      const remove = (Cookie: string): Promise<Response> =>
        visitor.ask(`/queues/api/queues/mails/${id}/clean`, { method: 'PUT', headers: { Cookie } });
      expect((await remove(user)).status).toBe(403);
      expect(await mails.getWaitingCount()).toBe(1);
      expect((await remove(admin)).status).toBeLessThan(300);
      expect(await mails.getWaitingCount()).toBe(0);

      engine.clock.advance('20m');
      expect(await statusAs(admin)).toBe(200);
      engine.clock.advance('11m');
      expect(await statusAs(admin)).toBe(401);
    },
  );
});

describeWithService('postgres', 'the recipe of a table', () => {
  it.each(platforms)('drizzle: a request that runs into the shutdown is saved, on %s', async (platform) => {
    const { url, dataSource, dispose } = await databaseWithTable();
    process.env['DATABASE_URL'] = url;
    const { AppModule } = await recipe('drizzle');
    const inHandler = new Checkpoint();

    @Controller()
    class LingeringController implements BeforeApplicationShutdown {
      @Post('linger')
      async linger(@Session() session: Session<{ lingered: boolean }>): Promise<void> {
        await inHandler.wait();
        session.lingered = true;
      }

      /** Comes after every `onModuleDestroy`. */
      beforeApplicationShutdown(): void {
        inHandler.open();
      }
    }
    const lingering = { module: class {}, controllers: [LingeringController] };
    const visitor = await start(platform, { imports: [AppModule, lingering] });
    expect(await (await visitor.post('/visit')).json()).toEqual({ visits: 1 });
    expect(await (await visitor.post('/visit')).json()).toEqual({ visits: 2 });

    const last = visitor.post('/linger');
    await inHandler.reached;
    await running.shift()?.close();
    expect((await last).status).toBe(201);
    const [row] = await dataSource.query<[{ session_data: string }]>('SELECT session_data FROM nest_session');
    expect(JSON.parse(row.session_data)).toEqual({ visits: 2, lingered: true });
    await dispose();
  });
});

it('prisma: the code of the page is that of the example, which is built and run by its check', () => {
  const page = readFileSync('docs/recipes/prisma.md', 'utf8');
  const blocks = [...page.matchAll(/^```typescript\n(.*?)^```$/gms)].map(([, code]) => code);
  const files = ['prisma.module.ts', 'app.module.ts'];
  expect(blocks).toEqual(files.map((file) => readFileSync(`examples/prisma/src/${file}`, 'utf8')));
});

describe('the recipe of a function', () => {
  describeWithService('postgres', 'over a database', () => {
    it('serverless: two containers see one session, and the second function clears it', async () => {
      Logger.overrideLogger(false); // the recipe starts the application by itself
      const name = `recipes-${process.pid}`;
      const { url, dataSource, dispose } = await databaseWithTable(name);
      process.env['DATABASE_URL'] = url;
      const copy = join(written, 'another-container.ts');
      cpSync(write('serverless'), copy);
      const container = await recipe('serverless');
      const another = (await import(pathToFileURL(copy).href)) as Recipe;
      running.push(container.app, another.app);

      const call = callerOf();
      expect(await call(container.handler, 'POST', '/visit')).toEqual({ visits: 1 });
      expect(await call(container.handler, 'POST', '/visit')).toEqual({ visits: 2 });
      expect(await call(another.handler, 'POST', '/visit')).toEqual({ visits: 3 });
      expect(await container.clearExpired()).toBe(0);
      await dataSource.query('UPDATE nest_session SET expire_date = 1, expire_bucket = 1');
      expect(await container.clearExpired()).toBe(1);

      const connections = 'SELECT 1 FROM pg_stat_activity WHERE application_name = $1';
      expect(await dataSource.query(connections, [name])).not.toEqual([]);
      await Promise.all(running.splice(0).map((app) => app.close()));
      while ((await dataSource.query<[]>(connections, [name])).length > 0) continue;
      await dispose();
    });
  });

  it('serverless: a function on Express sees the session again', async () => {
    const { handlerOf } = await recipe('serverless', 1);
    const { modules } = await recipe('kubernetes');
    const testing = await Test.createTestingModule({ imports: modules(testingEngine()) }).compile();
    const app = testing.createNestApplication(new ExpressAdapter(), { logger: false });
    running.push(app);
    const handler = await handlerOf(app);
    const call = callerOf();
    expect(await call(handler, 'POST', '/visit')).toEqual({ visits: 1 });
    expect(await call(handler, 'POST', '/visit')).toEqual({ visits: 2 });
  });
});

it('csrf: a token of csrf-csrf is good for one session, and a login makes it worthless', async () => {
  const { AppModule, configure } = await recipe('csrf', 1);
  const visitor = await start('express', { imports: [AppModule], configure });
  const tokenOf = async (who: Visitor): Promise<string> =>
    ((await who.json('/csrf-token')) as { token: string }).token;
  const order = async (token: string): Promise<number> =>
    (await visitor.post('/order', {}, { 'x-csrf-token': token })).status;

  expect(await order('')).toBe(403);
  const token = await tokenOf(visitor);
  expect(await order(token)).toBe(204);
  expect(await order(await tokenOf(new Visitor(visitor.url)))).toBe(403);
  expect((await visitor.post('/login', {}, { 'x-csrf-token': token })).status).toBe(204);
  expect(await order(token)).toBe(403);
  expect(await order(await tokenOf(visitor))).toBe(204);
});

describe('coming from another library, live', () => {
  it.each(platforms)(
    'express-session: a session is moved, and a forged cookie opens nothing, on %s',
    async (platform) => {
      const { AppModule, oldStore } = await recipe('coming-from/live-users');
      const sid = 'a-session-of-express-session';
      const cookie = { originalMaxAge: 60_000 };
      await new Promise((done) => oldStore.set(sid, { cookie, passport: { user: 'ada' } } as never, done));
      const signature = createHmac('sha256', 'the secret of express-session').update(sid).digest('base64');
      const old = `s:${sid}.${signature.replace(/=+$/, '')}`;

      const visitor = await start(platform, { imports: [AppModule] });
      visitor.cookies.set('connect.sid', encodeURIComponent(`${old}x`));
      expect((await visitor.get('/me')).status).toBe(401);
      visitor.cookies.set('connect.sid', encodeURIComponent(old));
      expect(await visitor.json('/me')).toEqual({ userId: 'ada' });
      expect([...visitor.cookies.keys()]).toEqual(['sessionid']);
      expect(await visitor.json('/me')).toEqual({ userId: 'ada' });

      await visitor.post('/logout');
      const thief = new Visitor(visitor.url);
      thief.cookies.set('connect.sid', encodeURIComponent(old));
      expect((await thief.get('/me')).status).toBe(401);
    },
  );

  it.each(platforms)('iron-session: a login is taken over, on %s', async (platform) => {
    process.env['SESSION_SECRET'] = Buffer.alloc(32, 'of the test').toString('base64url');
    const { AppModule } = await recipe('coming-from/iron-session');
    const visitor = await start(platform, { imports: [AppModule] });
    const password = 'the password of iron-session, 32 long';
    visitor.cookies.set('iron', await sealData({ userId: 'ada' }, { password }));
    expect(await visitor.json('/me')).toEqual({ userId: 'ada' });
    expect([...visitor.cookies.keys()]).toEqual(['sessionid']);
    expect(await visitor.json('/me')).toEqual({ userId: 'ada' });

    const stranger = new Visitor(visitor.url);
    stranger.cookies.set('iron', await sealData({ userId: 'ada' }, { password: `another, and ${password}` }));
    expect((await stranger.get('/me')).status).toBe(401);
  });
});

it('every recipe is in the table, and has a test', () => {
  const page = readFileSync('docs/recipes/README.md', 'utf8');
  const names = [...page.matchAll(/\]\((\w[\w-]*\.md)\)/g)].map(([, name = '']) => name);
  const files = readdirSync('docs/recipes').filter((name) => name !== 'README.md');
  expect(names.toSorted()).toEqual(files.toSorted());
  const spec = readFileSync('test/recipes.spec.ts', 'utf8');
  for (const name of names) expect(spec).toMatch(new RegExp(`\\(\\s*['"]${name.slice(0, -3)}: `));
});
