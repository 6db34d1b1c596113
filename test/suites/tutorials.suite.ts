import { type Response } from 'supertest';
import { Sessions } from 'nest-sessions';
import { assertNear } from '../../libs/session/src/testing/store-bench.js';
import { type RunningApp } from '../support/app.js';
import { sessionKeyIn } from '../support/database-app.js';
import { S0Controller } from '../tutorials/s0.controller.js';
import { S1Controller } from '../tutorials/s1.controller.js';
import { S2Controller } from '../tutorials/s2.controller.js';
import { type EngineRow, showViews } from './engine-row.js';

const MINUTE = 60;
const DAY = 24 * 60 * MINUTE;

/**
 * Five tutorials for Django's sessions, walked in Nest, on an engine of the table. Titles name the features (F1 to F72)
 * that a test stands for; `../tutorials/README.md` lists them. What concerns the table of the sessions is in
 * `../tutorials.spec.ts`.
 */
export function describeTutorials(row: EngineRow): void {
  describe('tutorials', () => {
    let browser: ReturnType<RunningApp['browser']>;
    beforeEach(() => {
      browser = row.site.browser();
    });

    const onServer = !row.lacks('server');
    const text = async (path: string): Promise<string> => (await browser.get(path).expect(200)).text;
    const login = (path: string, form = { username: 'ada', password: 'engine' }) =>
      browser.post(path).send(form);

    /**
     * On a server the key stays, and is sent again only on a machine so busy that the deadline has moved by a second. A
     * client's own session is another one when something has changed.
     */
    function expectKept(response: Pick<Response, 'headers'>, key: string | undefined): void {
      if (onServer) expect([undefined, key]).toContain(sessionKeyIn(response));
      else expect(sessionKeyIn(response)).not.toBe('');
    }

    describe('S0: first steps', () => {
      it('F17 F18 F19 F20: tells on the next page whether the browser takes cookies', async () => {
        expect(await text('/s0/testcookie')).toContain('A test cookie was set');
        expect((await row.site.request.get('/s0/deletecookie')).text).toContain('does not accept cookies');
        expect(await text('/s0/deletecookie')).toContain('Your browser accepts cookies');
        expect(await text('/s0/deletecookie')).toContain('does not accept cookies');
      });

      it('F1 F2 F3 F5 F6 F15 F21: creates a session, and sends those who have none to create it', async () => {
        await browser.get('/s0/access').expect(302).expect('Location', '/create');

        const created = await browser.get('/s0/create').expect(200);

        expect(await text('/s0/access')).toBe('Name: ada, password: engine, number: 1816');
        const cookie = created.get('Set-Cookie')?.[0];
        expect(cookie).toMatch(onServer ? /^sessionid=[\w-]{22}\.[\w-]{43}; / : /^sessionid=[^;]{44,}; /);
        expect(cookie).not.toMatch(/ada|engine|1815/);
      });

      it('F13 F14 F16: keeps the key of a session, and gives every new one another', async () => {
        const keys = new Set<string | undefined>();
        for (let visitor = 0; visitor < 5; visitor++) {
          const agent = row.site.browser();
          const key = sessionKeyIn(await agent.get('/s0/create'));
          keys.add(key);
          expectKept(await agent.get('/s0/create'), key);
          expect((await agent.get('/s0/access')).text).toContain('ada');
        }
        expect(keys.size).toBe(5);
        for (const key of keys) expect(key?.length).toBeGreaterThanOrEqual(32);
      });

      it('F8 F11: deletes the data, leaves cookie and record, and does not fail the second time', async () => {
        const key = sessionKeyIn(await browser.get('/s0/create'));
        const before = await row.record(key);

        const deleted = await browser.get('/s0/delete').expect(200);
        expect(deleted.text).toContain('Session data deleted');
        expectKept(deleted, key);
        expect(await text('/s0/delete')).toContain('nothing to delete');
        await browser.get('/s0/access').expect(302);

        const after = await row.record(key);
        expect(after?.id).toBe(before?.id);
        if (onServer) expect({ ...after?.data }).toEqual({});
        expectKept(await browser.get('/s0/create'), key);
      });

      it('F12 F71: logs out with data, record and cookie gone, and redirects', async () => {
        const key = sessionKeyIn(await browser.get('/s0/create'));
        const { id = '' } = (await row.record(key)) ?? {};

        const left = await browser.post('/s0/logout').expect(303).expect('Location', '/access');

        expect(left.get('Set-Cookie')).toEqual([
          'sessionid=; Max-Age=0; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; SameSite=Lax',
        ]);
        await browser.get('/s0/access').expect(302).expect('Location', '/create');
        expect([await row.record(key), await row.rowsOf(id)]).toEqual([null, []]);
        // A copy of a client's own session lives on; docs/engines/cookie.md says so.
        const copied = await row.site.request.get('/s0/access').set('Cookie', `sessionid=${key}`);
        expect(copied.status).toBe(onServer ? 302 : 200);
      });
    });

    describe('S1: engines, expiry and the cookie', () => {
      let shop: RunningApp;
      /** The newest that the browser was given, which may forget it by the clock. */
      let key: string | undefined;

      beforeAll(async () => {
        shop = await row.start({
          controllers: [S1Controller],
          options: { cookie: { name: 'shop', maxAge: 5 * DAY, secure: false, httpOnly: true } },
          prepare: (app) => showViews(app, row.platform),
        });
      });
      beforeEach(() => {
        browser = shop.browser();
        key = undefined;
      });
      afterAll(() => shop.close());

      const remembered = (response: Response): Response => {
        key = sessionKeyIn(response, 'shop') ?? key;
        return response;
      };
      const enter = async (): Promise<Response> => remembered(await login('/login'));
      const dashboard = async (): Promise<number> =>
        remembered(await shop.request.get('/dashboard').set('Cookie', `shop=${key}`)).status;
      const elapse = (seconds: number) => row.setup.elapse(seconds, shop.app);

      it('F54 F55 F56 F58: shows the session in a template, the login redirects, and outsiders are sent home', async () => {
        expect(await text('/')).toMatch(/<h1>Shop<\/h1>\s*<p>Who are you\?<\/p>\s*<p>\[\]<\/p>/);
        await browser.get('/dashboard').expect(302).expect('Location', '/');
        await browser
          .post('/login')
          .send({ username: 'ada', password: 'guess' })
          .expect('Location', '/?wrong');
        await browser.get('/dashboard').expect(302);

        await login('/login').expect(303).expect('Location', '/dashboard');

        expect(await text('/dashboard')).toContain('<p>Hello ada, user ada</p>');
      });

      it('F57 F67: changes the key when somebody logs in, so that a planted one opens nothing', async () => {
        const planted = sessionKeyIn(await browser.post('/expiry/half-an-hour'), 'shop');
        await enter();

        expect(key).toMatch(onServer ? /^[\w-]{22}\.[\w-]{43}$/ : /^[^;]{44,}$/);
        expect(key).not.toBe(planted);
        await shop.request.get('/dashboard').set('Cookie', `shop=${planted}`).expect(302);
        expect(await dashboard()).toBe(200);
      });

      it('F66: takes a session key from the cookie only', async () => {
        await enter();
        const secret = encodeURIComponent(`${key}`);
        await shop.request
          .get(`/dashboard?shop=${secret}&sessionid=${secret}`)
          .set({ Authorization: `Bearer ${key}`, 'X-Session-Id': `${key}` })
          .expect(302);
        await shop.request.get(`/dashboard;shop=${secret}`).expect(404);
        expect(await dashboard()).toBe(200);
      });

      it('F36: half an hour is counted from the last request, not from the last save', async () => {
        await enter();
        remembered(await browser.post('/expiry/half-an-hour'));
        for (let visit = 0; visit < 3; visit++) {
          await elapse(20 * MINUTE);
          expect(await dashboard()).toBe(200);
        }
        await elapse(31 * MINUTE);
        expect(await dashboard()).toBe(302);
      });

      it('F37: a date stays the date', async () => {
        await enter();
        remembered(await browser.post('/expiry/tomorrow'));
        await elapse(DAY / 2);
        expect(await dashboard()).toBe(200);
        await elapse(DAY / 2);
        expect(await dashboard()).toBe(302);
      });

      it('F39 F42 F43: names the cookie, and gives it and the record five days', async () => {
        const cookie = (await enter()).get('Set-Cookie')?.[0];
        expect(cookie).toMatch(/^shop=/);
        expect(cookie).toContain(`; Max-Age=${5 * DAY};`);
        expect(cookie).toContain('; HttpOnly');
        const { expiresAt, createdAt } = (await row.record(key)) ?? {
          expiresAt: 5 * DAY * 1000,
          createdAt: 0,
        };
        assertNear(expiresAt - createdAt, 5 * DAY * 1000, 'the time to live');
      });

      it('F40 F71: a session until the browser closes has a cookie without an end', async () => {
        await enter();
        const cookie = (await browser.post('/expiry/browser')).get('Set-Cookie')?.[0];
        expect(cookie).not.toMatch(/Max-Age|Expires/);
      });
    });

    describe('S1: choices', () => {
      /** An application of its own for one test. */
      async function on(
        setup: Parameters<EngineRow['start']>[0],
        walk: (own: RunningApp) => Promise<void>,
      ): Promise<void> {
        const own = await row.start(setup);
        try {
          await walk(own);
        } finally {
          await own.close();
        }
      }

      it('F41: a secure cookie goes over TLS only', () =>
        on({ controllers: [S0Controller], options: { cookie: { secure: true } } }, async (own) => {
          const agent = own.browser();
          expect((await agent.get('/create')).get('Set-Cookie')?.[0]).toContain('; Secure');
          // The browser of this test speaks plain HTTP, so it keeps the cookie to itself.
          await agent.get('/access').expect(302);
        }));

      it('F40: every session ends with the browser when the options say so', () =>
        on({ controllers: [S0Controller], options: { expireAtBrowserClose: true } }, async (own) => {
          const agent = own.browser();
          expect((await agent.get('/create')).get('Set-Cookie')?.[0]).not.toMatch(/Max-Age|Expires/);
          await agent.get('/access').expect(200);
        }));

      it('F51: saves and sends the cookie with every answer when the options say so', () =>
        on({ controllers: [S2Controller], options: { saveEveryRequest: true } }, async (own) => {
          const agent = own.browser();
          expect(sessionKeyIn(await agent.get('/get'))).toBeUndefined();
          const key = sessionKeyIn(await agent.get('/set'));
          for (const path of ['/get', '/admin']) {
            await row.setup.elapse(DAY, own.app);
            const sent = sessionKeyIn(await agent.get(path));
            if (onServer) expect(sent).toBe(key);
            else expect(sent).toMatch(/./);
          }
        }));

      const survives = !row.lacks('processes');
      it(`F63 F64: ${survives ? 'sessions survive a restart' : 'sessions end with the process'}`, async () => {
        let key: string | undefined;
        await on({ controllers: [S0Controller] }, async (before) => {
          key = sessionKeyIn(await before.request.get('/create'));
        });
        await on({ controllers: [S0Controller] }, async (after) => {
          const access = await after.request.get('/access').set('Cookie', `sessionid=${key}`);
          expect(access.status).toBe(survives ? 200 : 302);
        });
      });

      it(`F64: ${survives ? 'another process knows a session, and may end it' : 'another process does not know a session'}`, async () => {
        const key = sessionKeyIn(await browser.get('/s0/create'));
        const cookie = `sessionid=${key}`;
        await on({ controllers: [S0Controller] }, async (other) => {
          const access = await other.request.get('/access').set('Cookie', cookie);
          expect(access.status).toBe(survives ? 200 : 302);
          await other.request.post('/logout').set('Cookie', cookie).expect(303);
        });
        await row.elapse(1); // what a process caches for itself may show it until then
        const here = await row.site.request.get('/s0/access').set('Cookie', cookie);
        expect(here.status).toBe(survives && onServer ? 302 : 200);
      });
    });

    describe('S2: set, get, delete', () => {
      it('F5 F68 F69 F70: an anonymous visitor has a session, and nothing is kept before something is written', async () => {
        const got = await browser.get('/s2/get').expect(200);
        expect(got.text).toBe('None nobody');
        expect(got.get('Set-Cookie')).toBeUndefined();

        await browser.get('/s2/set').expect(200);
        expect(await text('/s2/get')).toBe('Grace grace@example.org');
      });

      it('F7 F9: looks before it deletes, and again finds nothing', async () => {
        await browser.get('/s2/set');
        for (let time = 0; time < 2; time++) {
          await browser.get('/s2/delete').expect(200, 'The session data are gone');
          expect(await text('/s2/get')).toBe('None nobody');
        }
      });

      it('F4: a strict read of a missing key fails, by name', async () => {
        await browser.get('/s2/strict').expect(500);
        await browser.get('/s2/set');
        expect(await text('/s2/strict')).toBe('Grace');
      });

      it('F8: deleting what is not there changes nothing', async () => {
        await browser.get('/s2/set');
        const { body } = await browser.get('/s2/modified?key=other');
        expect(body).toEqual({ removed: false, modified: false, accessed: true });
        expect((await browser.get('/s2/modified?key=sname')).body).toMatchObject({
          removed: true,
          modified: true,
        });
      });

      it('F12: flush ends it all', async () => {
        const key = sessionKeyIn(await browser.get('/s2/set'));
        expect(sessionKeyIn(await browser.get('/s2/flush'))).toBe('');
        expect(await row.record(key)).toBeNull();
        expect(await text('/s2/get')).toBe('None nobody');
      });

      it('F72: a page next to it neither reads nor sets anything', async () => {
        const response = await row.site.request.get('/s2/admin').set('Cookie', `sessionid=${'a'.repeat(43)}`);
        expect(response.text).toBe('admin');
        expect(response.get('Set-Cookie')).toBeUndefined();
        expect(response.get('Vary')).toBeUndefined();
      });
    });

    describe('S3: the whole interface', () => {
      it('F5 F6 F7 F11 F22: stores values of all kinds, and has no session data when they are deleted', async () => {
        expect((await browser.get('/s3/show')).body).toEqual({ answer: 'No session data' });
        const key = sessionKeyIn(await browser.get('/s3/save'));
        expect((await browser.get('/s3/show')).body).toEqual({
          id: 1,
          name: 'root',
          items_to_buy: { apples: 2, tea: 1 },
        });
        await browser.get('/s3/delete');
        expect((await browser.get('/s3/show')).body).toEqual({ answer: 'No session data' });
        if (onServer) expect({ ...(await row.record(key))?.data }).toEqual({});
      });

      it('F50: saves what was changed inside of a value', async () => {
        await browser.get('/s3/save');
        await browser.get('/s3/buy');
        expect((await browser.get('/s3/show')).body).toMatchObject({ items_to_buy: { apples: 3, tea: 1 } });
      });

      it('F49 F50 F52: saves and sends the cookie when something changed, or was said to have changed', async () => {
        const key = sessionKeyIn(await browser.get('/s3/save'));
        const before = await row.record(key);

        expect(sessionKeyIn(await browser.get('/s3/show'))).toBeUndefined();
        expect((await row.record(key))?.version).toBe(before?.version);

        await row.elapse(DAY);
        const renewed = sessionKeyIn(await browser.get('/s3/renew'));
        if (onServer) expect(renewed).toBe(key);
        else expect(renewed).toMatch(/./);
        if (before) assertNear((await row.record(key))!.expiresAt, Date.now() + 14 * DAY * 1000, 'expiresAt');
      });

      it('F54 F56 F58 F60: a login by hand, with a message that is shown once', async () => {
        await browser.get('/s3/secret').expect(302).expect('Location', '/login');
        await login('/s3/login', { username: 'ada', password: 'wrong' })
          .expect(303)
          .expect('Location', '/login');
        expect(await text('/s3/login')).toContain("<p class='error'>Name and password do not match</p>");
        expect(await text('/s3/login')).not.toContain('do not match');

        await login('/s3/login').expect(303).expect('Location', '/secret');
        expect(await text('/s3/secret')).toContain('<p>Secret of user 7</p>');
      });

      it('F59: logging out twice does no harm', async () => {
        await login('/s3/login');
        for (let time = 0; time < 2; time++) {
          await browser.post('/s3/logout').expect(303).expect('Location', '/login');
          expect((await browser.get('/s3/secret')).status).toBe(302);
        }
      });

      it('F61: a form on somebody else’s site can neither log in nor out', async () => {
        await login('/s3/login').set('Sec-Fetch-Site', 'same-origin').expect(303);
        await browser.post('/s3/logout').set('Sec-Fetch-Site', 'cross-site').expect(403);
        await browser.post('/s3/logout').set('Origin', 'https://elsewhere.example').expect(403);
        await browser.get('/s3/secret').expect(200);
        const stranger = await row.site.request
          .post('/s3/login')
          .set('Sec-Fetch-Site', 'cross-site')
          .send({ username: 'ada', password: 'engine' })
          .expect(403);
        expect(stranger.get('Set-Cookie')).toBeUndefined();
      });

      it('F53: sessions outside of views', async () => {
        const sessions = row.site.app.get(Sessions);
        const made = await sessions.create<{ name: string; seen: boolean }>({ name: 'root' });
        const shown = await row.site.request
          .get('/s3/show')
          .set('Cookie', `sessionid=${made.sessionKey() as string}`);
        expect(shown.body).toEqual({ name: 'root' });

        const opened = await sessions.open<{ name: string; seen: boolean }>(made.sessionKey() as string);
        expect(opened?.name).toBe('root');
        opened?.set('seen', true);
        await opened?.save();
        const again = await sessions.open<{ name: string; seen: boolean }>(opened?.sessionKey() as string);
        expect(again?.toJSON()).toEqual({ name: 'root', seen: true });
        expect(await sessions.open('a'.repeat(43))).toBeNull();
      });

      it('F65: a cookie that was tampered with opens nothing', async () => {
        const key = sessionKeyIn(await login('/s3/login')) as string;
        for (const forged of [
          key.toLowerCase(),
          `${key}x`,
          key.slice(1),
          `${key.at(-1)}${key.slice(0, -1)}`,
          '{"user_id":7}',
        ]) {
          await row.site.request.get('/s3/secret').set('Cookie', `sessionid=${forged}`).expect(302);
        }
        if (onServer) expect(key.length).toBeLessThan(100);
      });
    });

    describe('S4: a connection', () => {
      it('F10 F56 F62: skips the form for those who are in', async () => {
        expect(await text('/s4/connection')).toBe('Please log in');
        await login('/s4/login').expect(303).expect('Location', '/connection');
        expect(await text('/s4/connection')).toBe('Welcome ada');
      });

      it('F59: leaves, and leaves again', async () => {
        await login('/s4/login');
        expect(await text('/s4/logout')).toBe('You are logged out.');
        expect(await text('/s4/logout')).toBe('You were not logged in.');
        expect(await text('/s4/connection')).toBe('Please log in');
      });

      it('F36 F44 F45: tells when it will end', async () => {
        const fresh = await browser.get('/s4/expiry');
        expect(fresh.body).toMatchObject({ age: 14 * DAY, expiresAt: null, atBrowserClose: false });

        await login('/s4/login');
        const { body } = (await browser.get('/s4/expiry')) as { body: { date: string; expiresAt: string } };
        expect(body).toMatchObject({ age: 30 * MINUTE, atBrowserClose: false });
        for (const moment of [body.date, body.expiresAt]) {
          assertNear(Date.parse(moment), Date.now() + 30 * MINUTE * 1000, 'the end');
        }

        await browser.post('/s4/expiry/browser');
        expect((await browser.get('/s4/expiry')).body).toMatchObject({ age: 14 * DAY, atBrowserClose: true });
      });

      it('F46 F47: an expired session opens nothing, and its neighbour lives', async () => {
        const cookieOf = async (username: string): Promise<string> =>
          `sessionid=${sessionKeyIn(await row.site.browser().post('/s4/login').send({ username }))}`;
        const connection = async (cookie: string): Promise<string> =>
          (await row.site.request.get('/s4/connection').set('Cookie', cookie)).text;
        const expired = await cookieOf('ada');
        await row.elapse(30 * MINUTE + 1);
        const other = await cookieOf('grace');

        expect(await connection(expired)).toBe('Please log in');
        expect(await connection(other)).toBe('Welcome grace');
        await row.site.app.get(Sessions).clearExpired();
        expect(await connection(other)).toBe('Welcome grace');
      });
    });
  });
}
