import Database from 'better-sqlite3';
import { type SqlClient } from './sql-client.js';

export function openBetterSqlite3(file: string): SqlClient {
  const db = new Database(file);
  db.pragma('journal_mode = WAL');
  return {
    options: {
      dialect: 'sqlite',
      query: (sql, values, returns) =>
        returns === 'rows'
          ? db.prepare<unknown[], object>(sql).all(values)
          : db.prepare(sql).run(values).changes,
    },
    close: () => void db.close(),
  };
}
