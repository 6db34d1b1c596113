import * as crypto from 'node:crypto';
import { jest } from '@jest/globals';
import type { Session as SessionType } from 'nest-sessions';
import { type RecordingStore as Store } from './support/recording-store.js';
import { type RunningApp } from './support/app.js';

/** What draws the bytes: the operating system, or something broken in its place. */
let draw: (size: number) => Buffer = crypto.randomBytes;

// Whoever imports it from now on has this one, and so everything else has to be imported afterwards.
jest.unstable_mockModule('node:crypto', () => ({ ...crypto, randomBytes: (size: number) => draw(size) }));
const { Controller, Get, Post } = await import('@nestjs/common');
const { Session } = await import('nest-sessions');
const { platforms, silent, startApp } = await import('./support/app.js');
const { RecordingStore } = await import('./support/recording-store.js');

@Controller()
class LoginController {
  @Get('read')
  read(@Session('name') name: unknown) {
    return { name: name ?? null };
  }

  @Post('write')
  write(@Session() session: SessionType) {
    session['name'] = 'Ada';
  }

  @Post('login')
  login(@Session() session: SessionType) {
    session.login('ada');
  }
}

const broken: [what: string, draw: (size: number) => Buffer][] = [
  [
    'throws',
    () => {
      throw new Error('The entropy pool is empty.');
    },
  ],
  ['answers with fewer bytes', (size) => crypto.randomBytes(size / 2)],
  ['answers with nothing', () => Buffer.alloc(0)],
];

describe.each(platforms)('S02: without randomness, on %s,', (platform) => {
  let app: RunningApp;
  let store: Store;
  const send = (method: 'get' | 'post', path: string, cookie = '') =>
    app.request[method](path).set('Cookie', cookie);

  beforeAll(async () => {
    store = new RecordingStore();
    app = await startApp(platform, {
      engine: { useFactory: () => store },
      controllers: [LoginController],
      logger: silent,
    });
  });
  afterEach(() => {
    draw = crypto.randomBytes;
    store.reset();
  });
  afterAll(() => app.close());

  it.each(broken)('which %s, nobody gets a session', async (_what, brokenDraw) => {
    draw = brokenDraw;
    for (const path of ['/write', '/login']) {
      const answer = await send('post', path);
      expect(answer.status).toBe(500);
      expect(answer.get('Set-Cookie')).toBeUndefined();
    }
    expect(store.records.size).toBe(0);
  });

  it.each(broken)(
    'which %s, nobody logs in on an old key, and sessions live on',
    async (_what, brokenDraw) => {
      const [cookie = ''] = ((await send('post', '/write')).get('Set-Cookie')?.[0] ?? '').split(';');
      expect(cookie).toMatch(/^sessionid=[\w-]{22}\.[\w-]{43}$/);
      draw = brokenDraw;
      const login = await send('post', '/login', cookie);
      expect([login.status, login.get('Set-Cookie')]).toEqual([500, undefined]);
      expect((await send('get', '/read', cookie)).body).toEqual({ name: 'Ada' });
      expect([...store.records.values()].map(({ userId }) => userId)).toEqual([null]);
    },
  );

  it('which always answers the same, nobody gets the session of somebody else', async () => {
    draw = (size) => Buffer.alloc(size);
    const first = await send('post', '/write');
    const second = await send('post', '/login');
    expect(first.status).toBe(201);
    expect([second.status, second.get('Set-Cookie')]).toEqual([500, undefined]);
    expect([...store.records.values()].map(({ userId }) => userId)).toEqual([null]);
  });
});
