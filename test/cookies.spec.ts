import { jest } from '@jest/globals';
import { Controller, Get, Headers, Post, Query, Req, Res } from '@nestjs/common';
import { type AbstractHttpAdapter } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { type CookieRequest, type RequestCookie, Session, type SessionOptions } from 'nest-sessions';

import { type AppSetup, type Platform, platforms, type RunningApp, silent, startApp } from './support/app.js';
import { certificate } from './support/certificate.js';
import { RecordingStore } from './support/recording-store.js';
import { type Answer, exchange, type ExchangeOptions } from './support/wire.js';

const NOW = new Date('2030-01-01T00:00:00.250Z');
const DAY = 86_400_000;

/** Fastify has a request of its own around that of Node. */
type FramedRequest = { session?: unknown; raw?: { session?: unknown } };

@Controller()
class CookieController {
  @Get('untouched')
  untouched() {
    return 'ok';
  }

  @Get('loaded')
  loaded(@Session() _session: Session) {
    return 'ok';
  }

  @Get('read')
  read(@Session() session: Session) {
    return { name: session.get('name') ?? null };
  }

  @Get('read-and-drop')
  readAndDrop(@Session() session: Session, @Req() request: FramedRequest) {
    const name = session.get('name');
    (request.raw ?? request).session = null;
    return { name };
  }

  @Get('read-and-delete')
  readAndDelete(@Session() session: Session, @Req() request: FramedRequest) {
    const name = session.get('name');
    Reflect.deleteProperty(request.raw ?? request, 'session');
    return { name };
  }

  @Post('read')
  readPosted(@Session() session: Session) {
    return { name: session.get('name') ?? null };
  }

  @Get('write')
  write(@Session() session: Session, @Query('name') name = 'Ada') {
    session['name'] = name;
    return 'ok';
  }

  @Get('write-nothing')
  writeNothing(@Session() session: Session) {
    session['name'] = 'Ada';
    delete session['name'];
    return 'ok';
  }

  @Get('flush')
  flush(@Session() session: Session) {
    session.flush();
    return 'ok';
  }

  @Get('cycle')
  cycle(@Session() session: Session) {
    session.cycleKey();
    return 'ok';
  }

  @Get('expire')
  expire(@Session() session: Session, @Query('seconds') seconds: string) {
    session.setExpiry(Number(seconds));
    return 'ok';
  }

  @Get('serialized')
  serialized(@Session() session: Session) {
    return { line: session.cookie.serialize('other', 'value') };
  }

  @Get('headers')
  headers(
    @Session() session: Session,
    @Headers('x-answer') answer: string,
    @Res({ passthrough: true }) reply: { header(name: string, value: string): void },
    @Query('write') write?: string,
  ) {
    for (const [name, value] of JSON.parse(answer) as [string, string][]) reply.header(name, value);
    if (write) session['name'] = write;
    else session.get('name');
    return 'ok';
  }
}

const store = new RecordingStore();
const apps: RunningApp[] = [];

async function start(
  platform: Platform,
  options: SessionOptions = {},
  setup: Partial<AppSetup> = {},
): Promise<RunningApp> {
  const app = await startApp(platform, {
    engine: { useFactory: () => store },
    options,
    controllers: [CookieController],
    ...setup,
  });
  apps.push(app);
  return app;
}

beforeAll(() => {
  jest.useFakeTimers({
    now: NOW,
    doNotFake: [
      'hrtime',
      'nextTick',
      'performance',
      'queueMicrotask',
      'setImmediate',
      'clearImmediate',
      'setInterval',
      'clearInterval',
      'setTimeout',
      'clearTimeout',
    ],
  });
});
beforeEach(() => {
  jest.setSystemTime(NOW);
  store.reset();
});
afterEach(() => Promise.all(apps.splice(0).map((app) => app.close())));
afterAll(() => jest.useRealTimers());

