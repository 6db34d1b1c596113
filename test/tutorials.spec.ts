import { join } from 'node:path';
import { type INestApplication, type Type } from '@nestjs/common';
import { type NestExpressApplication } from '@nestjs/platform-express';
import { type NestFastifyApplication } from '@nestjs/platform-fastify';
import handlebars from 'handlebars';
import { type SessionOptions, type SessionRecord, Sessions, SessionStore } from 'nest-sessions';
import { CreateNestSession1767225600000, SessionEntity } from 'nest-sessions/database';
import { type Platform, platforms, startApp } from './support/app.js';
import { testDatabase } from './support/data-source.js';
import {
  age,
  anyDatabase,
  type DatabaseApp,
  type DatabaseAppSetup,
  sessionKeyIn,
  startDatabaseApp,
} from './support/database-app.js';
import { describeWithService } from './support/services.js';
import { S0Controller } from './tutorials/s0.controller.js';
import { S1Controller } from './tutorials/s1.controller.js';
import { S2Controller } from './tutorials/s2.controller.js';
import { S3Controller } from './tutorials/s3.controller.js';
import { S4Controller } from './tutorials/s4.controller.js';

/**
 * Five tutorials for Django's sessions, walked in Nest. Titles name the features (F1 to F72) that a test stands for;
 * `tutorials/README.md` lists them.
 */
