import { DatabaseSync } from 'node:sqlite';
import { type SqlClient } from './sql-client.js';

export function openNodeSqlite(file: string): SqlClient {
  const db = new DatabaseSync(file, { timeout: 2000 });
  db.exec('PRAGMA journal_mode = WAL');
  return {
    options: {
      dialect: 'sqlite',
      query: (sql, values, returns) =>
        returns === 'rows' ? db.prepare(sql).all(...values) : db.prepare(sql).run(...values).changes,
    },
    close: () => db.close(),
  };
}
