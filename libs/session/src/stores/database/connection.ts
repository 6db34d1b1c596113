import { createHash } from 'node:crypto';
import { type DataSource, QueryFailedError } from 'typeorm';
import { SessionConfigError } from '../../session.errors.js';
import { isReadOnly } from '../sql/sql-errors.js';
import { type SqlQuery, type SqlResult } from '../sql/sql-store.js';
import { LimitedPool } from './limited-pool.js';

/**
 * Runs statements on the connections of a data source, outside of every transaction. A connection that does not answer
 * in time, or that leads to a server that has become read-only, is dropped, so that the pool makes another.
 */
export function connectionQuery(dataSource: DataSource, preparedStatements: boolean): SqlQuery {
  const query = queryOf(dataSource, preparedStatements);
  return (text, values, limit) => {
    if (dataSource.isInitialized) return query(text, values, limit);
    return Promise.reject(
      new Error(
        'the data source is not connected: initialize it before the first request, and destroy it after the last',
      ),
    );
  };
}

function queryOf(dataSource: DataSource, preparedStatements: boolean): SqlQuery {
  switch (dataSource.options.type) {
    case 'postgres':
      return queryPostgres(dataSource, preparedStatements);
    case 'mysql':
    case 'mariadb':
      return queryMysql(dataSource);
    default:
      return queryPlain(dataSource);
  }
}

function queryPlain(dataSource: DataSource): SqlQuery {
  return async (text, values) => {
    const queryRunner = dataSource.createQueryRunner();
    try {
      const { records, affected } = await queryRunner.query(text, [...values], true);
      return { rows: records, affected: affected ?? 0 };
    } catch (error) {
      throw error instanceof QueryFailedError ? error.driverError : error;
    } finally {
      await queryRunner.release();
    }
  };
}

/** The parts of `pg` that are used here. TypeORM keeps the pool, but does not declare it. */
interface PostgresPool {
  Client: new (options: object) => object;
  readonly options: { connectionTimeoutMillis?: number };
  connect(): Promise<PostgresClient>;
}

interface PostgresClient {
  /** Absent in the native client. */
  connection?: { stream: { destroy(): void } };
  on(event: 'error', listener: () => void): void;
  off(event: 'error', listener: () => void): void;
  query(query: PostgresQuery): Promise<{ rows: SqlResult['rows']; rowCount: number | null }>;
  release(drop: boolean): void;
}

interface PostgresQuery {
  name?: string;
  text: string;
  values: readonly unknown[];
}

/** A pooler such as PgBouncer has handed over another connection, which does not know the statement. */
const LOST_STATEMENTS = new Set<unknown>(['26000', '42P05']);
/** The table was altered since the connection prepared the statement. */
const ALTERED_TABLE = '0A000';

/**
 * TypeORM never names its statements, so PostgreSQL parses and plans each one anew, which is half of the server's
 * work for a statement as small as ours. So they go to TypeORM's pool directly, where there is one.
 */
function queryPostgres(dataSource: DataSource, preparedStatements: boolean): SqlQuery {
  const plain = queryPlain(dataSource);
  const names = new Map<string, string>();
  let prepares = preparedStatements;
  const pool = new LimitedPool<PostgresClient>({
    acquire: (limit) => connectPostgres(dataSource, limit),
    release: releasePostgres,
    isUseless: (error) => isReadOnly(error) || (error as { code?: unknown }).code === ALTERED_TABLE,
  });
  const send = (query: PostgresQuery, limit: number): Promise<SqlResult> =>
    pool.run(limit, (client) => sendPostgres(client, query));
  return (text, values, limit) => {
    if (postgresPool(dataSource) === undefined) return plain(text, values, limit);
    // TypeORM's log shows it like any other statement, only without the values.
    dataSource.logger.logQuery(text);
    if (!prepares) return send({ text, values }, limit);
    return send({ name: nameOf(text, names), text, values }, limit).catch((error: unknown) => {
      const { code } = error as { code?: unknown };
      if (LOST_STATEMENTS.has(code)) prepares = false;
      else if (code !== ALTERED_TABLE) throw error;
      // Nothing was executed.
      return send({ text, values }, limit);
    });
  };
}

function connectPostgres(dataSource: DataSource, limit: number): Promise<PostgresClient> {
  const pool = postgresPool(dataSource);
  if (pool === undefined) return Promise.reject(new Error('the data source was destroyed'));
  limitConnecting(pool, limit);
  return pool.connect();
}

/** The limits of pools, which their clients read when they are made. */
const connectingLimits = new WeakMap<PostgresPool, { connectionTimeoutMillis: number }>();

