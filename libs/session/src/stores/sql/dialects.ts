import { type SessionTable } from './session-table.js';

/** SQL with placeholders, and the names of the values they stand for, in order. Built once, run many times. */
export interface Statement {
  readonly text: string;
  readonly parameters: readonly string[];
}

/** Only what the databases disagree about. In templates, values stand as `⟨name⟩`. */
export interface Dialect {
  statement(template: string): Statement;

  /** The database's clock in epoch milliseconds: one value for the whole statement, and no time zone in it. */
  readonly now: string;

  /** A bound number, as an integer to calculate with. */
  integer(value: string): string;

  /** The hour since the epoch of an expression in epoch milliseconds. */
  hour(moment: string): string;

  /** How many bytes the text in this column has: at least as many as its characters. */
  bytes(column: string): string;

  /** Is the text in this column this one, to the last blank? */
  isExactly(column: string, text: string): string;

  append(column: string, text: string): string;

  /** Is the text in this column one of a bound list of any length? Absent where lists cannot be bound. */
  isOneOf?(column: string, list: string): string;

  /**
   * One update of several live rows, each with values of its own from lists of one length, no id twice. Rows that
   * somebody else has locked are left out, not waited for; `saved_id` is returned of the others. Absent where the
   * database has no such statement.
   * @param assignments and `conditions` as of a single row's save
   */
  saveTogether?(table: SessionTable, assignments: string, conditions: string, isUnexpired: string): string;

  /** One row with the encodings that text goes through, by what has them. Absent where all text is Unicode. */
  encodings?(table: SessionTable): string;
  /** Those that carry every text. */
  unicode?: RegExp;

  /** The end of an INSERT that inserts nothing when the id is taken. */
  unlessTaken(idColumn: string): string;
  /** Where there is no such end: does the error say that the id is taken? */
  isTaken?(error: unknown): boolean;

  /** Deletes up to `limit` expired rows, never one that is touched at that moment. Safe to run several times at once. */
  clearExpired(table: SessionTable, limit: number): string;
}

/** The SQL that a database speaks. MariaDB speaks `mysql`. */
export type DialectName = 'postgres' | 'mysql' | 'sqlite';

/** First half of the names of our advisory locks, so that they do not meet the application's: "nest" in ASCII. */
const LOCK_NAMESPACE = 0x6e657374;

const postgres: Dialect = {
  statement: numberedStatement,

  // Not clock_timestamp(): a volatile function would keep the index on the bucket from being used.
  now: 'floor(extract(epoch from statement_timestamp()) * 1000)::bigint',

  integer: (value) => `${value}::bigint`,
  hour: (moment) => `((${moment}) / 3600000)::int`,
  bytes: (column) => `octet_length(${column})`,
  isExactly: (column, text) => `${column} = ${text}`,
  append: (column, text) => `${column} || ${text}::text`,
  isOneOf: (column, list) => `${column} = ANY(${list}::text[])`,

  // An update alone would lock the rows in the order of its plan, and two batches would wait for each other. So they are
  // locked first, and none is waited for, which also keeps one locked session from holding up all of its batch.
  saveTogether: ({ name, columns: { sessionId } }, assignments, conditions, isUnexpired) => `
    WITH free AS MATERIALIZED (
      SELECT ${sessionId} AS free_id FROM ${name}
      WHERE ${sessionId} = ANY(⟨id⟩::text[]) AND ${isUnexpired} FOR UPDATE SKIP LOCKED
    )
    UPDATE ${name} SET ${assignments.replace(/⟨(\w+)⟩/g, 'given_$1')}
    FROM free, unnest(⟨id⟩::text[], ⟨keyHash⟩::text[], ⟨version⟩::int[], ⟨expiresIn⟩::bigint[],
      ⟨snapshot⟩::text[], ⟨line⟩::text[], ⟨room⟩::bigint[])
      AS given (given_id, given_keyHash, given_version, given_expiresIn, given_snapshot, given_line, given_room)
    WHERE ${sessionId} = free_id AND ${sessionId} = given_id AND ${conditions.replace(/⟨(\w+)⟩/g, 'given_$1')}
    RETURNING given_id AS saved_id`,

  // The driver sets that of the connection itself.
  encodings: () => `SELECT current_setting('server_encoding') AS "encoding of the database"`,
  // SQL_ASCII is none: what comes is kept as it is.
  unicode: /^(UTF8|SQL_ASCII)$/,

  unlessTaken: (idColumn) => `ON CONFLICT (${idColumn}) DO NOTHING`,

  // Two cleaners are no faster than one and double the latency of everybody else, so they take turns: the one that does
  // not get the lock deletes nothing. The lock lives as long as the statement, and needs no connection of its own. It is
  // that of the table, not of its name: locks belong to the whole database, in which several schemas may have the name.
  // A row that somebody has just touched is locked, and skipped; one that was touched before is judged anew.
  // Without the order, the planner reads the whole table where its statistics still expect many expired rows.
  clearExpired: ({ name, columns: { expireBucket, expireDate } }, limit) => `
    WITH turn AS MATERIALIZED (
      SELECT pg_try_advisory_xact_lock(${LOCK_NAMESPACE}, ${literal(name)}::regclass::oid::int) AS mine
    ), expired AS MATERIALIZED (
      SELECT ctid AS place FROM ${name}
      WHERE (SELECT mine FROM turn)
        AND ${expireBucket} <= ${postgres.hour(postgres.now)} AND ${expireDate} <= ${postgres.now}
      ORDER BY ${expireBucket} LIMIT ${limit} FOR UPDATE SKIP LOCKED
    )
    DELETE FROM ${name} WHERE ctid = ANY(ARRAY(SELECT place FROM expired))`,
};

