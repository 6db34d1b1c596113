import { Controller, Get, Logger, Post, UseGuards } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { jest } from '@jest/globals';
import { Session, SessionGuard, SessionModule, Sessions, SessionStore } from 'nest-sessions';
import { memoryEngine, MemoryStore } from 'nest-sessions/memory';
import { describeSessionStore, loggedInCookie, testingEngine } from 'nest-sessions/testing';
import { HOUR, MINUTE, newId, newRecord } from '../libs/session/src/testing/store-bench.js';
import { platforms, type RunningApp, startApp } from './support/app.js';

describeSessionStore(
  'MemoryStore',
  async () => {
    let passed = 0;
    return {
      store: new MemoryStore({ now: () => Date.now() + passed }),
      elapse: async (ms) => void (passed += ms),
      dispose: async () => {},
    };
  },
  { capabilities: { severalProcesses: false, ownClock: false, corruptRecords: false, outages: false } },
);

describe('A MemoryStore that is full', () => {
  let passed = 0;
  let store: MemoryStore;
  const create = async (overrides: Parameters<typeof newRecord>[1] = {}): Promise<string> => {
    const record = newRecord({}, overrides);
    await store.create(record.id, record);
    return record.id;
  };
  const alive = (...ids: string[]): Promise<boolean[]> =>
    Promise.all(ids.map(async (id) => (await store.load(id)) !== null));

  beforeEach(() => {
    passed = 0;
    store = new MemoryStore({ maxSessions: 3, now: () => Date.now() + passed });
  });

  it('S88: lets the expired go first', async () => {
    const keys = [await create(), await create({ expiresAt: Date.now() + MINUTE }), await create()];
    passed = 2 * MINUTE;
    keys.push(await create());
    expect(await alive(...keys)).toEqual([true, false, true, true]);
  });

  it('S88: then whoever belongs to no user and was used the longest time ago', async () => {
    const keys = [await create({ userId: 'Ann' }), await create(), await create()];
    const loaded = (await store.load(keys[1] ?? ''))!;
    await store.touch(keys[1] ?? '', { ...loaded, expiresAt: Date.now() + 2 * HOUR });
    keys.push(await create());
    expect(await alive(...keys)).toEqual([true, true, false, true]);
  });

  it('S88: then users, in that order', async () => {
    const keys = [
      await create({ userId: 'Ann' }),
      await create({ userId: 'Bob' }),
      await create({ userId: 'Cy' }),
    ];
    const loaded = (await store.load(keys[0] ?? ''))!;
    await store.save(loaded.id, loaded.keyHash, { set: { a: 1 } }, loaded);
    keys.push(await create({ userId: 'Dee' }));
    expect(await alive(...keys)).toEqual([true, false, true, true]);
    expect(store.size).toBe(3);
  });
});

it('S88: A MemoryStore of bounded size keeps its users through two hundred thousand sessions of nobody', async () => {
  const store = new MemoryStore({ maxSessions: 1000 });
  const users = Array.from({ length: 100 }, newId);
  for (const id of users) await store.create(id, newRecord({}, { id, userId: id }));
  const record = newRecord({ a: 1 });
  let last = '';
  for (let n = 0; n < 200_000; n++) {
    last = `session-${n}`;
    await store.create(last, { ...record, id: last });
  }
  expect(store.size).toBe(1000);
  for (const id of [...users, last]) expect(await store.load(id)).not.toBeNull();
});

it('A MemoryStore sweeps expired sessions out once in a minute', async () => {
  let passed = 0;
  const store = new MemoryStore({ now: () => Date.now() + passed });
  const create = async (overrides: Parameters<typeof newRecord>[1] = {}): Promise<void> => {
    const record = newRecord({}, overrides);
    await store.create(record.id, record);
  };
  for (let n = 0; n < 5; n++) await create({ expiresAt: Date.now() + 1000 });
  passed = 30_000;
  await create();
  expect(store.size).toBe(6);
  passed = 2 * MINUTE;
  await create();
  expect(store.size).toBe(2);
});

describe('memoryEngine', () => {
  it.each([0, -1, 1.5, Number.NaN, '10' as unknown as number])('refuses %p sessions', (maxSessions) => {
    expect(() => memoryEngine({ maxSessions })).toThrow(/"engine\.maxSessions"/);
  });

  it.each([
    ['production', 1],
    ['development', 0],
  ])('in %s warns %d times', async (environment, times) => {
    const warn = jest.spyOn(Logger.prototype, 'warn').mockImplementation(() => {});
    const before = process.env['NODE_ENV'];
    process.env['NODE_ENV'] = environment;
    try {
      await memoryEngine().useFactory();
      expect(warn).toHaveBeenCalledTimes(times);
    } finally {
      process.env['NODE_ENV'] = before;
      warn.mockRestore();
    }
  });
});

@Controller()
class AccountController {
  @Post('login')
  login(@Session() session: Session): void {
    session.login('Ann');
  }

  @Get('account')
  @UseGuards(SessionGuard)
  account(@Session() session: Session<{ cart?: string[] }>) {
    return { userId: session.userId, cart: session.cart ?? null };
  }
}

describe.each(platforms)('testingEngine (%s)', (platform) => {
  const engine = testingEngine();
  let app: RunningApp;
  beforeAll(async () => {
    app = await startApp(platform, {
      engine,
      options: { idleTimeout: '30m', absoluteTimeout: '8h', cookie: { name: 'shop' } },
      controllers: [AccountController],
    });
  });
  afterAll(() => app.close());

  const status = async (cookie: string): Promise<number> =>
    (await app.request.get('/account').set('Cookie', cookie)).status;

  it('makes sessions of users who have logged in', async () => {
    const cookie = await loggedInCookie<{ cart: string[] }>(app.app, 'Ann', { cart: ['tea'] });
    expect(cookie).toMatch(/^shop=[\w-]{22}\.[\w-]{43}$/);
    const { body } = await app.request.get('/account').set('Cookie', cookie).expect(200);
    expect(body).toEqual({ userId: 'Ann', cart: ['tea'] });
    expect(await engine.store.listByUser('Ann')).toHaveLength(1);
  });

  it('lets time pass, for the idle timeout', async () => {
    const cookie = await loggedInCookie(app.app, 1);
    engine.clock.advance('29m');
    expect(await status(cookie)).toBe(200);
    engine.clock.advance(29 * 60);
    expect(await status(cookie)).toBe(200);
    engine.clock.advance('31m');
    expect(await status(cookie)).toBe(401);
  });

  it('lets time pass, for the absolute timeout', async () => {
    const cookie = await loggedInCookie(app.app, 1);
    for (let n = 0; n < 24; n++) {
      expect(await status(cookie)).toBe(200);
      engine.clock.advance('20m');
    }
    expect(await status(cookie)).toBe(401);
  });

  it('takes the place of another engine, clock and all', async () => {
    const testing = await Test.createTestingModule({
      imports: [SessionModule.forRoot(memoryEngine(), { idleTimeout: '30m', clearExpired: false })],
    })
      .overrideProvider(SessionStore)
      .useValue(engine.store)
      .compile();
    const sessionKey = (await testing.get(Sessions).create()).sessionKey();
    const isOpen = async (): Promise<boolean> =>
      (await testing.get(Sessions).open(sessionKey ?? '')) !== null;
    expect(await isOpen()).toBe(true);
    engine.clock.advance('31m');
    expect(await isOpen()).toBe(false);
    await testing.close();
  });

  it('refuses what is no duration', () => {
    expect(() => engine.clock.advance('soon')).toThrow(TypeError);
  });
});