const get = (
  app: RunningApp,
  path: string,
  cookie?: string,
  options: ExchangeOptions = {},
): Promise<Answer> =>
  exchange(`${app.url}${path}`, {
    ...options,
    headers: { ...options.headers, ...(cookie !== undefined && { Cookie: cookie }) },
  }).answer;

/** An answer on which the handler has set headers of its own. */
const answering = (
  app: RunningApp,
  headers: [string, string][],
  write = '',
  cookie?: string,
): Promise<Answer> =>
  get(app, `/headers?write=${write}`, cookie, { headers: { 'X-Answer': JSON.stringify(headers) } });

const on = (host: string, headers: Record<string, string> = {}): ExchangeOptions => ({
  headers: { Host: host, ...headers },
});

const thrower = (): never => {
  throw new Error('of the application');
};

/** All Set-Cookie lines, with session keys masked. */
const cookiesOf = (answer: Answer): string[] =>
  (answer.headers['set-cookie'] ?? []).map((line) => line.replace(/=[\w-]{22}\.[\w-]{43}(?=;|$)/, '=<key>'));

/** `name=value` of the only cookie set. */
const pairOf = (answer: Answer): string => {
  expect(answer.headers['set-cookie']).toHaveLength(1);
  return answer.headers['set-cookie']?.[0]?.split(';')[0] as string;
};

/** A Set-Cookie line in which value, age and date are left open: a removal differs in nothing else. */
const setLine = (line: string): string =>
  line.replace('VALUE', '<key>').replace('AGE', '1209600').replace('DATE', 'Tue, 15 Jan 2030 00:00:00 GMT');
const removalLine = (line: string): string =>
  line.replace('VALUE', '').replace('AGE', '0').replace('DATE', 'Thu, 01 Jan 1970 00:00:00 GMT');

const DEFAULT = 'sessionid=VALUE; Max-Age=AGE; Path=/; Expires=DATE; HttpOnly; SameSite=Lax';
const SECURE = 'sessionid=VALUE; Max-Age=AGE; Path=/; Expires=DATE; HttpOnly; Secure; SameSite=Lax';

const attributes: [options: NonNullable<SessionOptions['cookie']>, line: string][] = [
  [{}, DEFAULT],
  [{ secure: true }, SECURE],
  [{ secure: false }, DEFAULT],
  [
    { name: '__Host-sid', secure: true },
    '__Host-sid=VALUE; Max-Age=AGE; Path=/; Expires=DATE; HttpOnly; Secure; SameSite=Lax',
  ],
  [
    { domain: 'example.org', path: '/shop' },
    'sessionid=VALUE; Max-Age=AGE; Domain=example.org; Path=/shop; Expires=DATE; HttpOnly; SameSite=Lax',
  ],
  [
    { secure: true, sameSite: 'none', partitioned: true },
    'sessionid=VALUE; Max-Age=AGE; Path=/; Expires=DATE; HttpOnly; Secure; Partitioned; SameSite=None',
  ],
  [
    { priority: 'high', sameSite: 'strict' },
    'sessionid=VALUE; Max-Age=AGE; Path=/; Expires=DATE; HttpOnly; Priority=High; SameSite=Strict',
  ],
  [{ sameSite: false, httpOnly: false }, 'sessionid=VALUE; Max-Age=AGE; Path=/; Expires=DATE'],
];

