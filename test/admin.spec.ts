import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import {
  type CallHandler,
  type CanActivate,
  Controller,
  type ExecutionContext,
  Injectable,
  Module,
  type NestInterceptor,
  Post,
  Query,
} from '@nestjs/common';
import { APP_INTERCEPTOR } from '@nestjs/core';
import { map } from 'rxjs';
import {
  type RecordPage,
  Session,
  SessionGuard,
  type SessionOptions,
  type SessionRecord,
  Sessions,
  SessionStore,
} from 'nest-sessions';
import { SessionAdminModule, type SessionAdminOptions } from 'nest-sessions/admin';
import { cacheEngine } from 'nest-sessions/cache';
import { cookieEngine } from 'nest-sessions/cookie';
import { memoryEngine } from 'nest-sessions/memory';
import { testingEngine } from 'nest-sessions/testing';
import { type AppSetup, type Platform, platforms, type RunningApp, startApp } from './support/app.js';
import { sessionKeyIn } from './support/database-app.js';
import { RecordingStore } from './support/recording-store.js';

@Injectable()
class AdminGuard extends SessionGuard {
  protected override satisfies(session: Session): boolean {
    return session.userId === 'root';
  }
}

/** For those who have no session. */
const everybody: CanActivate = { canActivate: () => true };

@Controller()
class LoginController {
  @Post('login')
  login(@Session() session: Session, @Query('user') user: string): void {
    session.login(user);
  }
}

/** Makes something else of all that goes through Nest, as many applications do. */
class Envelope implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler) {
    return next.handle().pipe(map((content: object) => ({ ...content, wrapped: true })));
  }
}

/** Lists those without a login first. A cursor is how many came before. */
class VisitorsFirst extends RecordingStore {
  override async list(after: string | null, limit: number): Promise<RecordPage> {
    const sorted = [...this.records.values()].toSorted(
      (one, other) => Number(one.userId !== null) - Number(other.userId !== null),
    );
    const from = Number(after);
    const next = from + limit < sorted.length ? String(from + limit) : null;
    return { records: sorted.slice(from, from + limit), next };
  }

  override async listByUser(userId: string): Promise<SessionRecord[]> {
    return [...this.records.values()].filter((record) => record.userId === userId);
  }
}

const PAGE = '/admin/sessions';
const here = { 'Sec-Fetch-Site': 'same-origin' };

interface Site extends RunningApp {
  sessions: Sessions;
  /** The session key of a new login. */
  logIn(user: string): Promise<string>;
  /** The page, or what is below it, for the administrator. */
  show(path?: string): Promise<{ status: number; text: string; headers: Record<string, string> }>;
  post(path: string, headers: Record<string, string>, key?: string): Promise<{ status: number; to: string }>;
}

const running: Site[] = [];
const streams: IncomingMessage[] = [];
afterEach(async () => {
  for (const stream of streams.splice(0)) stream.destroy();
  for (const site of running.splice(0)) await site.close();
});

async function start(
  platform: Platform,
  { guard = AdminGuard, path, ...setup }: Partial<AppSetup & SessionAdminOptions> = {},
  options: SessionOptions = {},
): Promise<Site> {
  const app = await startApp(platform, {
    engine: memoryEngine(),
    controllers: [LoginController],
    options,
    ...setup,
    imports: [SessionAdminModule.forRoot({ guard, ...(path !== undefined && { path }) })],
  });
  const logIn = async (user: string): Promise<string> =>
    sessionKeyIn(await app.request.post(`/login?user=${encodeURIComponent(user)}`)) as string;
  const root = await logIn('root');
  const site: Site = {
    ...app,
    sessions: app.app.get(Sessions),
    logIn,
    async show(where = '') {
      const { status, text, headers } = await app.request
        .get(PAGE + where)
        .set('Cookie', `sessionid=${root}`);
      return { status, text: text.replaceAll(/>\s+</g, '><'), headers };
    },
    async post(where, headers, key = root) {
      const request = app.request.post(PAGE + where).set({ ...headers, Cookie: `sessionid=${key}` });
      const { status, headers: answered } = await request;
      return { status, to: answered['location'] ?? '' };
    },
  };
  running.push(site);
  return site;
}

