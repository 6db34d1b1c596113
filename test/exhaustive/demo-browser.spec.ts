import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Controller, Get, Header, Headers, type INestApplication } from '@nestjs/common';
import { Session, type SessionCookieOptions } from 'nest-sessions';
import { memoryEngine } from 'nest-sessions/memory';
import {
  type Browser,
  type BrowserContext,
  chromium,
  type Cookie,
  type Locator,
  type Page,
} from 'playwright-core';
import { createApp } from '../../src/app.js';
import { readSettings } from '../../src/settings.js';
import { platforms, startApp } from '../support/app.js';
import { certificate } from '../support/certificate.js';
import { describeWithChromium } from '../support/services.js';

const directory = mkdtempSync(join(tmpdir(), 'nest-sessions-demo-'));

afterAll(() => rmSync(directory, { recursive: true }));

/** A browser of nobody's, that calls nobody but the demo. */
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

const everyPage = ['/', '/cookie-test', '/login', '/cart', '/expiry', '/inspect', '/nowhere', '/secret'];

/** Clicks and waits for the page that this leads to. */
async function follow(target: Locator): Promise<void> {
  await Promise.all([target.page().waitForEvent('load'), target.click()]);
}

describeWithChromium('the demo in a browser', (executablePath) => {
  let browser: Browser | undefined;

  beforeAll(async () => {
    browser = await chromium.launch({ executablePath, args: FLAGS });
  });
  afterAll(() => browser?.close());

  describe.each(platforms)('on %s', (platform) => {
    let app: INestApplication;
    let url: string;
    let context: BrowserContext;
    let page: Page;

    beforeAll(async () => {
      app = await createApp(
        readSettings({ PLATFORM: platform, DATABASE_URL: `sqlite:${join(directory, 'demo.sqlite')}` }),
      );
      await app.listen(0, '127.0.0.1');
      // The name, not the number: browsers trust it, and then say in Sec-Fetch-Site where a form came from.
      url = `http://localhost:${(app.getHttpServer().address() as { port: number }).port}`;
    });
    afterAll(() => app.close());

    beforeEach(async () => {
      context = await (browser as Browser).newContext({ baseURL: url });
      context.setDefaultTimeout(60_000);
      page = await context.newPage();
    });
    afterEach(() => context.close());

    const path = (): string => new URL(page.url()).pathname;

    async function sessionCookie(): Promise<Cookie> {
      const [cookie, ...others] = await context.cookies();
      expect([cookie?.name, ...others]).toEqual(['sessionid']);
      if (cookie === undefined) throw new Error('There is no cookie.');
      return cookie;
    }

    async function logIn(password: string, where = page): Promise<void> {
      await where.getByLabel('Name').fill('ada');
      await where.getByLabel('Password').fill(password);
      await follow(where.getByRole('main').getByRole('button', { name: 'Log in' }));
    }

    const message = (): Promise<string> => page.getByRole('status').first().innerText();

    it('tells the story of a login', async () => {
      await page.goto('/');
      const before = await sessionCookie();
      await follow(page.getByRole('navigation').getByText('Secret'));
      expect(path()).toBe('/login');

      await logIn('guess');
      expect(path()).toBe('/login');
      expect(await message()).toBe('Wrong name or password.');
      expect(await page.getByLabel('Name').inputValue()).toBe('ada');
      expect(await page.evaluate('document.activeElement.name')).toBe('password');

      await logIn('password');
      expect(path()).toBe('/secret');
      expect(await page.getByRole('main').innerText()).toContain('Well done, ada');
      const during = await sessionCookie();
      expect(during).toMatchObject({ httpOnly: true, sameSite: 'Lax', path: '/', domain: 'localhost' });
      expect(during.value).not.toBe(before.value);
      expect(await page.evaluate('document.cookie')).toBe('');

      await follow(page.getByRole('main').getByRole('button', { name: 'Log out' }));
      expect(path()).toBe('/login');
      expect(await message()).toBe('You are logged out.');
      await page.goto('/secret');
      expect(path()).toBe('/login');

      for (const old of [before, during]) {
        await context.clearCookies();
        await context.addCookies([old]);
        await page.goto('/secret');
        expect(path()).toBe('/login');
        expect((await page.goto('/secret/strict'))?.status()).toBe(401);
      }
    });

    it('S41: tells the story of two devices, of which one ends the other', async () => {
      const elsewhere = await (browser as Browser).newContext({
        baseURL: url,
        userAgent: 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0',
      });
      const other = await elsewhere.newPage();
      await other.goto('/login');
      await logIn('password', other);
      await page.goto('/login');
      await page.getByLabel('Remember me').check();
      await logIn('password');
      const inDays = ((await sessionCookie()).expires - Date.now() / 1000) / 86_400;
      expect(Math.round(inDays)).toBe(30);

      await follow(page.getByRole('navigation').getByText('Devices'));
      expect(await page.locator('[data-session]', { hasText: 'This device' }).innerText()).toContain(
        'remembered',
      );
      await follow(page.getByRole('button', { name: 'End Firefox on Linux' }));
      expect(await message()).toBe('That session is over.');
      expect(await page.getByText('Firefox on Linux').count()).toBe(0);

      await other.goto('/secret');
      expect(new URL(other.url()).pathname).toBe('/login');
      // Only the request that asks for the end removes a cookie: this one may be newer than the answer knows.
      expect((await elsewhere.cookies()).map(({ name }) => name)).toEqual(['sessionid']);

      await logIn('password', other);
      await follow(page.getByRole('navigation').getByText('Devices'));
      await follow(page.getByRole('button', { name: 'End all others' }));
      expect(await page.getByText('You are not logged in anywhere else.').count()).toBe(1);
      await other.goto('/secret');
      expect(new URL(other.url()).pathname).toBe('/login');
      await elsewhere.close();

      await page.goto('/secret');
      await follow(page.getByRole('main').getByRole('button', { name: 'Log out' }));
      await page.goto('/devices');
      expect(path()).toBe('/login');
    });

    it('shows an administrator who is logged in, live, and ends it', async () => {
      const faults: string[] = [];
      page.on('console', (line) => line.type() === 'error' && faults.push(line.text()));
      page.on('pageerror', (error) => faults.push(String(error)));
      await page.goto('/login');
      await logIn('password');
      await page.goto('/devices');
      const others = page.getByRole('button', { name: 'End all others' });
      if ((await others.count()) > 0) await follow(others);
      await page.goto('/admin/sessions');
      await page.getByText('live', { exact: true }).waitFor();
      const rows = page.locator('tr[data-session]');
      expect(await rows.count()).toBe(1);
      expect(await page.evaluate('getComputedStyle(document.querySelector("#figures")).display')).toBe(
        'grid',
      );

      const elsewhere = await (browser as Browser).newContext({ baseURL: url, userAgent: '<b>Phone</b>' });
      const other = await elsewhere.newPage();
      await other.goto('/login');
      await logIn('password', other);
      // Nobody reloads: the stream brings it.
      await rows.nth(1).waitFor();
      const theirs = rows.filter({ hasText: '<b>Phone</b>' });
      await follow(theirs.getByRole('button', { name: /^End session/ }));
      expect(path()).toBe('/admin/sessions');
      expect(await page.getByText('Ended: 1 session.').count()).toBe(1);
      expect(await rows.count()).toBe(1);
      await other.goto('/secret');
      expect(new URL(other.url()).pathname).toBe('/login');
      await elsewhere.close();

      await page.getByLabel('User id').fill('nobody');
      await follow(page.getByRole('button', { name: 'Search' }));
      expect(await page.getByText('This user is logged in nowhere.').count()).toBe(1);
      expect(faults).toEqual([]);
      await page.goto('/secret');
      await follow(page.getByRole('main').getByRole('button', { name: 'Log out' }));
      expect((await page.goto('/admin/sessions'))?.status()).toBe(401);
    });

    it('keeps a cart', async () => {
      await page.goto('/cart');
      await follow(page.getByRole('button', { name: 'Add Green tea' }));
      await follow(page.getByRole('button', { name: 'Add Desk lamp' }));
      await page.getByLabel('Quantity of Green tea', { exact: true }).fill('4');
      await follow(page.locator('[data-product=tea]').getByRole('button', { name: 'Change' }));
      await follow(page.getByRole('button', { name: 'Remove Desk lamp' }));

      expect(await page.getByLabel('Quantity of Green tea', { exact: true }).inputValue()).toBe('4');
      expect(await page.locator('#total').innerText()).toBe('€18.00');
      expect(await page.locator('[data-product]').count()).toBe(1);
    });

    it('ends a session when the visitor said', async () => {
      await page.goto('/expiry');
      await follow(page.getByRole('button', { name: 'Choose: 30 minutes after its last use' }));
      expect(await page.locator('.choices form', { hasText: 'In force' }).innerText()).toContain(
        '30 minutes',
      );
      expect(await message()).toBe('The session now ends 30 minutes after its last use.');
      const inMinutes = ((await sessionCookie()).expires - Date.now() / 1000) / 60;
      expect(Math.round(inMinutes)).toBe(30);

      await follow(page.locator('form[action="/expiry/moment"] button'));
      expect(await message()).toContain('The session now ends on');
      expect(((await sessionCookie()).expires - Date.now() / 1000) / 60).toBeGreaterThan(57);

      await follow(page.locator('form[action="/expiry/browser"] button'));
      expect((await sessionCookie()).expires).toBe(-1);
    });

    it('refuses a form of another site', async () => {
      await page.goto('/secret');
      await logIn('password');
      const forger = await context.newPage();
      await forger.setContent(`<form method="post" action="${url}/logout"><button>Win</button></form>`);
      await follow(forger.getByRole('button'));
      expect(await forger.getByRole('heading').innerText()).toBe('403 Forbidden');

      expect((await page.goto('/secret/strict'))?.status()).toBe(200);
    });

    it.each([1100, 360])('fits a window of %d pixels', async (width) => {
      await page.setViewportSize({ width, height: 700 });
      await page.goto('/');
      await page.goto('/login');
      await logIn('password');
      for (const visited of [
        ...everyPage,
        '/devices',
        '/confirm-password',
        '/secret/fresh',
        '/admin/sessions',
      ]) {
        await page.goto(visited);
        const overflow = await page.evaluate('document.documentElement.scrollWidth - innerWidth');
        expect([visited, overflow]).toEqual([visited, 0]);
        // Code wraps: a line that is cut gives no sign of it on a phone.
        const cut = await page.evaluate(
          "[...document.querySelectorAll('pre')].filter((pre) => pre.scrollWidth > pre.clientWidth).length",
        );
        expect([visited, cut]).toEqual([visited, 0]);
      }
    });
  });

  /** Reads the cookies that it is sent, and is the same below every path that a cookie may be set for. */
  @Controller(['', 'shop'])
  class CookieController {
    @Get('login')
    @Header('Content-Type', 'text/html')
    login(@Session() session: Session) {
      session.login('ada');
      return 'logged in';
    }

    @Get('logout')
    @Header('Content-Type', 'text/html')
    logout(@Session() session: Session) {
      session.logout();
      return 'logged out';
    }

    @Get('who')
    @Header('Content-Type', 'text/html')
    who(@Session() session: Session, @Headers('cookie') cookie = 'no cookie') {
      return `${session.userId ?? 'nobody'} with ${cookie.replace(/=.*/, '')}`;
    }
  }

  const cookies: [SessionCookieOptions, Partial<Cookie>][] = [
    [
      { name: '__Host-sid', secure: true },
      { name: '__Host-sid', path: '/', secure: true },
    ],
    [
      { name: '__Secure-sid', secure: true, sameSite: 'strict' },
      { name: '__Secure-sid', sameSite: 'Strict' },
    ],
    [{ path: '/shop' }, { name: 'sessionid', path: '/shop', secure: true }],
    [
      { name: '__Host-sid', secure: true, sameSite: 'none', partitioned: true },
      { name: '__Host-sid', sameSite: 'None' },
    ],
  ];

  describe.each(platforms)('over TLS on %s', (platform) => {
    it.each(cookies)('S42: sets and removes a cookie of %j', async (cookie, expected) => {
      const site = await startApp(platform, {
        engine: memoryEngine(),
        https: certificate,
        options: { cookie },
        controllers: [CookieController],
      });
      const context = await (browser as Browser).newContext({
        baseURL: site.url.replace('127.0.0.1', 'localhost'),
        ignoreHTTPSErrors: true,
      });
      const page = await context.newPage();
      const text = async (path: string): Promise<string> => {
        await page.goto(path);
        return page.innerText('body');
      };
      try {
        expect(await text('/shop/login')).toBe('logged in');
        expect(await context.cookies()).toEqual([expect.objectContaining(expected)]);
        expect(await text('/shop/who')).toBe(`ada with ${expected.name}`);
        expect(await text('/shop/logout')).toBe('logged out');
        expect(await context.cookies()).toEqual([]);
        expect(await text('/shop/who')).toBe('nobody with no cookie');
      } finally {
        await context.close();
        await site.close();
      }
    });
  });
});
