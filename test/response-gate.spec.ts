import { createHash } from 'node:crypto';
import { ServerResponse } from 'node:http';
import { connect as connectHttp2, type ClientHttp2Session, type IncomingHttpHeaders } from 'node:http2';
import { buffer } from 'node:stream/consumers';
import { gunzipSync } from 'node:zlib';
import { Module, type MiddlewareConsumer, type NestModule } from '@nestjs/common';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import compression from 'compression';
import { SessionStoreUnavailableError } from 'nest-sessions';
import { prepareShapes, ShapesController } from './suites/gate.pages.js';
import { type AppSetup, type Platform, platforms, type RunningApp, silent, startApp } from './support/app.js';
import { RecordingStore } from './support/recording-store.js';
import { type Answer, comparable, exchange, sessionCookie } from './support/wire.js';

// What the gate does for every shape of an answer is in suites/gate.suite.ts, for every engine.

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
    prepare: async (app) => {
      await prepare?.(app);
      await prepareShapes(app, platform, sessions);
    },
    ...setup,
  });
}

function unzipped(answer: Answer) {
  const zipped = answer.headers['content-encoding'] === 'gzip' && answer.body.length > 0;
  const { headers, ...rest } = comparable({
    ...answer,
    body: zipped ? gunzipSync(answer.body) : answer.body,
  });
  return { ...rest, headers: headers.filter((line) => !(zipped && line.startsWith('content-length'))) };
}

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

type RawResponse = Record<'writeHead' | 'write' | 'end', (...given: unknown[]) => unknown>;

/** What middleware ahead of the session does to the methods of a response. */
const meddling: [name: string, meddle: (response: RawResponse) => void][] = [
  [
    'puts methods of its own in their place, which call those of Node',
    (response) => {
      for (const name of ['writeHead', 'write', 'end'] as const) {
        const original = ServerResponse.prototype[name] as RawResponse['end'];
        response[name] = (...given) => original.apply(response, given);
      }
    },
  ],
  [
    'wraps one of them and takes it off again',
    (response) => {
      const { end } = response;
      response.end = (...given) => end.apply(response, given);
      Reflect.deleteProperty(response, 'end');
    },
  ],
];

describe.each(platforms)('the response gate on %s, behind middleware that', (platform) => {
  it.each(meddling)('%s', async (_name, meddle) => {
    const prepare: AppSetup['prepare'] = (app) =>
      void app.use((_request: unknown, response: RawResponse, next: () => void) => {
        meddle(response);
        next();
      });
    const [plain, app] = await Promise.all([
      start(platform, false, { prepare }),
      start(platform, true, { prepare }),
    ]);
    try {
      store.reset();
      const held = store.hold('create');
      const going = exchange(`${app.url}/json`);
      await held.reached;
      await exchange(`${app.url}/ping`).answer;
      expect(going.arrived()).toBe(false);
      held.release();
      const answer = await going.answer;
      expect(comparable(answer)).toEqual(comparable(await exchange(`${plain.url}/json`).answer));
      expect(sessionCookie(answer)).toBeDefined();
      expect(store.writes).toEqual(['create']);
    } finally {
      await Promise.all([plain.close(), app.close()]);
    }
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
