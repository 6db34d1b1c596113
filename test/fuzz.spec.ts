import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { text as textOf } from 'node:stream/consumers';
import { Controller, Get } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { TypeOrmModule } from '@nestjs/typeorm';
import { createCache } from 'cache-manager';
import * as fc from 'fast-check';
import { Redis } from 'ioredis';
import { Keyv } from 'keyv';
import {
  type Engine,
  Session,
  SessionConfigError,
  SessionModule,
  type SessionOptions,
  type SessionRecord,
  SessionRecordCorruptError,
  SessionStore,
} from 'nest-sessions';
import { cacheEngine } from 'nest-sessions/cache';
import { cachedDatabaseEngine } from 'nest-sessions/cached-database';
import { databaseEngine } from 'nest-sessions/database';
import { fileEngine } from 'nest-sessions/file';
import { redisEngine } from 'nest-sessions/redis';
import { DataSource } from 'typeorm';
import { readCookies, removeCookieHeaders, setCookieHeader } from '../libs/session/src/http/cookie-header.js';
import { sameSiteOf } from '../libs/session/src/session/session-environment.js';
import { isSessionKey } from '../libs/session/src/session/session-key.js';
import { ProcessCache } from '../libs/session/src/stores/cached-database/record-cache.js';
import { resolveOptions } from '../libs/session/src/options/resolve-options.js';
import { HOUR, newRecord, save } from '../libs/session/src/testing/store-bench.js';
import { platforms, type RunningApp, silent, startApp } from './support/app.js';
import { sessionOptions } from './support/option-arbitraries.js';
import { RecordingStore } from './support/recording-store.js';
import { testRedis } from './support/redis-store-bench.js';
import { describeWithService } from './support/services.js';
import { spoil } from './support/spoilt.js';

/**
 * A failure names the seed and the path of its counterexample. `FUZZ_SEED=… npm test -- test/fuzz.spec.ts` repeats it,
 * `FUZZ_RUNS=100` looks a hundred times as long.
 */
const { FUZZ_SEED: seed, FUZZ_RUNS: factor = '1' } = process.env;
const runs = (count: number): fc.Parameters<unknown> => ({
  numRuns: count * Number(factor),
  ...(seed !== undefined && { seed: Number(seed) }),
});
const TIME = 120_000 * Number(factor);

/** What Node's parser lets through in the value of a header. */
const headerBytes = fc
  .array(fc.oneof(fc.integer({ min: 0x20, max: 0x7e }), fc.integer({ min: 0x80, max: 0xff }), fc.constant(9)))
  .map((bytes) => String.fromCharCode(...bytes));
/** Headers made of what means something to somebody who reads cookies, a session key among it. */
const cookieHeaders = (key: string): fc.Arbitrary<string> =>
  fc
    .array(
      fc.oneof(
        fc.constantFrom(
          ';',
          '; ',
          '=',
          ',',
          ' ',
          '\t',
          '"',
          '%',
          '%3D',
          'sessionid',
          'SESSIONID',
          'sessionid=',
          '$Path',
        ),
        fc.constantFrom(key, `sessionid=${key}`, key.slice(1), `${key}=`, `"${key}"`, '__proto__', 'a=b'),
        headerBytes,
      ),
    )
    .map((parts) => parts.join(''));

