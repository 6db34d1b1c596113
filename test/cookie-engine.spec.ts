import { randomBytes } from 'node:crypto';
import { jest } from '@jest/globals';
import {
  Body,
  Controller,
  Get,
  Inject,
  InternalServerErrorException,
  type LoggerService,
  Module,
  Post,
  Query,
  Res,
} from '@nestjs/common';
import * as fc from 'fast-check';
import { type Response } from 'supertest';
import { DataSource } from 'typeorm';
import {
  Session,
  SessionCommittedError,
  SessionConfigError,
  SessionCookieTooLargeError,
  type SessionOptions,
  type SessionRecord,
  Sessions,
  SessionSealer,
  SessionStoreUnavailableError,
} from 'nest-sessions';
import {
  cookieEngine,
  type CookieEngineOptions,
  CookieSealer,
  RevocationRecords,
} from 'nest-sessions/cookie';
import { databaseEngine, DatabaseStore, SessionEntity } from 'nest-sessions/database';
import { describeSessionStore } from 'nest-sessions/testing';
import { type AppSetup, platforms, type RunningApp, silent, startApp } from './support/app.js';
import { CookieJarStore } from './support/cookie-jar-store.js';
import { testDataSource } from './support/data-source.js';
import { startDatabaseApp } from './support/database-app.js';
import { barrier } from './support/recording-store.js';
import { byThisClock } from './support/store-kit.js';

const SECRET = randomBytes(32).toString('base64url');
const MINUTE = 60;
const DAY = 24 * 60 * MINUTE;

interface Visit {
  name: string;
  count: number;
  text: string;
}

/** Holds the requests that say so in their handlers, with the session loaded. */
class Gate {
  reached = barrier();
  opened = barrier();
}

@Controller()
class VisitController {
  constructor(
    private readonly gate: Gate,
    @Inject(SessionSealer) private readonly store: CookieSealer,
    private readonly sessions: Sessions,
  ) {}

  @Get()
  async read(@Session() session: Session<Visit>, @Query('held') held?: string) {
    if (held) {
      this.gate.reached.open();
      await this.gate.opened.passed;
    }
    return { name: session.name ?? null, count: session.count ?? 0, user: session.userId };
  }

  @Get('untouched')
  untouched() {
    return 'fine';
  }

  @Post('write')
  async write(
    @Session() session: Session<Visit>,
    @Body() { name = 'Ada', held }: { name?: string; held?: true },
  ) {
    if (held) {
      this.gate.reached.open();
      await this.gate.opened.passed;
    }
    session.name = name;
    session.increment('count');
  }

  @Post('fill')
  fill(@Session() session: Session<Visit>, @Body() { length }: { length: number }) {
    session.text = randomBytes(length).toString('base64url').slice(0, length);
    return { length };
  }

  @Post('login')
  login(@Session() session: Session<Visit>, @Body() { user = 'ada' }: { user?: string }) {
    session.login(user);
  }

  @Post('logout')
  logout(@Session() session: Session<Visit>) {
    session.logout();
  }

  @Post('logout-everywhere')
  async logoutEverywhere(@Session() session: Session<Visit>, @Body() { stay }: { stay?: true }) {
    const user = session.userId as string;
    await this.store.revokeBefore(user);
    if (stay) session.login(user);
  }

  @Post('expiry')
  expiry(@Session() session: Session<Visit>, @Body() { seconds }: { seconds: number }) {
    session.setExpiry(seconds);
  }

  @Post('fail')
  fail(@Session() session: Session<Visit>) {
    session.name = 'lost';
    throw new InternalServerErrorException();
  }

  @Post('flash')
  flash(@Session() session: Session<Visit>) {
    session.addFlash('info', 'Saved.');
  }

  @Get('messages')
  messages(@Session() session: Session<Visit>) {
    return session.takeFlash();
  }

  @Get('late')
  async late(
    @Session() session: Session<Visit>,
    @Res() response: { raw?: NodeJS.WritableStream } & NodeJS.WritableStream,
  ) {
    const stream = response.raw ?? response;
    stream.write('begun ');
    const outcome = await session
      .reload()
      .then(() => {
        session.name = 'late';
        return session.save();
      })
      .then(
        () => 'saved',
        (error: unknown) => (error instanceof SessionCommittedError ? 'refused' : String(error)),
      );
    stream.end(outcome);
  }

