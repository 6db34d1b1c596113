import { existsSync, readFileSync } from 'node:fs';
import { sessionSchema, type SqlEngineOptions } from 'nest-sessions/sql';
import initSqlJs, { type Database } from 'sql.js';
import { replaceFile, sqliteFile } from './sqlite-file.js';

/** The file and the table of the engine `database`, without TypeORM. It lives in memory, and every change rewrites it. */
export async function openSqlite(url: string): Promise<SqlEngineOptions> {
  const file = sqliteFile(url);
  const { Database } = await initSqlJs();
  const database = new Database(existsSync(file) ? readFileSync(file) : null);
  const tables = rowsOf(database, `SELECT name FROM sqlite_master WHERE name = 'nest_session'`, []);
  if (tables.length === 0) database.exec(sessionSchema('sqlite'));
  return {
    dialect: 'sqlite',
    query(sql, values, returns) {
      const rows = rowsOf(database, sql, values);
      const count = database.getRowsModified();
      if (!sql.startsWith('SELECT')) replaceFile(file, database.export());
      return returns === 'rows' ? rows : count;
    },
  };
}

function rowsOf(database: Database, sql: string, values: (string | number | null)[]): object[] {
  const statement = database.prepare(sql, values);
  const rows: object[] = [];
  while (statement.step()) rows.push(statement.getAsObject());
  statement.free();
  return rows;
}
