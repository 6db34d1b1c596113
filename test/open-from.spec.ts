import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Controller, Get, type INestApplication, Req, type Type } from '@nestjs/common';
import { WsAdapter } from '@nestjs/platform-ws';
import { type RequestOrHeaders, Sessions } from 'nest-sessions';
import { memoryEngine } from 'nest-sessions/memory';
import { Server } from 'socket.io';
import { io as connect, type Socket } from 'socket.io-client';
import { WebSocket } from 'ws';
import { platforms, type RunningApp, startApp } from './support/app.js';
import { snippetsOf } from './support/markdown.js';

@Controller()
class WhoController {
  constructor(private readonly sessions: Sessions) {}

  /** On a path without the middleware. */
  @Get('excluded/who')
  async who(@Req() request: RequestOrHeaders) {
    return { userId: (await this.sessions.openFrom(request))?.userId ?? null };
  }
}

/** What the snippets of docs/sockets.md export. */
interface Recipes {
  serveSockets(app: INestApplication): Server;
  onlyUsers(io: Server, sessions: Sessions): void;
  PricesGateway: Type;
}

const written = resolve('var/open-from', String(process.pid));

/** The snippet that defines this, as it stands on the page. */
async function recipe<Name extends keyof Recipes>(name: Name): Promise<Recipes[Name]> {
  const snippets = snippetsOf(readFileSync('docs/sockets.md', 'utf8'));
  const { code = '' } = snippets.find((snippet) => snippet.code.includes(name)) ?? {};
  mkdirSync(written, { recursive: true });
  const file = join(written, `${name}.ts`);
  writeFileSync(file, code);
  return ((await import(pathToFileURL(file).href)) as Recipes)[name];
}

afterAll(() => rmSync(written, { recursive: true, force: true }));

function socketOf(url: string, key?: string): Socket {
  return connect(url, {
    transports: ['websocket'],
    reconnection: false,
    forceNew: true,
    ...(key !== undefined && { extraHeaders: { cookie: `sid=${key}` } }),
  });
}

function outcome(socket: Socket): Promise<string> {
  return new Promise((settle) => {
    socket.on('connect', () => settle('connected'));
    socket.on('connect_error', ({ message }) => settle(message));
  });
}

function open(url: string, key: string): WebSocket {
  return new WebSocket(url.replace('http', 'ws'), { headers: { cookie: `sid=${key}` } });
}

function closed(socket: WebSocket): Promise<string> {
  return new Promise((settle) => socket.on('close', (code, reason) => settle(`${code} ${String(reason)}`)));
}

describe.each(platforms)('sessions.openFrom on %s', (platform) => {
  let app: RunningApp;
  let sessions: Sessions;
  const start = async (setup: Partial<Parameters<typeof startApp>[1]> = {}): Promise<void> => {
    app = await startApp(platform, {
      engine: memoryEngine(),
      controllers: [WhoController],
      ...setup,
      options: { cookie: { name: 'sid' }, exclude: ['/excluded/*path'] },
    });
    sessions = app.app.get(Sessions);
  };
  afterEach(() => app.close());

  const logIn = async (user = 'ann'): Promise<string> => {
    const session = await sessions.create();
    session.login(user);
    await session.save();
    return String(session.sessionKey());
  };
  const dead = `${'i'.repeat(22)}.${'k'.repeat(43)}`;

  it('takes the request of the platform', async () => {
    await start();
    const cookies = [`sid=${await logIn()}`, `sessionid=${await logIn()}`, 'a=1'];
    const users = [];
    for (const cookie of cookies) {
      const { body } = await app.request.get('/excluded/who').set('Cookie', cookie);
      users.push(body);
    }
    expect(users).toEqual([{ userId: 'ann' }, { userId: null }, { userId: null }]);
  });

  it('takes a request of another server, and headers', async () => {
    await start();
    const cookie = `sid=${await logIn()}`;
    const other = createServer((request, response) => {
      void sessions.openFrom(request).then((session) => response.end(session?.userId));
    }).listen(0);
    const { port } = other.address() as { port: number };
    const response = await fetch(`http://127.0.0.1:${port}`, { headers: { cookie } });
    expect(await response.text()).toBe('ann');
    other.close();
    for (const headers of [
      { cookie },
      new Headers({ cookie }),
      new Request(app.url, { headers: { cookie } }),
    ]) {
      expect((await sessions.openFrom(headers))?.userId).toBe('ann');
    }
  });

  it('takes the first of three well-formed cookies that is live', async () => {
    await start();
    const [ann, bob] = [await logIn('ann'), await logIn('bob')];
    const rows: [keys: string[], user: string | undefined][] = [
      [[ann, bob], 'ann'],
      [[dead, 'malformed', dead, bob, ann], 'bob'],
      [[dead, dead, dead, bob], undefined],
      [[], undefined],
    ];
    for (const [keys, user] of rows) {
      const session = await sessions.openFrom({ cookie: keys.map((key) => `sid=${key}`).join('; ') });
      expect(session?.userId).toBe(user);
    }
  });

  it('gives a session that can be written to', async () => {
    await start();
    const cookie = `sid=${await logIn()}`;
    const session = await sessions.openFrom<{ seen: boolean }>({ cookie });
    session?.set('seen', true);
    await session?.save();
    expect(await sessions.openFrom<{ seen: boolean }>({ cookie })).toMatchObject({ seen: true });
  });

  describe('in the recipes for sockets:', () => {
    it('S44: io.use lets users in, until their session ends', async () => {
      await start();
      const io = (await recipe('serveSockets'))(app.app);
      expect(await outcome(socketOf(app.url, dead))).toBe('Log in first.');
      const key = await logIn();
      const socket = socketOf(app.url, key);
      expect(await outcome(socket)).toBe('connected');
      const [server] = await io.fetchSockets();
      expect(server?.data).toEqual({ userId: 'ann' });
      const end = new Promise((settle) => socket.on('disconnect', settle));
      await sessions.revokeAll('ann');
      expect(await end).toBe('io server disconnect');
      await io.close();
    });

    it('engine.use lets only users connect', async () => {
      await start();
      const io = new Server(app.app.getHttpServer());
      (await recipe('onlyUsers'))(io, sessions);
      expect(await outcome(socketOf(app.url))).not.toBe('connected');
      const socket = socketOf(app.url, await logIn());
      expect(await outcome(socket)).toBe('connected');
      socket.close();
      await io.close();
    });

    it('S44: a gateway that only sends closes sockets with their session', async () => {
      await start({
        providers: [await recipe('PricesGateway')],
        prepare: (application) => void application.useWebSocketAdapter(new WsAdapter(application)),
      });
      expect(await closed(open(app.url, dead))).toBe('4401 Log in first.');
      const socket = open(app.url, await logIn());
      const end = closed(socket);
      await new Promise((settle) => socket.on('open', settle));
      await sessions.revokeAll('ann');
      expect(await end).toBe('4401 The session has ended.');
    });
  });
});

it('tells a socket from a request', async () => {
  const app = await startApp('express', { engine: memoryEngine() });
  await expect(
    app.app.get(Sessions).openFrom({ send() {} } as unknown as IncomingMessage),
  ).rejects.toMatchObject({
    code: 'SESSION_NOT_LOADED',
  });
  await app.close();
});
