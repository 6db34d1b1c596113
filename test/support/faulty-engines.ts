import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CACHE_MANAGER, CacheModule } from '@nestjs/cache-manager';
import { TypeOrmModule, type TypeOrmModuleOptions } from '@nestjs/typeorm';
import { RedisStore } from 'connect-redis';
import { type KeyvStoreAdapter } from 'keyv';
import { cacheEngine } from 'nest-sessions/cache';
import { databaseEngine } from 'nest-sessions/database';
import { expressStoreEngine } from 'nest-sessions/express-store';
import { fileEngine } from 'nest-sessions/file';
import { redisEngine } from 'nest-sessions/redis';
import { sqlEngine, type SqlEngineOptions } from 'nest-sessions/sql';
import { Client, Pool } from 'pg';
import { createClient, type RedisClientType } from 'redis';
import { DataSource } from 'typeorm';
import { type AppSetup, type RunningApp } from './app.js';
import { testDatabase } from './data-source.js';
import { type KillableRedis } from './killable-redis.js';
import { type DatabaseServer } from './services.js';
import { urlOf } from './sql-client-bench.js';
import { createSessionTable } from './sql-clients.js';
import { startTcpProxy } from './tcp-proxy.js';
import { testsAll } from './test-all.js';

export interface Fault {
  strike: () => Promise<void>;
  mend: () => Promise<void>;
}

/**
 * - down: cannot be reached. What it holds is kept
 * - slow: takes everything and answers nothing
 * - emptied: back at once, without anything of what it held
 * - read-only: answers, and refuses writes
 */
export const faultNames = ['down', 'slow', 'emptied', 'read-only'] as const;
export type FaultName = (typeof faultNames)[number];

export interface FaultySetup extends Pick<AppSetup, 'engine' | 'imports'> {
  faults(app: RunningApp['app']): Partial<Record<FaultName, Fault>>;
  dispose(): Promise<void>;
}

export interface FaultyEngine {
  name: string;
  /** What it takes to have it: a server of the tests, or a Redis of this spec's own. */
  needs?: DatabaseServer | 'killable redis';
  /** Which faults the setup knows to cause. */
  faults: readonly FaultName[];
  make(redis?: KillableRedis): Promise<FaultySetup>;
}

const engines: FaultyEngine[] = [
  onDatabase('postgres'),
  onDatabase('mysql'),
  onSqlClient(),
  onRedis('redis (ioredis)', async (url) => ({
    engine: redisEngine({ url, library: 'ioredis', options: quickTimers }),
  })),
  onRedis('redis (node-redis)', async (url) => ({ engine: redisEngine({ url, library: 'redis' }) })),
  onRedis('cache (in Redis)', async (url) => {
    const client = await ownClient(url);
    const imports = [CacheModule.register({ isGlobal: true, stores: keyvAdapter(client) })];
    return { engine: cacheEngine({ cache: CACHE_MANAGER }), imports, close: () => client.destroy() };
  }),
  onRedis('express-store (connect-redis)', async (url) => {
    const client = await ownClient(url);
    return { engine: expressStoreEngine(new RedisStore({ client })), close: () => client.destroy() };
  }),
  inFiles(),
];

/** In the quick run those that stand for the others. */
export const faultyEngines = testsAll
  ? engines
  : engines.filter(({ name }) => ['database (postgres)', 'redis (ioredis)', 'file'].includes(name));

const standardPorts: Record<DatabaseServer, number> = { postgres: 5432, mysql: 3306 };

