import { jest } from '@jest/globals';
import { Controller, Get, Injectable, Param } from '@nestjs/common';
import { EventEmitter2, EventEmitterModule, OnEvent } from '@nestjs/event-emitter';
import { HealthCheck, HealthCheckService, TerminusModule } from '@nestjs/terminus';
import { type DataSourceOptions } from 'typeorm';
import {
  Session,
  type SessionEvent,
  type SessionEventMap,
  type SessionEventOf,
  Sessions,
} from 'nest-sessions';
import { cookieEngine } from 'nest-sessions/cookie';
import { memoryEngine } from 'nest-sessions/memory';
import { SessionHealthIndicator } from 'nest-sessions/terminus';
import { testingEngine } from 'nest-sessions/testing';
import { openMetrics } from '../libs/session/src/observability/session-metrics.js';
import { type HttpEnvironment } from '../libs/session/src/http/request-session.js';
import { SessionStoreUnavailableError } from '../libs/session/src/session.errors.js';
import { HTTP_ENVIRONMENT } from '../libs/session/src/session.tokens.js';
import { type AppSetup, platforms, type RunningApp, startApp } from './support/app.js';
import {
  age,
  anyDatabase,
  type DatabaseApp,
  sessionKeyIn,
  startDatabaseApp,
} from './support/database-app.js';
import { testDatabase } from './support/data-source.js';
import { Installation } from './support/installation.js';
import { RecordedMetrics } from './support/metrics.js';
import { RecordingStore } from './support/recording-store.js';
import { describeWithService } from './support/services.js';
import { startTcpProxy } from './support/tcp-proxy.js';

const SECRET = 'hunter2';

@Controller()
class ShopController {
  @Get('login/:user')
  login(@Session() session: Session, @Param('user') user: string) {
    session.login(user);
    return { id: session.id };
  }

  @Get('logout')
  logout(@Session() session: Session) {
    session.logout();
    return 'out';
  }

  @Get('write')
  write(@Session() session: Session) {
    session.increment('count');
    return { id: session.id };
  }

  @Get('read')
  read(@Session() session: Session) {
    return { count: session.get('count') ?? null };
  }
}

/** Hears everything, by one listener per event as an application would have it. */
@Injectable()
class Listener {
  readonly heard: SessionEvent[] = [];
  /** What listeners do beside. */
  deed: (event: SessionEvent) => unknown = () => undefined;

  @OnEvent('session.created')
  onCreated(event: SessionEventOf<'created'>) {
    return this.hear(event);
  }
  @OnEvent('session.rotated')
  onRotated(event: SessionEventMap['session.rotated']) {
    return this.hear(event);
  }
  @OnEvent('session.login')
  onLogin(event: SessionEventMap['session.login']) {
    return this.hear(event);
  }
  @OnEvent('session.ended')
  onEnded(event: SessionEventOf<'ended'>) {
    return this.hear(event);
  }
  @OnEvent('session.expired')
  @OnEvent('session.reuse')
  @OnEvent('session.limit')
  @OnEvent('session.corrupt')
  @OnEvent('session.cleared')
  onOther(event: SessionEvent) {
    return this.hear(event);
  }
  @OnEvent('session.write-after-end', { suppressErrors: false })
  onWriteAfterEnd(event: SessionEventOf<'write-after-end'>) {
    return this.hear(event);
  }

  private hear(event: SessionEvent): unknown {
    this.heard.push(event);
    return this.deed(event);
  }
}

const ofOneSession = { sessionId: 'an-id', userId: 'ada' };
const everyEvent: SessionEvent[] = [
  { type: 'created', ...ofOneSession },
  { type: 'login', ...ofOneSession },
  { type: 'rotated', reason: 'cycle', ...ofOneSession },
  { type: 'ended', reason: 'limit', ...ofOneSession },
  { type: 'expired', ...ofOneSession },
  { type: 'reuse', ...ofOneSession },
  { type: 'limit', userId: 'ada' },
  { type: 'corrupt', error: new Error('A record cannot be decoded.') },
  { type: 'write-after-end', sessionId: 'an-id' },
  { type: 'cleared', count: 3, duration: 12 },
];

