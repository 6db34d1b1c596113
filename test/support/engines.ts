import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TypeOrmModule } from '@nestjs/typeorm';
import createMemoryStore from 'memorystore';
import { cacheEngine } from 'nest-sessions/cache';
import { cachedDatabaseEngine } from 'nest-sessions/cached-database';
import { cookieEngine } from 'nest-sessions/cookie';
import { databaseEngine } from 'nest-sessions/database';
import { expressSession, expressStoreEngine } from 'nest-sessions/express-store';
import { fileEngine } from 'nest-sessions/file';
import { memoryEngine } from 'nest-sessions/memory';
import { redisEngine } from 'nest-sessions/redis';
import { type AppSetup } from './app.js';
import { testDatabase } from './data-source.js';
import { testRedis } from './redis-store-bench.js';
import { type DatabaseKind, type ServiceName } from './services.js';

export interface EngineSetup extends Pick<AppSetup, 'engine' | 'imports'> {
  dispose(): Promise<void>;
}

export interface EngineUnderTest {
  /** What has to be there, besides this process. */
  services: ServiceName[];
  /** Does the server keep the sessions, so that it can end them? */
  onServer: boolean;
  make(): Promise<EngineSetup>;
}

const done = (): Promise<void> => Promise.resolve();

/** Every engine, as an application would configure it. */
export const engines: Record<string, EngineUnderTest> = {
  'database (postgres)': onDatabase('postgres'),
  'database (mysql)': onDatabase('mysql'),
  'database (sqljs)': onDatabase('sqljs'),
  'redis (ioredis)': onRedis('ioredis'),
  'redis (node-redis)': onRedis('redis'),
  cache: {
    services: [],
    onServer: true,
    make: () => Promise.resolve({ engine: cacheEngine(), dispose: done }),
  },
  'cached database (redis)': cachedDatabase(true),
  'cached database (in process)': cachedDatabase(false),
  file: {
    services: [],
    onServer: true,
    async make() {
      const directory = await mkdtemp(join(tmpdir(), 'nest-sessions-'));
      return {
        engine: fileEngine({ directory }),
        dispose: () => rm(directory, { recursive: true, force: true }),
      };
    },
  },
  memory: {
    services: [],
    onServer: true,
    make: () => Promise.resolve({ engine: memoryEngine(), dispose: done }),
  },
  'express-session store (memorystore)': {
    services: [],
    onServer: true,
    make: () => {
      const MemoryStore = createMemoryStore(expressSession);
      return Promise.resolve({ engine: expressStoreEngine(new MemoryStore({})), dispose: done });
    },
  },
  cookie: {
    services: [],
    onServer: false,
    make: () =>
      Promise.resolve({
        engine: cookieEngine({ secrets: ['q8Zr1vN4xT7mC2pL9sB6wK3hF0jD5gYu'] }),
        dispose: done,
      }),
  },
};

function onDatabase(kind: DatabaseKind): EngineUnderTest {
  return {
    services: kind === 'sqljs' ? [] : [kind],
    onServer: true,
    async make() {
      const { options, dispose } = await testDatabase(kind);
      const imports = [TypeOrmModule.forRoot({ ...options, autoLoadEntities: true, synchronize: true })];
      return { engine: databaseEngine(), imports, dispose };
    },
  };
}

function onRedis(library: 'ioredis' | 'redis'): EngineUnderTest {
  return {
    services: ['redis'],
    onServer: true,
    make: () =>
      Promise.resolve({
        engine: redisEngine({ ...testRedis(), library }),
        dispose: done,
      }),
  };
}

function cachedDatabase(withRedis: boolean): EngineUnderTest {
  return {
    services: withRedis ? ['postgres', 'redis'] : ['postgres'],
    onServer: true,
    async make() {
      const { options, dispose } = await testDatabase('postgres');
      const { url, prefix } = testRedis();
      return {
        engine: cachedDatabaseEngine(withRedis ? { cache: { redis: { url }, prefix } } : {}),
        imports: [TypeOrmModule.forRoot({ ...options, autoLoadEntities: true, synchronize: true })],
        dispose,
      };
    },
  };
}