describe('the Cookie header', () => {
  const KEY = `${'Zk3-_'.padEnd(22, 'x')}.${'Zk3-_'.padEnd(43, 'x')}`;

  it('is read without an error, and nothing is made of it that it does not hold', () => {
    fc.assert(
      fc.property(fc.oneof(cookieHeaders(KEY), fc.string({ unit: 'binary' })), (header) => {
        for (const value of readCookies(header, 'sessionid')) {
          expect(header).toContain(value);
          const pairs = header.split(';').map((pair) => pair.replace(/[ \t]*=[ \t]*/, '=').trim());
          expect(!isSessionKey(value) || pairs.includes(`sessionid=${value}`)).toBe(true);
        }
      }),
      runs(5000),
    );
  });

  it.each<[string, (length: number) => string]>([
    ['semicolons', (length) => ';'.repeat(length)],
    ['equal signs', (length) => '='.repeat(length)],
    ['blanks', (length) => `sessionid${' '.repeat(length)}`],
    ['blanks around values', (length) => `sessionid=${' '.repeat(length)}x`],
    ['the name', (length) => 'sessionid'.repeat(length / 9)],
    ['the name and nothing', (length) => 'sessionid=;'.repeat(length / 11)],
    ['3000 other cookies and more', (length) => `${'a=b; '.repeat(length / 5)}sessionid=x`],
    ['values that are almost keys', (length) => `sessionid=${KEY}k; `.repeat(length / 79)],
    ['one long value', (length) => `sessionid=${'k'.repeat(length)}`],
    ['quotes', (length) => `sessionid=${'"'.repeat(length)}`],
    ['percent signs', (length) => `sessionid=${'%'.repeat(length)}`],
  ])('S92: takes time in proportion to its length: %s', (_name, make) => {
    const header = make(1_000_000);
    const times = [1, 2].map(() => {
      const start = process.hrtime.bigint();
      readCookies(header, 'sessionid').filter(isSessionKey);
      return Number(process.hrtime.bigint() - start) / 1e6;
    });
    // Sixty times what a server accepts. In quadratic time that would take minutes.
    expect(Math.min(...times)).toBeLessThan(3000);
  });

  @Controller()
  class WhoController {
    @Get('who')
    who(@Session() session: Session) {
      return session.has('name') ? '<Ada>' : '<nobody>';
    }

    @Get('in')
    in(@Session() session: Session) {
      session['name'] = 'Ada';
      return 'in';
    }
  }

  describe.each(platforms)('on the wire (%s)', (platform) => {
    const store = new RecordingStore();
    let app: RunningApp;
    beforeAll(async () => {
      app = await startApp(platform, {
        engine: { useFactory: () => store },
        controllers: [WhoController],
        logger: silent,
      });
    });
    afterAll(() => app.close());

    /** Without a client that would mend the header. */
    const send = async (cookie: string): Promise<string> => {
      const socket = connect(Number(new URL(app.url).port), '127.0.0.1');
      await once(socket, 'connect');
      socket.end(
        Buffer.from(
          `GET /who HTTP/1.1\r\nHost: a\r\nConnection: close\r\nCookie: ${cookie}\r\n\r\n`,
          'latin1',
        ),
      );
      return textOf(socket);
    };

    it(
      'S11: opens no session but the one whose key it carries, and stores nothing',
      async () => {
        const { headers } = await app.request.get('/in');
        const key = /sessionid=([^;]+)/.exec(String(headers['set-cookie']))?.[1] as string;
        const carries = new RegExp(`(^|;)[ \\t]*sessionid[ \\t]*=[ \\t]*${key}[ \\t]*(;|$)`);
        const stored = [...store.records.keys()];
        await fc.assert(
          fc.asyncProperty(cookieHeaders(key), async (cookie) => {
            const answer = await send(cookie);
            expect(answer).toMatch(/^HTTP\/1\.1 (200|400|431) /);
            expect(answer.includes('<Ada>') && !carries.test(cookie)).toBe(false);
            expect(answer).not.toMatch(/set-cookie: sessionid=[^;]/i);
          }),
          runs(250),
        );
        expect([...store.records.keys()]).toEqual(stored);
        expect(store.writes).toEqual(['create']);
        expect(await send(`sessionid=${key}`)).toContain('<Ada>');
      },
      TIME,
    );
  });
});

/** A store, and what it has stored for one session. */
interface Spoilable {
  engine: Engine;
  imports?: Parameters<typeof Test.createTestingModule>[0]['imports'];
  /** The texts, by name. */
  stored(key: string, store: SessionStore): Promise<Record<string, string>>;
  spoil(key: string, name: string, text: string): Promise<void>;
  /** Makes a spoilt text look whole, so that what is in it gets a look. */
  seal?(text: string): string;
  dispose?(): void | Promise<void>;
}

