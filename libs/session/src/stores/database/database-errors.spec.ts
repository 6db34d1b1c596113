import { inspect } from 'node:util';
import { DataSource, QueryFailedError } from 'typeorm';
import { isConflict, isMissingTableOrColumn, isRefusal, toStoreError } from './database-errors.js';

const key = `v1-${'ab'.repeat(32)}`;

/** An error as TypeORM throws it, with all that drivers hang on theirs. */
function failed(message: string, fields: object = {}): QueryFailedError {
  const driverError = Object.assign(new Error(message), fields, {
    sql: `UPDATE … '${key}' 'hunter2'`,
    detail: `Key (session_key)=(${key}) already exists.`,
    parameters: [key, 'hunter2'],
  });
  return new QueryFailedError('UPDATE …', [key, 'hunter2'], driverError);
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
  ])('takes %p %p for unavailable', (message, fields) => {
    const error = toStoreError('save', failed(message, fields));
    expect(error).toMatchObject({ code: 'SESSION_STORE_UNAVAILABLE', operation: 'save' });
    expect(error.cause).toMatchObject({ message });
  });

  it.each([
    ['value too long for type character varying(255)', { code: '22001' }],
    ['relation "nest_session" does not exist', { code: '42P01' }],
    ['UNIQUE constraint failed: nest_session.session_key', { code: 'SQLITE_CONSTRAINT_PRIMARYKEY' }],
    [`Data too long for column 'user_id' at row 1`, { code: 'ER_DATA_TOO_LONG' }],
  ])('passes %p on', (message, fields) => {
    const error = toStoreError('save', failed(message, fields));
    expect(error).toMatchObject({ message, ...fields });
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
    expect(toStoreError('load', 'nonsense')).toMatchObject({ message: 'nonsense' });
    // No service at port 1, and a password that must not show.
    const dead = new DataSource({ type: 'postgres', url: 'postgres://me:hunter2@127.0.0.1:1/x' });
    const error = await dead.initialize().then(
      () => new Error('Something answered.'),
      (reason: unknown) => toStoreError('load', reason),
    );
    expect(error).toMatchObject({ code: 'SESSION_STORE_UNAVAILABLE' });
    expect(inspect(error, { showHidden: true, depth: 9 })).not.toContain('hunter2');
  });
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
