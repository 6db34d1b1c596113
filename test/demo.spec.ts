import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { jest } from '@jest/globals';
import { type INestApplication, Logger } from '@nestjs/common';
import request from 'supertest';
import { DataSource } from 'typeorm';
import { createApp } from '../src/app.js';
import { type Platform, readSettings } from '../src/settings.js';
import { age } from './support/database-app.js';
import { describeWithKillableRedis } from './support/killable-redis.js';
import { deadLinksOf } from './support/markdown.js';

const directory = mkdtempSync(join(tmpdir(), 'nest-sessions-demo-'));

afterAll(() => rmSync(directory, { recursive: true }));

/** Their headings. */
const pages = {
  '/': 'Sessions for Nest',
  '/cookie-test': 'Cookie test',
  '/cookie-test/result': 'Cookie test',
  '/login': 'Log in',
  '/cart': 'Cart',
  '/expiry': 'Expiry',
  '/inspect': 'Inspect',
};

type Browser = ReturnType<typeof request.agent>;

async function listen(
  platform: Platform,
  environment: NodeJS.ProcessEnv = {},
): Promise<{ app: INestApplication; url: string }> {
  const DATABASE_URL = `sqlite:${join(directory, 'deep', 'demo.sqlite')}`;
  const app = await createApp(readSettings({ PLATFORM: platform, DATABASE_URL, ...environment }));
  app.useLogger(false);
  await app.listen(0, '127.0.0.1');
  const { port } = app.getHttpServer().address() as { port: number };
  return { app, url: `http://127.0.0.1:${port}` };
}

function sessionKeyIn({ headers }: { headers: Record<string, unknown> }): string {
  const cookies = headers['set-cookie'] as string[];
  return /^sessionid=([\w-]{22}\.[\w-]{43});/.exec(cookies[0] ?? '')?.[1] ?? '';
}

async function post(browser: Browser, path: string, form: Record<string, unknown> = {}) {
  return browser.post(path).type('form').send(form);
}

async function logIn(browser: Browser, beside: { remember?: string } = {}) {
  return post(browser, '/login', { name: 'ada', password: 'password', ...beside });
}

