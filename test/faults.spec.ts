import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { inspect } from 'node:util';
import { Controller, Get, HttpCode, type LoggerService, Post, UseGuards } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { Session, SessionGuard, SessionStoreUnavailableError } from 'nest-sessions';
import { cachedDatabaseEngine } from 'nest-sessions/cached-database';
import { cookieEngine } from 'nest-sessions/cookie';
import { redisEngine } from 'nest-sessions/redis';
import { type AppSetup, platforms, type RunningApp, startApp } from './support/app.js';
import { testDatabase, type TestDatabase } from './support/data-source.js';
import {
  type Fault,
  type FaultName,
  type FaultyEngine,
  faultyEngines,
  type FaultySetup,
  quickTimers,
} from './support/faulty-engines.js';
import { describeWithKillableRedis, type KillableRedis } from './support/killable-redis.js';
import { RecordingStore } from './support/recording-store.js';
import { describeWithService } from './support/services.js';
import { startTcpProxy, type TcpProxy } from './support/tcp-proxy.js';
import { type Answer, exchange, sessionCookie } from './support/wire.js';

// docs/faults.md is the table of what is shown here.

/** What happens in the next handler of /visit: after the load, before the commit. */
let meanwhile: (() => Promise<void>) | undefined;

@Controller()
class VisitorController {
  @Get('plain')
  plain() {
    return 'plain';
  }

  @Get('mine')
  @UseGuards(SessionGuard)
  mine(@Session() session: Session<{ visits: number }>) {
    return { userId: session.userId, visits: session.visits };
  }

  @Post('visit')
  @HttpCode(200)
  async visit(@Session() session: Session<{ visits: number }>) {
    const happens = meanwhile;
    meanwhile = undefined;
    await happens?.();
    return { visits: session.increment('visits') };
  }

  @Post('login')
  @HttpCode(200)
  login(@Session() session: Session) {
    session.login('ada');
  }

  @Post('touch')
  @HttpCode(200)
  touch(@Session() session: Session) {
    session.touch();
  }

  @Post('logout')
  @HttpCode(200)
  logout(@Session() session: Session) {
    session.logout();
  }
}

/** Well-formed, and nobody's. */
const UNKNOWN = `sessionid=${'A'.repeat(22)}.${'A'.repeat(43)}`;

const logged: string[] = [];
const write =
  (level: string) =>
  (...message: unknown[]): void =>
    void logged.push(`${level} ${inspect(message, { depth: 10, breakLength: Infinity })}`);
const logger: LoggerService = { log: write('log'), warn: write('warn'), error: write('error') };
const loggedAs = (level: string): string[] => logged.filter((line) => line.startsWith(`${level} `));

class Site {
  constructor(readonly running: RunningApp) {}

  send(path: string, cookie?: string): Promise<Answer> {
    const method = path === '/plain' || path === '/mine' ? 'GET' : 'POST';
    return exchange(`${this.running.url}${path}`, {
      method,
      headers: cookie === undefined ? {} : { Cookie: cookie },
    }).answer;
  }

  /** The answer to somebody who tries again for as long as he is told to. */
  async insist(path: string, cookie?: string): Promise<Answer> {
    for (const deadline = Date.now() + 100_000; ; await sleep(20)) {
      const answer = await this.send(path, cookie);
      if (answer.status !== 503 || Date.now() > deadline) return answer;
    }
  }

  /** The cookie of a visitor who has logged in, and has been here once. */
  async loggedIn(): Promise<string> {
    for (;;) {
      const cookie = sessionCookie(await this.insist('/login')) as string;
      const visited = await this.send('/visit', cookie);
      // A busy machine may be too late, and whether that visit counts nobody knows then.
      if (visited.status !== 200) continue;
      logged.length = 0;
      return sessionCookie(visited) ?? cookie;
    }
  }

  /** What the session holds, as soon as the store can be reached again. */
  async seen(cookie: string): Promise<unknown> {
    const { status, body } = await this.insist('/mine', cookie);
    return status === 200 ? JSON.parse(body.toString()) : status;
  }

  close(): Promise<void> {
    return this.running.close();
  }
}

/** On one platform and the other by turns. */
async function open(
  index: number,
  { engine, imports = [], options }: Pick<AppSetup, 'engine' | 'imports' | 'options'>,
): Promise<Site> {
  const platform = platforms[index % platforms.length] as (typeof platforms)[number];
  return new Site(
    await startApp(platform, {
      engine,
      imports,
      options: { storeTimeout: '1s', ...options },
      controllers: [VisitorController],
      logger,
    }),
  );
}

/** Told to try again, with nothing said of the session, and the cookie left alone. */
function expectUnavailable(answers: Answer[], cookie: string): void {
  for (const { status, headers } of answers) {
    expect({ status, retryAfter: headers['retry-after'] }).toEqual({ status: 503, retryAfter: '5' });
    expect(headers).not.toHaveProperty('set-cookie');
  }
  expect(logged.join('\n')).not.toContain(cookie.split('=')[1]);
  expect(logged.join('\n')).not.toMatch(/v1-[0-9a-f]{64}/);
}

