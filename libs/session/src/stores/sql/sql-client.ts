import { SessionConfigError, SessionStoreUnavailableError } from '../../session.errors.js';
import { Deadlines } from '../deadlines.js';
import { type Dialect } from './dialects.js';
import { isBroken, toStoreError } from './sql-errors.js';
import { type SqlQuery, type SqlResult } from './sql-store.js';

/** What a statement of the sessions is bound with. Large numbers are whole, and at most `Number.MAX_SAFE_INTEGER`. */
export type SqlValue = string | number | null;

/** The rows of a statement, or how many rows it has written. */
export type SqlAnswer = readonly object[] | number | bigint | null | undefined;

/**
 * Runs one statement of the sessions on a client of the application's own, outside of its transactions.
 *
 * - `sql` has a placeholder for every value. Hand the values to the driver: never put them into the text.
 * - `returns` says what is wanted: `'rows'`, each an object with the names that the statement gives, or the `'count'` of
 *   the rows that were written. A statement is never asked for both.
 *
 * It fails with the error of the driver.
 *
 * @example
 * ```ts
 * const query: SqlClientQuery = async (sql, values, returns) => {
 *   const { rows, rowCount } = await pool.query(sql, values);
 *   return returns === 'rows' ? rows : rowCount;
 * };
 * ```
 */
export type SqlClientQuery = (
  sql: string,
  values: SqlValue[],
  returns: 'rows' | 'count',
) => SqlAnswer | Promise<SqlAnswer>;

/** How often it is looked for statements that are late. Milliseconds. */
const LOOK_EVERY = 50;

/** Names of tables and columns stand in quotes, so they are not taken for these. */
const RETURNS_ROWS = /^SELECT | RETURNING /;

/** The client as the store asks it. */
export function clientQuery(query: SqlClientQuery): SqlQuery {
  const deadlines = new Deadlines(LOOK_EVERY);
  return async (text, values, limit) => {
    const returns = RETURNS_ROWS.test(text) ? 'rows' : 'count';
    let answer: SqlAnswer;
    try {
      const asked = Promise.resolve(query(text, values.map(boundValue), returns));
      // The client may still wait for it: only its own settings end that.
      answer = await deadlines.before(performance.now() + limit, asked, `no answer within ${limit} ms`);
    } catch (error) {
      throw driverErrorIn(error, text);
    }
    return resultOf(answer, returns);
  };
}

/** A list goes as the text that PostgreSQL reads arrays from: not every client takes arrays, and some expand them. */
function boundValue(value: unknown): SqlValue {
  if (!Array.isArray(value)) return value as SqlValue;
  const items = (value as (string | number)[]).map((item) =>
    typeof item === 'string' ? `"${item.replace(/["\\]/g, '\\$&')}"` : item,
  );
  return `{${items.join(',')}}`;
}

function resultOf(answer: unknown, returns: 'rows' | 'count'): SqlResult {
  if (returns === 'count') {
    if (typeof answer === 'number' || typeof answer === 'bigint')
      return { rows: [], affected: Number(answer) };
    throw new SessionConfigError(
      'query',
      `resolved with ${described(answer)} for a statement that writes. When its third argument is 'count', return ` +
        'how many rows the statement has written, as a number.',
    );
  }
  if (Array.isArray(answer) && answer.every((row) => typeof row === 'object' && row !== null))
    return { rows: answer as SqlResult['rows'], affected: 0 };
  throw new SessionConfigError(
    'query',
    `resolved with ${described(answer)} for a statement that reads. When its third argument is 'rows', return the ` +
      'array of the rows, each an object with the names of its columns.',
  );
}

/** Without what is in it, for that may be a session. */
function described(answer: unknown): string {
  if (Array.isArray(answer)) return 'an array of something else than rows';
  return answer === null || typeof answer !== 'object' ? String(answer) : 'an object';
}

/** What a driver puts on its errors, as far as the store knows it. */
interface DriverError {
  name?: unknown;
  message?: unknown;
  code?: unknown;
  sqlState?: unknown;
  cause?: unknown;
}