/**
 * A connection that is being made keeps its place in the pool, too, and has no limit unless the data source sets one.
 * The pool's own option would limit the wait in its queue as well, and for everybody.
 */
function limitConnecting(pool: PostgresPool, limit: number): void {
  if (pool.options.connectionTimeoutMillis) return;
  const known = connectingLimits.get(pool);
  if (known) {
    known.connectionTimeoutMillis = Math.min(known.connectionTimeoutMillis, limit);
    return;
  }
  const limits = { connectionTimeoutMillis: limit };
  connectingLimits.set(pool, limits);
  pool.Client = class extends pool.Client {
    constructor(options: object) {
      // The pool hides the password from enumeration.
      const own = Object.defineProperties({}, Object.getOwnPropertyDescriptors(options));
      super(Object.assign(own, limits));
    }
  };
}

function sendPostgres(client: PostgresClient, query: PostgresQuery): Promise<SqlResult> {
  client.on('error', ignore);
  return client.query(query).then(
    ({ rows, rowCount }) => {
      client.off('error', ignore);
      return { rows, affected: rowCount ?? 0 };
    },
    (error: unknown) => {
      client.off('error', ignore);
      throw error;
    },
  );
}

function releasePostgres(client: PostgresClient, drop: boolean): void {
  // A farewell to a server that is silent would never end.
  if (drop) client.connection?.stream.destroy();
  client.release(drop);
}

/** The query is told of a connection that breaks. Without a listener, its client would end the process as well. */
function ignore(): void {}

/** Asked for at every statement: the pool goes when the data source is destroyed, and comes anew with `initialize`. */
function postgresPool({ driver }: DataSource): PostgresPool | undefined {
  const pool = 'master' in driver ? driver.master : undefined;
  // `totalCount` tells a pool of `pg` from the look-alikes of embedded databases.
  const isPool = typeof pool === 'object' && pool !== null && 'connect' in pool && 'totalCount' in pool;
  return isPool ? (pool as unknown as PostgresPool) : undefined;
}

/** The name follows from the text, for `pg` refuses one name for two texts, also when two stores share a pool. */
function nameOf(text: string, names: Map<string, string>): string {
  let name = names.get(text);
  if (name === undefined) {
    name = `nest_session_${createHash('sha256').update(text).digest('hex').slice(0, 16)}`;
    names.set(text, name);
  }
  return name;
}

/** The part of TypeORM's driver and of `mysql2` that is used here. */
interface MysqlDriver {
  obtainMasterConnection(): Promise<MysqlConnection>;
}

interface MysqlConnection {
  /** The pool, with what its connections are made with. */
  _pool?: { config: { connectionConfig: { connectTimeout?: number } } } | null;
  /** Absent in the package `mysql`. */
  promise?(): MysqlExecutor;
  release(): void;
  destroy(): void;
}

interface MysqlExecutor {
  execute(
    text: string,
    values: readonly unknown[],
  ): Promise<[result: SqlResult['rows'] | { affectedRows: number }, fields: unknown]>;
}

/**
 * TypeORM lets `mysql2` write the values into the text, quoted in a way that not every mode of the server understands.
 * Prepared statements carry them apart.
 */
function queryMysql(dataSource: DataSource): SqlQuery {
  const driver = dataSource.driver as unknown as MysqlDriver;
  const limitsConnecting = 'connectTimeout' in dataSource.options && dataSource.options.connectTimeout;
  const pool = new LimitedPool<MysqlConnection>({
    async acquire(limit) {
      const connection = await driver.obtainMasterConnection();
      // oxlint-disable-next-line eslint/no-underscore-dangle -- with replication there is no other way to the pool
      const config = connection._pool?.config.connectionConfig;
      // From the second connection on. The driver's own limit is ten seconds.
      if (config && !limitsConnecting)
        config.connectTimeout = Math.min(config.connectTimeout ?? limit, limit);
      return connection;
    },
    release: (connection, drop) => (drop ? connection.destroy() : connection.release()),
    isUseless: isReadOnly,
  });
  return (text, values, limit) =>
    pool.run(limit, async (connection) => {
      dataSource.logger.logQuery(text);
      const [result] = await executorOf(connection).execute(text, values);
      if (Array.isArray(result)) return { rows: result, affected: 0 };
      return { rows: [], affected: result.affectedRows };
    });
}

function executorOf(connection: MysqlConnection): MysqlExecutor {
  if (connection.promise) return connection.promise();
  throw new SessionConfigError(
    'engine',
    'needs the package mysql2, and the data source uses "mysql". Install mysql2, and set ' +
      `"connectorPackage: 'mysql2'" in the data source.`,
  );
}