/** MySQL and MariaDB. */
const mysql: Dialect = {
  statement: positionalStatement,

  // UNIX_TIMESTAMP(NOW(3)) would go through the session's time zone, which has an hour twice every autumn.
  now: `(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000)`,

  // Drivers bind numbers as floating point.
  integer: (value) => `CAST(${value} AS SIGNED)`,
  hour: (moment) => `((${moment}) DIV 3600000)`,
  bytes: (column) => `LENGTH(${column})`,
  // The collations that both MySQL and MariaDB have take no notice of blanks at the end, and that of a table that another
  // tool has made may take none of case and accents.
  isExactly: (column, text) => `${column} = ${text} AND CAST(${column} AS BINARY) = CAST(${text} AS BINARY)`,
  append: (column, text) => `CONCAT(${column}, ${text})`,

  encodings: ({ name, columns }) => {
    const ofColumns = (['sessionData', 'sessionLog', 'sessionMeta', 'userId'] as const).map(
      // Without a row it is null, and has the charset of the column all the same.
      (column) => `CHARSET(MAX(${columns[column]})) AS ${columns[column]}`,
    );
    return `
      SELECT @@character_set_client AS 'charset of the connection',
        COALESCE(@@character_set_results, 'utf8mb4') AS 'character_set_results of the connection',
        ${ofColumns.join(', ')} FROM ${name} WHERE 1 = 0`;
  },
  // What MySQL calls utf8 holds no character beyond U+FFFF.
  unicode: /^utf8mb4$/,

  // INSERT IGNORE would ignore every other error too, and ON DUPLICATE KEY UPDATE counts an untouched row as affected
  // or not depending on a flag of the connection.
  unlessTaken: () => '',
  isTaken: (error) =>
    error instanceof Error &&
    'code' in error &&
    error.code === 'ER_DUP_ENTRY' &&
    /PRIMARY'?$/.test(error.message),

  // Deleting in the order of the index keeps several cleaners from locking each other's rows in opposite orders.
  clearExpired: ({ name, columns: { expireBucket, expireDate } }, limit) => `
    DELETE FROM ${name}
    WHERE ${expireBucket} <= ${mysql.hour(mysql.now)} AND ${expireDate} <= ${mysql.now}
    ORDER BY ${expireBucket} LIMIT ${limit}`,
};

const sqlite: Dialect = {
  statement: positionalStatement,

  // unixepoch('subsec') is younger than the SQLite of many systems.
  now: `CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER)`,

  // Drivers bind larger numbers as floating point.
  integer: (value) => `CAST(${value} AS INTEGER)`,
  hour: (moment) => `((${moment}) / 3600000)`,
  bytes: (column) => `LENGTH(CAST(${column} AS BLOB))`,
  isExactly: (column, text) => `${column} = ${text}`,
  append: (column, text) => `${column} || ${text}`,

  unlessTaken: (idColumn) => `ON CONFLICT (${idColumn}) DO NOTHING`,

  clearExpired: ({ name, columns: { sessionId, expireBucket, expireDate } }, limit) => `
    DELETE FROM ${name} WHERE ${sessionId} IN (
      SELECT ${sessionId} FROM ${name}
      WHERE ${expireBucket} <= ${sqlite.hour(sqlite.now)} AND ${expireDate} <= ${sqlite.now}
      LIMIT ${limit}
    )`,
};

export const dialects: Readonly<Record<DialectName, Dialect>> = { postgres, mysql, sqlite };

function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

/** A value in a template is its name in these brackets, which occur in no SQL and in nobody's column names. */
const NAMED_VALUE = /⟨([^⟩]+)⟩/g;

/** For `$1`, `$2`, …: a value that is used twice is sent once. */
export function numberedStatement(template: string): Statement {
  const parameters: string[] = [];
  const text = template.replace(NAMED_VALUE, (_, name: string) => {
    if (!parameters.includes(name)) parameters.push(name);
    return `$${parameters.indexOf(name) + 1}`;
  });
  return { text: oneLine(text), parameters };
}

/** For `?`: a value is sent as often as it is used. */
export function positionalStatement(template: string): Statement {
  const parameters = [...template.matchAll(NAMED_VALUE)].map(([, name]) => name as string);
  return { text: oneLine(template.replace(NAMED_VALUE, '?')), parameters };
}

/** Templates are indented for the reader; nobody's name holds a line break. */
function oneLine(text: string): string {
  return text.replace(/\s*\n\s*/g, ' ').trim();
}