describe.each(['express', 'fastify'] as const)('the demo on %s', (platform) => {
  let app: INestApplication;
  let url: string;

  beforeAll(async () => ({ app, url } = await listen(platform)));
  afterAll(() => app.close());

  const newBrowser = (): Browser => request.agent(url);

  it.each(Object.entries(pages))('shows %s to a new visitor', async (path, heading) => {
    const { status, type, text } = await request(url).get(path);

    expect({ status, type }).toEqual({ status: 200, type: 'text/html' });
    expect(text).toContain(`<h1>${heading}</h1>`);
    expect(text).toContain('aria-current="page"');
    expect(text).toMatch(/<\/html>\s*$/);
    expect(text.match(/<main>/g)).toHaveLength(1);
  });

  it.each([...Object.keys(pages), '/secret', '/devices'])(
    'leads from %s to the guide about it',
    async (path) => {
      const browser = newBrowser();
      await logIn(browser);
      const { text } = await browser.get(path);
      const [, address = ''] = /<a href="([^"]+)">Read more about this page/.exec(text) ?? [];
      expect(address).toMatch(/^https:.*\/blob\/main\/docs\//);
      expect(deadLinksOf('README.md', `[guide](${address})`)).toEqual([]);
    },
  );

  it('has a stylesheet', async () => {
    const { status, type } = await request(url).get('/public/style.css');
    expect({ status, type }).toEqual({ status: 200, type: 'text/css' });
  });

  it('counts the visits of each browser', async () => {
    const [one, other] = [newBrowser(), newBrowser()];
    await one.get('/');
    await one.get('/');

    expect((await one.get('/')).text).toContain('<output id="visits">3</output> visits of this page');
    expect((await other.get('/')).text).toContain('<output id="visits">1</output> visit of this page');
  });

  it('tells whether the browser accepts cookies', async () => {
    const browser = newBrowser();
    const started = await post(browser, '/cookie-test');
    expect({ status: started.status, location: started.headers['location'] }).toEqual({
      status: 303,
      location: '/cookie-test/result',
    });

    expect((await browser.get('/cookie-test/result')).text).toContain('Cookies work');
    expect((await browser.get('/cookie-test/result')).text).toContain('No test cookie came back');
  });

  it('lets a user in by password only, and out for good', async () => {
    const browser = newBrowser();
    expect((await browser.get('/secret')).headers['location']).toBe('/login');

    const refused = await post(browser, '/login', { name: 'ada', password: 'guess' });
    expect(refused.headers['location']).toBe('/login');
    expect((await browser.get('/login')).text).toContain('Wrong name or password.');
    expect((await browser.get('/login')).text).not.toContain('Wrong name or password.');
    expect((await browser.get('/secret')).headers['location']).toBe('/login');

    const admitted = await logIn(browser);
    expect(admitted.headers['location']).toBe('/secret');
    expect(sessionKeyIn(admitted)).not.toBe(sessionKeyIn(refused));
    const secret = await browser.get('/secret');
    expect(secret.text).toContain('Welcome, ada.');
    expect(secret.text).toContain('Well done, <strong>ada</strong>');
    expect((await browser.get('/secret/strict')).status).toBe(200);

    await post(browser, '/logout');
    expect((await browser.get('/secret')).headers['location']).toBe('/login');
    const replayed = await request(url)
      .get('/secret')
      .set('Cookie', `sessionid=${sessionKeyIn(admitted)}`);
    expect(replayed.headers['location']).toBe('/login');
  });

  it('keeps the name when the password was wrong, for the next form only', async () => {
    const browser = newBrowser();
    await post(browser, '/login', { name: 'ada "<b>', password: 'guess' });
    expect((await browser.get('/login')).text).toContain('name="name" value="ada &quot;&lt;b&gt;"');
    expect((await browser.get('/login')).text).toContain('name="name" value=""');

    await post(browser, '/login', { name: 'a'.repeat(100_000), password: 'guess' });
    expect((await browser.get('/login')).text).toContain(`name="name" value="${'a'.repeat(100)}"`);
    const { status } = await post(browser, '/login', { name: ['ada', 'bob'], password: 'guess' });
    expect(status).toBe(303);
  });

  it('lists where a user is logged in, and ends it there', async () => {
    const [one, other, another] = [newBrowser(), newBrowser(), newBrowser()];
    expect((await one.get('/devices')).headers['location']).toBe('/login');
    await logIn(one);
    // Other tests have left some.
    await post(one, '/devices/end-others');
    expect((await one.get('/devices')).text).toContain('You are not logged in anywhere else.');

    other.set('User-Agent', 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Safari/604.1');
    await logIn(other, { remember: 'on' });
    await logIn(another);
    const { text } = await one.get('/devices');
    const sessions = [...text.matchAll(/data-session="([\w-]+)"/g)].map(([, id]) => id);
    expect(sessions).toHaveLength(3);
    expect(text.match(/This device/g)).toHaveLength(1);
    expect(text).toContain('<strong>Safari on iOS</strong>');
    expect(text).toMatch(/remembered<br>\s*From the network <code>127\.0\.0\.0<\/code>/);

    const [phone] = [...text.matchAll(/action="\/devices\/([\w-]+)\/end"><[^>]*End Safari on iOS/g)];
    await post(one, `/devices/${phone?.[1]}/end`);
    expect((await one.get('/devices')).text).toContain('That session is over.');
    expect((await other.get('/secret')).headers['location']).toBe('/login');
    expect((await post(one, `/devices/${phone?.[1]}/end`)).status).toBe(404);

    await post(one, '/devices/end-others');
    expect((await one.get('/devices')).text).toContain('Ended elsewhere: 1 session.');
    expect((await another.get('/secret')).headers['location']).toBe('/login');
    expect((await one.get('/secret')).status).toBe(200);
  });

  it('shows the admin page to the administrator, and to nobody else', async () => {
    const [admin, visitor] = [newBrowser(), newBrowser()];
    await visitor.get('/');
    expect((await visitor.get('/admin/sessions')).status).toBe(401);
    await logIn(admin);
    const { status, text } = await admin.get('/admin/sessions');
    expect(status).toBe(200);
    expect(text).toMatch(
      /^<!doctype html>[^]*<tr data-session="[\w-]{22}">\s*<td><a href="\?user=ada">ada<\/a>/,
    );
    // The message of the login is for the next page of the demo.
    expect((await admin.get('/secret')).text).toContain('Welcome, ada.');
  });

  it('asks for the password again where it matters', async () => {
    const browser = newBrowser();
    const cookies = await logIn(browser, { remember: 'on' });
    expect(cookies.headers['set-cookie']?.[0]).toContain('Max-Age=2592000;');
    expect((await browser.get('/secret/fresh')).text).toContain('<h1>The fresh secret</h1>');
    await age(app.get(DataSource), 90);
    expect((await browser.get('/secret')).status).toBe(200);
    expect((await browser.get('/secret/fresh')).headers['location']).toBe('/confirm-password');
    expect((await browser.get('/confirm-password')).text).toContain('<strong>ada</strong>');

    await post(browser, '/confirm-password', { password: 'guess' });
    expect((await browser.get('/confirm-password')).text).toContain('Wrong password.');
    const confirmed = await post(browser, '/confirm-password', { password: 'password' });
    expect(confirmed.headers['location']).toBe('/secret/fresh');
    expect(confirmed.headers['set-cookie']?.[0]).toContain('Max-Age=2592000;');
    expect((await browser.get('/secret/fresh')).status).toBe(200);
    expect((await newBrowser().get('/confirm-password')).headers['location']).toBe('/login');
  });

  it('asks for the password again before it ends a session', async () => {
    const [one, other] = [newBrowser(), newBrowser()];
    await logIn(one);
    await logIn(other);
    await age(app.get(DataSource), 360);
    const { text } = await one.get('/devices');
    const [, id] = /action="\/devices\/([\w-]+)\/end"/.exec(text) ?? [];
    for (const path of ['/devices/end-others', `/devices/${id}/end`]) {
      const refused = await post(one, path);
      expect([refused.status, refused.headers['location']]).toEqual([302, '/confirm-password?next=/devices']);
    }
    expect((await other.get('/secret')).status).toBe(200);

    expect((await one.get('/confirm-password?next=/devices')).text).toContain('name="next" value="/devices"');
    const mistyped = await post(one, '/confirm-password', { password: 'guess', next: '/devices' });
    expect(mistyped.headers['location']).toBe('/confirm-password?next=/devices');
    const confirmed = await post(one, '/confirm-password', { password: 'password', next: '/devices' });
    expect(confirmed.headers['location']).toBe('/devices');
    expect((await one.get('/devices')).text).toContain('Nothing has ended yet: choose again.');

    await post(one, '/devices/end-others');
    expect((await other.get('/secret')).headers['location']).toBe('/login');
    expect((await one.get('/secret')).status).toBe(200);
    expect((await post(newBrowser(), '/devices/end-others')).headers['location']).toBe(
      '/confirm-password?next=/devices',
    );
  });

  it('leads from the password to pages of its own only', async () => {
    const browser = newBrowser();
    await logIn(browser);
    const next = 'https://elsewhere.example/';
    expect((await browser.get('/confirm-password').query({ next })).text).not.toContain('elsewhere');
    const confirmed = await post(browser, '/confirm-password', { password: 'password', next });
    expect(confirmed.headers['location']).toBe('/secret/fresh');
  });

  it('refuses a login without a form', async () => {
    expect((await request(url).post('/login')).headers['location']).toBe('/login');
  });

  it('keeps a cart, changed in its depth', async () => {
    const browser = newBrowser();
    await post(browser, '/cart/items', { product: 'tea' });
    await post(browser, '/cart/items', { product: 'tea' });
    await post(browser, '/cart/items', { product: 'lamp' });
    expect((await browser.get('/cart')).text).toContain('<strong id="total">€48.00</strong>');

    await post(browser, '/cart/items/tea/quantity', { quantity: '5' });
    const changed = await browser.get('/cart');
    expect(changed.text).toContain('Green tea: 5 now.');
    expect(changed.text).toContain('<strong id="total">€61.50</strong>');

    await post(browser, '/cart/items/lamp/remove');
    expect((await browser.get('/cart')).text).toContain('<strong id="total">€22.50</strong>');
    await post(browser, '/cart/items/tea/remove');
    expect((await browser.get('/cart')).text).toContain('Your cart is empty.');
  });

  it.each([
    ['/cart/items', { product: 'anvil' }, 404],
    ['/cart/items/tea/quantity', { quantity: 'many' }, 400],
  ])('answers nonsense to %s with an error page', async (path, form, expected) => {
    const { status, text } = await post(newBrowser(), path, form);

    expect(status).toBe(expected);
    expect(text).toContain(`<span class="status">${expected}</span>`);
  });

  it('gives no two buttons of a page the same name', async () => {
    const [browser, phone] = [newBrowser(), newBrowser()];
    await logIn(browser);
    await logIn(
      phone.set('User-Agent', 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Safari/604.1'),
    );
    await logIn(newBrowser());
    for (const product of ['tea', 'lamp', 'mug']) await post(browser, '/cart/items', { product });
    for (const [path, buttons] of [
      ['/cart', 4 + 3 * 2],
      ['/expiry', 4],
      ['/devices', 2],
    ] as const) {
      const main = /<main>.*<\/main>/s.exec((await browser.get(path)).text)?.[0] ?? '';
      const names = [...main.matchAll(/<button(?:[^>]* aria-label="([^"]*)")?[^>]*>([^<]*)</g)].map(
        ([, label, text]) => label ?? text,
      );
      expect(names.length).toBeGreaterThanOrEqual(buttons);
      expect(names).toEqual([...new Set(names)]);
    }
  });

  it('lets the visitor choose when the session ends', async () => {
    const browser = newBrowser();
    const inForce = async (): Promise<string[]> =>
      [...(await browser.get('/expiry')).text.matchAll(/action="\/expiry\/(\w+)" aria-current="true">/g)].map(
        ([, choice]) => choice ?? '',
      );
    const cookieAfter = async (choice: string, form = {}): Promise<string> =>
      (await post(browser, `/expiry/${choice}`, form)).headers['set-cookie']?.[0] ?? '';

    expect(await inForce()).toEqual(['default']);
    expect(await cookieAfter('idle')).toContain('Max-Age=1800;');
    expect(await inForce()).toEqual(['idle']);
    expect((await browser.get('/expiry')).text).toContain('>1800 seconds<');

    // The session ends at that moment; no browser keeps a cookie for so long.
    expect(await cookieAfter('moment', { moment: '2090-05-01T10:30' })).toContain(`Max-Age=${400 * 86_400};`);
    expect((await browser.get('/expiry')).text).toContain('>1 May 2090 at 10:30:00 UTC<');
    expect((await browser.get('/expiry')).text).toContain('name="moment" value="2090-05-01T10:30"');
    expect(await inForce()).toEqual(['moment']);

    expect(await cookieAfter('browser')).not.toMatch(/Max-Age|Expires/);
    expect((await browser.get('/expiry')).text).toContain(
      '<strong data-call="getExpireAtBrowserClose()">true<',
    );
    expect(await inForce()).toEqual(['browser']);

    expect(await cookieAfter('default')).toContain('Max-Age=1209600;');
    expect(await inForce()).toEqual(['default']);
  });

  it.each([{ moment: '2001-01-01T00:00' }, { moment: 'tomorrow' }, {}])(
    'refuses the moment %j',
    async (form) => {
      const browser = newBrowser();
      await post(browser, '/expiry/moment', form);
      expect((await browser.get('/expiry')).text).toContain('Choose a moment in the future.');
    },
  );

  it('shows the session and its row, but never the session key', async () => {
    const browser = newBrowser();
    const begun = await browser.get('/');
    await post(browser, '/cart/items', { product: 'mug' });
    await browser.get('/cart');
    const admitted = await logIn(browser);
    await browser.get('/secret');
    const { text } = await browser.get('/inspect');

    expect(text).toContain('&quot;product&quot;: &quot;mug&quot;');
    expect(text).toContain('<code data-column="user_id">ada</code>');
    expect(text).toContain(`<code data-column="session_key">${sessionKeyIn(admitted).slice(0, 22)}</code>`);
    expect(text).not.toContain(sessionKeyIn(admitted).slice(23));
    expect(text).not.toContain(sessionKeyIn(begun).slice(23));
  });

  it('stores nothing for a visitor who only looks', async () => {
    const { text, headers } = await request(url).get('/inspect');

    expect(text).toContain('Nothing is stored for you');
    expect(headers['set-cookie']).toBeUndefined();
  });

  it('has pages for 401 and 404', async () => {
    const unauthorized = await request(url).get('/secret/strict');
    expect(unauthorized.status).toBe(401);
    expect(unauthorized.text).toContain('<a href="/login">Log in</a>');

    const missing = await request(url).get('/no/such/page');
    expect(missing.status).toBe(404);
    expect(missing.text).toContain('There is no such page.');
  });

  it('has error pages that know who is logged in', async () => {
    const browser = newBrowser();
    await logIn(browser);
    const failures = [
      await browser.get('/no/such/page'),
      await post(browser, '/cart/items', { product: 'anvil' }),
      await post(browser, '/devices/nobody/end'),
    ];
    for (const { status, text } of failures) {
      expect(status).toBe(404);
      expect(text).toContain('<strong>ada</strong>');
      expect(text).toContain('action="/logout"');
    }
    expect((await request(url).get('/no/such/page')).text).not.toContain('action="/logout"');
  });

  it('refuses forms of other sites', async () => {
    const browser = newBrowser();
    await logIn(browser);
    const forged = await browser.post('/logout').set('Origin', 'https://elsewhere.example');

    expect(forged.status).toBe(403);
    expect(forged.text).toContain('The form was sent from another site');
    expect((await browser.get('/secret')).status).toBe(200);
  });

  it('keeps sessions over a restart', async () => {
    const begun = await request(url).get('/');
    await app.close();
    ({ app, url } = await listen(platform));

    const { text } = await request(url)
      .get('/')
      .set('Cookie', `sessionid=${sessionKeyIn(begun)}`);
    expect(text).toContain('<output id="visits">2</output>');
  });

  it('does not log anybody out when the store is away', async () => {
    const browser = newBrowser();
    await logIn(browser);
    const database = app.get(DataSource);
    await database.destroy();
    const { status, headers, text } = await browser.get('/secret');

    expect(status).toBe(503);
    expect(headers['retry-after']).toBeDefined();
    expect(headers['set-cookie']).toBeUndefined();
    expect(text).toContain('You are not logged out');

    await database.initialize();
    expect((await browser.get('/secret')).status).toBe(200);
  });
});

/** What `SESSION_ENGINE` says besides the default, the platform that it is tried on, and where the page says sessions are. */
const otherEngines: {
  environment: NodeJS.ProcessEnv;
  platform: Platform;
  place: string;
  /** It knows sessions by their keys only. */
  cannotList?: true;
}[] = [
  { environment: { SESSION_ENGINE: 'memory' }, platform: 'fastify', place: 'In the memory of this process' },
  {
    environment: { SESSION_ENGINE: 'sql', DATABASE_URL: `sqlite:${join(directory, 'sql', 'demo.sqlite')}` },
    platform: 'fastify',
    place: 'In the table nest_session, without TypeORM',
  },
  { environment: { SESSION_ENGINE: 'cache' }, platform: 'express', place: 'In the cache' },
  {
    environment: { SESSION_ENGINE: 'express-store' },
    platform: 'express',
    place: 'In a store of express-session',
  },
  { environment: { SESSION_ENGINE: 'cached-database' }, platform: 'fastify', place: 'behind a cache' },
  {
    environment: { SESSION_ENGINE: 'file', SESSION_DIRECTORY: join(directory, 'made', 'at-start') },
    platform: 'express',
    place: 'In a file',
  },
  {
    environment: { SESSION_ENGINE: 'cookie', SESSION_SECRETS: randomBytes(32).toString('base64url') },
    platform: 'fastify',
    place: 'In the cookie itself',
    cannotList: true,
  },
];

describe.each(otherEngines)('with $environment.SESSION_ENGINE on $platform', (engine) => {
  smoke(() => engine);
});

describeWithKillableRedis('with redis on express', (redis) => {
  smoke(() => ({
    environment: { SESSION_ENGINE: 'redis', REDIS_URL: redis.url },
    platform: 'express',
    place: 'In Redis',
  }));
});

it('keeps the sessions of the engine database when the engine is sql, and back', async () => {
  let cookie = '';
  for (const [visit, engine] of ['database', 'sql', 'database'].entries()) {
    const DATABASE_URL = `sqlite:${join(directory, 'both.sqlite')}`;
    const { app, url } = await listen('express', { SESSION_ENGINE: engine, DATABASE_URL });
    const home = await request(url).get('/').set('Cookie', cookie);
    cookie ||= `sessionid=${sessionKeyIn(home)}`;
    expect(home.text).toContain(`<output id="visits">${visit + 1}</output>`);
    await app.close();
  }
});

it('seals cookies with a secret for this start when it was given none, and says so', async () => {
  const warned = jest.spyOn(Logger.prototype, 'warn').mockImplementation(() => {});
  const { app, url } = await listen('express', { SESSION_ENGINE: 'cookie' });
  expect(warned).toHaveBeenCalledWith(expect.stringMatching(/^SESSION_SECRETS is not set/));
  warned.mockRestore();
  expect((await request(url).get('/')).headers['set-cookie']?.[0]).toMatch(/^sessionid=e1\./);
  await app.close();
});

/** Every page, and that what one request did is there in the next. */
function smoke(engine: () => (typeof otherEngines)[number]): void {
  let app: INestApplication;
  let url: string;

  beforeAll(async () => ({ app, url } = await listen(engine().platform, engine().environment)));
  afterAll(() => app.close());

  it('shows every page, and remembers', async () => {
    const browser = request.agent(url);
    for (const [path, heading] of Object.entries(pages)) {
      const { status, text } = await browser.get(path);
      expect({ path, status }).toEqual({ path, status: 200 });
      expect(text).toContain(`<h1>${heading}</h1>`);
    }
    await post(browser, '/cookie-test');
    expect((await browser.get('/cookie-test/result')).text).toContain('Cookies work');
    await post(browser, '/cart/items', { product: 'tea' });
    await logIn(browser);
    expect((await browser.get('/secret')).text).toContain('Well done, <strong>ada</strong>');
    expect((await browser.get('/devices')).text).toContain(
      engine().cannotList ? "cannot list a user's sessions" : 'This device',
    );
    await post(browser, '/expiry/idle');
    expect((await browser.get('/expiry')).text).toContain('>1800 seconds<');
    const home = (await browser.get('/')).text;
    expect(home).toContain('<output id="visits">2</output>');
    // What is said of where sessions are, and of how parallel requests fare, is true of this engine.
    expect(/everything else stays on the server/.test(home)).toBe(!engine().cannotList);
    expect(/exact under concurrency/.test(home)).toBe(!engine().cannotList);
    expect(/cookie then opens nothing/.test((await browser.get('/secret')).text)).toBe(!engine().cannotList);

    const { text } = await browser.get('/inspect');
    expect(text).toMatch(new RegExp(`<h2 id="place">[^<]*${engine().place}`));
    expect(text).toMatch(/<code data-column="(user_id|userId)">ada</);
    expect(text).toContain('&quot;product&quot;');

    await post(browser, '/logout');
    expect((await browser.get('/secret')).headers['location']).toBe('/login');
  });
}
