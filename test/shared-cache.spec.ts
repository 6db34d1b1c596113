import { type IncomingMessage, type ServerResponse } from 'node:http';
import { Controller, Get, Query, Res } from '@nestjs/common';
import { Session } from 'nest-sessions';
import { memoryEngine } from 'nest-sessions/memory';
import { Agent, cacheStores, type Dispatcher, interceptors, request } from 'undici';
import { platforms, type RunningApp, startApp } from './support/app.js';

interface Visitor {
  name: string;
}
type Header = { header(name: string, value: string): void };

/** Handlers that let everybody keep their answers, for a year. */
const KEEP = 'public, max-age=31536000, s-maxage=31536000';
let handled = 0;

@Controller()
class CacheableController {
  @Get('plain')
  plain(@Res({ passthrough: true }) reply: Header) {
    reply.header('Cache-Control', KEEP);
    return `plain ${(handled += 1)}`;
  }

  @Get('greeting')
  greeting(@Session() session: Session<Visitor>, @Res({ passthrough: true }) reply: Header) {
    reply.header('Cache-Control', KEEP);
    return `Hello ${session.name ?? 'stranger'}`;
  }

  @Get('sign-in')
  signIn(
    @Session() session: Session<Visitor>,
    @Query('name') name: string,
    @Res({ passthrough: true }) reply: Header,
  ) {
    reply.header('Cache-Control', KEEP);
    session.name = name;
    return 'welcome';
  }

  @Get('welcome')
  welcome(@Session() session: Session<Visitor>, @Res({ passthrough: true }) reply: Header) {
    reply.header('Cache-Control', KEEP);
    session.name ??= `visitor ${(handled += 1)}`;
    return session.name;
  }

  @Get('sign-out')
  signOut(@Session() session: Session<Visitor>, @Res({ passthrough: true }) reply: Header) {
    reply.header('Cache-Control', KEEP);
    session.logout();
    return 'bye';
  }
}

/** What reaches the cache in the place of what the application sent. */
type Tamper = (response: ServerResponse) => void;

const without =
  (name: 'vary' | 'cache-control'): Tamper =>
  (response) => {
    response.removeHeader(name);
    if (name === 'cache-control') response.setHeader('Cache-Control', KEEP);
  };

/** undici's cache keeps no answer with a Set-Cookie. RFC 9111 lets caches do it, so this one does not know the header. */
const renameCookie: Tamper = (response) => {
  const cookies = response.getHeader('set-cookie');
  response.removeHeader('set-cookie');
  if (cookies !== undefined) response.setHeader('X-Cookie', cookies);
};

describe.each(platforms)('S60: a shared cache in front of %s', (platform) => {
  let app: RunningApp;
  let cache: Dispatcher;
  let agent: Agent;
  let tampering: Tamper[] = [];

  beforeAll(async () => {
    app = await startApp(platform, {
      engine: memoryEngine(),
      controllers: [CacheableController],
      prepare(nest) {
        nest
          .getHttpServer()
          .prependListener('request', (_request: IncomingMessage, response: ServerResponse) =>
            onTheWay(response),
          );
      },
    });
  });
  beforeEach(() => {
    tampering = [renameCookie];
    agent = new Agent();
    const store = new cacheStores.MemoryCacheStore();
    cache = agent.compose(interceptors.cache({ type: 'shared', store }));
  });
  afterEach(() => agent.close());
  afterAll(() => app.close());

  function onTheWay(response: ServerResponse): void {
    const writeHead = response.writeHead.bind(response);
    response.writeHead = (status: number, ...rest: unknown[]) => {
      const headers = rest.find((given) => typeof given === 'object') ?? {};
      for (const [name, value] of Object.entries(headers)) response.setHeader(name, value as string);
      for (const tamper of tampering) tamper(response);
      return writeHead(status);
    };
  }

  const get = async (path: string, cookie?: string) => {
    const { headers, body } = await request(`${app.url}${path}`, {
      dispatcher: cache,
      headers: cookie === undefined ? {} : { cookie },
    });
    return { text: await body.text(), cookie: String(headers['x-cookie'] ?? '').split(';')[0], headers };
  };
  const signIn = async (name: string): Promise<string> =>
    (await get(`/sign-in?name=${name}`)).cookie as string;

  it('keeps what nobody’s session has to do with', async () => {
    const { text } = await get('/plain');
    expect((await get('/plain')).text).toBe(text);
    expect((await get('/plain', 'sessionid=other')).text).toBe(text);
  });

  it('never gives one visitor what another one read', async () => {
    const [ada, bob] = [await signIn('Ada'), await signIn('Bob')];
    for (let time = 0; time < 3; time += 1) {
      expect((await get('/greeting')).text).toBe('Hello stranger');
      expect((await get('/greeting', ada)).text).toBe('Hello Ada');
      expect((await get('/greeting', bob)).text).toBe('Hello Bob');
    }
  });

  it('never gives one visitor the cookie of another', async () => {
    const visitors = [await get('/welcome'), await get('/welcome'), await get('/welcome')];
    expect(new Set(visitors.map(({ cookie }) => cookie)).size).toBe(3);
    expect(new Set(visitors.map(({ text }) => text)).size).toBe(3);
    for (const { cookie, text } of visitors) expect((await get('/welcome', cookie)).text).toBe(text);
  });

  it('never logs out in the place of the application', async () => {
    const ada = await signIn('Ada');
    expect((await get('/sign-out', 'sessionid=planted')).cookie).toBe('sessionid=');
    expect((await get('/sign-out', ada)).cookie).toBe('sessionid=');
    expect((await get('/greeting', ada)).text).toBe('Hello stranger');
  });

  it('would do the first without Vary, and the second without no-store', async () => {
    const [ada, bob] = [await signIn('Ada'), await signIn('Bob')];
    tampering = [renameCookie, without('vary')];
    await get('/greeting', ada);
    expect((await get('/greeting', bob)).text).toBe('Hello Ada');

    tampering = [renameCookie, without('cache-control')];
    const first = await get('/welcome');
    expect((await get('/welcome')).cookie).toBe(first.cookie);
    expect(first.cookie).toMatch(/^sessionid=[\w-]{22}\.[\w-]{43}$/);
  });
});