  @Get('outside')
  async outside() {
    const made = await this.sessions.create<Visit>({ name: 'Ada' });
    const first = made.sessionKey() as string;
    made.name = 'Eve';
    await made.save();
    const [before, after] = await Promise.all(
      [first, made.sessionKey() as string].map((key) => this.sessions.open<Visit>(key)),
    );
    return { before: before?.name, after: after?.name };
  }
}

/** A browser that keeps one cookie as it was sent, and sends it for ever: expiry is for the server to judge. */
class Visitor {
  cookie: string | undefined;

  constructor(private readonly site: RunningApp) {}

  get(path = '/'): Promise<Response> {
    return this.send('get', path);
  }

  post(path: string, body: object = {}): Promise<Response> {
    return this.send('post', path, body);
  }

  async send(method: 'get' | 'post', path: string, body?: object): Promise<Response> {
    const request = this.site.request[method](path);
    if (this.cookie !== undefined) void request.set('Cookie', `sessionid=${this.cookie}`);
    const response = await request.send(body);
    const line = setCookie(response);
    if (line !== undefined) this.cookie = /^sessionid=([^;]*)/.exec(line)?.[1] || undefined;
    return response;
  }

  async sees(): Promise<{ name: string | null; count: number; user: string | null }> {
    const { status, body } = await this.get();
    if (status !== 200) throw new Error(`The answer was ${status}.`);
    return body as { name: string | null; count: number; user: string | null };
  }

  /** Another visitor with a copy of the cookie. */
  thief(): Visitor {
    const thief = new Visitor(this.site);
    thief.cookie = this.cookie;
    return thief;
  }
}

const setCookie = ({ headers }: Response): string | undefined =>
  (headers as { 'set-cookie'?: string[] })['set-cookie']?.find((line) => line.startsWith('sessionid='));
const maxAge = (response: Response): number => Number(/Max-Age=(\d+)/.exec(setCookie(response) ?? '')?.[1]);
const removes = (response: Response): boolean => /^sessionid=;.*Max-Age=0/.test(setCookie(response) ?? '');

/** By the clock of the process, which is the only one that there is. */
const later = (seconds: number): void => {
  const moment = Date.now() + seconds * 1000;
  jest.restoreAllMocks();
  jest.spyOn(Date, 'now').mockReturnValue(moment);
};

