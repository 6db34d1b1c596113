import { jest } from '@jest/globals';
import { Body, Controller, Get, Post, Query, UseGuards } from '@nestjs/common';
import { RequireSession, Session, SessionGuard, type SessionOptions, SessionStore } from 'nest-sessions';
import { SessionEntity } from 'nest-sessions/database';
import { platforms } from './support/app.js';
import { testDatabase } from './support/data-source.js';
import { age, type DatabaseApp, sessionKeyIn, startDatabaseApp } from './support/database-app.js';
import { describeWithService } from './support/services.js';

interface Basket {
  items: number;
  [name: string]: number;
}

interface Wish {
  seconds?: number;
  duration?: string;
  inSeconds?: number;
  nothing?: true;
}

@Controller()
class BasketController {
  @Get()
  read(@Session() session: Session<Basket>) {
    return { items: session.get('items', 0) };
  }

  @Get('untouched')
  untouched() {
    return 'fine';
  }

  @Post()
  write(@Session() session: Session<Basket>) {
    session.increment('items');
  }

  @Get('left')
  left(@Session() session: Session<Basket>) {
    return session.peek(() => ({
      expiresAt: session.expiresAt,
      items: session.items,
      userId: session.userId,
    }));
  }

  @Get('polled')
  @UseGuards(SessionGuard)
  @RequireSession({ keys: ['items'], authenticatedWithin: '1d', countsAsUse: false })
  polled(@Session() session: Session<Basket>) {
    return { expiresAt: session.peek(() => session.expiresAt) };
  }

  @Get('guarded')
  @UseGuards(SessionGuard)
  guarded() {
    return 'fine';
  }

  @Post('rotate')
  rotate(@Session() session: Session<Basket>) {
    session.cycleKey();
  }

  @Post('login')
  login(@Session() session: Session<Basket>) {
    session.login('ada');
  }

  @Post('expiry')
  expiry(@Session() session: Session<Basket>, @Body() { seconds, duration, inSeconds, nothing }: Wish) {
    if (nothing) session.setExpiry(null);
    else if (inSeconds !== undefined) session.setExpiry(new Date(Date.now() + inSeconds * 1000));
    else session.setExpiry(seconds ?? (duration as string));
  }

  @Get('facts')
  facts(@Session() session: Session<Basket>, @Query('later') later?: string) {
    const modification = { modification: new Date(Date.now() + Number(later ?? 0) * 1000) };
    return {
      age: session.getExpiryAge(modification),
      ageOfTen: session.getExpiryAge({ expiry: 10 }),
      ageOfNone: session.getExpiryAge({ expiry: null }),
      ageOfDate: session.getExpiryAge({ ...modification, expiry: new Date(Date.now() + 9500) }),
      date: session.getExpiryDate(modification),
      atBrowserClose: session.getExpireAtBrowserClose(),
      expiresAt: session.expiresAt,
      modified: session.modified,
    };
  }
}

const MINUTE = 60;
const DAY = 24 * 60 * MINUTE;

const cookieOf = (response: { get(name: 'Set-Cookie'): string[] | undefined }) => {
  const line = response.get('Set-Cookie')?.[0] ?? '';
  const expires = /Expires=([^;]+)/.exec(line)?.[1];
  return {
    maxAge: /Max-Age=(-?\d+)/.exec(line)?.[1],
    expiresIn: expires && (Date.parse(expires) - Date.now()) / 1000,
  };
};
const expectAbout = (actual: number, expected: number): void => {
  expect(Math.abs(actual - expected)).toBeLessThan(8); // a busy machine may stand still for some seconds
};

