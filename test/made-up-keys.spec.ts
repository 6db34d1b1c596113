import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Controller, Get, Module, Post } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { type Cache, createCache } from 'cache-manager';
import { Redis } from 'ioredis';
import { Keyv } from 'keyv';
import createMemoryStore from 'memorystore';
import { Session, SessionSealer, SessionStore } from 'nest-sessions';
import { cacheEngine } from 'nest-sessions/cache';
import { type CacheChoice, cachedDatabaseEngine, type RecordCache } from 'nest-sessions/cached-database';
import { cookieEngine } from 'nest-sessions/cookie';
import { databaseEngine } from 'nest-sessions/database';
import { type CallbackStore, expressSession, expressStoreEngine } from 'nest-sessions/express-store';
import { fileEngine } from 'nest-sessions/file';
import { memoryEngine } from 'nest-sessions/memory';
import { redisEngine } from 'nest-sessions/redis';
import { type Logger } from 'typeorm';
import { ProcessCache } from '../libs/session/src/stores/cached-database/record-cache.js';
import { type AppSetup, platforms, startApp } from './support/app.js';
import { testDatabase } from './support/data-source.js';
import { removeKeys } from './support/elapse.js';
import { RecordingStore } from './support/recording-store.js';
import { testRedis } from './support/redis-store-bench.js';
import { type DatabaseKind, describeWithService, type ServiceName } from './support/services.js';

@Controller()
class VisitController {
  @Get('visit')
  visit(@Session() session: Session) {
    return session.userId ?? 'nobody';
  }

  @Post('logout')
  logout(@Session() session: Session) {
    session.logout();
  }
}

/** An engine, and what it asks of whatever keeps its sessions. */
interface Watched extends Pick<AppSetup, 'engine' | 'imports'> {
  /** What was asked since the last call, in order. */
  asked: () => Promise<string[]>;
  dispose: () => Promise<void>;
}

interface Row {
  services: ServiceName[];
  /** What one made-up key costs. */
  costs: string[];
  open: () => Promise<Watched>;
}

const nothing = (): Promise<void> => Promise.resolve();

/** Notes the names of these methods when they are called. */
function noting<Store extends object>(store: Store, calls: string[], names: (keyof Store & string)[]): Store {
  for (const name of names) {
    const method = (store[name] as (...args: unknown[]) => unknown).bind(store);
    store[name] = ((...args: unknown[]) => {
      calls.push(name);
      return method(...args);
    }) as Store[typeof name];
  }
  return store;
}

async function watchDatabase(kind: DatabaseKind) {
  const { options, dispose } = await testDatabase(kind);
  const statements: string[] = [];
  const logger: Logger = {
    logQuery: (text) => void statements.push(text.slice(0, text.indexOf(' '))),
    logQueryError() {},
    logQuerySlow() {},
    logSchemaBuild() {},
    logMigration() {},
    log() {},
  };
  const typeorm = { ...options, synchronize: true, autoLoadEntities: true, logging: true, logger } as const;
  return { statements, dispose, imports: [TypeOrmModule.forRoot(typeorm)] };
}

/** What Redis is told that names a key under this prefix. */
async function watchRedis() {
  const { url, prefix } = testRedis();
  const { hostname, port } = new URL(url);
  const lines: string[] = [];
  const monitor = connect(Number(port || 6379), hostname);
  const shown = createInterface(monitor).on('line', (line) => lines.push(line));
  monitor.write('MONITOR\r\n');
  await once(shown, 'line');
  const marker = new Redis(url);
  return {
    url,
    prefix,
    asked: async () => {
      // Redis shows commands in their order, so what came before this one has been seen with it.
      const mark = randomBytes(8).toString('hex');
      await marker.echo(mark);
      while (!lines.some((line) => line.includes(mark))) await once(shown, 'line');
      // A line is `+<time> [<database> <client>] "<command>" "<argument>" …`.
      return lines
        .splice(0)
        .filter((line) => line.includes(prefix))
        .map((line) => /\] "(\w+)"/.exec(line)?.[1]?.toLowerCase() ?? line);
    },
    dispose: async () => {
      monitor.destroy();
      await marker.quit();
      await removeKeys({ url, prefix });
    },
  };
}

function onDatabase(kind: DatabaseKind): Row {
  return {
    services: kind === 'sqljs' ? [] : [kind],
    costs: ['SELECT'],
    async open() {
      const { statements, ...database } = await watchDatabase(kind);
      return { ...database, engine: databaseEngine(), asked: async () => statements.splice(0) };
    },
  };
}

function onRedis(library: 'ioredis' | 'redis'): Row {
  return {
    services: ['redis'],
    costs: ['lrange'],
    async open() {
      const { url, prefix, ...watched } = await watchRedis();
      return { ...watched, engine: redisEngine({ url, prefix, library }) };
    },
  };
}

async function openCached(kind: DatabaseKind, cache: CacheChoice, asked: () => Promise<string[]>) {
  const { statements, dispose, imports } = await watchDatabase(kind);
  return {
    imports,
    engine: cachedDatabaseEngine({ cache }),
    asked: async () => [...(await asked()), ...statements.splice(0)],
    dispose,
  };
}

const cachedOperations: (keyof RecordCache)[] = ['get', 'add', 'replace', 'set', 'delete'];