describe.each(platforms)('the cookie engine on %s', (platform) => {
  const sites: RunningApp[] = [];
  let site: RunningApp;
  let visitor: Visitor;
  let gate: Gate;

  const appSetup = (
    engine: AppSetup['engine'],
    options: SessionOptions,
    more: Partial<AppSetup>,
  ): AppSetup => ({
    engine,
    options,
    controllers: [VisitController],
    providers: [{ provide: Gate, useValue: gate }],
    ...more,
  });
  const start = async (
    given: Partial<CookieEngineOptions> = {},
    options: SessionOptions = {},
    more: Partial<AppSetup> = {},
  ): Promise<Visitor> => {
    gate = new Gate();
    site = await startApp(platform, appSetup(cookieEngine({ secrets: SECRET, ...given }), options, more));
    sites.push(site);
    return (visitor = new Visitor(site));
  };
  const startRevoking = async (options: SessionOptions = {}): Promise<Visitor> => {
    gate = new Gate();
    const engine = cookieEngine({ secrets: SECRET, revocations: databaseEngine() });
    site = await startDatabaseApp(platform, 'sqljs', appSetup(engine, options, { logger: silent }));
    sites.push(site);
    return (visitor = new Visitor(site));
  };
  const tokenOf = async (secrets: string, options: SessionOptions = {}, signedOnly = false) => {
    const other = await startApp(platform, appSetup(cookieEngine({ secrets, signedOnly }), options, {}));
    sites.push(other);
    const session = await other.app.get(Sessions).create<Visit>({ name: 'Mallory' });
    return session.sessionKey() as string;
  };
  afterEach(async () => {
    jest.restoreAllMocks();
    await Promise.all(sites.splice(0).map((started) => started.close()));
  });

  describe.each([
    ['encrypted', {}],
    ['signed only', { signedOnly: true }],
    ['compressed', { compress: true }],
  ] as const)('%s', (_name, given) => {
    it('keeps a session between requests, and exact counts', async () => {
      await start(given);
      await visitor.post('/write', { name: 'Ada' });
      await visitor.post('/write', { name: 'Ada Lovelace 🔑' });
      expect(await visitor.sees()).toEqual({ name: 'Ada Lovelace 🔑', count: 2, user: null });
    });

    it('keeps a login until the logout', async () => {
      await start(given);
      await visitor.post('/write');
      const anonymous = visitor.thief();
      await visitor.post('/login');
      expect(await visitor.sees()).toMatchObject({ name: 'Ada', user: 'ada' });
      expect(await anonymous.sees()).toMatchObject({ user: null });
      const answer = await visitor.post('/logout');
      expect(removes(answer)).toBe(true);
      expect(await visitor.sees()).toMatchObject({ name: null, user: null });
    });

    it('shows flash messages once', async () => {
      await start(given);
      await visitor.post('/flash');
      expect((await visitor.get('/messages')).body).toEqual([expect.objectContaining({ message: 'Saved.' })]);
      expect((await visitor.get('/messages')).body).toEqual([]);
    });
  });

  it('sets no cookie for visitors who have no session, nor for requests that only read', async () => {
    await start();
    expect(setCookie(await visitor.get('/untouched'))).toBeUndefined();
    expect(setCookie(await visitor.get())).toBeUndefined();
    await visitor.post('/write');
    expect(setCookie(await visitor.get('/untouched'))).toBeUndefined();
    const read = await visitor.get();
    expect(setCookie(read)).toBeUndefined();
    expect(read.headers['vary']).toContain('Cookie');
  });

  it('sets the cookie with every change', async () => {
    await start();
    const answers = [
      await visitor.post('/write'),
      await visitor.post('/write'),
      await visitor.post('/login'),
    ];
    const tokens = answers.map((answer) => setCookie(answer)?.split(';')[0]);
    expect(new Set(tokens).size).toBe(3);
    expect(answers.map((answer) => answer.headers['cache-control'])).toEqual(Array(3).fill('no-store'));
  });

  it('drops what a failed request did', async () => {
    await start({}, {}, { logger: silent });
    await visitor.post('/write');
    const answer = await visitor.post('/fail');
    expect(answer.status).toBe(500);
    expect(setCookie(answer)).toBeUndefined();
    expect(await visitor.sees()).toMatchObject({ name: 'Ada' });
  });

  it('refuses a change that no cookie can carry any more', async () => {
    await start();
    await visitor.post('/write');
    expect((await visitor.get('/late')).text).toBe('begun refused');
    expect(await visitor.sees()).toMatchObject({ name: 'Ada' });
  });

  it('has sessions outside of requests, whose key changes with every save', async () => {
    await start();
    expect((await visitor.get('/outside')).body).toEqual({ before: 'Ada', after: 'Eve' });
  });

  it('lets the last response win', async () => {
    await start();
    await visitor.post('/write');
    const [slow, fast] = [visitor.thief(), visitor.thief()];
    const held = slow.post('/write', { name: 'slow', held: true });
    await gate.reached.passed;
    await fast.post('/write', { name: 'fast' });
    gate.opened.open();
    await held;
    expect(await slow.sees()).toMatchObject({ name: 'slow', count: 2 });
    expect(await fast.sees()).toMatchObject({ name: 'fast', count: 2 });
  });

  it.each(['lazy', 'eager'] as const)(
    'S66: starts a new session for a visitor whose cookie has a content of another version, loading %s',
    async (loading) => {
      await start({}, { loading }, { logger: silent });
      await visitor.post('/write');
      const sealer = new CookieSealer({ secrets: SECRET });
      const record = sealer.open(visitor.cookie as string, 'sessionid') as SessionRecord;
      visitor.cookie = sealer.seal({ ...record, id: null as never }, 'sessionid');
      expect(await visitor.sees()).toEqual({ name: null, count: 0, user: null });
      expect((await visitor.post('/write')).status).toBe(201);
      expect(await visitor.sees()).toMatchObject({ name: 'Ada', count: 1 });
    },
  );

  describe('time', () => {
    it('ends a session by its own expiry, on the server', async () => {
      await start();
      await visitor.post('/write');
      await visitor.post('/expiry', { seconds: 600 });
      later(599);
      expect(await visitor.thief().sees()).toMatchObject({ name: 'Ada' });
      later(2);
      expect(await visitor.sees()).toMatchObject({ name: null });
    });

    it('ends it at once by an expiry that has passed', async () => {
      await start();
      await visitor.post('/write');
      expect(removes(await visitor.post('/expiry', { seconds: -1 }))).toBe(true);
    });

    it('S83: ends it by the idle timeout, whatever the cookie says', async () => {
      await start({}, { idleTimeout: '10m' });
      const answer = await visitor.post('/write');
      expect(maxAge(answer)).toBe(14 * DAY);
      later(10 * MINUTE - 1);
      expect(await visitor.thief().sees()).toMatchObject({ name: 'Ada' });
      later(1);
      expect(await visitor.sees()).toMatchObject({ name: null });
    });

    it('S83: ends it by the absolute timeout, however much it is used', async () => {
      await start({}, { idleTimeout: '10m', absoluteTimeout: '25m' });
      await visitor.post('/write');
      for (let round = 0; round < 3; round += 1) {
        later(8 * MINUTE);
        await visitor.post('/write');
      }
      expect(await visitor.sees()).toMatchObject({ count: 4 });
      later(MINUTE);
      expect(await visitor.sees()).toMatchObject({ count: 0 });
    });

    it('shortens sessions when the options were shortened', async () => {
      await start({}, { idleTimeout: '2d' });
      await visitor.post('/write');
      const { cookie } = visitor;
      await start({}, { idleTimeout: '1h' });
      visitor.cookie = cookie;
      later(61 * MINUTE);
      expect(await visitor.sees()).toMatchObject({ name: null });
    });

    it('restarts the idle clock of a session that is read, by a new cookie, once in a tenth of the time', async () => {
      await start({}, { idleTimeout: '10m' });
      await visitor.post('/write');
      const first = visitor.cookie;
      later(59);
      expect(setCookie(await visitor.get())).toBeUndefined();
      later(2);
      await visitor.get();
      expect(visitor.cookie).not.toBe(first);
      later(10 * MINUTE - 1);
      expect(await visitor.sees()).toMatchObject({ name: 'Ada', count: 1 });
    });

    it('does not for one that is not read', async () => {
      await start({}, { idleTimeout: '10m' });
      await visitor.post('/write');
      later(5 * MINUTE);
      expect(setCookie(await visitor.get('/untouched'))).toBeUndefined();
      later(5 * MINUTE);
      expect(await visitor.sees()).toMatchObject({ name: null });
    });

    it('gives what expired while a request worked on it no new life', async () => {
      await start({}, { idleTimeout: '10m' }, { logger: silent });
      await visitor.post('/write');
      const held = visitor.post('/write', { name: 'late', held: true });
      await gate.reached.passed;
      later(11 * MINUTE);
      gate.opened.open();
      expect(setCookie(await held)).toBeUndefined();
      expect(await visitor.sees()).toMatchObject({ name: null });
    });
  });

  describe('a cookie that is not ours', () => {
    const foreign: [what: string, (own: string) => string | Promise<string>][] = [
      ['tampered with', (own) => own.slice(0, -5) + (own.endsWith('AAAAA') ? 'BBBBB' : 'AAAAA')],
      ['cut short', (own) => own.slice(0, -4)],
      ['a session key', () => 'A'.repeat(43)],
      ['plain JSON', () => '%7B%22userId%22:%22ada%22%7D'],
      ['empty', () => ''],
      ['sealed by another secret', () => tokenOf(randomBytes(32).toString('base64url'))],
      ['sealed for another cookie', () => tokenOf(SECRET, { cookie: { name: 'other' } })],
      ['only signed', () => tokenOf(SECRET, {}, true)],
    ];
    it.each(foreign)('(%s) is no session, and left alone', async (_what, make) => {
      await start();
      await visitor.post('/write');
      const cookie = await make(visitor.cookie as string);
      const intruder = new Visitor(site);
      intruder.cookie = cookie;
      expect(setCookie(await intruder.get('/untouched'))).toBeUndefined();
      const answer = await intruder.get();
      expect(answer.status).toBe(200);
      expect(answer.body).toEqual({ name: null, count: 0, user: null });
      expect(setCookie(answer)).toBeUndefined();
    });

    it('does not stand in the way of ours', async () => {
      await start();
      await visitor.post('/write');
      const stranger = await tokenOf(randomBytes(32).toString('base64url'));
      const answer = await site.request
        .get('/')
        .set('Cookie', `sessionid=planted; sessionid=${stranger}; sessionid=${visitor.cookie}`);
      expect(answer.body).toMatchObject({ name: 'Ada' });
    });

    it('does no harm, whatever it holds', async () => {
      await start();
      await visitor.post('/write');
      const [scheme, keyId] = (visitor.cookie as string).split('.');
      const garbage = fc.oneof(
        fc.stringMatching(/^[!-~]{0,200}$/),
        fc.uint8Array({ maxLength: 2000 }).map((bytes) => {
          return `${scheme}.${keyId}.${Buffer.from(bytes).toString('base64url')}`;
        }),
      );
      await fc.assert(
        fc.asyncProperty(garbage, async (value) => {
          const answer = await site.request.get('/').set('Cookie', `sessionid=${value}`);
          expect(answer.status).toBe(200);
          expect(answer.body).toEqual({ name: null, count: 0, user: null });
        }),
        { numRuns: 60 },
      );
    });
  });

  describe('the size', () => {
    const errors: string[] = [];
    const logger: LoggerService = { ...silent, error: (message: unknown) => errors.push(String(message)) };
    beforeEach(() => errors.splice(0));

    // An encrypted content grows by 128 bytes at a time, which are 171 characters.
    it.each([
      ['signed', true, 4080],
      ['encrypted', false, 4080 - 171],
    ])(
      'S51: is measured with everything around the data, and 4096 bytes are still sent (%s)',
      async (_, signedOnly, least) => {
        await start(
          { signedOnly },
          { cookie: { domain: 'example.org', path: '/', sameSite: 'strict', priority: 'high' } },
          { logger },
        );
        let [fits, tooLong] = [1, 4096];
        let longest = '';
        while (tooLong - fits > 1) {
          const length = (fits + tooLong) >> 1;
          const answer = await new Visitor(site).post('/fill', { length });
          expect([201, 500]).toContain(answer.status);
          if (answer.status === 201) [fits, longest] = [length, setCookie(answer) ?? ''];
          else tooLong = length;
        }
        expect(longest.length).toBeLessThanOrEqual(4096);
        // The lifetime is measured at its longest, and base64 grows by up to four characters.
        expect(longest.length).toBeGreaterThan(least);
      },
    );

    it('S51: is too much: nothing is sent but a 500, the log says why, and the session is as it was', async () => {
      await start({}, {}, { logger });
      await visitor.post('/write');
      const before = visitor.cookie;
      const answer = await visitor.post('/fill', { length: 5000 });
      expect(answer.status).toBe(500);
      expect(answer.body).toEqual({ statusCode: 500, message: 'Internal Server Error' });
      expect(setCookie(answer)).toBeUndefined();
      expect(errors.join('\n')).toMatch(/session cookie would take \d{4} bytes.*4096/);
      expect(visitor.cookie).toBe(before);
      expect(await visitor.sees()).toMatchObject({ name: 'Ada' });
    });

    it('is told to code that saves by itself', async () => {
      await start({ compress: true });
      const sessions = site.app.get(Sessions);
      await expect(
        sessions.create<Visit>({ text: randomBytes(5000).toString('base64') }),
      ).rejects.toMatchObject({
        constructor: SessionCookieTooLargeError,
        code: 'SESSION_COOKIE_TOO_LARGE',
        allowed: 4096,
      });
      const session = await sessions.create<Visit>({ text: 'a'.repeat(20_000) });
      expect(session.sessionKey()?.length).toBeLessThan(400);
      expect((await sessions.open<Visit>(session.sessionKey() as string))?.text).toBe('a'.repeat(20_000));
    });
  });

  it('S76: opens sessions under an older secret, and seals them anew with the next write or touch', async () => {
    const [older, newer] = [randomBytes(32).toString('base64url'), SECRET];
    const options = { idleTimeout: '10m' };
    await start({ secrets: older }, options);
    await visitor.post('/write');
    const old = visitor.cookie;

    await start({ secrets: [newer, older] }, options);
    visitor.cookie = old;
    expect(await visitor.sees()).toMatchObject({ name: 'Ada' });
    later(2 * MINUTE);
    await visitor.get();
    const resealed = visitor.cookie;
    expect(resealed).not.toBe(old);

    await start({ secrets: newer }, options);
    visitor.cookie = resealed;
    expect(await visitor.sees()).toMatchObject({ name: 'Ada' });
    visitor.cookie = old;
    expect(await visitor.sees()).toMatchObject({ name: null });
  });

  describe('without revocations', () => {
    it('S83: a logout does not reach a copy of the cookie', async () => {
      await start();
      await visitor.post('/login');
      const thief = visitor.thief();
      await visitor.post('/logout');
      expect(await thief.sees()).toMatchObject({ user: 'ada' });
    });
  });

  describe('with revocations', () => {
    it('S81: a logout reaches every copy of the cookie, and no other session', async () => {
      await startRevoking();
      const other = new Visitor(site);
      await other.post('/login');
      await visitor.post('/login');
      const thief = visitor.thief();
      await visitor.post('/write');
      await visitor.post('/logout');
      const answer = await thief.get();
      expect(answer.body).toMatchObject({ user: null });
      expect(await other.sees()).toMatchObject({ user: 'ada' });
    });

    it('a request that was on its way revives nothing', async () => {
      await startRevoking();
      await visitor.post('/login');
      const slow = visitor.thief();
      const held = slow.post('/write', { held: true });
      await gate.reached.passed;
      await visitor.post('/logout');
      gate.opened.open();
      await held;
      expect(await slow.sees()).toMatchObject({ name: null, user: null });
    });

    it('nor does one that was on its way when all sessions of the user ended', async () => {
      await startRevoking();
      const there = new Visitor(site);
      await visitor.post('/login');
      await there.post('/login');
      const held = there.post('/write', { held: true });
      await gate.reached.passed;
      later(1);
      await visitor.post('/logout-everywhere');
      later(1);
      gate.opened.open();
      await held;
      expect(await there.sees()).toMatchObject({ name: null, user: null });
    });

    it('all sessions of a user end, but for the one that logs in again', async () => {
      await startRevoking();
      const [here, there, eve] = [new Visitor(site), new Visitor(site), new Visitor(site)];
      await here.post('/login');
      await there.post('/login');
      await eve.post('/login', { user: 'eve' });
      const thief = here.thief();
      later(1);
      await here.post('/logout-everywhere', { stay: true });
      expect(await here.sees()).toMatchObject({ user: 'ada' });
      expect(await eve.sees()).toMatchObject({ user: 'eve' });
      expect(await there.sees()).toMatchObject({ user: null });
      expect(await thief.sees()).toMatchObject({ user: null });

      later(1);
      await here.post('/logout-everywhere');
      expect(await here.sees()).toMatchObject({ user: null });
      await here.post('/login');
      expect(await here.sees()).toMatchObject({ user: 'ada' });
    });

    it('S82: nobody gets in while the store of revocations is out of reach', async () => {
      await startRevoking();
      await visitor.post('/login');
      const { cookie } = visitor;
      jest
        .spyOn(DatabaseStore.prototype, 'load')
        .mockRejectedValue(new SessionStoreUnavailableError('load', 'it is down.'));
      const answer = await visitor.get();
      expect(answer.status).toBe(503);
      expect(setCookie(answer)).toBeUndefined();
      jest.restoreAllMocks();
      expect(visitor.cookie).toBe(cookie);
      expect(await visitor.sees()).toMatchObject({ user: 'ada' });
    });

    it('a logout is noted for as long as the absolute timeout lets the session live', async () => {
      await startRevoking({ idleTimeout: '5m', absoluteTimeout: '10m' });
      const thieves = [];
      for (let n = 0; n < 3; n += 1) {
        const anonymous = new Visitor(site);
        await anonymous.post('/write');
        thieves.push(anonymous.thief());
        await anonymous.post('/logout');
      }
      const notes = site.app.get(DataSource).getRepository(SessionEntity);
      const kept = (await notes.find()).map(({ expireDate }) => (expireDate - Date.now()) / 60_000);
      expect(kept).toHaveLength(3);
      for (const minutes of kept) {
        expect(minutes).toBeGreaterThan(10);
        expect(minutes).toBeLessThanOrEqual(71);
      }
      for (const thief of thieves) expect(await thief.sees()).toMatchObject({ name: null });
      later(11 * MINUTE);
      for (const thief of thieves) expect(await thief.sees()).toMatchObject({ name: null });
    });

    it('no note is made of a visitor who has no session', async () => {
      await startRevoking();
      await visitor.post('/logout');
      visitor.cookie = 'e1.AAAAAAAA.made-up';
      await visitor.post('/logout');
      expect(await site.app.get(DataSource).getRepository(SessionEntity).count()).toBe(0);
    });

    it('a logout that cannot be noted is none', async () => {
      await startRevoking();
      await visitor.post('/login');
      jest
        .spyOn(DatabaseStore.prototype, 'create')
        .mockRejectedValue(new SessionStoreUnavailableError('create', 'it is down.'));
      expect((await visitor.post('/logout')).status).toBe(503);
      expect(await visitor.sees()).toMatchObject({ user: 'ada' });
    });
  });

  it('takes its options from a factory, and the store of revocations from another engine', async () => {
    class Vault {
      readonly secret = SECRET;
    }
    @Module({ providers: [Vault], exports: [Vault] })
    class VaultModule {}
    gate = new Gate();
    const engine = cookieEngine({
      imports: [VaultModule],
      inject: [Vault],
      useFactory: (vault: Vault) => ({ secrets: [vault.secret], signedOnly: true }),
      revocations: databaseEngine(),
    });
    site = await startDatabaseApp(platform, 'sqljs', appSetup(engine, {}, {}));
    sites.push(site);
    visitor = new Visitor(site);
    await visitor.post('/login');
    expect(visitor.cookie).toMatch(/^s1\./);
    const thief = visitor.thief();
    await visitor.post('/logout');
    expect(await thief.sees()).toMatchObject({ user: null });
  });

  it('S78: refuses a weak secret of a factory at start-up', async () => {
    const engine = cookieEngine({ useFactory: () => ({ secrets: 'changeme' }) });
    await expect(startApp(platform, { engine, logger: silent })).rejects.toBeInstanceOf(SessionConfigError);
  });
});