class RecordingLogger {
  readonly lines: string[] = [];
  log = () => {};
  warn = (...line: unknown[]) => this.lines.push(`warn: ${line.join(' ')}`);
  error = (...line: unknown[]) => this.lines.push(`error: ${line.join(' ')}`);
}

let running: RunningApp | undefined;
let recorded: RecordedMetrics | undefined;

afterEach(async () => {
  await running?.close();
  await recorded?.stop();
  running = recorded = undefined;
});

const emitIn = ({ app }: RunningApp) => app.get<HttpEnvironment>(HTTP_ENVIRONMENT).sessions.emit;

/** The application with listeners, and its store. */
async function startShop(
  platform: (typeof platforms)[number],
  setup: Partial<AppSetup> = {},
): Promise<{ store: RecordingStore; listener: Listener; logger: RecordingLogger } & RunningApp> {
  const store = new RecordingStore();
  const logger = new RecordingLogger();
  const started = await startApp(platform, {
    engine: { useFactory: () => store },
    imports: [EventEmitterModule.forRoot()],
    controllers: [ShopController],
    providers: [Listener],
    logger,
    ...setup,
  });
  running = started;
  return { ...started, store, logger, listener: started.app.get(Listener) };
}

/** A request whose session goes away before it is saved. */
async function writeAfterEnd({ store, ...shop }: { store: RecordingStore } & RunningApp) {
  const visitor = shop.browser();
  await visitor.get('/write').expect(200);
  const held = store.hold('save');
  const response = visitor.get('/write').then((answer) => answer);
  await held.reached;
  store.records.clear();
  held.release();
  return response;
}

