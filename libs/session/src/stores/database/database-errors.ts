import { QueryFailedError } from 'typeorm';
import { SessionStoreUnavailableError } from '../../session.errors.js';

/** What drivers put on their errors, as far as it is of use here and quotes no value of the statement. */
interface DriverError extends Error {
  /** SQLSTATE on PostgreSQL, `ER_…` on MySQL, `SQLITE_…`, or that of the operating system. */
  code?: unknown;
  /** Set by mysql2 when the connection is lost. */
  fatal?: unknown;
  /** Set by Node when a socket is at fault. */
  syscall?: unknown;
}

/** PostgreSQL: connection, authorization, resources, cancelled and shut down, lock time-out, read-only, conflicts. */
const UNAVAILABLE_SQLSTATE = /^(08...|28...|53...|57...|55P03|25006|40001|40P01)$/;

/** PostgreSQL: all but those above, and but one that says it does not know what became of the statement. */
const REFUSAL_SQLSTATE = /^(?!08|28|53|57|55P03|25006|40)[0-9P][0-9A-Z]{4}$/;

const UNAVAILABLE_CODES =
  /^(PROTOCOL_\w+|POOL_\w+|ER_(CON_COUNT_ERROR|TOO_MANY_USER_CONNECTIONS|USER_LIMIT_REACHED|ACCESS_DENIED_ERROR|SERVER_SHUTDOWN|OPTION_PREVENTS_STATEMENT|READ_ONLY_MODE|CANT_EXECUTE_IN_READ_ONLY_TRANSACTION|LOCK_WAIT_TIMEOUT|LOCK_DEADLOCK|CHECKREAD|QUERY_INTERRUPTED|QUERY_TIMEOUT|STATEMENT_TIMEOUT|DISK_FULL)|SQLITE_(BUSY|LOCKED|IOERR|CANTOPEN|FULL|READONLY)(_\w+)?|ECONN\w+|ETIMEDOUT|EPIPE|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH)$/;

/** Pools and clients that were closed or gave up waiting have no code. */
const UNAVAILABLE_MESSAGES =
  /^Connection terminated|not queryable|pool after calling end|Pool is closed|Queue limit reached|Driver not Connected|timeout exceeded when trying to connect|Query read timeout|closed state|database is locked|Connection lost/i;

/** The database rolled the statement back, because of others that ran at the same time. */
const CONFLICT_CODES = new Set<unknown>(['40001', '40P01', 'ER_LOCK_DEADLOCK', 'ER_CHECKREAD']);

/** The connection does not know a prepared statement any more, or what it prepared does not fit the table any more. */
const LOST_STATEMENT_CODES = new Set<unknown>(['26000', '42P05', '0A000']);

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

export function isLostStatement(error: unknown): boolean {
  return LOST_STATEMENT_CODES.has(driverError(error).code);
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

/**
 * What the store throws for an error of the database: unavailable, or the error itself. Neither carries the
 * statement's values, which TypeORM and the drivers hang on theirs: they are keys and session data.
 */
export function toStoreError(operation: string, error: unknown): Error {
  const source = driverError(error);
  const cause = withoutValues(source);
  if (!isUnavailable(source)) return cause;
  return new SessionStoreUnavailableError(
    operation,
    `the database did not carry it out (${typeof source.code === 'string' ? source.code : cause.message}). ` +
      'Check that it is up, accepts writes, and that the data source can reach it.',
    { cause },
  );
}

function isUnavailable({ code, fatal, syscall, message }: DriverError): boolean {
  if (fatal === true || typeof syscall === 'string') return true;
  if (typeof code === 'string' && (UNAVAILABLE_SQLSTATE.test(code) || UNAVAILABLE_CODES.test(code)))
    return true;
  return UNAVAILABLE_MESSAGES.test(message);
}

function driverError(error: unknown): DriverError {
  if (error instanceof QueryFailedError) return error.driverError as DriverError;
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
