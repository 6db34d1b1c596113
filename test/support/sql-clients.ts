import { sql } from 'drizzle-orm';
import { drizzle } from 'drizzle-orm/node-postgres';
import createKnex from 'knex';
import { CompiledQuery, Kysely, PostgresDialect } from 'kysely';
import { createPool, type ResultSetHeader, type RowDataPacket } from 'mysql2/promise';
import { Pool } from 'pg';
import initSqlJs, { type Database } from 'sql.js';
import { sessionSchema, type SqlClientQuery, type SqlEngineOptions } from 'nest-sessions/sql';
import { type DatabaseKind } from './services.js';

/** A client as an application has it, and the engine's options on it, as docs/engines/sql.md has them. */
export interface SqlClient {
  options: SqlEngineOptions;
  close(): Promise<void>;
}

export interface SqlClientKind {
  database: DatabaseKind;
  /** @param url of the database; SQLite (sql.js) has none */
  open(url: string): SqlClient | Promise<SqlClient>;
}

export const sqlClients: Record<string, SqlClientKind> = {
  pg: {
    database: 'postgres',
    open(url) {
      const pool = pgPool(url);
      return {
        options: {
          dialect: 'postgres',
          query: async (text, values, returns) => {
            const { rows, rowCount } = await pool.query<object>(text, values);
            return returns === 'rows' ? rows : rowCount;
          },
        },
        close: () => pool.end(),
      };
    },
  },

  mysql2: {
    database: 'mysql',
    open(url) {
      const pool = createPool(url);
      return {
        options: {
          dialect: 'mysql',
          query: async (text, values, returns) => {
            const [result] = await pool.execute<RowDataPacket[] & ResultSetHeader>(text, values);
            return returns === 'rows' ? result : result.affectedRows;
          },
        },
        close: () => pool.end(),
      };
    },
  },

  'sql.js': {
    database: 'sqljs',
    async open() {
      const database = new (await initSqlJs()).Database();
      return {
        options: { dialect: 'sqlite', query: querySqlJs(database) },
        close: async () => database.close(),
      };
    },
  },

  'Drizzle on PostgreSQL': {
    database: 'postgres',
    open(url) {
      const pool = pgPool(url);
      const db = drizzle(pool);
      return {
        options: {
          dialect: 'postgres',
          placeholder: '?',
          query: async (text, values, returns) => {
            const parts = Object.assign(text.split('?'), { raw: [] });
            const { rows, rowCount } = await db.execute(sql(parts, ...values));
            return returns === 'rows' ? rows : rowCount;
          },
        },
        close: () => pool.end(),
      };
    },
  },

  'Kysely on PostgreSQL': {
    database: 'postgres',
    open(url) {
      const db = new Kysely({ dialect: new PostgresDialect({ pool: pgPool(url) }) });
      return {
        options: {
          dialect: 'postgres',
          query: async (text, values, returns) => {
            const { rows, numAffectedRows } = await db.executeQuery<object>(CompiledQuery.raw(text, values));
            return returns === 'rows' ? rows : numAffectedRows;
          },
        },
        close: () => db.destroy(),
      };
    },
  },

  'Knex on PostgreSQL': {
    database: 'postgres',
    open(url) {
      const knex = createKnex({ client: 'pg', connection: url });
      return {
        options: {
          dialect: 'postgres',
          placeholder: '?',
          query: async (text, values, returns) => {
            const { rows, rowCount } = await knex.raw<{ rows: object[]; rowCount: number }>(text, values);
            return returns === 'rows' ? rows : rowCount;
          },
        },
        close: () => knex.destroy(),
      };
    },
  },

  'Knex on MySQL': {
    database: 'mysql',
    open(url) {
      const knex = createKnex({ client: 'mysql2', connection: url });
      return {
        options: {
          dialect: 'mysql',
          query: async (text, values, returns) => {
            const { 0: result } = await knex.raw<{ 0: object[] & { affectedRows: number } }>(text, values);
            return returns === 'rows' ? result : result.affectedRows;
          },
        },
        close: () => knex.destroy(),
      };
    },
  },
};

export function querySqlJs(database: Database): SqlClientQuery {
  return (text, values, returns) => {
    const statement = database.prepare(text, values);
    const rows: object[] = [];
    while (statement.step()) rows.push(statement.getAsObject());
    statement.free();
    return returns === 'rows' ? rows : database.getRowsModified();
  };
}

function pgPool(connectionString: string): Pool {
  const pool = new Pool({ connectionString });
  // A broken idle connection is replaced. Without a listener it would end the process.
  pool.on('error', () => {});
  // The pool ends before its connections, and the wire may break them then.
  pool.on('connect', (client) => client.on('error', () => {}));
  return pool;
}

/** Creates the table as the command prints it. */
export async function createSessionTable({ dialect, query }: SqlEngineOptions, name?: string): Promise<void> {
  for (const statement of sessionSchema(dialect, name).split(/;\n(?=CREATE|DO|$)/)) {
    if (statement !== '') await query(statement, [], 'count');
  }
}
