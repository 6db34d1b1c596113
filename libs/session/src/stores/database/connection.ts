import { createHash } from 'node:crypto';
import { type DataSource, QueryFailedError } from 'typeorm';
import { SessionConfigError } from '../../session.errors.js';
import { isReadOnly } from '../sql/sql-errors.js';
import { type SqlQuery, type SqlResult } from '../sql/sql-store.js';

/**
 * Runs statements on the connections of a data source, outside of every transaction. A connection to a server that has
 * become read-only is dropped, so that the pool makes another.
 */
export function connectionQuery(dataSource: DataSource, preparedStatements: boolean): SqlQuery {
  const query = queryOf(dataSource, preparedStatements);
  return async (text, values) => {
    if (dataSource.isInitialized) return query(text, values);
    throw new Error(
      'the data source is not connected: initialize it before the first request, and destroy it after the last',
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
  connect(): Promise<PostgresClient>;
}

interface PostgresClient {
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
  return async (text, values) => {
    const pool = postgresPool(dataSource);
    if (pool === undefined) return plain(text, values);
    // TypeORM's log shows it like any other statement, only without the values.
    dataSource.logger.logQuery(text);
    if (!prepares) return sendPostgres(pool, { text, values });
    try {
      return await sendPostgres(pool, { name: nameOf(text, names), text, values });
    } catch (error) {
      const { code } = error as { code?: unknown };
      if (LOST_STATEMENTS.has(code)) prepares = false;
      else if (code !== ALTERED_TABLE) throw error;
      // Nothing was executed.
      return sendPostgres(pool, { text, values });
    }
  };
}

async function sendPostgres(pool: PostgresPool, query: PostgresQuery): Promise<SqlResult> {
  const client = await pool.connect();
  let drop = false;
  client.on('error', ignore);
  try {
    const { rows, rowCount } = await client.query(query);
    return { rows, affected: rowCount ?? 0 };
  } catch (error) {
    drop = isReadOnly(error) || (error as { code?: unknown }).code === ALTERED_TABLE;
    throw error;
  } finally {
    client.off('error', ignore);
    client.release(drop);
  }
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
  return async (text, values) => {
    const connection = await driver.obtainMasterConnection();
    dataSource.logger.logQuery(text);
    try {
      const [result] = await executorOf(connection).execute(text, values);
      if (Array.isArray(result)) return { rows: result, affected: 0 };
      return { rows: [], affected: result.affectedRows };
    } catch (error) {
      if (isReadOnly(error)) connection.destroy();
      throw error;
    } finally {
      connection.release();
    }
  };
}

function executorOf(connection: MysqlConnection): MysqlExecutor {
  if (connection.promise) return connection.promise();
  throw new SessionConfigError(
    'engine',
    'needs the package mysql2, and the data source uses "mysql". Install mysql2, and set ' +
      `"connectorPackage: 'mysql2'" in the data source.`,
  );
}