describe.each(platforms)('the events of sessions on %s', (platform) => {
  it('S98: reach the listeners of the application once, each under its own name and in order', async () => {
    const shop = await startShop(platform);
    for (const event of everyEvent) emitIn(shop)(event);
    expect(shop.listener.heard).toEqual(everyEvent);
  });

  it('S98: tell of creation, rotation, end and loss with the session id, the reason and the user', async () => {
    const shop = await startShop(platform);
    const visitor = shop.browser();
    const { id } = (await visitor.get('/write').expect(200)).body as { id: string };
    const login = async () => (await visitor.get('/login/ada').expect(200)).body as { id: string };
    const [first, second] = [await login(), await login()];
    await visitor.get('/read').expect(200);
    await visitor.get('/logout').expect(200);
    await visitor.get('/read').expect(200);
    expect(shop.listener.heard).toEqual([
      { type: 'created', sessionId: id, userId: null },
      { type: 'created', sessionId: first.id, userId: 'ada' },
      { type: 'ended', reason: 'login', sessionId: id, userId: null },
      { type: 'login', sessionId: first.id, userId: 'ada' },
      { type: 'created', sessionId: second.id, userId: 'ada' },
      { type: 'ended', reason: 'login', sessionId: first.id, userId: 'ada' },
      { type: 'login', sessionId: second.id, userId: 'ada' },
      { type: 'ended', reason: 'logout', sessionId: second.id, userId: 'ada' },
    ]);
  });

  it('S98: tell once of a session that a request lost, and the log has one line of it', async () => {
    const shop = await startShop(platform);
    const { id } = (await writeAfterEnd(shop)).body as { id: string };
    expect(shop.listener.heard.filter(({ type }) => type === 'write-after-end')).toEqual([
      { type: 'write-after-end', sessionId: id },
    ]);
    expect(shop.logger.lines.filter((line) => line.includes(id))).toEqual([
      expect.stringMatching(/^warn: Session \S+ ended while a request was changing it/),
    ]);
  });

  it('S98: tell once that the timeouts of today end a session that the store still has', async () => {
    const engine = testingEngine();
    const yesterday = await startShop(platform, { engine });
    const visitor = yesterday.browser();
    const written = await visitor.get('/write').expect(200);
    await yesterday.close();
    const shop = await startShop(platform, { engine, options: { idleTimeout: '10m' } });
    engine.clock.advance('30m');
    await shop.request
      .get('/read')
      .set('Cookie', `sessionid=${sessionKeyIn(written)}`)
      .expect(200);
    const { id } = written.body as { id: string };
    expect(shop.listener.heard).toEqual([{ type: 'expired', sessionId: id, userId: null }]);
  });

  it('S98: tell that a replaced key came back, and that the session was ended for it', async () => {
    const engine = testingEngine();
    const shop = await startShop(platform, { engine, options: { renewAfter: '5m', onReuse: 'revoke' } });
    const visitor = shop.browser();
    const login = await visitor.get('/login/ada').expect(200);
    const session = { sessionId: (login.body as { id: string }).id, userId: 'ada' };
    engine.clock.advance('6m');
    await visitor.get('/write').expect(200);
    await visitor.get('/read').expect(200);
    engine.clock.advance('30s');
    await shop.request
      .get('/read')
      .set('Cookie', `sessionid=${sessionKeyIn(login)}`)
      .expect(200);
    expect(shop.listener.heard).toEqual([
      { type: 'created', ...session },
      { type: 'login', ...session },
      { type: 'rotated', reason: 'renewal', ...session },
      { type: 'reuse', ...session },
      { type: 'ended', reason: 'reuse', ...session },
    ]);
  });

  it('S98: tell of a login beyond the limit, and of the session that it ended', async () => {
    const shop = await startShop(platform, {
      engine: memoryEngine(),
      options: { sessionsPerUser: { max: 1, policy: 'evict-oldest' } },
    });
    const login = async () => (await shop.request.get('/login/ada').expect(200)).body as { id: string };
    const { id: sessionId } = await login();
    const { id: successor } = await login();
    expect(shop.listener.heard).toEqual([
      { type: 'created', sessionId, userId: 'ada' },
      { type: 'login', sessionId, userId: 'ada' },
      { type: 'created', sessionId: successor, userId: 'ada' },
      { type: 'limit', userId: 'ada' },
      { type: 'ended', reason: 'limit', sessionId, userId: 'ada' },
      { type: 'login', sessionId: successor, userId: 'ada' },
    ]);
  });

  it('S98: tell once of an end that two requests wished for at once', async () => {
    const store = new RecordingStore();
    const shop = await startShop(platform, { engine: { useFactory: () => store } });
    const visitor = shop.browser();
    await visitor.get('/login/ada').expect(200);
    const held = store.hold('delete');
    const first = visitor.get('/logout').then(({ status }) => status);
    await held.reached;
    await visitor.get('/logout').expect(200);
    held.release();
    expect(await first).toBe(200);
    expect(shop.listener.heard.filter(({ type }) => type === 'ended')).toHaveLength(1);
  });

  it('S98: tell of a session that somebody else ended', async () => {
    const shop = await startShop(platform, { engine: memoryEngine() });
    const { id: sessionId } = (await shop.request.get('/login/ada').expect(200)).body as { id: string };
    await shop.app.get(Sessions).revoke(sessionId, { userId: 'ada' });
    expect(shop.listener.heard).toContainEqual({
      type: 'ended',
      reason: 'revoked',
      sessionId,
      userId: 'ada',
    });
  });

  it('S93: say neither session keys nor store keys', async () => {
    const shop = await startShop(platform);
    const visitor = shop.browser();
    const keys: string[] = [];
    for (const path of ['/write', '/login/ada', '/read', '/logout']) {
      keys.push(sessionKeyIn(await visitor.get(path).expect(200)) ?? '');
    }
    const secrets = keys.filter((key) => key !== '').flatMap((key) => [key, key.slice(23)]);
    expect(secrets).toHaveLength(4);
    await writeAfterEnd(shop);
    const told = JSON.stringify([shop.listener.heard, shop.logger.lines]);
    expect(told).toContain('write-after-end');
    for (const secret of secrets) expect(told).not.toContain(secret);
  });

  it.each<[string, () => unknown]>([
    [
      'throws',
      () => {
        throw new Error('the listener is broken');
      },
    ],
    ['rejects', () => Promise.reject(new Error('the listener is broken'))],
  ])('harm no request when a listener %s', async (_how, deed) => {
    const shop = await startShop(platform);
    // Nest itself catches what decorated methods throw, but not with `suppressErrors: false`.
    shop.listener.deed = deed;
    const heardAfterwards: unknown[] = [];
    const emitter = shop.app.get(EventEmitter2);
    emitter.onAny(() => {
      throw new Error('the listener to everything is broken');
    });
    emitter.on('session.write-after-end', deed);
    emitter.on('session.write-after-end', (event: SessionEvent) => heardAfterwards.push(event));
    const response = await writeAfterEnd(shop);
    expect(response.status).toBe(200);
    expect(heardAfterwards).toHaveLength(1);
    expect(emitIn(shop)({ type: 'limit', userId: 'ada' })).toBeUndefined();
    await shop.request.get('/write').expect(200);
    expect(shop.listener.heard.map(({ type }) => type)).toContain('limit');
    expect(shop.logger.lines).toContainEqual(
      expect.stringMatching(/^error: A listener of session events failed: Error: the listener is broken/),
    );
  });

  it('are emitted by wildcard, too', async () => {
    const shop = await startShop(platform, { imports: [EventEmitterModule.forRoot({ wildcard: true })] });
    const heard: unknown[] = [];
    shop.app.get(EventEmitter2).on('session.*', (event) => heard.push(event));
    for (const event of everyEvent) emitIn(shop)(event);
    expect(heard).toEqual(everyEvent);
  });

  it('reach every listener, though one of them listens only once', async () => {
    const shop = await startShop(platform);
    const heard: string[] = [];
    const emitter = shop.app.get(EventEmitter2);
    emitter.once('session.limit', () => heard.push('once'));
    emitter.on('session.limit', () => heard.push('always'));
    for (let time = 0; time < 2; time += 1) emitIn(shop)({ type: 'limit', userId: 'ada' });
    expect(heard).toEqual(['once', 'always', 'always']);
  });

  it('are logged without an emitter in the application', async () => {
    const shop = await startShop(platform, { imports: [] });
    for (const event of everyEvent) emitIn(shop)(event);
    expect(shop.listener.heard).toEqual([]);
    expect(shop.logger.lines).toEqual([
      expect.stringContaining('error: A record cannot be decoded.'),
      expect.stringContaining('warn: Session an-id ended'),
    ]);
  });
});