function onDatabase(kind: DatabaseServer): FaultyEngine {
  return {
    name: `database (${kind})`,
    needs: kind,
    faults: faultNames,
    async make() {
      const { options, dispose } = await testDatabase(kind);
      const { url } = options as { url: string };
      const role = kind === 'postgres' ? await postgresRole(url) : undefined;
      const target = new URL(role?.url ?? url);
      const proxy = await startTcpProxy(target.hostname, Number(target.port || standardPorts[kind]));
      target.host = `127.0.0.1:${proxy.port}`;
      const reconnect = (): void => {
        proxy.cut();
        proxy.mend();
      };
      return {
        engine: databaseEngine(),
        imports: [
          TypeOrmModule.forRoot({
            ...options,
            url: target.href,
            // One connection, so that what is set on it holds for every statement.
            poolSize: 1,
            autoLoadEntities: true,
            synchronize: true,
          } as TypeOrmModuleOptions),
        ],
        faults(app) {
          const dataSource = app.get(DataSource);
          const query = async (sql: string): Promise<void> => void (await dataSource.query(sql));
          let readOnly = false;
          const setReadOnly = async (on: boolean): Promise<void> => {
            readOnly = on;
            if (role) return role.setReadOnly(on).then(reconnect);
            await query(on ? READ_ONLY : 'SET SESSION TRANSACTION READ WRITE');
          };
          // A connection that says so is dropped. The next one says the same, as long as the server is read-only.
          if (!role) {
            const { pool } = dataSource.driver as unknown as { pool: MysqlPool };
            pool.on('connection', (connection) => readOnly && connection.query(READ_ONLY));
          }
          return {
            down: { strike: async () => proxy.cut(), mend: async () => proxy.mend() },
            slow: { strike: async () => proxy.stall(), mend: async () => proxy.mend() },
            emptied: { strike: () => query('TRUNCATE TABLE nest_session'), mend: async () => {} },
            'read-only': {
              strike: () => setReadOnly(true),
              mend: () => setReadOnly(false),
            },
          };
        },
        async dispose() {
          await proxy.close();
          await dispose();
          await role?.drop();
        },
      };
    },
  };
}

function onSqlClient(): FaultyEngine {
  return {
    name: 'sql (pg)',
    needs: 'postgres',
    faults: faultNames,
    async make() {
      const { options, dispose } = await testDatabase('postgres');
      const role = await postgresRole((options as { url: string }).url);
      const database = { options: { ...options, url: role.url } as typeof options, dispose };
      const target = new URL(role.url);
      const proxy = await startTcpProxy(target.hostname, Number(target.port || standardPorts.postgres));
      const pool = new Pool({ connectionString: urlOf('postgres', database, proxy), max: 1 });
      pool.on('error', () => {});
      const onPool: SqlEngineOptions = {
        dialect: 'postgres',
        query: async (sql, values, returns) => {
          const { rows, rowCount } = await pool.query<object>(sql, values);
          return returns === 'rows' ? rows : rowCount;
        },
      };
      await createSessionTable(onPool);
      const setReadOnly = async (on: boolean): Promise<void> => {
        await role.setReadOnly(on);
        proxy.cut();
        proxy.mend();
      };
      return {
        engine: sqlEngine(onPool),
        faults: () => ({
          down: { strike: async () => proxy.cut(), mend: async () => proxy.mend() },
          slow: { strike: async () => proxy.stall(), mend: async () => proxy.mend() },
          emptied: {
            strike: async () => void (await pool.query('TRUNCATE TABLE nest_session')),
            mend: async () => {},
          },
          'read-only': { strike: () => setReadOnly(true), mend: () => setReadOnly(false) },
        }),
        async dispose() {
          await pool.end();
          await proxy.close();
          await dispose();
          await role.drop();
        },
      };
    },
  };
}

const READ_ONLY = 'SET SESSION TRANSACTION READ ONLY';

/** The part of the pool of `mysql2` that is used here. */
interface MysqlPool {
  on(event: 'connection', listener: (connection: { query(sql: string): void }) => void): void;
}

