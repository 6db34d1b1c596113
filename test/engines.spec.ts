import { get, type ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  Body,
  Controller,
  Get,
  HttpCode,
  ImATeapotException,
  Module,
  Param,
  Post,
  Query,
  Redirect,
  Res,
  Sse,
  StreamableFile,
  UseGuards,
} from '@nestjs/common';
import { RouterModule } from '@nestjs/core';
import { of } from 'rxjs';
import { Session, SessionGuard } from 'nest-sessions';
import { platforms, type RunningApp, startApp } from './support/app.js';
import { engines, type EngineSetup, type EngineUnderTest } from './support/engines.js';
import { describeWithService } from './support/services.js';
import { S0Controller } from './tutorials/s0.controller.js';
import { S4Controller } from './tutorials/s4.controller.js';

interface Data {
  visits: number;
  cart: { items: string[] };
  secret: string;
  [key: `key${number}`]: number;
}

/** Requests wait here until as many have arrived as are expected. */
class Meeting {
  #expected = 0;
  #arrived: (() => void)[] = [];

  expect(count: number): void {
    this.#expected = count;
    this.#arrived = [];
  }

  async attend(): Promise<void> {
    const together = new Promise<void>((resolve) => this.#arrived.push(resolve));
    if (this.#arrived.length === this.#expected) for (const go of this.#arrived) go();
    await together;
  }
}

const meeting = new Meeting();

@Controller()
class VisitorController {
  @Get('plain')
  plain() {
    return 'plain';
  }

  @Get('show')
  show(@Session() session: Session<Data>) {
    return { ...session, userId: session.userId };
  }

  @Post('visit')
  visit(@Session() session: Session<Data>) {
    return { visits: session.increment('visits') };
  }

  @Post('cart/:item')
  @HttpCode(200)
  add(@Session() session: Session<Data>, @Param('item') item: string) {
    session.cart ??= { items: [] };
    session.cart.items.push(item); // a change inside of a value
  }

  @Post('redirected')
  @Redirect('/show', 303)
  writeAndRedirect(@Session() session: Session<Data>, @Body('secret') secret: string): void {
    session.secret = secret;
  }

  @Post('fail')
  fail(@Session() session: Session<Data>): never {
    session.secret = 'lost';
    session.cycleKey();
    throw new Error('on purpose');
  }

  @Post('expire')
  @HttpCode(200)
  expire(@Session() session: Session<Data>, @Body('seconds') seconds: number) {
    session.setExpiry(seconds);
  }

  @Post('flash')
  @HttpCode(200)
  flash(@Session() session: Session<Data>) {
    session.addFlash('info', 'hello');
  }

  @Get('flash')
  flashes(@Session() session: Session<Data>) {
    return session.takeFlash();
  }

  @Post('login')
  @HttpCode(200)
  login(@Session() session: Session<Data>) {
    session.login('ada');
  }

  @Get('mine')
  @UseGuards(SessionGuard)
  mine(@Session('userId') userId: string) {
    return { userId };
  }

  @Post('logout')
  @HttpCode(200)
  logout(@Session() session: Session<Data>) {
    session.logout();
  }

  @Post('meet')
  @HttpCode(200)
  async meet(
    @Session() session: Session<Data>,
    @Query('key') key?: string,
    @Query('end') end?: string,
    @Query('rotate') rotate?: string,
  ) {
    await meeting.attend();
    if (rotate !== undefined) session.cycleKey();
    if (key !== undefined) session.set(`key${Number(key)}`, Number(key));
    else session.increment('visits');
    if (end !== undefined) session.logout();
  }
}

/** Each answers in another way; all have written by then. */
@Controller('answer')
class AnswerController {
  @Get('json')
  json(@Session() session: Session<Data>) {
    return { visits: session.increment('visits') };
  }

  @Get('nothing')
  @HttpCode(204)
  nothing(@Session() session: Session<Data>): void {
    session.increment('visits');
  }

  @Get('stream')
  stream(@Session() session: Session<Data>) {
    session.increment('visits');
    return new StreamableFile(Readable.from(Array.from({ length: 20 }, () => Buffer.alloc(50_000))));
  }

  @Sse('events')
  events(@Session() session: Session<Data>) {
    session.increment('visits');
    return of({ data: 'event' });
  }

  @Get('raw')
  raw(@Session() session: Session<Data>, @Res() reply: ServerResponse & { raw?: ServerResponse }): void {
    session.increment('visits');
    const response = reply.raw ?? reply;
    response.writeHead(200, { 'Content-Type': 'text/plain' });
    response.write('part');
    response.end('rest');
  }

  @Get('exception')
  exception(@Session() session: Session<Data>): never {
    session.increment('visits');
    throw new ImATeapotException();
  }
}

@Module({ controllers: [S0Controller] })
class FirstStepsModule {}

@Module({ controllers: [S4Controller] })
class ConnectionModule {}

const tutorials = [
  FirstStepsModule,
  ConnectionModule,
  RouterModule.register([
    { path: 's0', module: FirstStepsModule },
    { path: 's4', module: ConnectionModule },
  ]),
];

for (const [name, engine] of Object.entries(engines)) {
  // The innermost of these decides; each skips, or fails on CI, by itself.
  const guarded = engine.services.reduce<(title: string, suite: () => void) => void>(
    (describeSuite, service) => (title, suite) =>
      describeWithService(service, title, () => describeSuite(title, suite)),
    describe,
  );
  guarded(name, () => {
    describe.each(platforms)('on %s', (platform) => {
      let setup: EngineSetup;
      let site: RunningApp;

      beforeAll(async () => {
        setup = await engine.make();
        site = await startApp(platform, {
          engine: setup.engine,
          imports: [...(setup.imports ?? []), ...tutorials],
          controllers: [VisitorController, AnswerController],
          prepare: (app) => app.useLogger(false),
        });
      });
      afterAll(async () => {
        await site.close();
        await setup.dispose();
      });

      story(() => site, engine);
    });
  });
}

/** The first cookie that a response sets: name and value. */
function cookieOf(response: { headers: Record<string, unknown> }): string | undefined {
  return (response.headers['set-cookie'] as string[] | undefined)?.[0]?.split(';')[0];
}

/** What holds whatever the engine. */
function story(site: () => RunningApp, { onServer }: EngineUnderTest): void {
  const start = async (): Promise<string> => cookieOf(await site().request.post('/visit')) as string;
  const show = async (cookie: string): Promise<Record<string, unknown>> =>
    (await site().request.get('/show').set('Cookie', cookie)).body as Record<string, unknown>;

  it('keeps what was written, changes inside of values included', async () => {
    const browser = site().browser();
    expect((await browser.post('/visit')).body).toEqual({ visits: 1 });
    expect((await browser.post('/visit')).body).toEqual({ visits: 2 });
    await browser.post('/cart/apple');
    await browser.post('/cart/p%C3%A4r');
    expect((await browser.get('/show')).body).toEqual({
      userId: null,
      visits: 2,
      cart: { items: ['apple', 'pär'] },
    });
  });

  it('asks nothing of visitors who store nothing', async () => {
    for (const path of ['/plain', '/show', '/flash']) {
      expect((await site().request.get(path)).headers).not.toHaveProperty('set-cookie');
    }
  });

  it('has written before a redirect leaves', async () => {
    const browser = site().browser();
    for (let time = 0; time < 20; time += 1) {
      const secret = `number ${time}`;
      const seen = await browser.post('/redirected').send({ secret }).redirects(1);
      expect(seen.body).toMatchObject({ secret });
    }
  });

  it.each(['json', 'nothing', 'stream', 'events', 'raw', 'exception'])(
    'has written when the first byte of %s arrives',
    async (shape) => {
      const cookie = await start();
      const seen = await new Promise((resolve, reject) => {
        get(`${site().url}/answer/${shape}`, { headers: { Cookie: cookie } }, (response) => {
          response.resume();
          const current = cookieOf({ headers: response.headers }) ?? cookie;
          show(current).then(resolve, reject);
        }).on('error', reject);
      });
      expect(seen).toEqual({ userId: null, visits: 2 });
    },
  );

  it('takes the first steps of the tutorial', async () => {
    const browser = site().browser();
    expect((await browser.get('/s0/deletecookie')).text).toContain('does not accept cookies');
    await browser.get('/s0/testcookie');
    expect((await browser.get('/s0/deletecookie')).text).toContain('accepts cookies');
    expect((await browser.get('/s0/access')).headers).toMatchObject({ location: '/create' });
    await browser.get('/s0/create');
    expect((await browser.get('/s0/access')).text).toBe('Name: ada, password: engine, number: 1816');
    expect((await browser.get('/s0/delete')).text).toContain('Session data deleted');
    expect((await browser.get('/s0/delete')).text).toContain('nothing to delete');
    await browser.get('/s0/create');
    const left = await browser.post('/s0/logout');
    expect([left.status, left.headers['set-cookie']?.[0]]).toEqual([
      303,
      expect.stringMatching(/^sessionid=; Max-Age=0/),
    ]);
    expect((await browser.get('/s0/access')).status).toBe(302);
  });

  it('connects, chooses an expiry and disconnects as in the tutorial', async () => {
    const browser = site().browser();
    expect((await browser.get('/s4/connection')).text).toBe('Please log in');
    const login = await browser.post('/s4/login').send({ username: 'ada' });
    expect(login.headers['set-cookie']?.[0]).toContain('Max-Age=1800;');
    expect((await browser.get('/s4/connection')).text).toBe('Welcome ada');
    expect((await browser.get('/s4/expiry')).body).toMatchObject({ age: 1800, atBrowserClose: false });
    const untilClose = await browser.post('/s4/expiry/browser');
    expect(untilClose.headers['set-cookie']?.[0]).not.toMatch(/Max-Age|Expires/);
    expect((await browser.get('/s4/expiry')).body).toMatchObject({ atBrowserClose: true });
    expect((await browser.get('/s4/logout')).text).toBe('You are logged out.');
    expect((await browser.get('/s4/logout')).text).toBe('You were not logged in.');
  });

  it('logs in under a new key, and out', async () => {
    const browser = site().browser();
    const anonymous = cookieOf(await browser.post('/visit')) as string;
    expect((await browser.get('/mine')).status).toBe(401);
    const loggedIn = cookieOf(await browser.post('/login')) as string;
    expect(loggedIn).not.toBe(anonymous);
    expect((await browser.get('/mine')).body).toEqual({ userId: 'ada' });
    expect((await browser.get('/show')).body).toEqual({ userId: 'ada', visits: 1 });
    expect((await site().request.get('/mine').set('Cookie', anonymous)).status).toBe(401);

    const logout = await browser.post('/logout');
    expect(logout.headers['set-cookie']?.[0]).toMatch(/^sessionid=; Max-Age=0/);
    expect((await browser.get('/mine')).status).toBe(401);
    // A copy of the cookie: only a server that keeps the sessions can know that this one has ended.
    const replayed = await site().request.get('/mine').set('Cookie', loggedIn);
    expect(replayed.status).toBe(onServer ? 401 : 200);
  });

  it('forgets what a failed request did', async () => {
    const cookie = await start();
    const failed = await site().request.post('/fail').set('Cookie', cookie);
    expect([failed.status, failed.headers['set-cookie']]).toEqual([500, undefined]);
    expect(await show(cookie)).toEqual({ userId: null, visits: 1 });
  });

  it('ends a session on the server when its time is over', async () => {
    const cookie = await start();
    const response = await site().request.post('/expire').set('Cookie', cookie).send({ seconds: 1 });
    expect(response.headers['set-cookie']?.[0]).toContain('Max-Age=1;');
    const short = cookieOf(response) as string;
    expect(await show(short)).toMatchObject({ visits: 1 });
    await sleep(1100);
    expect(await show(short)).toEqual({ userId: null });
    const gone = await site()
      .request.post('/expire')
      .set('Cookie', await start())
      .send({ seconds: -1 });
    expect(gone.headers['set-cookie']?.[0]).toMatch(/^sessionid=; Max-Age=0/);
  });

  it('shows a flash message once', async () => {
    const browser = site().browser();
    await browser.post('/flash');
    expect((await browser.get('/flash')).body).toEqual([{ type: 'info', message: 'hello' }]);
    expect((await browser.get('/flash')).body).toEqual([]);
  });

  it.each(['', 'x', 'A'.repeat(43), `${'A'.repeat(42)}%`, 'null', '../../etc/passwd', 'ü'.repeat(20)])(
    'takes %p for no session',
    async (value) => {
      const response = await site()
        .request.post('/visit')
        .set('Cookie', `sessionid=${encodeURI(value)}`);
      expect(response.body).toEqual({ visits: 1 });
      expect(cookieOf(response)).not.toBe(`sessionid=${value}`);
    },
  );

  if (!onServer) return;

  it('keeps the writes of parallel requests', async () => {
    const cookie = await start();
    meeting.expect(20);
    const requests = Array.from({ length: 20 }, (_, index) =>
      site()
        .request.post(index % 2 === 0 ? `/meet?key=${index}` : '/meet')
        .set('Cookie', cookie),
    );
    const statuses = (await Promise.all(requests)).map(({ status }) => status);
    expect(new Set(statuses)).toEqual(new Set([200]));
    const written = Array.from({ length: 10 }, (_, index) => [`key${2 * index}`, 2 * index]);
    expect(await show(cookie)).toEqual({ userId: null, visits: 11, ...Object.fromEntries(written) });
  });

  it('never brings back what was logged out meanwhile', async () => {
    for (let time = 0; time < 5; time += 1) {
      const cookie = cookieOf(
        await site()
          .request.post('/login')
          .set('Cookie', await start()),
      ) as string;
      meeting.expect(6);
      const answers = await Promise.all(
        Array.from({ length: 6 }, (_, index) =>
          site()
            .request.post(
              index === time ? '/meet?end=1' : index % 3 === 0 ? '/meet?rotate=1' : `/meet?key=${index}`,
            )
            .set('Cookie', cookie),
        ),
      );
      const given = answers.map(cookieOf).filter((value) => value !== undefined && value !== 'sessionid=');
      for (const seen of [cookie, ...given]) expect((await show(seen as string))['userId']).toBeNull();
    }
  });
}
