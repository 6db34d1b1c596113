import { type ChildProcess, fork } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Writable } from 'node:stream';
import { type INestApplication, type ModuleMetadata } from '@nestjs/common';
import { type AbstractHttpAdapter } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import { type Store } from 'express-session';
import { sealData } from 'iron-session';
import { type SessionEngine, SessionModule, type SessionOptions } from 'nest-sessions';
import { testingEngine } from 'nest-sessions/testing';
import { type Platform, platforms } from './support/app.js';
import { Checkpoint } from './suites/checkpoint.js';
import { snippetsOf } from './support/markdown.js';
import { transpile, transpileLibrary } from './support/transpile.js';

/** What the snippets of a recipe export. */
interface Recipe {
  AppModule: NonNullable<ModuleMetadata['imports']>[number];
  modules: (engine: SessionEngine, secrets?: string) => NonNullable<ModuleMetadata['imports']>;
  configure?: (app: INestApplication, stream?: NodeJS.WritableStream) => void;
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

beforeAll(install);
afterEach(async () => {
  for (const child of children.splice(0)) child.disconnect();
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

/** In a process of its own, for packages in CommonJS that require Nest: Jest on Node 20 cannot load them. */
async function serve(name: string, platform: Platform): Promise<Visitor> {
  const file = write(name);
  const child = fork('test/support/recipe-server.mjs', [transpile(file, file), platform], { execArgv: [] });
  children.push(child);
  const [url] = await Promise.race([
    once(child, 'message') as Promise<[string]>,
    once(child, 'exit').then(() => Promise.reject(new Error(`The server of ${name} has ended.`))),
  ]);
  return new Visitor(url);
}

interface Start {
  imports: NonNullable<ModuleMetadata['imports']>;
  configure?: ((app: INestApplication) => void) | undefined;
  adapter?: AbstractHttpAdapter;
}

async function start(platform: Platform, { imports, configure, adapter }: Start): Promise<Visitor> {
  const testing = await Test.createTestingModule({ imports }).compile();
  const app = testing.createNestApplication(
    adapter ?? (platform === 'express' ? new ExpressAdapter() : new FastifyAdapter()),
    { logger: false },
  );
  running.push(app);
  configure?.(app);
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
    const response = await fetch(`${this.url}${path}`, { ...init, headers });
    for (const cookie of response.headers.getSetCookie()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(cookie) ?? [];
      if (value === '') this.cookies.delete(name);
      else this.cookies.set(name, value);
    }
    return response;
  }
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

it('there is a test for every recipe', () => {
  const page = readFileSync('docs/recipes/README.md', 'utf8');
  const names = [...page.matchAll(/\]\((\w[\w-]*)\.md\)/g)].map(([, name]) => name);
  const spec = readFileSync('test/recipes.spec.ts', 'utf8');
  expect(names.length).toBeGreaterThan(0);
  for (const name of names) expect(spec).toMatch(new RegExp(`it\\(['"]${name}: `));
});