/** Prisma's message is the one place where all of its versions have the code of the database. */
const OF_PRISMA = /Raw query failed\. Code: `([^`]*)`\. Message: `(.*)`/s;

/** By the numbers that Prisma has for them on MySQL: the codes of the driver. */
const MYSQL_CODES: Readonly<Record<string, { code: string; sqlState: string }>> = {
  1020: { code: 'ER_CHECKREAD', sqlState: 'HY000' },
  1054: { code: 'ER_BAD_FIELD_ERROR', sqlState: '42S22' },
  1062: { code: 'ER_DUP_ENTRY', sqlState: '23000' },
  1064: { code: 'ER_PARSE_ERROR', sqlState: '42000' },
  1146: { code: 'ER_NO_SUCH_TABLE', sqlState: '42S02' },
  1213: { code: 'ER_LOCK_DEADLOCK', sqlState: '40001' },
  1406: { code: 'ER_DATA_TOO_LONG', sqlState: '22001' },
  1615: { code: 'ER_NEED_REPREPARE', sqlState: 'HY000' },
};

/** libSQL puts the code in front of what SQLite says. */
const OF_LIBSQL = /^(SQLITE_\w+): (.*)/s;

/**
 * The driver's error, out of the one that the client has put around it, and without the statement: clients quote it in
 * their messages, together with its values, which are session ids and session data.
 */
function driverErrorIn(error: unknown, text: string): Error {
  let source = (error ?? {}) as DriverError;
  while (source.code === undefined && typeof source.cause === 'object' && source.cause !== null)
    source = source.cause;
  const said = String(source.message ?? error);
  const [, ofPrisma = source.code, unwrapped = said] = OF_PRISMA.exec(said) ?? [];
  const [, code = ofPrisma, message = unwrapped] = OF_LIBSQL.exec(unwrapped) ?? [];
  const clean: Error & DriverError = new Error(withoutStatement(message, text));
  if (typeof source.name === 'string') clean.name = source.name;
  if (source.sqlState !== undefined) clean.sqlState = source.sqlState;
  const known = MYSQL_CODES[String(code)];
  if (known) Object.assign(clean, known);
  // A code that says no more than that it was SQLite, or a number, hides what the message says.
  else if (typeof code === 'string' && !/^(ERR_SQLITE_ERROR|\d{1,4}|N\/A)$/.test(code)) clean.code = code;
  return clean;
}

function withoutStatement(message: string, text: string): string {
  const [beginning = text] = text.split(/\$1|\?/, 1);
  if (!message.includes(beginning)) return message;
  // As Knex has it: what the driver says stands behind the statement.
  const end = message.lastIndexOf(' - ');
  return end === -1 ? 'the message of the client quotes the statement' : message.slice(end + 3);
}

/** What a client, or a connection, that does not carry every text makes another one of. */
const HARD_TEXT = `it's "\\" ? $1 :a {} \u{1f36a}`;

/**
 * Asks the client for a text and a number, and looks at what comes back. Resolves with the dialect, without the
 * statements that serve several requests if the client cannot bind lists.
 *
 * @throws SessionConfigError when a value comes back as another one, or under another name
 * @throws SessionStoreUnavailableError when the database cannot be reached
 */
export async function checkClient(query: SqlQuery, dialect: Dialect, limit: number): Promise<Dialect> {
  const ask = async (selected: string, values: Record<string, unknown>): Promise<SqlResult> => {
    const { text, parameters } = dialect.statement(`SELECT ${selected}`);
    return query(
      text,
      parameters.map((name) => values[name]),
      limit,
    );
  };
  const given = dialect.append(`''`, '⟨text⟩');
  const { rows } = await ask(`${given} AS given_text, ${dialect.integer('⟨number⟩')} AS given_number`, {
    text: HARD_TEXT,
    number: Number.MAX_SAFE_INTEGER,
  }).catch((error: unknown) => {
    throw startError(error as Error);
  });
  checkNames(rows[0]);
  checkValue('text', rows[0]?.['given_text'] === HARD_TEXT);
  checkValue('number', Number(rows[0]?.['given_number']) === Number.MAX_SAFE_INTEGER);
  if (!dialect.isOneOf) return dialect;

  const isOneOf = dialect.isOneOf(given, '⟨list⟩');
  try {
    const answer = await ask(`${isOneOf} AS given_list`, { text: HARD_TEXT, list: ['', HARD_TEXT] });
    if (answer.rows[0]?.['given_list'] === true) return dialect;
  } catch (error) {
    if (isBroken(error)) throw toStoreError('start', error);
  }
  const oneByOne = { ...dialect };
  delete oneByOne.isOneOf;
  delete oneByOne.saveTogether;
  return oneByOne;
}

/** A simple statement fails when there is no database, which a driver says with a code of its own, or for what it is given. */
function startError(error: Error): Error {
  const known = toStoreError('start', error);
  const isAway = 'code' in error || isBroken(error) || /Timeout/.test(error.name);
  if (known instanceof SessionStoreUnavailableError && isAway) return known;
  return new SessionConfigError(
    'query',
    `could not run a simple statement (${error.message}). Check that "dialect" is that of the database, "placeholder" what ` +
      'the client takes (Knex, Drizzle: "?"), and that the values are handed to the driver to be bound.',
    { cause: known },
  );
}

function checkNames(row: Record<string, unknown> | undefined): void {
  if (row !== undefined && 'given_text' in row && 'given_number' in row) return;
  throw new SessionConfigError(
    'query',
    `resolved with ${row === undefined ? 'no row where there is one' : `a row of ${Object.keys(row).join(', ')}`}, and not ` +
      'with given_text and given_number, as the statement names them. Return the rows as the database has them: ' +
      'with a client that renames columns, use it without that plugin.',
  );
}

function checkValue(kind: 'text' | 'number', isSame: boolean): void {
  if (isSame) return;
  throw new SessionConfigError(
    'query',
    `resolved with another ${kind} than it was bound with, so sessions would be damaged. Hand the values to the driver ` +
      'to be bound (on MySQL and MariaDB by "execute" of mysql2, or at least without the SQL mode ' +
      'NO_BACKSLASH_ESCAPES), and use a connection in UTF-8 (on MySQL and MariaDB: utf8mb4).',
  );
}
