import { type Dialect } from './dialect.js';
import { positionalStatement } from './statement.js';

/** MySQL and MariaDB. */
export const mysqlDialect: Dialect = {
  statement: positionalStatement,

  // UNIX_TIMESTAMP(NOW(3)) would go through the session's time zone, which has an hour twice every autumn.
  now: `(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000)`,

  integer: (value) => value,
  hour: (moment) => `((${moment}) DIV 3600000)`,
  // The collations that both MySQL and MariaDB have take no notice of blanks at the end.
  isExactly: (column, text) => `${column} = ${text} AND CHAR_LENGTH(${column}) = CHAR_LENGTH(${text})`,
  append: (column, text) => `CONCAT(${column}, ${text})`,

  // INSERT IGNORE would ignore every other error too, and ON DUPLICATE KEY UPDATE counts an untouched row as affected
  // or not depending on a flag of the connection.
  unlessTaken: () => '',
  isTaken: (error) =>
    error instanceof Error &&
    'code' in error &&
    error.code === 'ER_DUP_ENTRY' &&
    /PRIMARY'?$/.test(error.message),

  // Deleting in the order of the index keeps several cleaners from locking each other's rows in opposite orders.
  clearExpired: ({ name, columns: { expireBucket, expireDate } }) => `
    DELETE FROM ${name}
    WHERE ${expireBucket} <= ${mysqlDialect.hour(mysqlDialect.now)} AND ${expireDate} <= ${mysqlDialect.now}
    ORDER BY ${expireBucket} LIMIT ⟨limit⟩`,

  columns: {
    sessionKey: { charset: 'ascii', collation: 'ascii_bin' },
    formerKey: { charset: 'ascii', collation: 'ascii_bin' },
    sessionData: { type: 'mediumtext', charset: 'utf8mb4' },
    sessionLog: { type: 'mediumtext', charset: 'utf8mb4' },
    sessionMeta: { charset: 'utf8mb4' },
    // The default collations hold "Alice" and "alice" for the same.
    sessionId: { charset: 'utf8mb4', collation: 'utf8mb4_bin' },
    userId: { charset: 'utf8mb4', collation: 'utf8mb4_bin' },
  },
};