/** Labels of the events and operations of this program, none of them from a request. */
const FINITE_LABELS = new Set([
  ...everyEvent.map(({ type }) => type as string),
  'loaded',
  'logout',
  'user-changed',
  'expiry',
  'revoked',
  'limit',
  'stamp',
  'reuse',
  'login',
  'cycle',
  'renewal',
  'load',
  'create',
  'save',
  'touch',
  'take',
  'delete',
  'listByUser',
  'deleteByUser',
  'ok',
  'error',
  'timeout',
]);

/** All sessions expired a month ago. */
async function expire({ dataSource }: DatabaseApp): Promise<void> {
  await age(dataSource, 45 * 86_400);
  await dataSource.query('UPDATE nest_session SET expire_bucket = expire_bucket - 45 * 24');
}

/** The values of an instrument, by the values of its labels. */
async function series(instrument: string): Promise<Record<string, number>> {
  return Object.fromEntries((await recorded?.series(`nest_sessions.${instrument}`)) ?? []);
}

/** The labels of all instruments. */
async function labels(): Promise<string[]> {
  const instruments = ['events', 'store.operation.duration', 'sweep.duration', 'sweep.cleared', 'sweep.lag'];
  const all = await Promise.all(instruments.map(series));
  return all.flatMap((instrument) => Object.keys(instrument)).toSorted();
}