it('refuses a weak secret at once', () => {
  expect(() => cookieEngine({ secrets: 'keyboard cat' })).toThrow(SessionConfigError);
  expect(() => cookieEngine({ secrets: [SECRET, 'x'.repeat(40)] })).toThrow(
    expect.objectContaining({ option: 'secrets[1]' }) as Error,
  );
});

const define = it;
const failsForItsSize = (test: Promise<void>): Promise<void> =>
  expect(test).rejects.toBeInstanceOf(SessionCookieTooLargeError);

/** What no cookie can hold has to fail, and to fail like this. */
const tooLarge = new Set(['keeps a megabyte', 'keeps many small changes of a large session']);

describeSessionStore(
  'a browser with sealed cookies',
  () => {
    const store = new CookieJarStore(new CookieSealer({ secrets: SECRET }));
    return Promise.resolve({
      store,
      corrupt: (key: string) => store.spoil(key),
      ...byThisClock(() => store.close()),
    });
  },
  {
    it: (name, test) => define(name, () => (tooLarge.has(name) ? failsForItsSize(test()) : test())),
    capabilities: {
      atomicChanges: false,
      limits: false,
      severalProcesses: false,
      byUser: false,
      clearsExpired: false,
      ownClock: false,
      outages: false,
    },
  },
);