const cache = new Keyv();
let database: DataSource;
const sqlite = TypeOrmModule.forRootAsync({
  useFactory: () => ({ type: 'sqljs', autoLoadEntities: true, synchronize: true }),
  dataSourceFactory: async (options) => (database = await new DataSource(options as never).initialize()),
});

/** With the length in front that it has now. */
function sealLine(line: string): string {
  const body = line.replace(/^\d* ?/, '');
  return `${body.length} ${body}`;
}

const spoilable: Record<string, () => Spoilable> = {
  database: () => ({
    engine: databaseEngine(),
    imports: [sqlite],
    async stored(key) {
      const [row] = (await database.query('SELECT * FROM nest_session WHERE session_key = ?', [
        key,
      ])) as object[];
      const texts = Object.entries(row ?? {}).filter(
        ([name, value]) => typeof value === 'string' && name !== 'session_key',
      );
      return Object.fromEntries(texts);
    },
    spoil: async (key, name, text) =>
      void (await database.query(`UPDATE nest_session SET ${name} = ? WHERE session_key = ?`, [text, key])),
  }),
  cache: () => ({
    engine: cacheEngine({
      cache: 'CACHE',
      imports: [
        {
          module: class CacheModule {},
          providers: [{ provide: 'CACHE', useFactory: () => createCache({ stores: [cache] }) }],
          exports: ['CACHE'],
        },
      ],
    }),
    stored: async (key) => ({ entry: (await cache.get<string>(`session:${key}`)) as string }),
    spoil: async (key, _name, text) => void (await cache.set(`session:${key}`, text)),
  }),
  file: () => {
    const directory = mkdtempSync(join(tmpdir(), 'nest-sessions-'));
    const pathOf = (key: string): string =>
      join(
        directory,
        readdirSync(directory, { recursive: true, encoding: 'utf8' }).find((path) =>
          path.endsWith(Buffer.from(`${key}AA`, 'base64url').toString('hex').slice(0, 33)),
        ) as string,
      );
    return {
      engine: fileEngine({ directory }),
      stored: (key) => Promise.resolve({ file: readFileSync(pathOf(key), 'utf8') }),
      spoil: (key, _name, text) => Promise.resolve(writeFileSync(pathOf(key), text)),
      seal: (text) => text.split('\n').map(sealLine).join('\n'),
      dispose: () => rmSync(directory, { recursive: true, force: true }),
    };
  },
  redis: () => {
    const { url, prefix } = testRedis();
    const access = new Redis(url);
    const place = (key: string): string => `${prefix}${key}`;
    return {
      engine: redisEngine({ url, prefix }),
      stored: async (key) =>
        Object.fromEntries(
          (await access.lrange(place(key), 0, -1)).map((text, index) => [`element ${index}`, text]),
        ),
      spoil: async (key, name, text) =>
        void (await access.lset(place(key), Number(name.replace('element ', '')), text)),
      dispose: async () => void (await access.quit()),
    };
  },
};

