import { type Dialect } from './dialect.js';
import { positionalStatement } from './statement.js';

/** SQLite through sql.js or better-sqlite3. */
export const sqliteDialect: Dialect = {
  statement: positionalStatement,

  // unixepoch('subsec') is younger than the SQLite of many systems.
  now: `CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER)`,

  // The drivers bind larger numbers as floating point.
  integer: (value) => `CAST(${value} AS INTEGER)`,
  hour: (moment) => `((${moment}) / 3600000)`,
  isExactly: (column, text) => `${column} = ${text}`,
  append: (column, text) => `${column} || ${text}`,

  unlessTaken: (keyColumn) => `ON CONFLICT (${keyColumn}) DO NOTHING`,
  isTaken: () => false,

  clearExpired: ({ name, columns: { sessionKey, expireBucket, expireDate } }) => `
    DELETE FROM ${name} WHERE ${sessionKey} IN (
      SELECT ${sessionKey} FROM ${name}
      WHERE ${expireBucket} <= ${sqliteDialect.hour(sqliteDialect.now)} AND ${expireDate} <= ${sqliteDialect.now}
      LIMIT ⟨limit⟩
    )`,

  columns: {},
};