/** Another login with the same rights. What is set on it holds for all its connections to come, and for nobody else's. */
async function postgresRole(url: string) {
  const own = new URL(url);
  own.username = `faults_${randomBytes(4).toString('hex')}`;
  own.password = randomBytes(8).toString('hex');
  const query = async (sql: string): Promise<void> => {
    const client = new Client({ connectionString: url });
    await client.connect();
    await client.query(sql);
    await client.end();
  };
  await query(`CREATE ROLE ${own.username} LOGIN PASSWORD '${own.password}'`);
  await query(`DO $$ BEGIN EXECUTE format('GRANT %I TO ${own.username}', current_user); END $$`);
  return {
    url: own.href,
    setReadOnly: (on: boolean) =>
      query(`ALTER ROLE ${own.username} SET default_transaction_read_only = ${on ? 'on' : 'off'}`),
    drop: () => query(`DROP ROLE ${own.username}`),
  };
}

/** For ioredis, which keeps the timers of commands that failed: the engine's own five seconds would hold up the end of the tests. */
export const quickTimers = { commandTimeout: 1500 };

type RedisSetup = Pick<AppSetup, 'engine' | 'imports'> & { close?: () => void };

function onRedis(name: string, make: (url: string) => Promise<RedisSetup>): FaultyEngine {
  return {
    name,
    needs: 'killable redis',
    faults: faultNames,
    async make(redis) {
      if (!redis) throw new Error('It needs a Redis of its own.');
      const proxy = await startTcpProxy('127.0.0.1', Number(new URL(redis.url).port));
      const { close, ...setup } = await make(`redis://127.0.0.1:${proxy.port}`);
      const command = async (...words: string[]): Promise<void> => {
        const client = await ownClient(redis.url);
        await client.sendCommand(words);
        client.destroy();
      };
      return {
        ...setup,
        faults: () => ({
          down: { strike: async () => proxy.cut(), mend: async () => proxy.mend() },
          slow: { strike: async () => redis.freeze(), mend: async () => redis.thaw() },
          emptied: {
            async strike() {
              await redis.kill();
              await redis.start();
            },
            mend: async () => {},
          },
          'read-only': {
            strike: () => command('REPLICAOF', '127.0.0.1', '1'), // where nobody answers
            mend: () => command('REPLICAOF', 'NO', 'ONE'),
          },
        }),
        async dispose() {
          close?.();
          await proxy.close();
        },
      };
    },
  };
}

/** There is no slow directory: file operations are synchronous. A full disk and a read-only one are in file-store.spec.ts. */
function inFiles(): FaultyEngine {
  return {
    name: 'file',
    faults: ['down', 'emptied'],
    async make() {
      const parent = await mkdtemp(join(tmpdir(), 'nest-sessions-'));
      const directory = await mkdtemp(join(parent, 'sessions-'));
      const elsewhere = `${directory}-unmounted`;
      return {
        engine: fileEngine({ directory }),
        faults: () => ({
          down: { strike: () => rename(directory, elsewhere), mend: () => rename(elsewhere, directory) },
          emptied: {
            async strike() {
              for (const name of await readdir(directory))
                await rm(join(directory, name), { recursive: true });
            },
            mend: async () => {},
          },
        }),
        dispose: () => rm(parent, { recursive: true, force: true }),
      };
    },
  };
}

/** As the application configures it: commands fail at once while there is no connection. */
export async function ownClient(url: string): Promise<RedisClientType> {
  const client = createClient({ url, disableOfflineQueue: true });
  client.on('error', () => {});
  return client.connect();
}

function keyvAdapter(client: RedisClientType): KeyvStoreAdapter {
  return {
    opts: {},
    get: async <Value>(key: string) => ((await client.get(key)) ?? undefined) as Value | undefined,
    set: (key: string, value: string, ttl?: number) =>
      client.set(key, value, { ...(ttl !== undefined && { PX: Math.ceil(ttl) }) }),
    delete: async (key) => (await client.del(key)) > 0,
    clear: async () => void (await client.flushAll()),
    on() {
      return this;
    },
  };
}