describe.each(Object.entries(spoilable))('what is stored in %s, and spoilt', (name, make) => {
  if (name === 'redis') describeWithService('redis', 'a server', suite);
  else suite();

  function suite(): void {
    let subject: Spoilable;
    let store: SessionStore;
    let close: () => Promise<void>;
    beforeAll(async () => {
      subject = make();
      const app = await Test.createTestingModule({
        imports: [...(subject.imports ?? []), SessionModule.forRoot(subject.engine, { clearExpired: false })],
      })
        .setLogger(silent)
        .compile();
      store = app.get(SessionStore);
      close = () => app.close();
    });
    afterAll(async () => {
      await close();
      await subject.dispose?.();
    });

    it(
      'S64: is absent, corrupt or a whole record, never anything else, and never of another session',
      async () => {
        const record = newRecord(
          { name: 'Ada', list: [1, { deep: null }], large: 'Ada '.repeat(600) },
          { userId: 'ada', expiry: 600, meta: { stamp: 's', rotation: { after: 1, successor: 'sealed' } } },
        );
        const bob = newRecord({ secret: 'of Bob' }, { userId: 'bob', expiresAt: Date.now() + HOUR });
        const [key, other] = [record.id, bob.id];
        await store.create(key, record);
        const loaded = (await store.load(key)) as SessionRecord;
        await save(store, loaded, { set: { second: 2 }, unset: ['list'], increment: { n: 1 } });
        await save(store, loaded, { set: { third: 3 } });
        await store.create(other, bob);
        const whole = await subject.stored(key, store);
        const before = await subject.stored(other, store);
        const outcomes = { absent: 0, corrupt: 0, whole: 0 };

        await fc.assert(
          fc.asyncProperty(
            fc.constantFrom(...Object.keys(whole)),
            spoil,
            fc.boolean(),
            async (field, ruin, sealed) => {
              // As bytes can be.
              const spoilt = Buffer.from(ruin(whole[field] as string)).toString();
              const text = sealed && subject.seal ? subject.seal(spoilt) : spoilt;
              await subject.spoil(key, field, text);
              const found = await outcomeOf(store, key);
              const left = (await subject.stored(key, store))[field];
              await subject.spoil(key, field, whole[field] as string);
              // What cannot be read is left for inspection.
              expect(left).toBe(text);
              outcomes[found.what] += 1;
              expect(found.faults).toEqual([]);
            },
          ),
          runs(800),
        );

        expect(outcomes.corrupt * outcomes.whole).toBeGreaterThan(0);
        expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
        expect(await subject.stored(other, store)).toEqual(before);
        expect(await store.load(key)).toMatchObject({ userId: 'ada', data: { name: 'Ada', third: 3 } });
      },
      TIME,
    );
  }
});

interface Outcome {
  what: 'absent' | 'corrupt' | 'whole';
  faults: unknown[];
}

/** What a load comes to, and what is wrong with that. */
async function outcomeOf(store: SessionStore, key: string): Promise<Outcome> {
  try {
    const found = await store.load(key);
    if (found === null) return { what: 'absent', faults: [] };
    return { what: 'whole', faults: faultsOf(found) };
  } catch (error) {
    if (!(error instanceof SessionRecordCorruptError)) throw error;
    return { what: 'corrupt', faults: error.message.includes('Ada') ? [error.message] : [] };
  }
}

/** What no session could live with. */
function faultsOf(record: SessionRecord): unknown[] {
  const { id, userId, data, expiry, createdAt, lastSeenAt, expiresAt, version, meta } = record;
  const end = typeof expiry === 'string' ? expiry : Date.now() + (expiry ?? 0) * 1000;
  const moments = { end, createdAt, lastSeenAt, expiresAt };
  return [
    typeof id !== 'string' && { id },
    userId !== null && typeof userId !== 'string' && { userId },
    !Number.isSafeInteger(version) && { version },
    Object.values(moments).some((moment) => Number.isNaN(new Date(moment).getTime())) && moments,
    !['undefined', 'string'].includes(typeof meta.stamp) && meta,
    !['undefined', 'string'].includes(typeof meta.rotation?.successor) && meta,
    Object.getPrototypeOf(data) !== null && { data },
    JSON.stringify(data).includes('of Bob') && { data },
  ].filter(Boolean);
}

