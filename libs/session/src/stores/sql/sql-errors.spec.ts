import { inspect } from 'node:util';
import { Pool } from 'pg';
import {
  isConflict,
  isMissingTableOrColumn,
  isReadOnly,
  isRefusal,
  isSyntaxError,
  toStoreError,
} from './sql-errors.js';

const key = `v1-${'ab'.repeat(32)}`;

/** An error with all that drivers hang on theirs. */
function failed(message: string, fields: object = {}): Error {
  return Object.assign(new Error(message), fields, {
    sql: `UPDATE … '${key}' 'hunter2'`,
    detail: `Key (session_key)=(${key}) already exists.`,
    parameters: [key, 'hunter2'],
  });
}

describe('toStoreError', () => {
  it.each([
    ['connect ECONNREFUSED 127.0.0.1:5432', { code: 'ECONNREFUSED', syscall: 'connect' }],
    ['read ECONNRESET', { code: 'ECONNRESET', syscall: 'read' }],
    ['getaddrinfo EAI_AGAIN db', { code: 'EAI_AGAIN', syscall: 'getaddrinfo' }],
    ['Connection terminated unexpectedly', {}],
    ['timeout exceeded when trying to connect', {}],
    ['Cannot use a pool after calling end on the pool', {}],
    ['Pool is closed.', {}],
    ['terminating connection due to administrator command', { code: '57P01' }],
    ['sorry, too many clients already', { code: '53300' }],
    ['connection failure', { code: '08006' }],
    ['cannot execute UPDATE in a read-only transaction', { code: '25006' }],
    ['Connection lost', { code: 'PROTOCOL_CONNECTION_LOST', fatal: true }],
    ['Too many connections', { code: 'ER_CON_COUNT_ERROR' }],
    ['read-only', { code: 'ER_OPTION_PREVENTS_STATEMENT' }],
    ['database is locked', { code: 'SQLITE_BUSY' }],
    ['database is locked', { code: 'SQLITE_BUSY_SNAPSHOT' }],
    ['Query execution was interrupted (max_statement_time exceeded)', { errno: 1969, sqlState: '70100' }],
    ["The table 'nest_session' is full", { code: 'ER_RECORD_FILE_FULL', sqlState: 'HY000' }],
    ['WSREP has not yet prepared node', { code: 'ER_UNKNOWN_COM_ERROR', sqlState: '08S01' }],
    ['Too many connections of the user', { code: 'ER_TOO_MANY_USER_CONNECTIONS', sqlState: '42000' }],
    ['could not write block', { code: '58030' }],
    ['invalid page', { code: 'XX001' }],
    ['database "x" does not exist', { code: '3D000' }],
    ['tuple concurrently updated', { code: '55000' }],
    ['permission denied', { code: '42501' }],
    ['the database disk image is malformed', {}],
    ['nobody knows', { code: 'SOMETHING_NEW' }],
  ])('takes %p %p for unavailable', (message, fields) => {
    const error = toStoreError('save', failed(message, fields));
    expect(error).toMatchObject({ code: 'SESSION_STORE_UNAVAILABLE', operation: 'save' });
    expect(error.cause).toMatchObject({ message });
  });

  it.each([
    ['value too long for type character varying(255)', { code: '22001' }],
    ['relation "nest_session" does not exist', { code: '42P01' }],
    ['invalid byte sequence for encoding "UTF8": 0x00', { code: '22021' }],
    ['UNIQUE constraint failed: nest_session.session_key', { code: 'SQLITE_CONSTRAINT_PRIMARYKEY' }],
    ['UNIQUE constraint failed: nest_session.session_key', {}],
    ['no such table: nest_session', { code: 'SQLITE_ERROR' }],
    ['no such table: nest_session', {}],
    ["Table 'x.nest_session' doesn't exist", { code: 'ER_NO_SUCH_TABLE', sqlState: '42S02' }],
    ['You have an error in your SQL syntax', { code: 'ER_PARSE_ERROR', sqlState: '42000' }],
    ['Incorrect string value', { code: 'ER_TRUNCATED_WRONG_VALUE_FOR_FIELD', sqlState: 'HY000' }],
    ['Bind parameters must not contain undefined', { name: 'TypeError' }],
    [`Data too long for column 'user_id' at row 1`, { code: 'ER_DATA_TOO_LONG', sqlState: '22001' }],
  ])('passes %p on', (message, fields) => {
    const error = toStoreError('save', failed(message, fields));
    expect(error).not.toMatchObject({ code: 'SESSION_STORE_UNAVAILABLE' });
    expect(error.message).toBe(message.replace(/: ".*"/, ': …'));
    expect((error as { code?: unknown }).code).toBe((fields as { code?: unknown }).code);
  });

  it.each([
    [`Duplicate entry '${key}' for key 'PRIMARY'`, { code: 'ER_DUP_ENTRY' }],
    ['invalid input syntax for type integer: "hunter2"', { code: '22P02' }],
    ['terminating connection', { code: '57P01' }],
  ])('keeps quiet about the values of %p', (message, fields) => {
    const error = toStoreError('save', failed(message, fields));
    expect(inspect(error, { showHidden: true, depth: 9 })).not.toMatch(/hunter2|abab/);
  });

  it('makes an error of whatever was thrown', async () => {
    expect(toStoreError('load', 'nonsense')).toMatchObject({
      code: 'SESSION_STORE_UNAVAILABLE',
      cause: expect.objectContaining({ message: 'nonsense' }),
    });
    // No service at port 1, and a password that must not show.
    const dead = new Pool({ connectionString: 'postgres://me:hunter2@127.0.0.1:1/x' });
    const error = await dead.query('SELECT 1').then(
      () => new Error('Something answered.'),
      (reason: unknown) => toStoreError('load', reason),
    );
    expect(error).toMatchObject({ code: 'SESSION_STORE_UNAVAILABLE' });
    expect(inspect(error, { showHidden: true, depth: 9 })).not.toContain('hunter2');
    // What the store has thrown already goes through.
    expect(toStoreError('save', error)).toBe(error);
  });
});