describe.each(platforms)('expiry on %s', (platform) => {
  const sites: DatabaseApp[] = [];
  let site: DatabaseApp;
  let browser: ReturnType<DatabaseApp['browser']>;

  /** An application with these options, and a visitor who has a session. Returns the answer that set the cookie. */
  const start = async (options: SessionOptions = {}) => {
    site = await startDatabaseApp(platform, 'sqljs', {
      controllers: [BasketController],
      options,
      prepare: (app) => app.useLogger(false),
    });
    sites.push(site);
    browser = site.browser();
    return browser.post('/').expect(201);
  };
  afterEach(() => Promise.all(sites.splice(0).map((started) => started.close())));

  const items = async () => ((await browser.get('/').expect(200)).body as { items: number }).items;
  const row = () => site.dataSource.getRepository(SessionEntity).findOneOrFail({ where: {} });
  const later = (seconds: number) => age(site.dataSource, seconds);
  const wish = (given: Wish) => browser.post('/expiry').send(given);
  const facts = async (query = '') =>
    (await browser.get(`/facts${query}`)).body as Record<string, number> & {
      date: string;
      expiresAt: string;
    };
  const spyOn = (method: 'load' | 'save' | 'touch' | 'create') =>
    jest.spyOn(site.app.get(SessionStore), method);
  describe('a page that polls', () => {
    it.each(['/left', '/polled'])('keeps no session alive by %s', async (path) => {
      await start({ idleTimeout: '10m' });
      await browser.post('/login').expect(201);
      const touch = spyOn('touch');
      const { expireDate } = await row();
      for (let minute = 0; minute < 9; minute += 3) {
        await later(3 * MINUTE);
        const answer = await browser.get(path).expect(200);
        expectAbout(
          (Date.parse((answer.body as { expiresAt: string }).expiresAt) - Date.now()) / 1000,
          (7 - minute) * MINUTE,
        );
        // A shared cache must not give this answer to others, though it is no use of the session.
        expect(answer.headers['vary']).toContain('Cookie');
        expect(cookieOf(answer)).toEqual({ maxAge: undefined, expiresIn: undefined });
      }
      expect(touch).not.toHaveBeenCalled();
      expectAbout(((await row()).expireDate - expireDate) / 1000, -9 * MINUTE);
      await later(2 * MINUTE);
      expect((await browser.get('/left')).body).toMatchObject({ expiresAt: null, userId: null });
      const refused = await browser.get('/polled').expect(401);
      expect(refused.headers['vary']).toContain('Cookie');
    });

    it('is told apart from a guard that counts as use, and from a handler that looks', async () => {
      for (const path of ['/guarded', '/facts']) {
        await start({ idleTimeout: '10m' });
        await browser.post('/login').expect(201);
        const touch = spyOn('touch');
        await later(3 * MINUTE);
        await browser.get(path).expect(200);
        expect(touch).toHaveBeenCalledTimes(1);
      }
    });
  });

  describe('the idle timeout', () => {
    it('ends a session that was not used for so long, whatever the cookie says', async () => {
      await start({ idleTimeout: '10m' });
      await later(10 * MINUTE - 5);
      expect(await items()).toBe(1);
      await later(10 * MINUTE + 1);

      const gone = await browser.get('/');
      expect(gone.body).toEqual({ items: 0 });
      expect(sessionKeyIn(gone)).toBeUndefined();
    });

    it('is not the age of the cookie, which lives as long as it is told', async () => {
      expect(cookieOf(await start({ idleTimeout: '10m', cookie: { maxAge: '1d' } })).maxAge).toBe(`${DAY}`);
    });

    it('S111: is restarted by reading, with a touch for every tenth of it', async () => {
      await start({ idleTimeout: 100 });
      const [touch, save] = [spyOn('touch'), spyOn('save')];
      await later(9);
      await items();
      expect(touch).not.toHaveBeenCalled();

      await later(2);
      const before = await row();
      const touched = await browser.get('/');
      expect(touch).toHaveBeenCalledTimes(1);
      expect(sessionKeyIn(touched)).toMatch(/^[\w-]{22}\.[\w-]{43}$/);
      const after = await row();
      expectAbout((after.lastSeenAt - before.lastSeenAt) / 1000, 11);
      expectAbout((after.expireDate - Date.now()) / 1000, 100);
      expect(after.version).toBe(before.version);

      for (let time = 0; time < 5; time++) expect(sessionKeyIn(await browser.get('/'))).toBeUndefined();
      expect(touch).toHaveBeenCalledTimes(1);
      expect(save).not.toHaveBeenCalled();
    });

    it('is not restarted by requests that leave the session alone', async () => {
      await start({ idleTimeout: 100 });
      const [load, touch] = [spyOn('load'), spyOn('touch')];
      await later(50);
      expect((await browser.get('/untouched')).get('Set-Cookie')).toBeUndefined();
      expect([load, touch].map((spy) => spy.mock.calls.length)).toEqual([0, 0]);
      await later(51);
      expect(await items()).toBe(0);
    });

    it('S12: does not revive what has expired: a write starts another session', async () => {
      const key = sessionKeyIn(await start({ idleTimeout: 100 }));
      await later(101);
      const written = await browser.post('/');
      expect(sessionKeyIn(written)).toMatch(/^[\w-]{22}\.[\w-]{43}$/);
      expect(sessionKeyIn(written)).not.toBe(key);
      expect(await items()).toBe(1);
      expect(await site.dataSource.getRepository(SessionEntity).count()).toBe(2);
    });
  });

  describe('sliding: false', () => {
    it('counts from the last save, as Django does', async () => {
      await start({ sliding: false, idleTimeout: 100 });
      const touch = spyOn('touch');
      await later(60);
      expect(await items()).toBe(1);
      await later(50);
      expect(await items()).toBe(0);
      expect(touch).not.toHaveBeenCalled();

      await browser.post('/');
      await later(60);
      await browser.post('/');
      await later(60);
      expect(await items()).toBe(2);
    });

    it('S111: does not write when it reads', async () => {
      await start({ sliding: false });
      const spies = [spyOn('save'), spyOn('touch'), spyOn('create')];
      await later(7 * DAY);
      const before = await row();
      const read = await browser.get('/');
      expect(read.get('Set-Cookie')).toBeUndefined();
      expect(read.get('Vary')).toContain('Cookie');
      expect(await row()).toEqual(before);
      expect(spies.map((spy) => spy.mock.calls.length)).toEqual([0, 0, 0]);
    });
  });

  describe('the absolute timeout', () => {
    it('ends a session however busy it is', async () => {
      await start({ idleTimeout: '10m', absoluteTimeout: '1h' });
      for (let time = 0; time < 7; time++) {
        await later(8 * MINUTE);
        await browser.post('/');
      }
      expect(await items()).toBe(8);
      await later(5 * MINUTE);
      expect(await items()).toBe(0);
    });

    it('is put off by a login, not by a rotation, and the cookie knows', async () => {
      await start({ idleTimeout: '10m', absoluteTimeout: '15m' });
      await later(8 * MINUTE);
      expectAbout(Number(cookieOf(await browser.post('/rotate')).maxAge), 7 * MINUTE);
      expectAbout(Number(cookieOf(await browser.post('/login')).maxAge), 15 * MINUTE);
      await later(8 * MINUTE);
      expectAbout(Number(cookieOf(await browser.post('/rotate')).maxAge), 7 * MINUTE);
      await later(7 * MINUTE + 1);
      expect(await items()).toBe(0);
    });

    it('bounds an expiry of the session’s own', async () => {
      await start({ absoluteTimeout: '1h' });
      await wish({ seconds: 600 });
      expectAbout(Number(cookieOf(await wish({ seconds: DAY })).maxAge), 60 * MINUTE);
      await wish({ seconds: 600 });
      expectAbout(Number(cookieOf(await wish({ inSeconds: DAY })).maxAge), 60 * MINUTE);
      await later(60 * MINUTE + 1);
      expect(await items()).toBe(0);
    });
  });

  describe('setExpiry', () => {
    it.each<[string, Wish, number]>([
      ['seconds', { seconds: 600 }, 600],
      ['a duration', { duration: '30m' }, 1800],
      ['a moment', { inSeconds: 3600 }, 3600],
      ['null, for the options', { nothing: true }, 14 * DAY],
    ])('takes %s', async (_, given, expected) => {
      await start();
      await wish({ seconds: 42 });
      const { maxAge, expiresIn } = cookieOf(await wish(given));

      expectAbout(Number(maxAge), expected);
      expectAbout(expiresIn as number, expected);
      expectAbout(((await row()).expireDate - Date.now()) / 1000, expected);
      await later(expected - 5);
      expect(await items()).toBe(1);
      // One of the two was a use, which restarts all clocks but that of a moment.
      await later(given.inSeconds ? 6 : expected + 1);
      expect(await items()).toBe(0);
    });

    it('of 0 gives a cookie without an end, and a row that ends when it is idle', async () => {
      await start({ idleTimeout: '1d' });
      expect(cookieOf(await wish({ seconds: 0 }))).toEqual({ maxAge: undefined, expiresIn: undefined });
      expectAbout(((await row()).expireDate - Date.now()) / 1000, DAY);
      await later(DAY + 1);
      expect(await items()).toBe(0);
    });

    it.each<[string, Wish]>([
      ['a negative number', { seconds: -10 }],
      ['a moment that has passed', { inSeconds: -1 }],
    ])('of %s ends the session', async (_, given) => {
      const key = sessionKeyIn(await start());
      expect(sessionKeyIn(await wish(given))).toBe('');
      expect(await site.dataSource.getRepository(SessionEntity).count()).toBe(0);
      expect((await site.request.get('/').set('Cookie', `sessionid=${key}`)).body).toEqual({ items: 0 });
    });

    it.each<Wish>([{ duration: 'soon' }, { duration: '30' }, { duration: '' }, { inSeconds: 9e15 }])(
      'refuses %j, and nothing changes',
      async (given) => {
        await start();
        const before = await row();
        await wish(given).expect(500);
        expect(await row()).toEqual(before);
        expect(await items()).toBe(1);
      },
    );

    it('of a number counts from the last use, of a moment does not move', async () => {
      await start();
      await wish({ seconds: 600 });
      await later(400);
      await browser.get('/');
      expectAbout(((await row()).expireDate - Date.now()) / 1000, 600);

      await wish({ inSeconds: 600 });
      await later(400);
      await browser.post('/');
      expectAbout(((await row()).expireDate - Date.now()) / 1000, 600);
      await browser.get('/');
      expect((await browser.get('/facts')).body).toMatchObject({ modified: false });
    });

    it('says that nothing changed when null meets nothing', async () => {
      await start();
      const save = spyOn('save');
      expect((await wish({ nothing: true })).get('Set-Cookie')).toBeUndefined();
      expect(save).not.toHaveBeenCalled();
    });

    it('stays when somebody logs in', async () => {
      await start();
      await wish({ seconds: 600 });
      expectAbout(Number(cookieOf(await browser.post('/login')).maxAge), 600);
      expect((await row()).expiry).toBe('600');
    });
  });

  describe('expireAtBrowserClose', () => {
    it('leaves the end out of the cookie, and an expiry of the session’s own overrules it', async () => {
      const set = await start({ expireAtBrowserClose: true });
      expect(cookieOf(set)).toEqual({ maxAge: undefined, expiresIn: undefined });
      expect((await browser.get('/facts')).body).toMatchObject({ atBrowserClose: true });

      expect(cookieOf(await wish({ seconds: 600 })).maxAge).toBe('600');
      expect((await browser.get('/facts')).body).toMatchObject({ atBrowserClose: false });
      expect(cookieOf(await wish({ nothing: true })).maxAge).toBeUndefined();
    });

    it('of the session’s own overrules a cookie that lasts', async () => {
      await start();
      expect((await browser.get('/facts')).body).toMatchObject({ atBrowserClose: false });
      await wish({ seconds: 0 });
      expect((await browser.get('/facts')).body).toMatchObject({ atBrowserClose: true });
    });
  });

  describe('getExpiryAge and getExpiryDate', () => {
    it('tell what the options say, or the session’s own', async () => {
      await start({ cookie: { maxAge: '1h' } });
      expect(await facts()).toMatchObject({ age: 3600, ageOfTen: 10, ageOfNone: 3600, ageOfDate: 9 });
      await wish({ seconds: 600 });
      const own = await facts();
      expect(own.age).toBe(600);
      expectAbout((Date.parse(own.date) - Date.now()) / 1000, 600);
      expectAbout((Date.parse(own.expiresAt) - Date.now()) / 1000, 600);
    });

    it('count a moment from a modification, and a number not', async () => {
      await start();
      await wish({ seconds: 600 });
      const relative = await facts('?later=100');
      expect(relative.age).toBe(600);
      expectAbout((Date.parse(relative.date) - Date.now()) / 1000, 700);
      // Rounded down, as Django does: from -10.5.
      expect((await facts('?later=20')).ageOfDate).toBe(-11);

      await wish({ inSeconds: 600 });
      const absolute = await facts('?later=100');
      expectAbout(absolute.age as number, 500);
      expectAbout((Date.parse(absolute.date) - Date.now()) / 1000, 600);
    });

    it('are no change', async () => {
      await start();
      const before = await row();
      expect(await facts()).toMatchObject({ modified: false });
      expect(await row()).toEqual(before);
    });
  });

  describe('saveEveryRequest', () => {
    it('moves the deadline and sends the cookie with every answer', async () => {
      const key = sessionKeyIn(await start({ saveEveryRequest: true, idleTimeout: 100 }));
      for (const path of ['/', '/untouched']) {
        await later(50);
        const answer = await browser.get(path);
        expect(sessionKeyIn(answer)).toBe(key);
        expectAbout(((await row()).expireDate - Date.now()) / 1000, 100);
      }
    });

    it('S86 S87: makes no session out of nothing, nor out of a forged cookie', async () => {
      await start({ saveEveryRequest: true });
      for (const cookie of ['', `sessionid=${'f'.repeat(43)}`, 'sessionid=x']) {
        for (const path of ['/', '/untouched']) {
          const answer = await site.request.get(path).set('Cookie', cookie);
          expect(sessionKeyIn(answer) || undefined).toBeUndefined();
        }
      }
      expect(await site.dataSource.getRepository(SessionEntity).count()).toBe(1);
    });
  });
});

describeWithService('postgres', 'expiry with new options', () => {
  it('ends and shortens sessions that began under longer ones', async () => {
    const database = await testDatabase('postgres');
    const startWith = (options: SessionOptions) =>
      startDatabaseApp('express', 'postgres', { database, controllers: [BasketController], options });
    const long = await startWith({ idleTimeout: '10d' });
    const cookie = `sessionid=${sessionKeyIn(await long.request.post('/'))}`;
    await age(long.dataSource, 2 * DAY);
    await long.close();

    const short = await startWith({ idleTimeout: '1d' });
    expect((await short.request.get('/').set('Cookie', cookie)).body).toEqual({ items: 0 });
    await short.close();

    const absolute = await startWith({ absoluteTimeout: '47h' });
    expect((await absolute.request.get('/').set('Cookie', cookie)).body).toEqual({ items: 0 });
    await absolute.close();

    const wide = await startWith({ idleTimeout: '3d' });
    expect((await wide.request.get('/').set('Cookie', cookie)).body).toEqual({ items: 1 });
    await wide.close();
    await database.dispose();
  });
});