describe('a cache in front of the database that has lost its mind', () => {
  it(
    'S64: is not believed',
    async () => {
      const front = new ProcessCache(10);
      const app = await Test.createTestingModule({
        imports: [
          sqlite,
          SessionModule.forRoot(
            cachedDatabaseEngine({
              cache: { custom: front },
            }),
            { clearExpired: false },
          ),
        ],
      })
        .setLogger(silent)
        .compile();
      const store = app.get(SessionStore);
      const record = newRecord({ name: 'Ada' }, { userId: 'ada' });
      const key = record.id;
      await store.create(key, record);
      await store.load(key);
      const whole = (await front.get(key)) as string;
      expect(whole).toContain('Ada');
      await fc.assert(
        fc.asyncProperty(spoil, async (ruin) => {
          await front.set(key, ruin(whole), HOUR);
          const found = await store.load(key);
          expect(found).not.toBeNull();
          expect(faultsOf(found as SessionRecord)).toEqual([]);
        }),
        runs(1000),
      );
      await app.close();
    },
    TIME,
  );
});

describe('the options', () => {
  const known = resolveOptions();
  const defaults = [
    'options',
    'idleTimeout',
    'absoluteTimeout',
    'remember',
    'remember.idleTimeout',
    'cookie.maxAge',
    'cookie.domain',
    'clearExpired.schedule',
    'limits.size',
    'limits.keys',
    'limits.keyLength',
    'limits.depth',
    ...Object.keys(known),
    ...Object.keys(known.cookie).map((name) => `cookie.${name}`),
  ];

  it('are taken, or refused by the name of one that is given or that has a default', () => {
    const outcomes = { taken: 0, refused: 0 };
    fc.assert(
      fc.property(sessionOptions, (given) => {
        const resolved = optionsOrError(given as SessionOptions);
        if (resolved instanceof SessionConfigError) {
          outcomes.refused += 1;
          return [...defaults, ...pathsIn(given)].includes(resolved.option);
        }
        outcomes.taken += 1;
        const { cookie, policy, storeTimeout, excluded } = resolved;
        const sent = { ...cookie, secure: true, sameSite: sameSiteOf(cookie.sameSite, true) };
        for (const line of [
          setCookieHeader(cookie.name, 'k', sent, policy.cookieAge, Date.now()),
          ...removeCookieHeaders(sent),
        ]) {
          expect(line).not.toMatch(/[\r\n]|Invalid|NaN/);
        }
        for (const time of [policy.cookieAge, policy.idleTimeout, policy.absoluteTimeout ?? 1]) {
          expect(time).toBeGreaterThan(0);
          expect(new Date(Date.now() + time).getTime()).not.toBeNaN();
        }
        // A timer that is set to more fires at once.
        expect(storeTimeout).toBeLessThan(2 ** 31);
        excluded('/%zz/\0');
        return true;
      }),
      runs(1500),
    );
    expect(outcomes.taken).toBeGreaterThan(outcomes.refused / 10);
    expect(outcomes.refused).toBeGreaterThan(outcomes.taken / 10);
  });

  it('say nothing of a secret that was given in the wrong place', () => {
    const secret = 'the-secret-of-the-house-0123456789';
    const places = [
      { pepper: secret },
      { pepper: { secrets: { newest: secret } } },
      { pepper: { secret } },
      { pepper: { secrets: secret, allowUnpeppered: 'no' } },
      { cookie: { secret: [secret] } },
      { secrets: [secret] },
    ];
    for (const options of places) {
      const error = optionsOrError(options as SessionOptions);
      expect(error).toBeInstanceOf(SessionConfigError);
      expect(inspect(error, { depth: 10, showHidden: true })).not.toContain(secret);
    }
  });
});

function optionsOrError(options: SessionOptions): ReturnType<typeof resolveOptions> | SessionConfigError {
  try {
    return resolveOptions(options);
  } catch (error) {
    if (error instanceof SessionConfigError) return error;
    throw error;
  }
}

/** Options are named by their path, `cookie.name` or `exclude[1]`. */
function pathsIn(given: unknown, path: string[] = []): string[] {
  const here = [path.join('.'), path.join('.').replace(/\.(\d+)$/, '[$1]')];
  if (typeof given !== 'object' || given === null || path.length > 3) return here;
  return [...here, ...Object.entries(given).flatMap(([name, value]) => pathsIn(value, [...path, name]))];
}