describe('the metrics of sessions', () => {
  beforeEach(() => (recorded = new RecordedMetrics()));

  it.each(platforms)('count events and time the calls of a database behind %s', async (platform) => {
    running = await startDatabaseApp(platform, anyDatabase, { controllers: [ShopController] });
    const visitor = running.browser();
    for (const path of ['/read', '/write', '/write', '/login/ada', '/read', '/logout']) {
      await visitor.get(path).expect(200);
    }
    await expect(series('events')).resolves.toEqual({
      created: 2,
      loaded: 4,
      login: 1,
      'login ended': 1,
      'logout ended': 1,
    });
    await expect(series('store.operation.duration')).resolves.toEqual({
      'create ok': 2,
      'load ok': 4,
      'save ok': 1,
      'take ok': 1,
      'delete ok': 1,
    });
  });

  it('are in the units of OpenTelemetry: seconds, and the counted thing', async () => {
    const database = await startDatabaseApp('express', anyDatabase, { controllers: [ShopController] });
    running = database;
    const began = performance.now();
    await database.request.get('/write').expect(200);
    const took = (performance.now() - began) / 1000;
    await expire(database);
    await database.app.get(Sessions).clearExpired();
    const instruments = await recorded?.instruments();
    expect(Object.fromEntries([...(instruments ?? [])].map(([name, { unit }]) => [name, unit]))).toEqual({
      'nest_sessions.events': '{event}',
      'nest_sessions.store.operation.duration': 's',
      'nest_sessions.sweep.cleared': '{session}',
      'nest_sessions.sweep.duration': 's',
      'nest_sessions.sweep.lag': 's',
    });
    const [create] = instruments?.get('nest_sessions.store.operation.duration')?.points ?? [];
    const timed = create?.value as { sum: number } | undefined;
    expect(timed?.sum).toBeGreaterThan(0);
    expect(timed?.sum).toBeLessThan(took);
  });

  it('tell failures and timeouts of the store apart', async () => {
    const shop = await startShop('fastify', { options: { storeTimeout: 0.05 } });
    const { store } = shop;
    const visitor = shop.browser();
    await visitor.get('/write').expect(200);
    store.fail('load', new SessionStoreUnavailableError('load', 'it is down.'));
    await visitor.get('/read').expect(503);
    store.hang('load');
    await visitor.get('/read').expect(503);
    // By a limit of the store's own.
    const cause = Object.assign(new Error('no answer'), { name: 'TimeoutError' });
    store.heal();
    store.fail('load', new SessionStoreUnavailableError('load', 'it is silent.', { cause }));
    await visitor.get('/read').expect(503);
    store.heal();
    store.fail('save', new Error(SECRET));
    await visitor.get('/write').expect(500);
    await expect(series('store.operation.duration')).resolves.toEqual({
      'create ok': 1,
      'load error': 1,
      'load timeout': 2,
      'load ok': 1,
      'save error': 1,
    });
  });

  it("time the calls for a user's sessions, too", async () => {
    const shop = await startShop('express', {
      engine: memoryEngine(),
      options: { sessionsPerUser: { max: 3, policy: 'evict-oldest' } },
    });
    const { id } = (await shop.request.get('/login/ada').expect(200)).body as { id: string };
    const sessions = shop.app.get(Sessions);
    await sessions.listByUser('ada');
    await sessions.revoke(id);
    await sessions.revokeAll('ada');
    await expect(series('store.operation.duration')).resolves.toEqual({
      'create ok': 1,
      'listByUser ok': 3,
      'delete ok': 1,
      'load ok': 1,
      'deleteByUser ok': 1,
    });
  });

  it('S96: have a finite set of labels, however many sessions and users there are', async () => {
    const shop = await startShop('express');
    const life = async (user: number): Promise<void> => {
      const visitor = shop.browser();
      for (const path of ['/write', `/login/user-${user}`, '/read', '/logout']) {
        await visitor.get(path).expect(200);
      }
    };
    await life(0);
    for (const event of everyEvent) emitIn(shop)(event);
    const once = await labels();
    for (let user = 1; user <= 20; user += 1) await life(user);
    expect(await labels()).toEqual(once);
    expect(once.length).toBeGreaterThan(everyEvent.length);
    for (const label of once.flatMap((text) => text.split(' ').filter(Boolean))) {
      expect(FINITE_LABELS).toContain(label);
    }
  });

  it('of a sweep are what it cleared, how long it took and how long ago it was', async () => {
    const database = await startDatabaseApp('express', anyDatabase, {
      controllers: [ShopController],
      imports: [EventEmitterModule.forRoot()],
      providers: [Listener],
      options: { clearExpired: { schedule: '1d' } },
    });
    running = database;
    const now = performance.now.bind(performance);
    const clock = jest.spyOn(performance, 'now').mockImplementation(() => now() + 100_000);
    try {
      // Nothing was swept since the start, though the job is on.
      expect((await series('sweep.lag'))['']).toBeGreaterThanOrEqual(100);
      for (let session = 0; session < 3; session += 1) await database.request.get('/write').expect(200);
      await expire(database);
      await expect(database.app.get(Sessions).clearExpired()).resolves.toBe(3);
      expect((await series('sweep.lag'))['']).toBeLessThan(100);
    } finally {
      clock.mockRestore();
    }
    await expect(series('sweep.cleared')).resolves.toEqual({ '': 3 });
    await expect(series('sweep.duration')).resolves.toEqual({ '': 1 });
    expect(database.app.get(Listener).heard.filter(({ type }) => type === 'cleared')).toEqual([
      { type: 'cleared', count: 3, duration: expect.any(Number) },
    ]);
  });

  it('have no lag where nothing sweeps, and none when the application has ended', async () => {
    running = await startApp('express', { engine: memoryEngine() });
    await expect(series('sweep.lag')).resolves.toEqual({});
    await running.app.get(Sessions).clearExpired();
    const lag = await series('sweep.lag');
    expect(Object.keys(lag)).toEqual(['']);
    expect(await series('sweep.lag')).not.toEqual(lag);
    await running.close();
    running = undefined;
    const last = await series('sweep.lag'); // the SDK goes on to tell the last value it was given
    expect(await series('sweep.lag')).toEqual(last);
  });
});