const rows: Record<string, Row> = {
  'database (postgres)': onDatabase('postgres'),
  'database (mysql)': onDatabase('mysql'),
  'database (sqljs)': onDatabase('sqljs'),
  'cached database (postgres, redis)': {
    services: ['postgres', 'redis'],
    costs: ['get', 'SELECT'],
    async open() {
      const { url, prefix, asked, dispose } = await watchRedis();
      const opened = await openCached('postgres', { redis: { url }, prefix }, asked);
      return { ...opened, dispose: async () => void (await Promise.all([opened.dispose(), dispose()])) };
    },
  },
  'cached database (sqljs, in process)': {
    services: [],
    costs: ['get', 'SELECT'],
    open() {
      const calls: string[] = [];
      const custom = noting<RecordCache>(new ProcessCache(10), calls, cachedOperations);
      return openCached('sqljs', { custom }, async () => calls.splice(0));
    },
  },
  'redis (ioredis)': onRedis('ioredis'),
  'redis (node-redis)': onRedis('redis'),
  cache: {
    services: [],
    costs: ['get'],
    async open() {
      const calls: string[] = [];
      const kept = noting(new Map(), calls, ['get', 'set', 'delete']);
      const cache = createCache({ stores: [new Keyv({ store: kept })] });
      @Module({ providers: [{ provide: 'CACHE', useValue: cache satisfies Cache }], exports: ['CACHE'] })
      class Caches {}
      const engine = cacheEngine({ cache: 'CACHE', imports: [Caches] });
      return { engine, asked: async () => calls.splice(0), dispose: nothing };
    },
  },
  'express-session store (memorystore)': {
    services: [],
    costs: ['get'],
    async open() {
      const calls: string[] = [];
      const MemoryStore = createMemoryStore(expressSession);
      const store = noting<CallbackStore>(new MemoryStore({}), calls, ['get', 'set', 'destroy']);
      return { engine: expressStoreEngine(store), asked: async () => calls.splice(0), dispose: nothing };
    },
  },
  file: {
    services: [],
    costs: [],
    async open() {
      const directory = await mkdtemp(join(tmpdir(), 'nest-sessions-'));
      return {
        engine: fileEngine({ directory }),
        // What is there, for there must be nothing.
        asked: () => readdir(directory, { recursive: true }),
        dispose: () => rm(directory, { recursive: true }),
      };
    },
  },
  memory: {
    services: [],
    costs: [],
    open: async () => ({ engine: memoryEngine(), asked: async () => [], dispose: nothing }),
  },
};

/** Everything that could make a key cost more than a look. */
const demanding: AppSetup['options'] = {
  pepper: {
    secrets: [randomBytes(32).toString('base64url'), randomBytes(32).toString('base64url')],
    allowUnpeppered: true,
  },
  saveEveryRequest: true,
  renewAfter: '1h',
  onReuse: 'revoke',
  currentStamp: async () => 'stamp',
};

const madeUp = (): string => [16, 32].map((size) => randomBytes(size).toString('base64url')).join('.');

const operations = ['load', 'create', 'save', 'touch', 'take', 'delete'] as const;

for (const [name, { services, costs, open }] of Object.entries(rows)) {
  const describeRow = services.reduce<(title: string, suite: () => void) => void>(
    (describeSuite, service) => (title, suite) =>
      describeWithService(service, title, () => describeSuite(title, suite)),
    describe,
  );
  describeRow(`a made-up key (${name})`, () => {
    it.each(platforms)('S87: costs one read, and writes nothing, on %s', async (platform) => {
      const { engine, imports = [], asked, dispose } = await open();
      const setup = { engine, imports, options: demanding, controllers: [VisitController] };
      const app = await startApp(platform, setup);
      const calls: string[] = [];
      noting(app.app.get(SessionStore), calls, [...operations]);
      // The first request may open a connection.
      await app.request.get('/visit').set('Cookie', `sessionid=${madeUp()}`);
      await asked();
      calls.length = 0;
      for (const [method, path] of [
        ['get', '/visit'],
        ['post', '/logout'],
      ] as const) {
        const answer = await app.request[method](path).set('Cookie', `sessionid=${madeUp()}`);
        expect([answer.ok, await asked()]).toEqual([true, costs]);
        expect(calls.splice(0)).toEqual(['load']);
      }
      await app.close();
      await dispose();
    });
  });
}

it.each(platforms)(
  'S87: a made-up token of the cookie engine costs no look at its revocations (%s)',
  async (platform) => {
    const revocations = new RecordingStore();
    const app = await startApp(platform, {
      engine: cookieEngine({
        secrets: randomBytes(32).toString('base64url'),
        revocations: { useFactory: () => revocations },
      }),
      controllers: [VisitController],
    });
    const sealer = app.app.get(SessionSealer);
    const record = {
      id: 'A'.repeat(22),
      keyHash: '',
      userId: 'ann',
      data: {},
      expiry: null,
      version: 1,
      meta: {},
    };
    const moments = { createdAt: Date.now(), lastSeenAt: Date.now(), expiresAt: Date.now() + 60_000 };
    const token = sealer.seal({ ...record, ...moments }, 'sessionid');
    for (const cookie of [
      `${token.slice(0, -2)}AA`,
      sealer.seal({ ...record, ...moments }, 'another name'),
    ]) {
      expect(sealer.isToken(cookie)).toBe(true);
      await app.request.get('/visit').set('Cookie', `sessionid=${cookie}`).expect(200, 'nobody');
      await app.request.post('/logout').set('Cookie', `sessionid=${cookie}`).expect(201);
    }
    expect(revocations.calls).toEqual([]);
    await app.request.get('/visit').set('Cookie', `sessionid=${token}`).expect(200, 'ann');
    expect(revocations.calls).toEqual(['load', 'load']);
    await app.close();
  },
);