it.each([
  '25006',
  'ER_OPTION_PREVENTS_STATEMENT',
  'ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION',
  'ER_UNKNOWN_COM_ERROR',
  'ER_RUN_HOOK_ERROR',
])('isReadOnly: %p', (code) => {
  expect(isReadOnly(failed('…', { code }))).toBe(true);
  expect(isReadOnly(failed('…', { code: '57P01' }))).toBe(false);
});

it.each([
  ['…', { code: 'ER_PARSE_ERROR' }, true],
  ['near "RETURNING": syntax error', {}, true],
  ['…', { code: '42P01' }, false],
])('isSyntaxError: %p %p is %p', (message, fields, expected) => {
  expect(isSyntaxError(failed(message, fields))).toBe(expected);
});

it.each([
  [{ code: '40001' }, true],
  [{ code: 'ER_LOCK_DEADLOCK' }, true],
  [{ code: '23505' }, false],
])('isConflict: %p is %p', (fields, expected) => {
  expect(isConflict(failed('…', fields))).toBe(expected);
});

it.each([
  ['…', { code: '42703' }, true],
  ['…', { code: 'ER_NO_SUCH_TABLE' }, true],
  ['no such column: probed.version', {}, true],
  ['…', { code: '57P01' }, false],
])('isMissingTableOrColumn: %p %p is %p', (message, fields, expected) => {
  expect(isMissingTableOrColumn(failed(message, fields))).toBe(expected);
});

describe('isRefusal', () => {
  it.each(['22021', '23514', '0A000', '42501', 'P0001'])(
    'holds for %p, after which nothing was done',
    (code) => {
      expect(isRefusal(failed('no', { code }))).toBe(true);
      expect(isRefusal(toStoreError('save', failed('no', { code })))).toBe(true);
    },
  );

  it.each(['08006', '40003', '40P01', '53300', '57014', '25006', 'EPIPE', 'ER_DUP_ENTRY', undefined])(
    'does not hold for %p',
    (code) => {
      expect(isRefusal(failed('no', { code }))).toBe(false);
      expect(isRefusal(toStoreError('save', failed('no', { code })))).toBe(false);
    },
  );
});
