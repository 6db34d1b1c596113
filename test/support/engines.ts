import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { TypeOrmModule } from '@nestjs/typeorm';
import createMemoryStore from 'memorystore';
import { type Engine } from 'nest-sessions';
import { cacheEngine } from 'nest-sessions/cache';
import { cachedDatabaseEngine } from 'nest-sessions/cached-database';
import { cookieEngine } from 'nest-sessions/cookie';
import { databaseEngine, SessionEntity } from 'nest-sessions/database';
import { expressSession, expressStoreEngine } from 'nest-sessions/express-store';
import { fileEngine } from 'nest-sessions/file';
import { memoryEngine } from 'nest-sessions/memory';
import { redisEngine } from 'nest-sessions/redis';
import { sqlEngine } from 'nest-sessions/sql';
import { DataSource } from 'typeorm';
import { type AppSetup, type RunningApp } from './app.js';
import { testDatabase } from './data-source.js';
import { age } from './database-app.js';
import { ageRedis, removeKeys, setClockAhead, setClockRight } from './elapse.js';
import { testRedis } from './redis-store-bench.js';
import { type DatabaseKind, type ServiceName } from './services.js';
import { SqlClientBench } from './sql-client-bench.js';
import { type SqlClientKind, sqlClients } from './sql-clients.js';
import { testsAll } from './test-all.js';

/**
 * - server: the server keeps the sessions. It can end them, and it merges what parallel requests write
 * - listing: finds the sessions of a user
 * - processes: several processes share the sessions
 */
export type Ability = 'server' | 'listing' | 'processes';

export interface EngineSetup {
  /** For one more application: as another process of the same site has it. */
  wire(): Pick<AppSetup, 'engine' | 'imports'>;
  /** Lets everything that is kept be so many seconds older. */
  elapse(seconds: number, app: RunningApp['app']): Promise<void>;
  /** Every row that there is, expired or not, where there are rows. */
  rows?(app: RunningApp['app']): Promise<SessionEntity[]>;
  dispose(): Promise<void>;
}

export interface EngineUnderTest {
  /** What has to be there, besides this process. */
  services: ServiceName[];
  /** What the engine cannot do, and why. The suites assert each of these instead of leaving it out. */
  lacks: Partial<Record<Ability, string>>;
  /** Rounds of the races that nothing holds back: redirects that are followed at once, and a logout against a rival. */
  rounds: { redirects: number; logouts: number };
  make(): Promise<EngineSetup>;
}

/** Enough in the quick run, and where another engine has run the same race, through the same gate, in all rounds. */
const FEW = { redirects: 40, logouts: 3 };
/** On the default engine. */
const MANY = { redirects: 250, logouts: 10 };

/** The engines that stand for the others in the quick run, which has a spec file for each of the others, too. */
export const QUICK_ENGINES = [
  'database (postgres)',
  'database (sqljs)',
  'redis (ioredis)',
  'file',
  'memory',
  'cookie',
];

const IN_PROCESS = { processes: 'the sessions are in the memory of one process' };

/** Every engine, as an application would configure it; those on a database are in a spec file of their own. */
export const enginesOnDatabases: Record<string, EngineUnderTest> = {
  'database (postgres)': { ...onDatabase('postgres'), rounds: testsAll ? MANY : FEW },
  'database (mysql)': onDatabase('mysql'),
  'database (sqljs)': { ...onDatabase('sqljs'), lacks: IN_PROCESS },
  'sql (pg)': onSqlClient('postgres', sqlClients['pg'] as SqlClientKind),
  'cached database (postgres, redis)': cachedDatabase('postgres', 'redis'),
  'cached database (mysql, redis)': cachedDatabase('mysql', 'redis'),
  'cached database (postgres, in process)': cachedDatabase('postgres', 'process'),
};