describe('without an SDK of OpenTelemetry', () => {
  it('there are no instruments', async () => {
    expect(await openMetrics(() => undefined)).toBeUndefined();
  });
});

@Controller('health')
class HealthController {
  constructor(
    private readonly health: HealthCheckService,
    private readonly sessions: SessionHealthIndicator,
  ) {}

  @Get()
  @HealthCheck()
  check() {
    return this.health.check([() => this.sessions.isHealthy(), () => this.sessions.isHealthy('again')]);
  }
}

const health: Partial<AppSetup> = {
  imports: [TerminusModule.forRoot({ logger: false })],
  controllers: [HealthController],
  providers: [SessionHealthIndicator],
};

describe.each(platforms)('the health indicator on %s', (platform) => {
  it('is up while the store answers, and stores nothing', async () => {
    const database = await startDatabaseApp(platform, anyDatabase, health);
    running = database;
    const { body } = await database.request.get('/health').expect(200);
    expect(body.details).toEqual({ sessions: { status: 'up' }, again: { status: 'up' } });
    await expect(database.dataSource.query('SELECT * FROM nest_session')).resolves.toEqual([]);
  });

  it.each([
    ['hangs', (store: RecordingStore) => store.hang('load'), 'SESSION_STORE_UNAVAILABLE', 'load'],
    [
      'is not to be reached',
      (store: RecordingStore) =>
        store.fail('load', new SessionStoreUnavailableError('load', `no route to redis://shop:${SECRET}@db`)),
      'SESSION_STORE_UNAVAILABLE',
      'load',
    ],
    [
      'throws what it likes',
      (store: RecordingStore) => store.fail('load', new Error(`redis://shop:${SECRET}@db`)),
      'UNKNOWN',
      undefined,
    ],
  ])('S94: is down without secrets when the store %s', async (_how, strike, code, operation) => {
    const store = new RecordingStore();
    const engine = { useFactory: () => store };
    running = await startApp(platform, { ...health, engine, options: { storeTimeout: 0.05 } });
    strike(store);
    const { body, text } = await running.request.get('/health').expect(503);
    expect(body.error.sessions).toEqual({ status: 'down', code, ...(operation && { operation }) });
    expect(text).not.toContain(SECRET);
  });

  it('asks only the notes of ended sessions of a store that keeps no sessions', async () => {
    const revocations = {
      revokedBefore: jest.fn(() => Promise.resolve(null)),
      revokeBefore: () => Promise.resolve(),
    };
    const engine = cookieEngine({
      secrets: 'c2VjcmV0IG9mIGEgdGVzdCwgYW5kIG9mIG5vdGhpbmcgZWxzZQ',
      revocations,
    });
    running = await startApp(platform, { ...health, engine });
    await running.request.get('/health').expect(200);
    expect(revocations.revokedBefore).toHaveBeenCalledTimes(2);
  });
});