describeWithService('postgres', 'a cached database', () => {
  describeWithKillableRedis('in front of which is Redis,', (redis) => {
    let database: TestDatabase;
    let wire: TcpProxy;
    let site: Site;

    beforeAll(async () => {
      database = await testDatabase('postgres');
      const url = new URL((database.options as { url: string }).url);
      wire = await startTcpProxy(url.hostname, Number(url.port || 5432));
      url.host = `127.0.0.1:${wire.port}`;
      const options = { ...database.options, url: url.href, autoLoadEntities: true, synchronize: true };
      site = await open(1, {
        imports: [TypeOrmModule.forRoot(options)],
        engine: cachedDatabaseEngine({
          cache: { redis: { url: redis.url, options: quickTimers } },
          cacheTimeout: '1s', // longer than a busy machine needs for an answer
          revocationBound: '500ms',
        }),
        // A database that is cut off answers at once; a cache that is slow costs its time more than once.
        options: { storeTimeout: '10s' },
      });
    });
    afterAll(async () => {
      await site.close();
      await wire.close();
      await database.dispose();
    });

    const outages: [name: string, strike: () => unknown, mend: () => unknown][] = [
      ['is down', () => redis.kill(), () => redis.start()],
      ['is slow', () => redis.freeze(), () => redis.thaw()],
    ];

    it.each(outages)('goes on when the cache %s, with one warning', async (_name, strike, mend) => {
      const cookie = await site.loggedIn();
      await strike();
      for (let visits = 2; visits < 6; visits += 1) {
        expect((await site.send('/visit', cookie)).status).toBe(200);
        expect(await site.seen(cookie)).toEqual({ userId: 'ada', visits });
      }
      expect(loggedAs('warn')).toEqual([
        expect.stringContaining('The cache of the sessions does not answer'),
      ]);
      await mend();
      while (loggedAs('log').length === 0) {
        expect(await site.seen(cookie)).toEqual({ userId: 'ada', visits: 5 });
        await sleep(50);
      }
      expect(loggedAs('log')).toEqual([expect.stringContaining('answers again')]);
      expect(await site.seen(cookie)).toEqual({ userId: 'ada', visits: 5 });
      expect((await site.send('/logout', cookie)).status).toBe(200);
      expect(await site.seen(cookie)).toBe(401);
    });

    it('does not do without the database', async () => {
      const cookie = await site.loggedIn();
      expect(await site.seen(cookie)).toEqual({ userId: 'ada', visits: 1 });
      wire.cut();
      expectUnavailable(
        await Promise.all(['/visit', '/login', '/logout'].map((path) => site.send(path, cookie))),
        cookie,
      );
      await sleep(600); // until then the cache may show what it has
      expectUnavailable([await site.send('/mine', cookie)], cookie);
      wire.mend();
      expect(await site.seen(cookie)).toEqual({ userId: 'ada', visits: 1 });
    });
  });
});

describeWithKillableRedis('a cookie whose revocations are in Redis', (redis) => {
  it('opens for nobody while they are out of reach', async () => {
    const engine = cookieEngine({
      secrets: randomBytes(32).toString('base64url'),
      revocations: redisEngine({ url: redis.url, options: quickTimers }),
    });
    const site = await open(0, { engine });
    try {
      const cookie = await site.loggedIn();
      redis.freeze();
      const answers = ['/mine', '/visit', '/logout'].map((path) => site.send(path, cookie));
      expectUnavailable(await Promise.all(answers), cookie);
      expect((await site.send('/visit')).status).toBe(200); // a new session needs no store
      redis.thaw();
      expect(await site.seen(cookie)).toEqual({ userId: 'ada', visits: 1 });
    } finally {
      await site.close();
    }
  });
});

const readOnly = new SessionStoreUnavailableError('touch', 'it is read-only.');
it.each([
  // An outage, of which one line tells whatever fails, and a fault of another kind.
  [0, 'error', 'does not serve', readOnly],
  [1, 'error', 'does not serve', readOnly],
  [0, 'warn', 'idle clock', new TypeError('a fault of the store')],
  [1, 'warn', 'idle clock', new TypeError('a fault of the store')],
] as const)(
  'a touch that fails is nobody’s concern but the operator’s (%d, %s)',
  async (index, level, text, error) => {
    const store = new RecordingStore();
    const site = await open(index, { engine: { useFactory: () => store }, options: { idleTimeout: '10m' } });
    try {
      const cookie = await site.loggedIn();
      store.fail('touch', error);
      expect((await site.send('/mine', cookie)).status).toBe(200);
      for (const record of store.records.values()) {
        // As if it had been a tenth of the idle timeout ago, and something.
        record.lastSeenAt -= 90_000;
        record.expiresAt -= 90_000;
      }
      const touches = (): number => store.calls.filter((operation) => operation === 'touch').length;
      const before = touches();
      for (let n = 0; n < 3; n += 1) {
        const answer = await site.send('/mine', cookie);
        expect([answer.status, sessionCookie(answer)]).toEqual([200, undefined]);
      }
      // One attempt, then a rest.
      expect(touches()).toBe(before + 1);
      const lines = [...loggedAs('warn'), ...loggedAs('error')];
      expect(lines.filter((line) => /idle clock|does not serve/.test(line))).toHaveLength(1);
      expect(loggedAs(level).filter((line) => line.includes(text))).toHaveLength(1);
      // Whoever asks for it gets to know.
      store.fail('touch', readOnly);
      expectUnavailable([await site.send('/touch', cookie)], cookie);
    } finally {
      await site.close();
    }
  },
);

