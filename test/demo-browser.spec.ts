import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { jest } from '@jest/globals';
import { type INestApplication } from '@nestjs/common';
import {
  type Browser,
  type BrowserContext,
  chromium,
  type Cookie,
  type Locator,
  type Page,
} from 'playwright-core';
import { describeWithChromium } from './support/services.js';

// @fastify/static requires this ES module, which Node 20 can do and Jest on it cannot.
const contentDisposition: unknown = await import('content-disposition');
jest.mock('content-disposition', () => contentDisposition);

const directory = mkdtempSync(join(tmpdir(), 'nest-sessions-demo-'));
const { createApp } = await import('../src/app.js');
const { readSettings } = await import('../src/settings.js');

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

  describe.each(['express', 'fastify'] as const)('on %s', (platform) => {
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
      context.setDefaultTimeout(10_000);
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

    async function logIn(password: string): Promise<void> {
      await page.getByLabel('Name').fill('ada');
      await page.getByLabel('Password').fill(password);
      await follow(page.getByRole('main').getByRole('button', { name: 'Log in' }));
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

    it('keeps a cart', async () => {
      await page.goto('/cart');
      await follow(page.getByRole('button', { name: 'Add Green tea' }));
      await follow(page.getByRole('button', { name: 'Add Desk lamp' }));
      await page.getByLabel('Quantity of Green tea').fill('4');
      await follow(page.locator('[data-product=tea]').getByRole('button', { name: 'Change' }));
      await follow(page.getByRole('button', { name: 'Remove Desk lamp' }));

      expect(await page.getByLabel('Quantity of Green tea').inputValue()).toBe('4');
      expect(await page.locator('#total').innerText()).toBe('€18.00');
      expect(await page.locator('[data-product]').count()).toBe(1);
    });

    it('ends a session when the visitor said', async () => {
      await page.goto('/expiry');
      await follow(page.locator('form[action="/expiry/idle"] button'));
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
      for (const visited of ['/', '/cookie-test', '/login', '/cart', '/expiry', '/inspect', '/nowhere']) {
        await page.goto(visited);
        const overflow = await page.evaluate('document.documentElement.scrollWidth - innerWidth');
        expect([visited, overflow]).toEqual([visited, 0]);
      }
    });
  });
});
