import assert from 'node:assert/strict';
import { setImmediate } from 'node:timers/promises';
import { Controller, Get, type INestApplication, Post, Query, Req } from '@nestjs/common';
import passport from 'passport';
import { TypeOrmModule, type TypeOrmModuleOptions } from '@nestjs/typeorm';
import { mountSessions, Session, SessionStore } from 'nest-sessions';
import { databaseEngine } from 'nest-sessions/database';
import { memoryEngine } from 'nest-sessions/memory';
import { redisEngine } from 'nest-sessions/redis';
import { type AppSetup, type Platform, platforms, type RunningApp, startApp } from './support/app.js';
import { testDatabase } from './support/data-source.js';
import { testRedis } from './support/redis-store-bench.js';
import { describeWithService, type ServiceName } from './support/services.js';
import { testsAll } from './support/test-all.js';

/**
 * A login that was answered with success is a login: whatever other requests of the same browser were on their way, and
 * in whichever order the answers arrive.
 */

const ROUNDS = 200;

interface Visit {
  seen: number;
  note: string;
}

type PassportRequest = {
  logIn(user: { id: string }, done: (error?: Error | null) => void): void;
  user?: { id: string };
};

/** Lets other requests go first, a number of turns of the event loop that the browser chooses. */
async function wait(turns: string): Promise<void> {
  for (let turn = 0; turn < Number(turns); turn += 1) await setImmediate();
}

@Controller()
class SiteController {
  @Get('read')
  async read(@Session() session: Session<Visit>, @Query('wait') turns: string) {
    await wait(turns);
    return { seen: session.seen ?? 0, messages: session.takeFlash() };
  }

  @Post('write')
  async write(@Session() session: Session<Visit>, @Query('wait') turns: string) {
    await wait(turns);
    session.increment('seen');
  }

  @Post('start')
  start(@Session() session: Session<Visit>) {
    session.note = 'from before the login';
  }

  @Post('logout')
  logout(@Session() session: Session<Visit>) {
    session.logout();
  }

  @Post('login')
  async login(@Session() session: Session<Visit>, @Query('wait') turns: string) {
    await wait(turns);
    session.login('ann');
  }

  @Post('passport')
  async passport(@Req() request: PassportRequest & { raw?: PassportRequest }, @Query('wait') turns: string) {
    await wait(turns);
    await new Promise<void>((resolve, reject) => {
      (request.raw ?? request).logIn({ id: 'ann' }, (error) =>
        error === undefined || error === null ? resolve() : reject(error),
      );
    });
  }

  @Get('me')
  me(@Session() session: Session, @Req() request: PassportRequest & { raw?: PassportRequest }) {
    return { user: session.userId ?? (request.raw ?? request).user?.id ?? null };
  }
}

/** A browser with one cookie, which takes what every answer says about it when that answer arrives. */
class Browser {
  cookie: string | undefined;

  constructor(private readonly url: string) {}

  async send(method: 'GET' | 'POST', path: string): Promise<Response> {
    const headers = this.cookie === undefined ? {} : { cookie: `sessionid=${this.cookie}` };
    const answer = await fetch(`${this.url}${path}`, { method, headers });
    for (const line of answer.headers.getSetCookie()) {
      const [, value = '', removed] = /^sessionid=([^;]*);( Max-Age=0;)?/.exec(line) ?? [];
      this.cookie = removed ? undefined : value;
    }
    return answer;
  }
}

const starts: Record<string, (browser: Browser, store: SessionStore) => Promise<void>> = {
  'a live anonymous session': async (browser) => {
    await browser.send('POST', '/start');
  },
  'an expired one': async (browser, store) => {
    await browser.send('POST', '/start');
    const record = await store.load(browser.cookie?.slice(0, 22) ?? '');
    assert(record);
    await store.save(record.id, record.keyHash, {}, { ...record, expiresAt: Date.now() - 1000 });
  },
  'an unknown one': async (browser) => {
    browser.cookie = `${'u'.repeat(22)}.${'U'.repeat(43)}`;
    browser.cookie = browser.cookie.replace('uuuuuu', Math.random().toString(36).slice(2, 8).padEnd(6, 'x'));
  },
  'one that was logged out': async (browser) => {
    await browser.send('POST', '/start');
    const { cookie } = browser;
    await browser.send('POST', '/logout');
    browser.cookie = cookie;
  },
};

function anyTurns(): string {
  return `?wait=${Math.floor(Math.random() * 12)}`;
}

/** How many of these logins the browser does not have when everything has arrived. */
async function lostLogins(
  app: RunningApp,
  start: (typeof starts)[string],
  way: string,
  rounds: number,
): Promise<number> {
  const store = app.app.get<SessionStore>(SessionStore);
  let lost = 0;
  for (let round = 0; round < rounds; round += 1) {
    const browser = new Browser(app.url);
    await start(browser, store);
    const [login] = await Promise.all([
      browser.send('POST', `/${way}${anyTurns()}`),
      browser.send('GET', `/read${anyTurns()}`),
      browser.send('POST', `/write${anyTurns()}`),
      browser.send('GET', `/read${anyTurns()}`),
      browser.send('POST', `/write${anyTurns()}`),
    ]);
    assert.equal(login.status, 201);
    const { user } = (await (await browser.send('GET', '/me')).json()) as { user: string | null };
    if (user !== 'ann') lost += 1;
  }
  return lost;
}

function usePassport(app: INestApplication): void {
  const authenticator = new passport.Passport();
  authenticator.serializeUser((user, done) => done(null, (user as { id: string }).id));
  authenticator.deserializeUser((id: string, done) => done(null, { id }));
  mountSessions(app);
  app.use(authenticator.initialize());
  app.use(authenticator.session());
}

interface Setup extends Pick<AppSetup, 'engine' | 'imports'> {
  dispose?: () => Promise<void>;
}

const engines: [name: string, service: ServiceName | undefined, make: () => Promise<Setup>][] = [
  ['memory', undefined, async () => ({ engine: memoryEngine() })],
  ['Redis', 'redis', async () => ({ engine: redisEngine(testRedis()) })],
  [
    'PostgreSQL',
    'postgres',
    async () => {
      const { options, dispose } = await testDatabase('postgres');
      const database = { ...options, autoLoadEntities: true, synchronize: true } as TypeOrmModuleOptions;
      return { engine: databaseEngine(), imports: [TypeOrmModule.forRoot(database)], dispose };
    },
  ],
];

for (const [name, service, make] of engines) {
  // On a server a round takes longer.
  const rounds = testsAll ? ROUNDS : ROUNDS / (service === undefined ? 4 : 10);
  const describeEngine = service === undefined ? describe : describeWithService.bind(null, service);
  describeEngine(`a login holds, on ${name}`, () => {
    describe.each(platforms)('%s', (platform: Platform) => {
      let app: RunningApp;
      let setup: Setup;
      beforeAll(async () => {
        setup = await make();
        app = await startApp(platform, {
          ...setup,
          controllers: [SiteController],
          options: { loading: 'eager' },
          prepare: usePassport,
        });
      });
      afterAll(async () => {
        await app.close();
        await setup.dispose?.();
      });

      describe.each(['login', 'passport'])('by /%s', (way) => {
        it.each(Object.entries(starts))('when the browser comes with %s', async (_what, start) => {
          expect(await lostLogins(app, start, way, rounds)).toBe(0);
        });
      });
    });
  });
}