export const otherEngines: Record<string, EngineUnderTest> = {
  'redis (ioredis)': onRedis('ioredis'),
  'redis (node-redis)': onRedis('redis'),
  cache: inProcess(() => cacheEngine()),
  file: {
    services: [],
    lacks: {},
    rounds: FEW,
    async make() {
      const directory = await mkdtemp(join(tmpdir(), 'nest-sessions-'));
      return {
        wire: () => ({ engine: fileEngine({ directory }) }),
        ...onThisClock(() => rm(directory, { recursive: true, force: true })),
      };
    },
  },
  memory: inProcess(() => memoryEngine()),
  'express-session store (memorystore)': inProcess(() => {
    const MemoryStore = createMemoryStore(expressSession);
    return expressStoreEngine(new MemoryStore({}));
  }),
  cookie: {
    services: [],
    lacks: {
      server: 'every client carries its own session, so that copies live on and the last response wins',
      listing: 'nobody but the clients knows which sessions there are',
    },
    rounds: FEW,
    make: () => {
      const secrets = randomBytes(32).toString('base64url');
      return Promise.resolve({ wire: () => ({ engine: cookieEngine({ secrets }) }), ...onThisClock() });
    },
  },
};

/** What goes by the clock of this process. */
function onThisClock(dispose = () => Promise.resolve()): Pick<EngineSetup, 'elapse' | 'dispose'> {
  return {
    elapse: async (seconds) => setClockAhead(seconds),
    async dispose() {
      setClockRight();
      await dispose();
    },
  };
}

function inProcess(makeEngine: () => Engine): EngineUnderTest {
  return {
    services: [],
    lacks: IN_PROCESS,
    rounds: FEW,
    make: () => Promise.resolve({ wire: () => ({ engine: makeEngine() }), ...onThisClock() }),
  };
}

function onDatabase(kind: DatabaseKind): EngineUnderTest {
  return {
    services: kind === 'sqljs' ? [] : [kind],
    lacks: {},
    rounds: FEW,
    make: () => makeDatabase(kind, databaseEngine()),
  };
}

async function makeDatabase(kind: DatabaseKind, engine: Engine): Promise<EngineSetup> {
  const { options, dispose } = await testDatabase(kind);
  return {
    wire: () => ({
      engine,
      imports: [TypeOrmModule.forRoot({ ...options, autoLoadEntities: true, synchronize: true })],
    }),
    elapse: (seconds, app) => age(app.get(DataSource), seconds),
    rows: (app) => app.get(DataSource).getRepository(SessionEntity).find(),
    dispose,
  };
}

function onSqlClient(service: ServiceName, client: SqlClientKind): EngineUnderTest {
  return {
    services: [service],
    lacks: {},
    rounds: FEW,
    async make() {
      const bench = new SqlClientBench(client);
      await bench.open();
      return {
        wire: () => ({ engine: sqlEngine(bench.client.options) }),
        elapse: (seconds) => bench.elapse(seconds * 1000),
        dispose: () => bench.close(),
      };
    },
  };
}

function onRedis(library: 'ioredis' | 'redis'): EngineUnderTest {
  return {
    services: ['redis'],
    lacks: {},
    rounds: FEW,
    make: () => {
      const own = testRedis();
      return Promise.resolve({
        wire: () => ({ engine: redisEngine({ ...own, library }) }),
        elapse: (seconds) => ageRedis(own, seconds),
        dispose: () => removeKeys(own),
      });
    },
  };
}

/** Short, because in the memory of the process the cache can be waited for only. Milliseconds. */
const REVOCATION_BOUND = 200;

function cachedDatabase(kind: 'postgres' | 'mysql', cache: 'redis' | 'process'): EngineUnderTest {
  return {
    services: cache === 'redis' ? [kind, 'redis'] : [kind],
    lacks: {},
    rounds: FEW,
    async make() {
      const { url, prefix } = testRedis();
      const engine =
        cache === 'redis'
          ? cachedDatabaseEngine({ cache: { redis: { url }, prefix } })
          : cachedDatabaseEngine({ revocationBound: `${REVOCATION_BOUND}ms` });
      const setup = await makeDatabase(kind, engine);
      return {
        ...setup,
        async elapse(seconds, app) {
          await setup.elapse(seconds, app);
          // What is done behind the back of the engine shows after the bound.
          await (cache === 'redis' ? removeKeys({ url, prefix }) : setTimeout(REVOCATION_BOUND + 50));
        },
      };
    },
  };
}
