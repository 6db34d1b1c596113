import { SessionError, SessionStoreUnavailableError } from '../../session.errors.js';

/** What drivers put on their errors, as far as it is of use here and quotes no value of the statement. */
interface DriverError extends Error {
  /** SQLSTATE on PostgreSQL, `ER_…` on MySQL, `SQLITE_…`, or that of the operating system. */
  code?: unknown;
  /** SQLSTATE on MySQL. */
  sqlState?: unknown;
}

/** A value that does not fit, a constraint, a syntax error, a table or column that is missing. */
const OUR_SQLSTATE = /^(22|23|42(?!501)|3F)/;

/** The same on MySQL, whose class 42000 is also that of too many connections, and HY000 that of anything. */
const OUR_MYSQL_SQLSTATE = /^(22|23|42S)/;
const OUR_CODES =
  /^(ER_(PARSE_ERROR|TRUNCATED_WRONG_VALUE_FOR_FIELD|NO_DEFAULT_FOR_FIELD)|SQLITE_(ERROR|CONSTRAINT|MISMATCH|TOOBIG|RANGE)(_\w+)?)$/;

/** The errors of sql.js have no codes. */
const OUR_MESSAGES =
  /^no such (table|column)|constraint failed|syntax error|string or blob too big|datatype mismatch|has no column named/;

/** A mistake of this library or of the driver, in JavaScript. */
const PROGRAMMING_ERRORS = new Set(['TypeError', 'RangeError', 'ReferenceError', 'SyntaxError']);

/** PostgreSQL refused what it was sent and did nothing, which an error of the connection does not say. */
const REFUSAL_SQLSTATE = /^(?!08|28|53|57|55P03|25006|40)[0-9P][0-9A-Z]{4}$/;

/** The database rolled the statement back, because of others that ran at the same time. */
const CONFLICT_CODES = new Set<unknown>([
  '40001',
  '40P01',
  'ER_LOCK_DEADLOCK',
  'ER_CHECKREAD',
  'ER_NEED_REPREPARE',
]);

const READ_ONLY_CODES = new Set<unknown>([
  '25006',
  'ER_OPTION_PREVENTS_STATEMENT',
  'ER_READ_ONLY_MODE',
  'ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION',
  'ER_OPEN_AS_READONLY',
  'ER_INNODB_READ_ONLY',
  'ER_SERVER_OFFLINE_MODE',
  // A node of Galera that has lost the others.
  'ER_UNKNOWN_COM_ERROR',
  // A member that has left its replication group.
  'ER_RUN_HOOK_ERROR',
]);

/** The connection broke, or there was none. */
const BROKEN_CODES = new Set<unknown>([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'PROTOCOL_CONNECTION_LOST',
  // PostgreSQL goes down, or comes up.
  '57P01',
  '57P02',
  '57P03',
]);

const MISSING_TABLE_CODES = new Set<unknown>([
  '42P01',
  '42703',
  '3F000',
  'ER_NO_SUCH_TABLE',
  'ER_BAD_FIELD_ERROR',
]);

export function isConflict(error: unknown): boolean {
  return CONFLICT_CODES.has(driverError(error).code);
}

/** The connection leads to a server that takes no writes any more. Another one may lead elsewhere. */
export function isReadOnly(error: unknown): boolean {
  return READ_ONLY_CODES.has(driverError(error).code);
}

/** The connection broke, or could not be made. Nobody knows whether a statement on it was carried out. */
export function isBroken(error: unknown): boolean {
  const { code, message } = driverError(error);
  return BROKEN_CODES.has(code) || message.startsWith('Connection terminated');
}

/** The database answered that it did nothing, because of what it was sent. */
export function isRefusal(error: unknown): boolean {
  const { code } = driverError(error);
  return typeof code === 'string' && REFUSAL_SQLSTATE.test(code);
}

export function isMissingTableOrColumn(error: unknown): boolean {
  const { code, message } = driverError(error);
  return MISSING_TABLE_CODES.has(code) || /^no such (table|column)/.test(message);
}

/** The database does not know the form of the statement. */
export function isSyntaxError(error: unknown): boolean {
  const { code, message } = driverError(error);
  return code === '42601' || code === 'ER_PARSE_ERROR' || /syntax error/.test(message);
}

/**
 * What the store throws for an error of the database: the error itself when it is known to be a fault of ours or of the
 * set-up, and otherwise that the store is unavailable. Neither carries the statement's values, which drivers hang on
 * their errors: they are session ids and session data.
 */
export function toStoreError(operation: string, error: unknown): Error {
  if (error instanceof SessionError) return error;
  const source = driverError(error);
  const cause = withoutValues(source);
  if (isOurs(source)) return cause;
  const said = typeof source.code === 'string' ? source.code : cause.message;
  return new SessionStoreUnavailableError(
    operation,
    `the database did not carry it out (${said}${inWords(source)}). ` +
      'Check that it is up, accepts writes, and can be reached from here.',
    { cause },
  );
}

/** What the commonest codes mean, for a reader of the log. */
function inWords(error: DriverError): string {
  if (isReadOnly(error)) return ': it takes no writes';
  return isBroken(error) ? ': no connection, or it broke' : '';
}

function isOurs({ name, code, sqlState, message }: DriverError): boolean {
  if (typeof sqlState === 'string' && OUR_MYSQL_SQLSTATE.test(sqlState)) return true;
  if (typeof code !== 'string') return OUR_MESSAGES.test(message) || PROGRAMMING_ERRORS.has(name);
  return OUR_CODES.test(code) || OUR_SQLSTATE.test(code);
}

function driverError(error: unknown): DriverError {
  if (error instanceof SessionStoreUnavailableError) return driverError(error.cause);
  return error instanceof Error || isErrorLike(error) ? error : new Error(String(error));
}

/** Errors of Node's own modules are not `instanceof Error` where code runs in a realm of its own. */
function isErrorLike(error: unknown): error is DriverError {
  return typeof error === 'object' && error !== null && 'message' in error;
}

/** A new error, because the stack of the old one quotes its message. */
function withoutValues({ name, message, code }: DriverError): Error {
  const clean: DriverError = new Error(
    message
      .replace(/Duplicate entry '.*' for key/s, 'Duplicate entry for key')
      .replace(/: (["']).*\1/s, ': …'), // as in: invalid input syntax for type integer: "…"
  );
  clean.name = name;
  if (typeof code === 'string') clean.code = code;
  return clean;
}