const keepUntil = (): number => Date.now() + DAY * 1000;

describe('revocations in a database', () => {
  let database: Awaited<ReturnType<typeof testDataSource>>;
  let notes: RevocationRecords;
  beforeAll(async () => {
    database = await testDataSource('sqljs', [SessionEntity]);
    notes = new RevocationRecords(new DatabaseStore(database.dataSource));
  });
  afterAll(() => database.dispose());

  it('knows nobody else', async () => {
    await expect(notes.revokedBefore('user:nobody')).resolves.toBeNull();
  });

  it('keeps the latest of many moments that come at once', async () => {
    const moments = Array.from({ length: 20 }, (_, index) => 1000 + ((index * 7) % 20));
    await Promise.all(moments.map((moment) => notes.revokeBefore('user:ada', moment, keepUntil())));
    await expect(notes.revokedBefore('user:ada')).resolves.toBe(1019);
    await notes.revokeBefore('user:ada', 5, keepUntil());
    await expect(notes.revokedBefore('user:ada')).resolves.toBe(1019);
  });

  it('forgets what may be forgotten, and notes it anew though the old note is still there', async () => {
    await notes.revokeBefore('user:eve', 2000, Date.now() - 1000);
    await expect(notes.revokedBefore('user:eve')).resolves.toBeNull();
    await notes.revokeBefore('user:eve', 1500, keepUntil());
    await expect(notes.revokedBefore('user:eve')).resolves.toBe(1500);
  });

  it('has them cleared', async () => {
    await notes.revokeBefore('user:old', 1, Date.now() - 1000);
    await expect(notes.clearExpired(10)).resolves.toBe(1);
  });
});
