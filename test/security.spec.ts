import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ServerResponse } from 'node:http';
import { createHash, randomBytes } from 'node:crypto';
import { inspect } from 'node:util';
import { Body, Controller, Get, HttpCode, type LoggerService, Post, Query, Redirect, Req, Res } from '@nestjs/common';
import { Session, SessionConfigError, SessionModule, type SessionOptions } from 'nest-sessions';
import { MemoryStore } from 'nest-sessions/memory';
import { newKey, newRecord } from '../libs/session/src/testing/store-bench.js';
import { toStoreKey } from '../libs/session/src/session/session-key.js';
import { type Platform, platforms, type RunningApp, startApp } from './support/app.js';
import { sessionKeyIn } from './support/database-app.js';
import { type LaidOpen, laidOpenStores, lines } from './support/laid-open.js';
import { barrier, type Barrier, RecordingStore } from './support/recording-store.js';
import { describeWithService } from './support/services.js';
import { exchange } from './support/wire.js';

type Data = Record<string, unknown>;
type RawRequest = { session: Session; headers: Record<string, unknown>; rawHeaders: string[]; raw?: RawRequest };
type Reply = ServerResponse & { raw?: ServerResponse };

const gates = { entered: barrier(), left: barrier() } as { entered: Barrier; left: Barrier };

@Controller()
class VaultController {
  @Get('plain')
  plain() {
    return 'plain';
  }

  @Get('data')
  data(@Session() session: Session<Data>) {
    return { userId: session.userId, entries: session.entries() };
  }

  @Post('data')
  @HttpCode(200)
  write(@Session() session: Session<Data>, @Body() entries: [string, unknown][]) {
    for (const [key, value] of entries) session.set(key, value);
    return { id: session.id };
  }

  @Post('nothing')
  nothing(@Session() session: Session<Data>) {
    session['name'] = 'Ada';
    delete session['name'];
  }

  @Post('login')
  login(@Session() session: Session<Data>, @Query('user') user: string) {
    session.login(user);
    return { id: session.id };
  }

  @Post('logout')
  logout(@Session() session: Session<Data>) {
    session.logout();
  }

  @Post('write-and-fail')
  writeAndFail(@Session() session: Session<Data>): never {
    session['name'] = 'Mallory';
    session.cycleKey();
    throw new Error('afterwards');
  }

  @Post('logout-and-fail')
  logoutAndFail(@Session() session: Session<Data>): never {
    session.logout();
    throw new Error('afterwards');
  }

  @Post('slow')
  async slow(@Session() session: Session<Data>) {
    session['name'] = 'slow';
    gates.entered.open();
    await gates.left.passed;
  }

  @Post('flash')
  @Redirect('/flash')
  addFlash(@Session() session: Session<Data>, @Query('text') text: string) {
    session.addFlash('info', text);
  }

  @Get('flash')
  takeFlash(@Session() session: Session<Data>) {
    return session.takeFlash().map(({ message }) => message);
  }

  @Post('late')
  async late(@Session() session: Session<Data>, @Res() reply: Reply) {
    const response = reply.raw ?? reply;
    response.writeHead(200, { 'Content-Type': 'text/plain' });
    response.write('begun: ');
    await new Promise((resolve) => setImmediate(resolve));
    try {
      session['name'] = 'late';
      response.end('and nobody minded');
    } catch (error) {
      response.end((error as { code: string }).code);
    }
  }

  /** Everything that might show what stands behind the session; the request as it came is taken off it first. */
  @Get('inspect')
  inspect(@Session() session: Session<Data>, @Req() request: RawRequest) {
    const raw = request.raw ?? request;
    delete raw.headers['cookie'];
    raw.rawHeaders.length = 0;
    const all = { depth: 20, showHidden: true, showProxy: true, getters: true, maxArrayLength: null };
    return [
      inspect(session),
      inspect(session, all),
      inspect({ session }, { ...all, showProxy: false }),
      JSON.stringify(session),
      JSON.stringify(session.cookie),
      String(session),
      Object.prototype.toString.call(session),
      inspect({ ...session }),
      inspect(request),
      inspect(request, all),
      inspect(raw, all),
      inspect(Reflect.ownKeys(session).map((name) => Reflect.get(session, name))),
    ];
  }
}

const logged: string[] = [];
const note = (...message: unknown[]): void => void logged.push(message.map(String).join(' '));
const logger: LoggerService = { log() {}, error: note, warn: note, debug: note, verbose: note, fatal: note };