// Last, because the clients above linger for two seconds after they were closed.
for (const [index, engine] of faultyEngines.entries()) {
  const { name, needs } = engine;
  if (needs === 'killable redis') {
    describeWithKillableRedis(`when the store is ${name},`, (redis) => describeFaults(index, engine, redis));
  } else {
    const describeEngine = needs === undefined ? describe : describeWithService.bind(null, needs);
    describeEngine(`when the store is ${name},`, () => describeFaults(index, engine));
  }
}

function describeFaults(index: number, engine: FaultyEngine, redis?: KillableRedis): void {
  let setup: FaultySetup;
  let site: Site;
  let faults: Partial<Record<FaultName, Fault>>;
  let cookie: string;
  /** What the session holds that was there before. */
  const kept = { userId: 'ada', visits: 1 };

  beforeAll(async () => {
    setup = await engine.make(redis);
    site = await open(index, setup);
    faults = setup.faults(site.running.app);
  });
  afterAll(async () => {
    await site.close();
    await setup.dispose();
  });
  beforeEach(async () => {
    cookie = await site.loggedIn();
  });

  const fault = (name: FaultName): Fault => faults[name] as Fault;
  const knows = (names: FaultName[]): FaultName[] => names.filter((name) => engine.faults.includes(name));

  it.each(knows(['down', 'slow']))(
    '%s, nobody is taken for a stranger, and nothing is lost',
    async (name) => {
      await fault(name).strike();
      const paths = ['/mine', '/visit', '/login', '/logout'] as const;
      const known = paths.map((path) => site.send(path, cookie));
      const unknown = [site.send('/visit'), site.send('/login')];
      expectUnavailable(await Promise.all([...known, ...unknown]), cookie);
      expect((await site.send('/plain', cookie)).status).toBe(200);
      expect(loggedAs('error')).toEqual([expect.stringContaining('The session store does not serve')]);
      await fault(name).mend();
      expect(await site.seen(cookie)).toEqual(kept);
      // One line when it begins and one when it is over, with what it has cost.
      while (loggedAs('log').length === 0) {
        await sleep(50);
        expect([200, 503]).toContain((await site.send('/mine', cookie)).status);
      }
      expect(loggedAs('error')).toHaveLength(1);
      expect(loggedAs('log')).toEqual([
        expect.stringMatching(/The session store serves again: ([6-9]|\d\d+) calls failed in [\d.]+ s\./),
      ]);
    },
  );

  it.each(knows(['down', 'slow', 'read-only']))(
    '%s at the commit, the answer is no success',
    async (name) => {
      meanwhile = () => fault(name).strike();
      expectUnavailable([await site.send('/visit', cookie)], cookie);
      // None, while it belongs to the outage of the test before.
      expect(loggedAs('error').length).toBeLessThanOrEqual(1);
      await fault(name).mend();
      // A write that was given up because it took too long may still arrive.
      const possible = name === 'slow' ? [kept, { ...kept, visits: 2 }] : [kept];
      expect(possible).toContainEqual(await site.seen(cookie));
    },
  );

  it('emptied, the visitor is a stranger, and the old key stays dead', async () => {
    await fault('emptied').strike();
    expect(await site.seen(cookie)).toBe(401);
    const visited = await site.send('/visit', cookie);
    expect([visited.status, visited.body.toString()]).toEqual([200, '{"visits":1}']);
    expect(sessionCookie(visited)).not.toBe(cookie);
    expect(loggedAs('warn')).toEqual([]);
    expect(await site.seen(cookie)).toBe(401);
  });

  it('emptied under a request, that session is not brought back', async () => {
    meanwhile = async () => {
      await fault('emptied').strike();
      await site.seen(UNKNOWN); // the connection is back, too
    };
    const visited = await site.send('/visit', cookie);
    expect([visited.status, sessionCookie(visited)]).toEqual([200, undefined]);
    expect(loggedAs('warn')).toEqual([expect.stringContaining('ended while a request was changing it')]);
    expect(await site.seen(cookie)).toBe(401);
  });

  if (!engine.faults.includes('read-only')) return;
  it('read-only, visitors are known, and writes are no success', async () => {
    const { strike, mend } = fault('read-only');
    await strike();
    expect(await site.seen(cookie)).toEqual(kept);
    const writes = ['/visit', '/login', '/logout'].map((path) => site.send(path, cookie));
    expectUnavailable(await Promise.all([...writes, site.send('/visit')]), cookie);
    expect(await site.seen(cookie)).toEqual(kept);
    await mend();
    expect(await site.seen(cookie)).toEqual(kept);
  });
}