const usersOn = (page: string): string[] =>
  [...page.matchAll(/<tr data-session="[\w-]{22}">\s*<td><a href="[^"]*">([^<]*)</g)]
    .map(([, user = '']) => user)
    .toSorted();

/** The messages of an event stream, one by one. */
class Stream {
  #text = '';
  ended = false;

  constructor(private readonly response: IncomingMessage) {
    streams.push(response);
    response.setEncoding('utf8').on('data', (chunk: string) => (this.#text += chunk));
    response.on('end', () => (this.ended = true));
  }

  static async open(url: string, key?: string): Promise<Stream> {
    const headers = key === undefined ? {} : { Cookie: `sessionid=${key}` };
    const [response] = (await once(get(url, { headers }), 'response')) as [IncomingMessage];
    return new Stream(response);
  }

  get status(): number | undefined {
    return this.response.statusCode;
  }

  /** The first message for which this is so. */
  async until(isIt: (message: { figures: string; list: string | null }) => boolean): Promise<void> {
    for (;;) {
      const messages = [...this.#text.matchAll(/^data: (.*)$/gm)];
      if (messages.some(([, data = '']) => isIt(JSON.parse(data) as { figures: string; list: string })))
        return;
      if (this.ended) throw new Error(`The stream has ended with: ${this.#text}`);
      await once(this.response, 'data');
    }
  }

  async untilEnded(): Promise<void> {
    if (!this.ended) await once(this.response, 'end');
  }
}

describe.each(platforms)('the admin page on %s', (platform) => {
  it('lets those pass whom the guard lets pass, and nobody else, anywhere', async () => {
    const site = await start(platform);
    const ann = await site.logIn('ann');
    expect((await site.show()).status).toBe(200);
    for (const path of ['', '/events', '/style.css', '/live.js']) {
      for (const cookie of [[], [`sessionid=${ann}`]]) {
        const { status, text } = await site.request.get(PAGE + path).set('Cookie', cookie);
        expect([path, status, text.includes('root')]).toEqual([path, 401, false]);
      }
    }
    for (const path of [`/end?id=${ann.slice(0, 22)}`, '/end-all?user=ann']) {
      expect(await site.post(path, here, ann)).toEqual({ status: 401, to: '' });
    }
    expect(await site.sessions.listByUser('ann')).toHaveLength(1);
  });

  it('shows who is logged in, escapes what users are called, and shows nothing that opens a session', async () => {
    const site = await start(platform, {}, { device: true });
    const evil = `<img src=x onerror="alert('1')">`;
    const keys = [await site.logIn('ann'), await site.logIn(evil)];
    await site.sessions.create({ cart: ['tea'] });
    const { text, headers } = await site.show();

    expect(usersOn(text)).toEqual([expect.stringContaining('&#60;img'), 'ann', 'root']);
    expect(text).not.toContain('<img');
    expect(text).toMatch(/<dt>Live sessions<\/dt><dd>4<\/dd>[^]*<dt>Logged in<\/dt><dd>3<\/dd>/);
    expect(text).toMatch(/<dt>The store answers in<\/dt><dd>\d+(\.\d)? ms<\/dd>/);
    for (const key of keys) {
      const { keyHash = '' } = (await site.app.get(SessionStore).load(key.slice(0, 22))) ?? {};
      expect(keyHash).not.toBe('');
      expect(text).toContain(key.slice(0, 22));
      for (const secret of [key.slice(23), keyHash, 'tea']) expect(text).not.toContain(secret);
    }
    // Nothing inline, and nothing from elsewhere.
    expect(text).not.toMatch(/<script(?! src="sessions\/live\.js")|<style| on\w+="|javascript:/);
    expect(headers).toMatchObject({
      'content-type': 'text/html; charset=utf-8',
      'cache-control': 'no-store',
      'x-frame-options': 'DENY',
      'x-content-type-options': 'nosniff',
      'content-security-policy': expect.stringMatching(
        /^default-src 'none'; script-src 'self'; style-src 'self';/,
      ),
    });
    expect(headers['content-security-policy']).not.toContain('unsafe');
  });

  it('finds the sessions of a user', async () => {
    const site = await start(platform);
    for (const user of ['ann', 'ann', 'bob & co']) await site.logIn(user);
    expect(usersOn((await site.show('?user=ann')).text)).toEqual(['ann', 'ann']);
    expect(usersOn((await site.show('?user=bob+%26+co')).text)).toEqual(['bob &#38; co']);
    expect((await site.show('?user=nobody')).text).toContain('This user is logged in nowhere.');
    expect(usersOn((await site.show('?user=ann&user=bob')).text)).toContain('root');
  });

  it('ends one session, or all of a user, and goes back', async () => {
    const site = await start(platform);
    const [one] = [
      await site.logIn('ann'),
      await site.logIn('ann'),
      await site.logIn('ann'),
      await site.logIn('bob'),
    ];
    const id = one.slice(0, 22);
    expect(await site.post(`/end?id=${id}&user=ann`, here)).toEqual({
      status: 303,
      to: '../sessions?user=ann&ended=1',
    });
    expect(await site.sessions.data(id)).toBeNull();
    expect((await site.show('?user=ann&ended=1')).text).toContain('Ended: 1 session.');
    expect((await site.post(`/end?id=${id}`, here)).to).toBe('../sessions?ended=0');
    expect((await site.post('/end-all?user=ann', here)).to).toBe('../sessions?user=ann&ended=2');
    expect(usersOn((await site.show()).text)).toEqual(['bob', 'root']);
  });

  it('refuses a form of another site, and one that does not say where it comes from', async () => {
    const site = await start(platform);
    const id = (await site.logIn('ann')).slice(0, 22);
    const host = new URL(site.url).host;
    const foreign: Record<string, string>[] = [
      {},
      { 'Sec-Fetch-Site': 'cross-site' },
      { 'Sec-Fetch-Site': 'same-site', Origin: site.url },
      { 'Sec-Fetch-Site': 'none' },
      { Origin: 'null' },
      { Origin: 'https://evil.example' },
      { Origin: `https://evil.example/${host}` },
      { Origin: `http://${host}.evil.example` },
    ];
    for (const headers of foreign) {
      for (const path of [`/end?id=${id}`, '/end-all?user=ann']) {
        expect([headers, await site.post(path, headers)]).toEqual([headers, { status: 403, to: '' }]);
      }
    }
    expect(await site.sessions.data(id)).toEqual({});
    expect((await site.post(`/end?id=${id}`, { Origin: site.url })).status).toBe(303);
    expect(await site.sessions.data(id)).toBeNull();
  });

  it('goes on with more than fit on a page', async () => {
    const site = await start(platform);
    for (let n = 0; n < 160; n++) {
      const session = await site.sessions.create();
      session.login(`user ${n}`);
      await session.save();
    }
    const seen = new Set<string>();
    let pages = 0;
    for (let search: string | undefined = ''; search !== undefined; pages++) {
      const { text } = await site.show(search);
      for (const user of usersOn(text)) seen.add(user);
      search = /<a href="(\?after=[^"]+)">More/.exec(text)?.[1];
    }
    expect([seen.size, pages]).toEqual([161, 2]);
    expect((await site.show('?after=%27%22%3E')).status).toBe(200);
  });

  it('tells where it has looked only at sessions without a login, and goes on from there', async () => {
    const store = new VisitorsFirst();
    const site = await start(platform, { engine: { useFactory: () => store } });
    for (let n = 0; n < 520; n++) await site.sessions.create();
    const { text } = await site.show();
    expect(usersOn(text)).toEqual([]);
    expect(text).toContain('None of the sessions looked at has a login. There are more sessions.');
    expect(text).not.toContain('Nobody is logged in here.');
    const more = /<a href="(\?after=[^"]+)">More/.exec(text)?.[1] ?? '';
    expect(usersOn((await site.show(more)).text)).toEqual(['root']);
    expect((await site.show('?after=9999')).text).toContain('None of the remaining sessions has a login.');
  });

  it('shows the last used sessions of a user, and how many there are', async () => {
    const site = await start(platform);
    for (let n = 0; n < 60; n++) {
      const session = await site.sessions.create();
      session.login('ann');
      await session.save();
    }
    const { text } = await site.show('?user=ann');
    expect(usersOn(text)).toHaveLength(50);
    expect(text).toContain('The 50 of 60 sessions that were used last.');
    expect((await site.post('/end-all?user=ann', here)).to).toBe('../sessions?user=ann&ended=60');
    expect((await site.show('?user=root')).text).not.toContain('used last.');
  });

  it('shows a session of a store whose moments are none', async () => {
    const store = new VisitorsFirst();
    const site = await start(platform, { engine: { useFactory: () => store } });
    await site.logIn('ann');
    for (const record of store.records.values()) {
      if (record.userId === 'ann')
        Object.assign(record, { createdAt: 9e15, lastSeenAt: 9e15, expiresAt: 9e15 });
    }
    for (const search of ['', '?user=ann']) {
      const { status, text } = await site.show(search);
      expect([status, usersOn(text).includes('ann')]).toEqual([200, true]);
      expect(text).toContain('<td>?</td><td>?</td><td>?</td>');
    }
  });

  it('is live, and over when the session of the administrator is', async () => {
    const site = await start(platform);
    const key = await site.logIn('root');
    const stream = await Stream.open(`${site.url}${PAGE}/events`, key);
    expect(stream.status).toBe(200);
    await stream.until(({ list }) => list !== null && !list.includes('carol'));
    await site.logIn('carol');
    await stream.until(
      ({ figures, list }) => list?.includes('>carol</a>') === true && figures.includes('<dd>3</dd>'),
    );
    await site.sessions.revoke(key.slice(0, 22));
    await stream.untilEnded();
    expect((await Stream.open(`${site.url}${PAGE}/events`, key)).status).toBe(401);
  });

  it('keeps no session alive by its stream', async () => {
    const engine = testingEngine();
    const site = await start(platform, { engine }, { idleTimeout: '20m' });
    const key = await site.logIn('root');
    const lastSeen = async () => (await engine.store.load(key.slice(0, 22)))?.lastSeenAt;
    const before = await lastSeen();
    engine.clock.advance('10m');
    const stream = await Stream.open(`${site.url}${PAGE}/events`, key);
    await stream.until(() => true);
    expect(await lastSeen()).toBe(before);
    await site.request.get(PAGE).set('Cookie', `sessionid=${key}`);
    expect(await lastSeen()).not.toBe(before);
  });

  it('holds up no shutdown', async () => {
    const site = await start(platform, { guard: everybody });
    const stream = await Stream.open(`${site.url}${PAGE}/events`);
    await stream.until(() => true);
    await expect(running.pop()?.close()).resolves.toBeUndefined();
    await stream.untilEnded();
  });

  it('is the same page under a prefix, behind interceptors, and with a slash at the end', async () => {
    const site = await start(platform, {
      guard: everybody,
      path: 'ops/live-sessions',
      providers: [{ provide: APP_INTERCEPTOR, useClass: Envelope }],
      prepare: (app) => void app.setGlobalPrefix('api'),
    });
    const { text } = await site.request.get('/api/ops/live-sessions');
    expect(text).toMatch(/^<!doctype html>/);
    expect(text).toContain('href="live-sessions/style.css"');
    const { type, text: script } = await site.request.get('/api/ops/live-sessions/live.js');
    expect([type, script.includes('EventSource')]).toEqual(['text/javascript', true]);
    const slashed = await site.request.get('/api/ops/live-sessions/?user=ann');
    // To Fastify that is another path, which is not there.
    const location = { express: '../live-sessions?user=ann', fastify: undefined }[platform];
    expect(slashed.headers['location']).toBe(location);
    const stream = await Stream.open(`${site.url}/api/ops/live-sessions/events`);
    await stream.until(({ figures }) => figures.includes('Live sessions'));
  });

  it('says what the engine cannot do', async () => {
    const cache = await start(platform, { engine: cacheEngine() });
    await cache.logIn('ann');
    const { text } = await cache.show();
    expect(text).toContain('This engine cannot list all sessions. Search for a user.');
    expect(text).toContain('<dt>Live sessions</dt><dd>not known</dd>');
    expect(usersOn((await cache.show('?user=ann')).text)).toEqual(['ann']);

    const cookie = await start(platform, {
      engine: cookieEngine({ secrets: 'Zt6_uHrC1vQeK8-oWyS3jMx5BnDi0LfP' }),
    });
    expect((await cookie.show()).text).toContain('This engine cannot list all sessions.');
    expect((await cookie.show('?user=ann')).text).toContain('This engine cannot list a user&#39;s sessions.');
  });

  it('says when the store does not answer', async () => {
    const store = new RecordingStore();
    const site = await start(platform, {
      guard: everybody,
      engine: { useFactory: () => store },
      logger: { log() {}, warn() {}, error() {} },
    });
    const stream = await Stream.open(`${site.url}${PAGE}/events`);
    await stream.until(({ figures }) => figures.includes('ms</dd>'));
    const { SessionStoreUnavailableError } = await import('nest-sessions');
    store.fail('load', new SessionStoreUnavailableError('load', 'it is away.'));
    await stream.until(({ figures, list }) => figures.includes('does not answer') && list === null);
    expect((await site.request.get(PAGE)).status).toBe(503);
    store.heal();
    expect((await site.request.get(PAGE)).status).toBe(200);
  });

  it('tells when expired sessions were last cleared', async () => {
    const site = await start(platform);
    expect((await site.show()).text).toContain('<dd>not known</dd>');
    await site.sessions.clearExpired();
    expect((await site.show()).text).toMatch(/Last clearing<\/dt><dd>\d+ s ago/);
  });
});

describe('SessionAdminModule.forRoot', () => {
  it.each([
    ['no options', undefined, 'guard'],
    ['no guard', {}, 'guard'],
    ['null', { guard: null }, 'guard'],
    ['a class that is none', { guard: class {} }, 'guard'],
    ['a function', { guard: () => true }, 'guard'],
    ['an empty path', { guard: everybody, path: '' }, 'path'],
    ['a slash', { guard: everybody, path: '/' }, 'path'],
    ['a pattern', { guard: everybody, path: 'admin/*' }, 'path'],
    ['no text', { guard: everybody, path: 7 }, 'path'],
  ])('stops the start for %s', (_what, options, option) => {
    expect(() => SessionAdminModule.forRoot(options as never)).toThrow(
      expect.objectContaining({ code: 'SESSION_CONFIG', option }),
    );
  });

  it('takes a guard that needs other modules', async () => {
    @Injectable()
    class Roles {
      readonly admins = ['root'];
    }
    @Module({ providers: [Roles], exports: [Roles] })
    class RolesModule {}
    @Injectable()
    class RoleGuard implements CanActivate {
      constructor(private readonly roles: Roles) {}

      canActivate(context: ExecutionContext): boolean {
        const { headers } = context.switchToHttp().getRequest<{ headers: Record<string, string> }>();
        return this.roles.admins.includes(headers['x-user'] ?? '');
      }
    }
    const app = await startApp('express', {
      engine: memoryEngine(),
      imports: [SessionAdminModule.forRoot({ guard: RoleGuard, imports: [RolesModule] })],
    });
    expect((await app.request.get(PAGE).set('X-User', 'ann')).status).toBe(403);
    expect((await app.request.get(PAGE).set('X-User', 'root')).status).toBe(200);
    await app.close();
  });
});