const send = async (app: RunningApp, method: 'get' | 'post', path: string, key?: string, body?: unknown) => {
  const request = app.request[method](path);
  if (key !== undefined) void request.set('Cookie', `sessionid=${key}`);
  return body === undefined ? request : request.send(body as object);
};

/** Every text in which the same secret could be kept. */
const formsOf = (key: string): string[] => {
  const bytes = Buffer.from(key, 'base64url');
  const hash = createHash('sha256').update(key);
  return [
    key,
    bytes.toString('hex'),
    bytes.toString('base64').slice(0, 43),
    Buffer.from(key).toString('base64').slice(0, 56),
    Buffer.from(key).toString('hex'),
    hash.copy().digest('hex'),
    hash.copy().digest('base64url'),
    createHash('sha256').update(bytes).digest('hex'),
  ];
};

describe.each(platforms)('on %s', (platform) => {
  describe.each(laidOpenStores)('a session in %s', (name, service, open) => {
    if (service === undefined) suite();
    else describeWithService(service, 'that is there', suite);

    function suite(): void {
      let store: LaidOpen;
      let app: RunningApp;
      beforeAll(async () => {
        store = await open();
        app = await startApp(platform, { ...store, controllers: [VaultController], logger });
      });
      beforeEach(() => (logged.length = 0));
      afterAll(async () => {
        await app.close();
        await store.dispose();
      });

      const write = async (entries: [string, unknown][] = [['name', 'Ada']]): Promise<string> =>
        sessionKeyIn(await send(app, 'post', '/data', undefined, entries)) as string;
      const dataOf = async (key: string): Promise<Data> => {
        const { entries } = (await send(app, 'get', '/data', key)).body as { entries: [string, unknown][] };
        return Object.assign(Object.create(null) as Data, Object.fromEntries(entries));
      };
      const login = async (user: string): Promise<[key: string, id: string]> => {
        const answer = await send(app, 'post', `/login?user=${user}`);
        return [sessionKeyIn(answer) as string, (answer.body as { id: string }).id];
      };

      it('S04: has a key that means nothing', async () => {
        const sessions = await Promise.all(Array.from({ length: 20 }, () => login('ada-lovelace')));
        const parts = new Map<string, string>();
        for (const [key, id] of sessions) {
          const known = [id, 'ada-lovelace', Buffer.from('ada-lovelace').toString('base64url')].join(' ');
          // By chance two of these keys share eight characters once in 10^9 runs.
          for (let at = 0; at + 8 <= key.length; at += 1) {
            const part = key.slice(at, at + 8);
            expect(parts.get(part) ?? key).toBe(key);
            expect(known).not.toContain(part);
            parts.set(part, key);
          }
        }
      });

      it('S05: leaves no trace of its key in the store', async () => {
        const [key] = await login('ada');
        await send(app, 'post', '/data', key, [['name', 'Ada']]);
        const rotated = sessionKeyIn(await send(app, 'post', '/login?user=bob', key)) as string;
        const dump = await store.dump();
        expect(dump).toContain(toStoreKey(rotated).slice(3));
        for (const form of [key, rotated].flatMap(formsOf)) expect(dump).not.toContain(form);
      });

      it('S06: is not opened by what the store holds', async () => {
        const [key] = await login('ada');
        const storeKey = toStoreKey(key);
        const hash = Buffer.from(storeKey.slice(3), 'hex');
        for (const stolen of [storeKey, storeKey.slice(3), hash.toString('base64url'), storeKey.slice(-43)]) {
          expect((await send(app, 'get', '/data', stolen)).body).toEqual({ userId: null, entries: [] });
        }
        expect((await send(app, 'get', '/data', key)).body).toMatchObject({ userId: 'ada' });
      });

      it('S12: is dead after its end, and its key is never taken up again', async () => {
        const [key] = await login('ada');
        await send(app, 'post', '/logout', key);
        const answer = await send(app, 'post', '/data', key, [['name', 'Eve']]);
        expect(sessionKeyIn(answer)).toMatch(/^[\w-]{43}$/);
        expect(sessionKeyIn(answer)).not.toBe(key);
        expect((await send(app, 'get', '/data', key)).body).toEqual({ userId: null, entries: [] });
      });

      it('S55 S86: is not made by visitors who store nothing', async () => {
        const before = await store.dump();
        for (let time = 0; time < 50; time += 1) {
          const answers = await Promise.all([
            send(app, 'get', '/plain'),
            send(app, 'get', '/data'),
            send(app, 'get', '/flash'),
            send(app, 'post', '/nothing'),
            send(app, 'post', '/logout'),
            send(app, 'post', '/logout', randomBytes(32).toString('base64url')),
          ]);
          for (const answer of answers) expect(sessionKeyIn(answer) ?? '').toBe('');
        }
        expect(await store.dump()).toBe(before);
      });

      it('S67: keeps odd keys apart', async () => {
        const entries: [string, unknown][] = [
          ['', 'empty'],
          ['a', 'a'],
          ['a\0b', 'NUL'],
          ['a=b&c', 'query'],
          ['a:b', 'colon'],
          ['a\nb', 'line'],
          ['a\tb', 'tab'],
          ['🔑', 'emoji'],
          ['toString', 'name of a method'],
          ['0', 'digit'],
        ];
        const key = await write(entries);
        expect(await dataOf(key)).toEqual(Object.assign(Object.create(null), Object.fromEntries(entries)));
        await send(app, 'post', '/data', key, [['a\0b', 'changed']]);
        expect(await dataOf(key)).toMatchObject({ a: 'a', 'a\0b': 'changed', 'a:b': 'colon', '': 'empty' });
      });

      it('S113: has each message after a redirect, once', async () => {
        let key: string | undefined;
        for (let time = 0; time < 50; time += 1) {
          const redirect = await send(app, 'post', `/flash?text=${time}`, key);
          expect(redirect.status).toBe(302);
          key = sessionKeyIn(redirect) ?? key;
          expect((await send(app, 'get', '/flash', key)).body).toEqual([String(time)]);
        }
        expect((await send(app, 'get', '/flash', key)).body).toEqual([]);
      });

      it('S114: is not changed after the first byte', async () => {
        const key = await write();
        expect((await send(app, 'post', '/late', key)).text).toBe('begun: SESSION_COMMITTED');
        expect(await dataOf(key)).toEqual({ name: 'Ada' });
      });

      describe('S115: of a request that fails', () => {
        it('keeps neither data nor a new key', async () => {
          const key = await write();
          const answer = await send(app, 'post', '/write-and-fail', key);
          expect([answer.status, sessionKeyIn(answer)]).toEqual([500, undefined]);
          expect(await dataOf(key)).toEqual({ name: 'Ada' });
        });

        it('ends all the same', async () => {
          const [key] = await login('ada');
          const answer = await send(app, 'post', '/logout-and-fail', key);
          expect([answer.status, sessionKeyIn(answer)]).toEqual([500, '']);
          expect((await send(app, 'get', '/data', key)).body).toMatchObject({ userId: null });
        });

        it('keeps what a visitor did who left before the answer', async () => {
          const key = await write();
          Object.assign(gates, { entered: barrier(), left: barrier() });
          const visit = exchange(`${app.url}/slow`, { method: 'POST', headers: { Cookie: `sessionid=${key}` } });
          await gates.entered.passed;
          visit.abort();
          gates.left.open();
          while ((await dataOf(key))['name'] !== 'slow') await new Promise((resolve) => setImmediate(resolve));
        });
      });

      if (name !== 'memory') {
        it('S62: comes to no harm by prototypes that were put into the store', async () => {
          const key = await write([['marker', 'x'.repeat(60)]]);
          const stored = JSON.stringify({ marker: 'x'.repeat(60) });
          const poison = '{"__proto__":{"polluted":1},"constructor":{"polluted":1}}';
          await store.replace(stored, poison.padEnd(stored.length));
          expect((await send(app, 'get', '/data', key)).body).toEqual({
            userId: null,
            entries: [
              ['__proto__', { polluted: 1 }],
              ['constructor', { polluted: 1 }],
            ],
          });
          expect(({} as { polluted?: number }).polluted).toBeUndefined();
        });

        it('S64: that cannot be decoded is nobody’s, told of, and left as it is', async () => {
          const key = await write([['marker', 'y'.repeat(60)]]);
          const stored = JSON.stringify({ marker: 'y'.repeat(60) });
          await store.replace(stored, '{"marker": Fe26.2*'.padEnd(stored.length, '*'));
          const before = await store.dump();
          expect(before).toContain('Fe26.2*');

          const written = await send(app, 'post', '/data', key, [['name', 'Eve']]);
          expect([written.status, sessionKeyIn(written) === key]).toEqual([200, false]);
          expect(logged.join('\n')).toMatch(/could not be decoded/);
          expect(logged.join('\n')).not.toContain('Fe26');

          for (let time = 0; time < 3; time += 1) {
            expect((await send(app, 'get', '/data', key)).body).toMatchObject({ entries: [] });
          }
          const after = await store.dump();
          expect(before.split('\n').filter((line) => !after.includes(line))).toEqual([]);
          expect(lines(after)).toBe(lines(before) + 1);
        });
      }
    }
  });

  describe('a visitor', () => {
    const store = new RecordingStore();
    let app: RunningApp;
    const start = (options: SessionOptions = {}): Promise<RunningApp> =>
      startApp(platform, {
        engine: { useFactory: () => store },
        options,
        controllers: [VaultController, AccessController],
        logger,
      });
    beforeAll(async () => {
      app = await start();
    });
    beforeEach(() => store.reset());
    afterAll(() => app.close());

    it('S03: brings no UUID along for a key', async () => {
      const uuid = '3f2b8c1e-7a54-4f1d-9c1b-1d2e3f405162';
      for (const key of [uuid, uuid.replaceAll('-', ''), `${uuid}${uuid}`.slice(0, 44)]) {
        expect((await send(app, 'get', '/data', key)).body).toEqual({ userId: null, entries: [] });
      }
      expect(store.calls).toEqual([]);
    });

    it('S57: sees the name that Django’s visitors see, or the one of the options', async () => {
      const [line] = (await send(app, 'post', '/login?user=ada')).headers['set-cookie'] as unknown as string[];
      expect(line).toMatch(/^sessionid=/);
      expect(line).not.toMatch(/nest|express|fastify|connect|node/i);
      const named = await start({ cookie: { name: 'sid' } });
      expect(sessionKeyIn(await send(named, 'post', '/login?user=ada'), 'sid')).toMatch(/^[\w-]{43}$/);
      await named.close();
    });

    it('S86: without a cookie costs the store nothing, a thousand times', async () => {
      for (let round = 0; round < 20; round += 1) {
        await Promise.all(
          Array.from({ length: 50 }, (_, index) =>
            send(app, index % 2 ? 'get' : 'post', index % 2 ? '/data' : '/logout'),
          ),
        );
      }
      expect(store.calls).toEqual([]);
    });

    it('S87: with keys that he made up makes the store read once each, and write nothing', async () => {
      const keys = Array.from({ length: 10_000 }, () => randomBytes(32).toString('base64url'));
      const unused = [...keys];
      const oneAfterTheOther = async (): Promise<void> => {
        for (let key = unused.pop(); key !== undefined; key = unused.pop()) {
          const { status } = await fetch(`${app.url}/data`, { headers: { Cookie: `sessionid=${key}` } });
          if (status !== 200) throw new Error(`The answer was ${status}.`);
        }
      };
      await Promise.all(Array.from({ length: 32 }, oneAfterTheOther));
      expect(store.writes).toEqual([]);
      expect(store.calls).toHaveLength(keys.length);
      expect(store.records.size).toBe(0);
    });

    describe('S95: is not betrayed', () => {
      it.each(['new', 'known'])('by anything that shows the session or the request: %s', async (visitor) => {
        const key = sessionKeyIn(await send(app, 'post', '/login?user=ada')) as string;
        const answer = await send(app, 'get', '/inspect', visitor === 'known' ? key : undefined);
        expect(answer.status).toBe(200);
        const shown = (answer.body as string[]).join('\n');
        expect(shown).toContain('ada' satisfies string);
        for (const secret of [...formsOf(key), ...store.records.keys()]) expect(shown).not.toContain(secret);
      });
    });

    describe('S59: gets an answer that varies by cookie', () => {
      it.each(accesses)('when the handler does this: %s', async (path) => {
        for (const key of [undefined, sessionKeyIn(await send(app, 'post', '/login?user=ada'))]) {
          const { status, headers } = await send(app, 'get', `/access/${encodeURIComponent(path)}`, key);
          expect([status, headers['vary']]).toEqual([200, 'Accept, Cookie']);
        }
      });

      it('but not when the handler leaves the session alone', async () => {
        expect((await send(app, 'get', '/access/nothing')).headers['vary']).toBe('Accept');
      });
    });
  });
});