describe.each(platforms)('the tutorials on %s', (platform) => {
  const DAY = 24 * 60 * 60;
  const views = join(import.meta.dirname, 'tutorials', 'views');

  let site: DatabaseApp;
  let browser: ReturnType<DatabaseApp['browser']>;

  const walk = (controller: Type, options: SessionOptions = {}, setup: DatabaseAppSetup = {}): void => {
    beforeAll(async () => {
      site = await startDatabaseApp(platform, anyDatabase, { controllers: [controller], options, ...setup });
    });
    beforeEach(() => {
      browser = site.browser();
    });
    afterEach(() => site.dataSource.getRepository(SessionEntity).clear());
    afterAll(() => site.close());
  };

  const rows = (): Promise<SessionEntity[]> => site.dataSource.getRepository(SessionEntity).find();
  const onlyRow = async (): Promise<SessionEntity> => {
    const all = await rows();
    expect(all).toHaveLength(1);
    return all[0] as SessionEntity;
  };
  const login = (form = { username: 'ada', password: 'engine' }) => browser.post('/login').send(form);
  const text = async (path: string): Promise<string> => (await browser.get(path).expect(200)).text;

  describe('S0: first steps', () => {
    walk(S0Controller);

    it('F17 F18 F19 F20: tells on the next page whether the browser takes cookies', async () => {
      expect(await text('/testcookie')).toContain('A test cookie was set');
      expect((await site.request.get('/deletecookie')).text).toContain('does not accept cookies');
      expect(await text('/deletecookie')).toContain('Your browser accepts cookies');
      expect(await text('/deletecookie')).toContain('does not accept cookies');
    });

    it('F1 F2 F3 F5 F6 F15 F21: creates a session, and sends those who have none to create it', async () => {
      await browser.get('/access').expect(302).expect('Location', '/create');

      const created = await browser.get('/create').expect(200);

      expect(await text('/access')).toBe('Name: ada, password: engine, number: 1816');
      const cookie = created.get('Set-Cookie')?.[0];
      expect(cookie).toMatch(/^sessionid=[\w-]{43}; /);
      expect(cookie).not.toMatch(/ada|engine|1815/);
    });

    it('F13 F14 F16: keeps the key of a session, and gives every new one another', async () => {
      const keys = new Set<string | undefined>();
      for (let visitor = 0; visitor < 5; visitor++) {
        const agent = site.browser();
        keys.add(sessionKeyIn(await agent.get('/create')));
        expect(sessionKeyIn(await agent.get('/create'))).toBeUndefined();
        expect((await agent.get('/access')).text).toContain('ada');
      }
      expect(keys.size).toBe(5);
      for (const key of keys) expect(key?.length).toBeGreaterThanOrEqual(32);
    });

    it('F8 F11: deletes the data, leaves cookie and row, and does not fail the second time', async () => {
      await browser.get('/create');
      const before = await onlyRow();

      const deleted = await browser.get('/delete').expect(200);
      expect(deleted.text).toContain('Session data deleted');
      expect(sessionKeyIn(deleted)).toBeUndefined();
      expect(await text('/delete')).toContain('nothing to delete');
      await browser.get('/access').expect(302);

      const after = await onlyRow();
      expect([after.sessionKey, after.sessionId]).toEqual([before.sessionKey, before.sessionId]);
      expect(after.getDecoded()).toEqual({});
      expect(sessionKeyIn(await browser.get('/create'))).toBeUndefined();
    });

    it('F12 F71: logs out with data, row and cookie gone, and redirects', async () => {
      const key = sessionKeyIn(await browser.get('/create'));

      const left = await browser.post('/logout').expect(303).expect('Location', '/access');

      expect(left.get('Set-Cookie')).toEqual([
        'sessionid=; Max-Age=0; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; SameSite=Lax',
      ]);
      expect(await rows()).toEqual([]);
      await browser.get('/access').expect(302).expect('Location', '/create');
      await site.request.get('/access').set('Cookie', `sessionid=${key}`).expect(302);
    });
  });

  describe('S1: engines, expiry and the cookie', () => {
    walk(
      S1Controller,
      { cookie: { name: 'shop', maxAge: 5 * DAY, secure: false, httpOnly: true } },
      { prepare: (app) => showViews(app, platform, views) },
    );

    it('F54 F55 F56 F58: shows the session in a template, the login redirects, and outsiders are sent home', async () => {
      expect(await text('/')).toMatch(/<h1>Shop<\/h1>\s*<p>Who are you\?<\/p>\s*<p>\[\]<\/p>/);
      await browser.get('/dashboard').expect(302).expect('Location', '/');
      await browser.post('/login').send({ username: 'ada', password: 'guess' }).expect('Location', '/?wrong');
      await browser.get('/dashboard').expect(302);

      await login().expect(303).expect('Location', '/dashboard');

      expect(await text('/dashboard')).toContain('<p>Hello ada, user ada</p>');
    });

    it('F57 F67: changes the key when somebody logs in, so that a planted one opens nothing', async () => {
      const planted = sessionKeyIn(await browser.post('/expiry/half-an-hour'), 'shop');
      const own = sessionKeyIn(await login(), 'shop');

      expect(own).toMatch(/^[\w-]{43}$/);
      expect(own).not.toBe(planted);
      await site.request.get('/dashboard').set('Cookie', `shop=${planted}`).expect(302);
      expect((await onlyRow()).userId).toBe('ada');
    });

    it('F66: takes a session key from the cookie only', async () => {
      const secret = sessionKeyIn(await login(), 'shop');
      await site.request
        .get(`/dashboard?shop=${secret}&sessionid=${secret}`)
        .set({ Authorization: `Bearer ${secret}`, 'X-Session-Id': `${secret}` })
        .expect(302);
      await site.request.get(`/dashboard;shop=${secret}`).expect(404);
      expect((await site.request.get('/dashboard').set('Cookie', `shop=${secret}`)).status).toBe(200);
    });

    it('F36: half an hour is counted from the last request, not from the last save', async () => {
      await login();
      await browser.post('/expiry/half-an-hour');
      for (let visit = 0; visit < 3; visit++) {
        await age(site.dataSource, 20 * 60);
        await browser.get('/dashboard').expect(200);
      }
      await age(site.dataSource, 31 * 60);
      expect((await browser.get('/dashboard')).status).toBe(302);
    });

    it('F37: a date stays the date', async () => {
      await login();
      await browser.post('/expiry/tomorrow');
      await age(site.dataSource, DAY / 2);
      await browser.get('/dashboard').expect(200);
      await age(site.dataSource, DAY / 2);
      expect((await browser.get('/dashboard')).status).toBe(302);
    });

    it('F39 F42 F43: names the cookie, and gives it and the row five days', async () => {
      const cookie = (await login()).get('Set-Cookie')?.[0];
      expect(cookie).toMatch(/^shop=/);
      expect(cookie).toContain(`; Max-Age=${5 * DAY};`);
      expect(cookie).toContain('; HttpOnly');
      const { expireDate, createdAt } = await onlyRow();
      expect(expireDate - createdAt).toBe(5 * DAY * 1000);
    });

    it('F40 F71: a session until the browser closes has a cookie without an end', async () => {
      await login();
      const cookie = (await browser.post('/expiry/browser')).get('Set-Cookie')?.[0];
      expect(cookie).not.toMatch(/Max-Age|Expires/);
    });
  });

  describe('S1: choices', () => {
    it('F41: a secure cookie goes over TLS only', async () => {
      const secure = await startDatabaseApp(platform, anyDatabase, {
        controllers: [S0Controller],
        options: { cookie: { secure: true } },
      });
      const agent = secure.browser();
      expect((await agent.get('/create')).get('Set-Cookie')?.[0]).toContain('; Secure');
      // The browser of this test speaks plain HTTP, so it keeps the cookie to itself.
      await agent.get('/access').expect(302);
      await secure.close();
    });

    it('F40: every session ends with the browser when the options say so', async () => {
      const own = await startDatabaseApp(platform, anyDatabase, {
        controllers: [S0Controller],
        options: { expireAtBrowserClose: true },
      });
      const agent = own.browser();
      expect((await agent.get('/create')).get('Set-Cookie')?.[0]).not.toMatch(/Max-Age|Expires/);
      await agent.get('/access').expect(200);
      await own.close();
    });

    it('F33 F34 F35: load, create, save and delete make an engine', async () => {
      class MapStore extends SessionStore {
        readonly records = new Map<string, SessionRecord>();
        async load(key: string) {
          return structuredClone(this.records.get(key)) ?? null;
        }
        async create(key: string, record: SessionRecord) {
          if (this.records.has(key)) return false;
          this.records.set(key, record);
          return true;
        }
        async save(key: string, _changes: object, record: SessionRecord) {
          return this.records.has(key) && Boolean(this.records.set(key, record));
        }
        async delete(key: string) {
          return this.records.delete(key);
        }
      }
      const own = await startApp(platform, { engine: MapStore, controllers: [S0Controller] });
      const agent = own.browser();
      await agent.get('/create');
      expect((await agent.get('/access')).text).toContain('ada');
      await agent.post('/logout');
      expect(own.app.get<MapStore>(SessionStore).records.size).toBe(0);
      await own.close();
    });

    // Not on SQLite in memory, which lives and dies with the process.
    describeWithService('postgres', 'F63: sessions in a database', () => {
      it('survive a restart', async () => {
        const database = await testDatabase('postgres');
        const start = () => startDatabaseApp(platform, 'postgres', { database, controllers: [S0Controller] });
        const before = await start();
        const key = sessionKeyIn(await before.request.get('/create'));
        await before.close();

        const after = await start();
        const access = await after.request.get('/access').set('Cookie', `sessionid=${key}`);
        expect(access.text).toContain('Name: ada');
        await after.close();
        await database.dispose();
      });
    });
  });

  describe('S2: set, get, delete', () => {
    walk(
      S2Controller,
      {},
      {
        // One page of this tutorial is meant to fail.
        prepare: (app) => app.useLogger(false),
        typeorm: {
          synchronize: false,
          migrations: [CreateNestSession1767225600000],
          migrationsRun: true,
        },
      },
    );

    it('F5 F68 F69 F70: an anonymous visitor has a session, and no row before something is written', async () => {
      const got = await browser.get('/get').expect(200);
      expect(got.text).toBe('None nobody');
      expect(got.get('Set-Cookie')).toBeUndefined();
      expect(await rows()).toEqual([]);

      await browser.get('/set').expect(200);
      expect(await text('/get')).toBe('Grace grace@example.org');
    });

    it('F7 F9: looks before it deletes, and again finds nothing', async () => {
      await browser.get('/set');
      for (let time = 0; time < 2; time++) {
        await browser.get('/delete').expect(200, 'The session data are gone');
        expect(await text('/get')).toBe('None nobody');
      }
    });

    it('F4: a strict read of a missing key fails, by name', async () => {
      await browser.get('/strict').expect(500);
      await browser.get('/set');
      expect(await text('/strict')).toBe('Grace');
    });

    it('F8: deleting what is not there changes nothing', async () => {
      await browser.get('/set');
      const { body } = await browser.get('/modified?key=other');
      expect(body).toEqual({ removed: false, modified: false, accessed: true });
      expect((await browser.get('/modified?key=sname')).body).toMatchObject({
        removed: true,
        modified: true,
      });
    });

    it('F12: flush ends it all', async () => {
      await browser.get('/set');
      expect(sessionKeyIn(await browser.get('/flush'))).toBe('');
      expect(await rows()).toEqual([]);
      expect(await text('/get')).toBe('None nobody');
    });

    it('F23 F24 F38: a migration made the table; the row has a hashed key, the data and a date two weeks from now', async () => {
      const set = await browser.get('/set');
      const key = sessionKeyIn(set) as string;

      const row = await onlyRow();
      expect(row.sessionKey).toMatch(/^v1-[0-9a-f]{64}$/);
      expect(JSON.stringify(row)).not.toContain(key);
      expect(row.getDecoded()).toEqual({ sname: 'Grace', semail: 'grace@example.org' });
      expect(row.expireDate - row.createdAt).toBe(14 * DAY * 1000);
      expect(set.get('Set-Cookie')?.[0]).toContain(`Max-Age=${14 * DAY};`);
      const [raw] = (await site.dataSource.query(
        'SELECT session_key, session_data, expire_date FROM nest_session',
      )) as [Record<string, unknown>];
      expect(raw['session_data']).toContain('Grace');
    });

    it('F72: a page next to it neither reads nor sets anything', async () => {
      const response = await site.request.get('/admin').set('Cookie', `sessionid=${'a'.repeat(43)}`);
      expect(response.text).toBe('admin');
      expect(response.get('Set-Cookie')).toBeUndefined();
      expect(response.get('Vary')).toBeUndefined();
    });
  });

  describe('S3: the whole interface', () => {
    walk(
      S3Controller,
      {},
      {
        prepare: async (app) => {
          app.enableCsrfProtection();
          await showViews(app, platform, views);
        },
      },
    );

    it('F5 F6 F7 F11 F22: stores values of all kinds, and has no session data when they are deleted', async () => {
      expect((await browser.get('/show')).body).toEqual({ answer: 'No session data' });
      await browser.get('/save');
      expect((await browser.get('/show')).body).toEqual({
        id: 1,
        name: 'root',
        items_to_buy: { apples: 2, tea: 1 },
      });
      await browser.get('/delete');
      expect((await browser.get('/show')).body).toEqual({ answer: 'No session data' });
      expect((await onlyRow()).getDecoded()).toEqual({});
    });

    it('F50: saves what was changed inside of a value', async () => {
      await browser.get('/save');
      await browser.get('/buy');
      expect((await browser.get('/show')).body).toMatchObject({ items_to_buy: { apples: 3, tea: 1 } });
    });

    it('F49 F50 F52: saves and sends the cookie when something changed, or was said to have changed', async () => {
      await browser.get('/save');
      const { version, expireDate } = await onlyRow();

      expect(sessionKeyIn(await browser.get('/show'))).toBeUndefined();
      expect(await onlyRow()).toMatchObject({ version, expireDate });

      await age(site.dataSource, DAY);
      expect(sessionKeyIn(await browser.get('/renew'))).toMatch(/^[\w-]{43}$/);
      expect((await onlyRow()).expireDate).toBeGreaterThanOrEqual(expireDate);
    });

    it('F51: saves and sends the cookie with every answer when the options say so', async () => {
      const every = await startDatabaseApp(platform, anyDatabase, {
        controllers: [S2Controller],
        options: { saveEveryRequest: true },
      });
      const agent = every.browser();
      expect(sessionKeyIn(await agent.get('/get'))).toBeUndefined();
      const key = sessionKeyIn(await agent.get('/set'));
      await age(every.dataSource, DAY);
      expect(sessionKeyIn(await agent.get('/get'))).toBe(key);
      await age(every.dataSource, DAY);
      expect(sessionKeyIn(await agent.get('/admin'))).toBe(key);
      await every.close();
    });

    it('F54 F56 F58 F60: a login by hand, with a message that is shown once', async () => {
      await browser.get('/secret').expect(302).expect('Location', '/login');
      await login({ username: 'ada', password: 'wrong' }).expect(303).expect('Location', '/login');
      expect(await text('/login')).toContain("<p class='error'>Name and password do not match</p>");
      expect(await text('/login')).not.toContain('do not match');

      await login().expect(303).expect('Location', '/secret');
      expect(await text('/secret')).toContain('<p>Secret of user 7</p>');
    });

    it('F59: logging out twice does no harm', async () => {
      await login();
      for (let time = 0; time < 2; time++) {
        await browser.post('/logout').expect(303).expect('Location', '/login');
        expect((await browser.get('/secret')).status).toBe(302);
      }
    });

    it('F61: a form on somebody else’s site can neither log in nor out', async () => {
      await login().set('Sec-Fetch-Site', 'same-origin').expect(303);
      await browser.post('/logout').set('Sec-Fetch-Site', 'cross-site').expect(403);
      await browser.post('/logout').set('Origin', 'https://elsewhere.example').expect(403);
      await browser.get('/secret').expect(200);
      const stranger = await site.request
        .post('/login')
        .set('Sec-Fetch-Site', 'cross-site')
        .send({ username: 'ada', password: 'engine' })
        .expect(403);
      expect(stranger.get('Set-Cookie')).toBeUndefined();
    });

    it('F53: sessions outside of views', async () => {
      const sessions = site.app.get(Sessions);
      const made = await sessions.create<{ name: string; seen: boolean }>({ name: 'root' });
      const key = made.sessionKey as string;
      const shown = await site.request.get('/show').set('Cookie', `sessionid=${key}`);
      expect(shown.body).toEqual({ name: 'root' });

      const opened = await sessions.open<{ name: string; seen: boolean }>(key);
      expect(opened?.name).toBe('root');
      opened?.set('seen', true);
      await opened?.save();

      const row = await site.dataSource.getRepository(SessionEntity).findOneByOrFail({ sessionId: made.id });
      expect(row.getDecoded()).toEqual({ name: 'root', seen: true });
      expect(new Date(row.expireDate).getTime()).toBeGreaterThan(Date.now());
      row.sessionData = 'neither here nor there';
      expect(row.getDecoded()).toEqual({});
      expect(await sessions.open('a'.repeat(43))).toBeNull();
    });

    it('F65: a cookie that was tampered with opens nothing', async () => {
      const key = sessionKeyIn(await login()) as string;
      for (const forged of [
        key.toLowerCase(),
        `${key}x`,
        key.slice(1),
        `${key.at(-1)}${key.slice(0, -1)}`,
        '{"user_id":7}',
      ]) {
        await site.request.get('/secret').set('Cookie', `sessionid=${forged}`).expect(302);
      }
      expect(key.length).toBeLessThan(100);
    });
  });

  describe('S4: a connection', () => {
    walk(S4Controller);

    it('F10 F56 F62: skips the form for those who are in', async () => {
      expect(await text('/connection')).toBe('Please log in');
      await login().expect(303).expect('Location', '/connection');
      expect(await text('/connection')).toBe('Welcome ada');
    });

    it('F59: leaves, and leaves again', async () => {
      await login();
      expect(await text('/logout')).toBe('You are logged out.');
      expect(await text('/logout')).toBe('You were not logged in.');
      expect(await text('/connection')).toBe('Please log in');
    });

    it('F36 F44 F45: tells when it will end', async () => {
      const fresh = await browser.get('/expiry');
      expect(fresh.body).toMatchObject({ age: 14 * DAY, expiresAt: null, atBrowserClose: false });

      await login();
      const { body } = await browser.get('/expiry');
      expect(body).toMatchObject({ age: 1800, atBrowserClose: false });
      expect(Math.abs(Date.parse((body as { date: string }).date) - Date.now() - 1_800_000)).toBeLessThan(
        5000,
      );
      expect(
        Math.abs(Date.parse((body as { expiresAt: string }).expiresAt) - Date.now() - 1_800_000),
      ).toBeLessThan(5000);

      await browser.post('/expiry/browser');
      expect((await browser.get('/expiry')).body).toMatchObject({ age: 14 * DAY, atBrowserClose: true });
    });

    it('F46 F47 F48: an expired session opens nothing, and clearing takes it away, not its neighbours', async () => {
      await login();
      await age(site.dataSource, 1801);
      const other = site.browser();
      await other.post('/login').send({ username: 'grace' });

      expect(await text('/connection')).toBe('Please log in');
      expect(await rows()).toHaveLength(2);
      // Clearing goes by whole hours.
      await site.dataSource.query('UPDATE nest_session SET expire_bucket = expire_bucket - 2');
      expect(await site.app.get(Sessions).clearExpired()).toBe(1);
      expect(await rows()).toHaveLength(1);
      expect((await other.get('/connection')).text).toBe('Welcome grace');
    });
  });
});

/** The same templates on both platforms; nothing about sessions has to be said. */
async function showViews(app: INestApplication, platform: Platform, templates: string): Promise<void> {
  if (platform === 'fastify') {
    (app as NestFastifyApplication).setViewEngine({ engine: { handlebars }, templates });
  } else {
    (app as NestExpressApplication).setBaseViewsDir(templates).setViewEngine('hbs');
  }
}
