import { randomBytes } from 'node:crypto';
import { createConnection } from 'mysql2/promise';
import { Client } from 'pg';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { type DatabaseKind, type DatabaseServer, serviceUrl } from './services.js';
import { startTcpProxy, type TcpProxy } from './tcp-proxy.js';

export interface TestDatabase {
  /**
   * For `TypeOrmModule.forRoot` and further data sources. Whatever connects with these sees the same database,
   * except on SQLite, which lives in the memory of one data source.
   */
  options: DataSourceOptions;
  /** Drops it with everything in it. Close what is connected first. */
  dispose: () => Promise<void>;
}

export interface TestDataSource {
  dataSource: DataSource;
  /** Closes the data source, if a spec has not done it already, and drops its database. */
  dispose: () => Promise<void>;
}

/** What the options of every driver have in common, without what decides where it connects. */
export type SharedOptions = Partial<
  Pick<
    DataSourceOptions,
    | 'synchronize'
    | 'migrations'
    | 'namingStrategy'
    | 'logger'
    | 'logging'
    | 'subscribers'
    | 'entityPrefix'
    | 'poolSize'
  >
>;

/** An empty database that no other spec file sees; specs may name their tables and keys as they like. */
export async function testDatabase(kind: DatabaseKind): Promise<TestDatabase> {
  if (kind === 'sqljs') return { options: { type: 'sqljs' }, dispose: async () => {} };
  const url = serviceUrl(kind);
  if (url === undefined)
    throw new Error(`No ${kind} server: wrap the suite in describeWithService('${kind}', …)`);
  const name = `w${process.env['JEST_WORKER_ID'] ?? '0'}_${randomBytes(4).toString('hex')}`;
  return makers[kind](url, name);
}

/**
 * An initialized data source on a `testDatabase`, its tables made by `synchronize`.
 *
 * @param options anything of TypeORM's, such as `{ synchronize: false, migrations: [CreateNestSession1700000000000] }`
 */
export async function testDataSource(
  kind: DatabaseKind,
  entities: NonNullable<DataSourceOptions['entities']>,
  options: SharedOptions = {},
): Promise<TestDataSource> {
  const database = await testDatabase(kind);
  const dataSource = new DataSource({
    ...database.options,
    synchronize: true,
    ...options,
    entities,
  } as DataSourceOptions);
  const dispose = async (): Promise<void> => {
    if (dataSource.isInitialized) await dataSource.destroy();
    await database.dispose();
  };
  try {
    await dataSource.initialize();
  } catch (error) {
    await dispose();
    throw error;
  }
  return { dataSource, dispose };
}

export interface RemoteDatabase {
  options: DataSourceOptions;
  wire: TcpProxy;
  /** Of what is connected, which `close` closes, and of the database. */
  dispose: (close: () => Promise<void>) => Promise<void>;
}

/** A `testDatabase` that is reached through a wire, which can be cut and fall silent. */
export async function remoteDatabase(kind: DatabaseServer): Promise<RemoteDatabase> {
  const database = await testDatabase(kind);
  const url = new URL((database.options as { url: string }).url);
  const wire = await startTcpProxy(url.hostname, Number(url.port || DEFAULT_PORTS[kind]));
  url.host = `127.0.0.1:${wire.port}`;
  return {
    options: { ...database.options, url: url.href } as DataSourceOptions,
    wire,
    async dispose(close) {
      // First, because a driver says farewell on every connection, and waits for the end of those that are silent.
      await wire.close();
      await close();
      await database.dispose();
    },
  };
}

const DEFAULT_PORTS: Record<DatabaseServer, number> = { postgres: 5432, mysql: 3306 };

const makers: Record<DatabaseServer, (url: string, name: string) => Promise<TestDatabase>> = {
  /** A schema costs a fraction of a database; the search path makes it the place of unqualified names. */
  async postgres(url, name) {
    await postgresQuery(url, `CREATE SCHEMA "${name}"`);
    return {
      options: { type: 'postgres', url, extra: { options: `-c search_path=${name}` } },
      dispose: () => postgresQuery(url, `DROP SCHEMA "${name}" CASCADE`),
    };
  },

  async mysql(url, name) {
    const own = new URL(url);
    own.pathname += `_${name}`;
    const database = own.pathname.slice(1);
    await mysqlQuery(url, `CREATE DATABASE \`${database}\` CHARACTER SET utf8mb4`);
    return {
      options: { type: 'mysql', url: own.href },
      dispose: () => mysqlQuery(url, `DROP DATABASE \`${database}\``),
    };
  },
};

async function postgresQuery(connectionString: string, sql: string): Promise<void> {
  const client = new Client({ connectionString });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}

async function mysqlQuery(uri: string, sql: string): Promise<void> {
  const connection = await createConnection({ uri });
  try {
    await connection.query(sql);
  } finally {
    await connection.end();
  }
}