describe.each(platforms)('the session cookie on %s', (platform) => {
  describe('attributes', () => {
    it.each(attributes)('S46 S56: %j', async (cookie, line) => {
      const app = await start(platform, { cookie });
      const written = await get(app, '/write');
      expect(cookiesOf(written)).toEqual([setLine(line)]);

      const flushed = await get(app, '/flush', pairOf(written));
      expect(cookiesOf(flushed)).toEqual([removalLine(line)]);
    });

    it('have no age when the session ends with the browser', async () => {
      const app = await start(platform, { expireAtBrowserClose: true });
      const written = await get(app, '/write');
      expect(cookiesOf(written)).toEqual(['sessionid=<key>; Path=/; HttpOnly; SameSite=Lax']);
      expect(cookiesOf(await get(app, '/flush', pairOf(written)))).toEqual([removalLine(DEFAULT)]);
    });

    it('follow the expiry of the session', async () => {
      const app = await start(platform);
      const written = await get(app, '/write');
      expect(cookiesOf(await get(app, '/expire?seconds=300', pairOf(written)))).toEqual([
        'sessionid=<key>; Max-Age=300; Path=/; Expires=Tue, 01 Jan 2030 00:05:00 GMT; HttpOnly; SameSite=Lax',
      ]);
      expect(cookiesOf(await get(app, '/expire?seconds=0', pairOf(written)))).toEqual([
        'sessionid=<key>; Path=/; HttpOnly; SameSite=Lax',
      ]);
    });
  });

  describe("secure: 'auto'", () => {
    it('S53: is on in production', async () => {
      const { NODE_ENV } = process.env;
      process.env['NODE_ENV'] = 'production';
      try {
        const app = await start(platform);
        const written = await get(app, '/write');
        expect(cookiesOf(written)).toEqual([setLine(SECURE)]);
        expect(cookiesOf(await get(app, '/flush', pairOf(written)))).toEqual([removalLine(SECURE)]);
      } finally {
        process.env['NODE_ENV'] = NODE_ENV;
      }
    });

    it('is on over TLS', async () => {
      const app = await start(platform, {}, { https: certificate });
      expect(cookiesOf(await get(app, '/write'))).toEqual([setLine(SECURE)]);
    });

    it('gives way to an explicit false', async () => {
      const app = await start(platform, { cookie: { secure: false } }, { https: certificate });
      expect(cookiesOf(await get(app, '/write'))).toEqual([setLine(DEFAULT)]);
    });

    const behindProxy = { headers: { 'X-Forwarded-Proto': 'https' } };

    it('S53: believes a trusted proxy', async () => {
      const app = await start(platform, {}, { adapter: trusting(platform) });
      expect(cookiesOf(await get(app, '/write', undefined, behindProxy))).toEqual([setLine(SECURE)]);
      expect(cookiesOf(await get(app, '/write'))).toEqual([setLine(DEFAULT)]);
    });

    it('S53: believes no other', async () => {
      const app = await start(platform);
      expect(cookiesOf(await get(app, '/write', undefined, behindProxy))).toEqual([setLine(DEFAULT)]);
    });
  });

  describe('by request', () => {
    const sites: Record<string, RequestCookie> = {
      'shop.example.org': { domain: 'example.org', sameSite: 'strict' },
      'example.com': { domain: undefined, path: '/tenant', priority: 'high', secure: true, httpOnly: false },
      'plain.example': {},
    };
    let asked: CookieRequest[] = [];
    const forRequest = (request: CookieRequest): RequestCookie => {
      asked.push(request);
      return sites[request.hostname] as RequestCookie;
    };
    beforeEach(() => (asked = []));
    const configured = { domain: 'example.net', path: '/shop', forRequest };

    it.each([
      [
        'shop.example.org:8080',
        'sessionid=VALUE; Max-Age=AGE; Domain=example.org; Path=/shop; Expires=DATE; HttpOnly; SameSite=Strict',
      ],
      [
        'example.com',
        'sessionid=VALUE; Max-Age=AGE; Path=/tenant; Expires=DATE; Secure; Priority=High; SameSite=Lax',
      ],
      [
        'plain.example',
        'sessionid=VALUE; Max-Age=AGE; Domain=example.net; Path=/shop; Expires=DATE; HttpOnly; SameSite=Lax',
      ],
    ])('S42 S46: %s sets and removes it with attributes of its own', async (host, line) => {
      const app = await start(platform, { cookie: configured });
      const written = await get(app, '/write', undefined, on(host));
      expect(cookiesOf(written)).toEqual([setLine(line)]);
      const cycled = await get(app, '/cycle', pairOf(written), on(host));
      expect(cookiesOf(cycled)).toEqual([setLine(line)]);
      expect(cookiesOf(await get(app, '/flush', pairOf(cycled), on(host)))).toEqual([removalLine(line)]);
    });

    it('S42: former places have what they leave out from the request', async () => {
      const former = [{ path: '/' }, { domain: undefined }, { domain: 'example.edu', path: '/old' }];
      const app = await start(platform, { cookie: { ...configured, former } });
      const host = on('shop.example.org');
      const written = await get(app, '/write', undefined, host);
      const removals = cookiesOf(await get(app, '/flush', pairOf(written), host));
      expect(removals.map((line) => line.match(/(Domain|Path)=[^;]+/g))).toEqual([
        ['Domain=example.org', 'Path=/shop'],
        ['Domain=example.org', 'Path=/'],
        ['Path=/shop'],
        ['Domain=example.edu', 'Path=/old'],
      ]);
      for (const line of removals) expect(line).toContain('SameSite=Strict');
      expect(asked).toHaveLength(2);
    });

    it('asks once, when the cookie is set or removed, and not otherwise', async () => {
      const app = await start(platform, { cookie: configured });
      const host = on('shop.example.org', { 'X-Tenant': 'one' });
      const written = await get(app, '/write', undefined, host);
      expect(asked).toHaveLength(1);
      for (const path of ['/untouched', '/loaded', '/read', '/write'])
        await get(app, path, pairOf(written), host);
      expect(asked).toHaveLength(1);
      await get(app, '/flush?all', pairOf(written), host);
      expect(asked).toHaveLength(2);
      expect(asked[1]).toMatchObject({
        hostname: 'shop.example.org',
        protocol: 'http',
        originalUrl: '/flush?all',
        headers: { 'x-tenant': 'one' },
      });
    });

    it('knows what a trusted proxy says, and no other', async () => {
      const proxy = on('inside', { 'X-Forwarded-Host': 'shop.example.org', 'X-Forwarded-Proto': 'https' });
      const trusted = await start(platform, { cookie: configured }, { adapter: trusting(platform) });
      expect(cookiesOf(await get(trusted, '/write', undefined, proxy))[0]).toContain('Domain=example.org');
      expect(asked[0]?.protocol).toBe('https');
      const cookie = { forRequest: (request: CookieRequest) => ({ path: `/${request.hostname}` }) };
      const other = await start(platform, { cookie });
      expect(cookiesOf(await get(other, '/write', undefined, proxy))[0]).toContain('Path=/inside');
    });

    it("sameSite: 'auto' is none for a cookie that is Secure, else lax, and in a removal as well", async () => {
      const behindProxy = { headers: { 'X-Forwarded-Proto': 'https' } };
      const auto = { sameSite: 'auto' } as const;
      for (const cookie of [auto, { forRequest: () => auto }]) {
        const app = await start(platform, { cookie }, { adapter: trusting(platform) });
        for (const [options, line] of [
          [{}, DEFAULT],
          [behindProxy, SECURE.replace('SameSite=Lax', 'SameSite=None')],
        ] as const) {
          const written = await get(app, '/write', undefined, options);
          expect(cookiesOf(written)).toEqual([setLine(line)]);
          expect(cookiesOf(await get(app, '/flush', pairOf(written), options))).toEqual([removalLine(line)]);
        }
      }
    });

    it("sameSite: 'auto' goes by the option `secure` in a header that the handler makes", async () => {
      for (const [secure, line] of [
        [true, /Secure; SameSite=None/],
        ['auto', /HttpOnly; SameSite=Lax/],
      ] as const) {
        const app = await start(platform, { cookie: { secure, sameSite: 'auto' } });
        expect(JSON.parse((await get(app, '/serialized')).body.toString())).toEqual({
          line: expect.stringMatching(line) as unknown,
        });
      }
    });

    const bad: [option: string, returned: unknown, cookie?: SessionOptions['cookie']][] = [
      ['cookie.forRequest()', undefined],
      ['cookie.forRequest()', null],
      ['cookie.forRequest()', 'example.com'],
      ['cookie.forRequest()', Promise.resolve({ domain: 'example.com' })],
      ['cookie.forRequest().domain', { domain: 5 }],
      ['cookie.forRequest().domain', { domain: 'a;b' }],
      ['cookie.forRequest().domain', { domain: 'a\r\nSet-Cookie: b=c' }],
      ['cookie.forRequest().domain', { domain: 'example.com' }, { name: '__Host-sid', secure: true }],
      ['cookie.forRequest().path', { path: 'tenant' }],
      ['cookie.forRequest().path', { path: '/a;b' }],
      ['cookie.forRequest().path', { path: '/a' }, { name: '__Host-sid', secure: true }],
      ['cookie.forRequest().secure', { sameSite: 'none' }],
      ['cookie.forRequest().secure', { secure: false }, { partitioned: true, secure: true }],
      ['cookie.forRequest().sameSite', { sameSite: 'Lax' }],
      ['cookie.forRequest().name', { name: 'sid' }],
      ['cookie.forRequest().maxAge', { maxAge: 60 }],
    ];

    it.each(bad.map(([option, returned, cookie = {}]) => [option, returned, cookie] as const))(
      'S52: %s is an error for %j, and nothing of it is sent',
      async (option, returned, cookie) => {
        const lines: string[] = [];
        const logger = { ...silent, error: (line: string) => void lines.push(line) };
        const app = await start(
          platform,
          { cookie: { ...cookie, forRequest: () => returned as RequestCookie } },
          { logger },
        );
        const answer = await get(app, '/write');
        expect([answer.status, cookiesOf(answer)]).toEqual([500, []]);
        expect(lines).toEqual([expect.stringContaining(`Session option "${option}" `)]);
      },
    );

    it('S51: withholds a response whose cookie browsers would drop for its length', async () => {
      const lines: string[] = [];
      const logger = { ...silent, error: (line: string) => void lines.push(line) };
      const cookie = { forRequest: () => ({ path: `/${'x'.repeat(4096)}` }) };
      const answer = await get(await start(platform, { cookie }, { logger }), '/write');
      expect([answer.status, cookiesOf(answer)]).toEqual([500, []]);
      expect(lines).toEqual([expect.stringContaining('browsers drop cookies of more than 4096')]);
    });

    it('withholds the response when it throws', async () => {
      const cookie = { forRequest: thrower };
      const app = await start(platform, { cookie }, { logger: silent });
      expect((await get(app, '/write')).status).toBe(500);
      expect((await get(app, '/read')).status).toBe(200);
    });
  });

  describe('that is no session key', () => {
    const id = 'k'.repeat(22);
    const secret = 'k'.repeat(43);
    const key = `${id}.${secret.slice(1)}`;
    const malformed: [name: string, value: string][] = [
      ['one character less', key],
      ['one character more', `${key}kk`],
      ['an id alone', id],
      ['a secret alone', secret],
      ['an id and a secret without a dot', `${id}${secret}`],
      ['a comma for the dot', `${id},${secret}`],
      ['two ids', `${id}.${key}k`],
      ['an encoded NUL', `%00${key.slice(2)}`],
      ['an encoded letter', `%6B${key}`],
      ['+', `+${key}`],
      ['/', `/${key}`],
      ['=', `${key}=`],
      ['a dot', `.${key}`],
      ['quotes', `"${key}k"`],
      ['emoji', Buffer.from(`🔑${key.slice(1)}`).toString('latin1')],
      ['nothing', ''],
      ['blanks', '   '],
      ['null', 'null'],
      ['undefined', 'undefined'],
      ['a UUID', '3f2b8c1e-7a54-4f1d-9c1b-1d2e3f405162'],
      ['[object Object]', '[object Object]'],
      ['a path', '../../../../etc/passwd'],
      ['15 kB', 'k'.repeat(15_000)],
    ];

    it.each(malformed)(
      'S09 S10: %s never reaches the store, and is left alone unless the session is ended',
      async (_name, value) => {
        const app = await start(platform);
        const cookie = `sessionid=${value}`;
        for (const path of ['/untouched', '/loaded']) {
          const answer = await get(app, path, cookie);
          expect(cookiesOf(answer)).toEqual([]);
          expect(answer.headers).not.toHaveProperty('vary');
        }
        expect(cookiesOf(await get(app, '/read', cookie))).toEqual([]);
        expect(cookiesOf(await get(app, '/write-nothing', cookie))).toEqual([]);
        expect(cookiesOf(await get(app, '/flush', cookie))).toEqual([removalLine(DEFAULT)]);
        expect(store.calls).toEqual([]);

        expect(cookiesOf(await get(app, '/write', cookie))).toEqual([setLine(DEFAULT)]);
        expect(store.calls).toEqual(['create']);
      },
    );
  });

  describe('with an unknown key', () => {
    const unknown = `${'u'.repeat(22)}.${'u'.repeat(43)}`;

    it('S11: is never adopted', async () => {
      const app = await start(platform);
      for (const path of ['/write', '/cycle', '/expire?seconds=60']) {
        const answer = await get(app, path, `sessionid=${unknown}`);
        expect(cookiesOf(answer).join()).not.toContain(unknown.slice(0, 22));
      }
      expect([...store.records.keys()]).not.toContain(unknown.slice(0, 22));
    });

    it('is removed when the request asks for the end, and left alone otherwise', async () => {
      const app = await start(platform);
      expect(cookiesOf(await get(app, '/untouched', `sessionid=${unknown}`))).toEqual([]);
      expect(cookiesOf(await get(app, '/loaded', `sessionid=${unknown}`))).toEqual([]);
      expect(cookiesOf(await get(app, '/read', `sessionid=${unknown}`))).toEqual([]);
      expect(cookiesOf(await get(app, '/flush', `sessionid=${unknown}`))).toEqual([removalLine(DEFAULT)]);
      expect(store.writes).toEqual([]);
    });

    it('S12: opens nothing once the session has expired, and is left alone', async () => {
      const app = await start(platform);
      const cookie = pairOf(await get(app, '/write'));
      jest.setSystemTime(NOW.getTime() + 15 * DAY);
      const answer = await get(app, '/read', cookie);
      expect(JSON.parse(answer.body.toString())).toEqual({ name: null });
      expect(cookiesOf(answer)).toEqual([]);
    });
  });

  describe('that comes twice', () => {
    it('S50: counts as the first that opens a session, of three at most', async () => {
      const app = await start(platform);
      const ada = pairOf(await get(app, '/write?name=Ada'));
      const bob = pairOf(await get(app, '/write?name=Bob'));
      const nameFor = async (cookie: string): Promise<unknown> =>
        JSON.parse((await get(app, '/read', cookie)).body.toString());

      expect(await nameFor(`${ada}; ${bob}`)).toEqual({ name: 'Ada' });
      expect(await nameFor(`${bob}; ${ada}`)).toEqual({ name: 'Bob' });
      expect(await nameFor(`sessionid=planted; theme=dark; ${ada}`)).toEqual({ name: 'Ada' });
      const [dead, deader, deadest] = ['u', 'v', 'w'].map(
        (letter) => `sessionid=${letter.repeat(22)}.${letter.repeat(43)}`,
      );
      expect(await nameFor(`${dead}; ${ada}`)).toEqual({ name: 'Ada' });
      expect(await nameFor(`${dead}; ${deader}; ${ada}; ${bob}`)).toEqual({ name: 'Ada' });
      expect(await nameFor(`${dead}; ${deader}; ${deadest}; ${ada}`)).toEqual({ name: null });
    });

    it('S50: is malformed when none could be', async () => {
      const app = await start(platform);
      const answer = await get(app, '/read', 'sessionid=one; sessionid=two');
      expect(cookiesOf(answer)).toEqual([]);
      expect(store.calls).toEqual([]);
    });
  });

  describe('by any other name', () => {
    it.each([
      'SESSIONID',
      'Sessionid',
      '%73essionid',
      'session%69d',
      'xsessionid',
      'sessionid2',
      'session id',
      '"sessionid"',
      '',
      '=sessionid',
    ])('S48 S49: %s is somebody else’s', async (name) => {
      const app = await start(platform);
      const key = pairOf(await get(app, '/write')).split('=')[1] as string;
      store.calls = [];
      const answer = await get(app, '/read', `${name}=${key}; other=sessionid=${key}`);
      expect(JSON.parse(answer.body.toString())).toEqual({ name: null });
      expect(store.calls).toEqual([]);
      expect(cookiesOf(answer)).toEqual([]);
    });

    it.each([
      '__host-sid',
      '__HOST-sid',
      '%5F%5FHost-sid',
      '__Host%2Dsid',
      '_Host-sid',
      '_[Host-sid',
      '=__Host-sid',
    ])('S48 S49: %s is no __Host-sid', async (name) => {
      const app = await start(platform, { cookie: { name: '__Host-sid', secure: true } });
      const key = pairOf(await get(app, '/write')).split('=')[1] as string;
      store.calls = [];
      await get(app, '/read', `${name}=${key}`);
      expect(store.calls).toEqual([]);
    });

    it('S20: a key in the address, the body or another header opens nothing', async () => {
      const app = await start(platform);
      const key = pairOf(await get(app, '/write')).split('=')[1] as string;
      store.calls = [];
      const answer = await get(app, `/read?sessionid=${key}&session=${key}&sid=${key}`, undefined, {
        method: 'POST',
        headers: {
          'Content-Type': 'application/json',
          Authorization: `Bearer ${key}`,
          Sessionid: key,
          'X-Session-Id': key,
          'Set-Cookie': `sessionid=${key}`,
          Cookie2: `sessionid=${key}`,
        },
        body: JSON.stringify({ sessionid: key }),
      });
      expect(JSON.parse(answer.body.toString())).toEqual({ name: null });
      expect(store.calls).toEqual([]);
    });
  });

  describe('is sent again', () => {
    it('when a touch has moved the deadline, under the same key', async () => {
      const app = await start(platform);
      const cookie = pairOf(await get(app, '/write'));
      jest.setSystemTime(NOW.getTime() + 1 * DAY);
      expect(cookiesOf(await get(app, '/read', cookie))).toEqual([]);

      jest.setSystemTime(NOW.getTime() + 2 * DAY);
      expect(cookiesOf(await get(app, '/untouched', cookie))).toEqual([]);
      const touched = await get(app, '/read', cookie);
      expect(cookiesOf(touched)).toEqual([
        setLine(DEFAULT).replace('15 Jan', '17 Jan').replace('Tue', 'Thu'),
      ]);
      expect(pairOf(touched)).toBe(cookie);
      expect(cookiesOf(await get(app, '/read', cookie))).toEqual([]);
      expect(store.writes).toEqual(['create', 'touch']);
    });

    it('under another key after a rotation', async () => {
      const app = await start(platform);
      const cookie = pairOf(await get(app, '/write'));
      const rotated = await get(app, '/cycle', cookie);
      expect(cookiesOf(rotated)).toEqual([setLine(DEFAULT)]);
      expect(pairOf(rotated)).not.toBe(cookie);
      expect(store.records.size).toBe(1);
    });

    describe('with saveEveryRequest', () => {
      it('on every request of a live session, untouched ones too', async () => {
        const app = await start(platform, { saveEveryRequest: true });
        const cookie = pairOf(await get(app, '/write'));
        for (const seconds of [1, 2, 3]) {
          jest.setSystemTime(NOW.getTime() + seconds * 1000);
          const answer = await get(app, '/untouched', cookie);
          expect(cookiesOf(answer)).toEqual([setLine(DEFAULT).replace('00:00:00', `00:00:0${seconds}`)]);
          expect(answer.headers).toMatchObject({ vary: 'Cookie', 'cache-control': 'no-store' });
        }
        expect(store.writes).toEqual(['create', 'touch', 'touch', 'touch']);
      });

      it('S86: but creates nothing', async () => {
        const app = await start(platform, { saveEveryRequest: true });
        for (const cookie of [undefined, `sessionid=${'f'.repeat(43)}`, 'sessionid=forged']) {
          for (const path of ['/untouched', '/loaded'])
            expect(cookiesOf(await get(app, path, cookie))).toEqual([]);
          await get(app, '/read', cookie);
        }
        expect(store.writes).toEqual([]);
        expect(store.records.size).toBe(0);
      });
    });
  });

  describe('and caches', () => {
    it('S59: tells them that an answer varies when the session was only read', async () => {
      const app = await start(platform);
      const cookie = pairOf(await get(app, '/write'));
      for (const given of [cookie, undefined]) {
        const answer = await answering(app, [['Cache-Control', 'public, max-age=60']], '', given);
        expect(answer.headers).toMatchObject({ vary: 'Cookie', 'cache-control': 'public, max-age=60' });
        expect(cookiesOf(answer)).toEqual([]);
      }
    });

    it('S58: lets them keep no answer that carries the cookie or removes it', async () => {
      const app = await start(platform);
      const written = await answering(app, [['Cache-Control', 'public, s-maxage=31536000']], 'Ada');
      expect(written.headers).toMatchObject({ vary: 'Cookie', 'cache-control': 'no-store' });
      const flushed = await get(app, '/flush', pairOf(written));
      expect(flushed.headers).toMatchObject({ vary: 'Cookie', 'cache-control': 'no-store' });
    });

    it.each([
      ['no-transform, max-age=60', 'no-store, no-transform'],
      ['private, No-Store', 'private, No-Store'],
      ['must-understand, no-store, max-age=600', 'no-store'],
      ['public, private="x-no-store"', 'no-store'],
    ])('S58: makes of %s: %s', async (given, expected) => {
      const app = await start(platform);
      const answer = await answering(app, [['Cache-Control', given]], 'Ada');
      expect(answer.headers['cache-control']).toBe(expected);
    });

    it('S58: tells the caches of a site, which have headers of their own', async () => {
      const app = await start(platform);
      const given: [string, string][] = [
        ['CDN-Cache-Control', 'max-age=600'],
        ['Surrogate-Control', 'max-age=600'],
      ];
      const expected = { 'cdn-cache-control': 'no-store', 'surrogate-control': 'no-store' };
      expect((await answering(app, given, 'Ada')).headers).toMatchObject(expected);
      expect((await answering(app, given)).headers).not.toMatchObject(expected);
    });

    it('S59: tells them so although the session was taken off the request after it was read', async () => {
      const app = await start(platform);
      const cookie = pairOf(await get(app, '/write'));
      for (const path of ['/read-and-drop', '/read-and-delete'])
        expect((await get(app, path, cookie)).headers).toMatchObject({ vary: 'Cookie' });
    });

    it.each([
      ['Accept', 'Accept, Cookie'],
      ['Accept-Language, Cookie', 'Accept-Language, Cookie'],
      ['cookie', 'cookie'],
      ['*', '*'],
    ])('S59: makes of Vary: %s the answer %s', async (given, expected) => {
      const app = await start(platform);
      expect((await answering(app, [['Vary', given]])).headers.vary).toBe(expected);
      expect((await answering(app, [['Vary', given]], 'Ada')).headers.vary).toBe(expected);
    });

    it('keeps the cookies of the handler', async () => {
      const app = await start(platform);
      const answer = await answering(app, [['Set-Cookie', 'theme=dark; Path=/']], 'Ada');
      expect(cookiesOf(answer)).toEqual(['theme=dark; Path=/', setLine(DEFAULT)]);
    });
  });
});

function trusting(platform: Platform): AbstractHttpAdapter {
  if (platform === 'fastify') return new FastifyAdapter({ trustProxy: true });
  const adapter = new ExpressAdapter();
  adapter.set('trust proxy', true);
  return adapter;
}