describeWithService('postgres', 'the health indicator of PostgreSQL', () => {
  it("S94: is down with the database's own code when the table is gone", async () => {
    const database = await startDatabaseApp('fastify', 'postgres', health);
    running = database;
    await database.dataSource.query('DROP TABLE nest_session');
    const { body } = await database.request.get('/health').expect(503);
    expect(body.error.sessions).toEqual({ status: 'down', code: '42P01' });
  });

  it('S94: is down while the wire to it is cut, does not say where it is, and is up when the wire is mended', async () => {
    const database = await testDatabase('postgres');
    const { url } = database.options as { url: string };
    const target = new URL(url);
    const proxy = await startTcpProxy(target.hostname, Number(target.port || 5432));
    target.hostname = '127.0.0.1';
    target.port = String(proxy.port);
    const options = { ...database.options, url: target.href } as DataSourceOptions;
    const shop = await startDatabaseApp('express', 'postgres', {
      ...health,
      database: { ...database, options },
    });
    try {
      await shop.request.get('/health').expect(200);
      proxy.cut();
      const { body, text } = await shop.request.get('/health').expect(503);
      expect(body.error.sessions).toEqual({
        status: 'down',
        code: 'SESSION_STORE_UNAVAILABLE',
        operation: 'load',
      });
      expect(text).not.toContain(target.port);
      proxy.mend();
      await shop.request.get('/health').expect(200);
    } finally {
      await shop.close();
      await proxy.close();
      await database.dispose();
    }
  });
});

describe('an application without the optional packages', () => {
  it('has its sessions all the same', async () => {
    const packages = [
      '@nestjs/common',
      '@nestjs/core',
      '@nestjs/platform-express',
      'reflect-metadata',
      'rxjs',
    ];
    const installation = new Installation(packages);
    try {
      const output = await installation.run(`
        import 'reflect-metadata';
        import { NestFactory } from '@nestjs/core';
        import { mountSessions, SessionModule, SessionStore } from 'nest-sessions';
        import { memoryEngine } from 'nest-sessions/memory';

        for (const name of ['@nestjs/event-emitter', '@nestjs/terminus', '@opentelemetry/api']) {
          await import(name).then(
            () => console.log(name, 'is there'),
            ({ code }) => console.log(code),
          );
        }
        class AppModule {}
        const sessions = SessionModule.forRoot(memoryEngine());
        const app = await NestFactory.create({ module: AppModule, imports: [sessions] }, { logger: ['error'] });
        mountSessions(app);
        app.use(async (request, response) => {
          await request.session.load();
          request.session.increment('count');
          response.end('count ' + request.session.get('count'));
        });
        await app.listen(0);
        const url = await app.getUrl();
        const first = await fetch(url);
        const cookie = first.headers.get('set-cookie').split(';')[0];
        console.log(await first.text());
        console.log(await (await fetch(url, { headers: { cookie } })).text());
        await app.close();
      `);
      expect(output.trim().split('\n')).toEqual([
        ...Array<string>(3).fill('ERR_MODULE_NOT_FOUND'),
        'count 1',
        'count 2',
      ]);
    } finally {
      installation.remove();
    }
  });
});
