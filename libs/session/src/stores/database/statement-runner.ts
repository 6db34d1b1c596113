import { createHash } from 'node:crypto';
import { type DataSource } from 'typeorm';
import { SessionStoreUnavailableError } from '../../session.errors.js';
import { isConflict, isLostStatement, toStoreError } from './database-errors.js';
import { type RunStatement, type Statement, type StatementResult } from './statement.js';

type Send = (statement: Statement, values: unknown[]) => Promise<StatementResult>;

/** The part of a `pg` pool that is used here. TypeORM keeps the pool, but does not declare it. */
interface PostgresPool {
  query(query: {
    name: string;
    text: string;
    values: unknown[];
  }): Promise<{ rows: StatementResult['rows']; rowCount: number | null }>;
}

/** How often a statement is sent that the database rolls back because of others that ran at the same time. */
const ATTEMPTS = 5;

/** Sends statements through a data source, outside of anybody's transaction, and translates its errors. */
export function statementRunner(dataSource: DataSource, preparedStatements: boolean): RunStatement {
  const send = preparedStatements ? sendPrepared(dataSource) : sendPlain(dataSource);
  return async (operation, statement, values) => {
    if (!dataSource.isInitialized) {
      throw new SessionStoreUnavailableError(
        operation,
        'its data source is not connected. Initialize it before the first request, and destroy it after the last.',
      );
    }
    const parameters = statement.parameters.map((name) => values[name]);
    for (let attempt = 1; ; attempt++) {
      try {
        return await send(statement, parameters);
      } catch (error) {
        // A statement of ours that was rolled back left nothing behind, so it may simply be sent again.
        if (attempt < ATTEMPTS && isConflict(error)) continue;
        throw toStoreError(operation, error);
      }
    }
  };
}

function sendPlain(dataSource: DataSource): Send {
  return async ({ text }, values) => {
    const queryRunner = dataSource.createQueryRunner();
    try {
      const { records, affected } = await queryRunner.query(text, values, true);
      return { rows: records, affected: affected ?? 0 };
    } finally {
      await queryRunner.release();
    }
  };
}

/**
 * TypeORM never names its statements, so PostgreSQL parses and plans each one anew, which is half of the server's
 * work for a statement as small as ours. Named statements go to TypeORM's pool directly, where there is one.
 */
function sendPrepared(dataSource: DataSource): Send {
  const plain = sendPlain(dataSource);
  let prepares = true;
  return async (statement, values) => {
    const pool = prepares ? postgresPool(dataSource) : undefined;
    if (pool === undefined) return plain(statement, values);
    // TypeORM's log shows it like any other statement, only without the values.
    dataSource.logger.logQuery(statement.text);
    try {
      const { rows, rowCount } = await pool.query({ name: nameOf(statement), text: statement.text, values });
      return { rows, affected: rowCount ?? 0 };
    } catch (error) {
      if (!isLostStatement(error)) throw error;
      // A pooler that hands every transaction another connection, or a table that was altered. Nothing was executed.
      prepares = false;
      return plain(statement, values);
    }
  };
}

/** Asked for at every statement: the pool goes when the data source is destroyed, and comes anew with `initialize`. */
function postgresPool({ driver }: DataSource): PostgresPool | undefined {
  const pool = 'master' in driver ? driver.master : undefined;
  // `totalCount` tells a pool of `pg` from the look-alikes of embedded databases.
  const isPool = typeof pool === 'object' && pool !== null && 'query' in pool && 'totalCount' in pool;
  return isPool && driver.options.type === 'postgres' ? (pool as PostgresPool) : undefined;
}

const names = new WeakMap<Statement, string>();

/** The name follows from the text, for `pg` refuses one name for two texts, also when two stores share a pool. */
function nameOf(statement: Statement): string {
  let name = names.get(statement);
  if (name === undefined) {
    name = `nest_session_${createHash('sha256').update(statement.text).digest('hex').slice(0, 16)}`;
    names.set(statement, name);
  }
  return name;
}
