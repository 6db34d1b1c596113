import { clientQuery, type SqlClientQuery } from './sql-client.js';
import { isConflict, isMissingTableOrColumn, toStoreError } from './sql-errors.js';

const TEXT = 'DELETE FROM "nest_session" WHERE "session_key" = $1';

function errorOf(query: SqlClientQuery, limit = 60_000): Promise<Error> {
  return clientQuery(query)(TEXT, ['hunter2'], limit).then(
    () => new Error('It worked.'),
    (error: unknown) => error as Error,
  );
}

const thrown = (message: string, fields: object = {}): SqlClientQuery => {
  return () => Promise.reject(Object.assign(new Error(message), fields));
};

function throwing(): never {
  throw new Error('At once.');
}

/** As versions 6 and 7 of Prisma have it. */
const ofPrisma = (code: string, message: string): SqlClientQuery =>
  thrown(
    `\nInvalid \`prisma.$executeRawUnsafe()\` invocation:\n\n\nRaw query failed. Code: \`${code}\`. Message: \`${message}\``,
    { code: 'P2010' },
  );

describe('clientQuery', () => {
  it.each([
    ['Prisma on PostgreSQL', ofPrisma('42P01', 'relation "nest_session" does not exist')],
    ['Prisma on MySQL', ofPrisma('1146', "Table 'shop.nest_session' doesn't exist")],
    ['Prisma on SQLite', ofPrisma('1', 'no such table: nest_session')],
    ['Prisma on libSQL', ofPrisma('1', 'SQLITE_ERROR: no such table: nest_session')],
    ['libSQL', thrown('SQLITE_ERROR: no such table: nest_session', { code: 'SQLITE_ERROR' })],
    ['node:sqlite', thrown('no such table: nest_session', { code: 'ERR_SQLITE_ERROR', errcode: 1 })],
    ['better-sqlite3', thrown('no such table: nest_session', { code: 'SQLITE_ERROR' })],
    [
      'Drizzle',
      thrown(`Failed query: ${TEXT}\nparams: hunter2`, {
        cause: Object.assign(new Error('relation "nest_session" does not exist'), { code: '42P01' }),
      }),
    ],
    [
      'Knex',
      thrown(`${TEXT.replace('$1', "'hunter2 - x'")} - no such table: nest_session`, {
        code: 'SQLITE_ERROR',
      }),
    ],
  ])('finds in the error of %s that the table is missing, and no value', async (_, query) => {
    const error = await errorOf(query);
    expect(isMissingTableOrColumn(error)).toBe(true);
    expect(error.message).toContain('nest_session');
    expect(error.message).not.toContain('hunter2');
    expect(toStoreError('delete', error)).not.toHaveProperty('code', 'SESSION_STORE_UNAVAILABLE');
  });

  it.each([
    ['1020', 'Record has changed since last read in table'],
    ['1213', 'Deadlock found'],
    ['1615', 'Prepared statement needs to be re-prepared'],
    ['40001', 'could not serialize access'],
  ])(
    'finds in code %s of Prisma a conflict, after which the statement is sent again',
    async (code, message) => {
      expect(isConflict(await errorOf(ofPrisma(code, message)))).toBe(true);
    },
  );

  it('knows a value that is too long for Prisma on MySQL as a fault of what was sent, not of the server', async () => {
    const error = await errorOf(ofPrisma('1406', "Data too long for column 'user_id' at row 1"));
    expect(toStoreError('create', error)).not.toHaveProperty('code', 'SESSION_STORE_UNAVAILABLE');
  });

  it('leaves out a message that quotes the statement in a way of its own', async () => {
    const error = await errorOf(thrown(`${TEXT} ["hunter2"]`, { code: 'E_STRANGE' }));
    expect(error).toMatchObject({ code: 'E_STRANGE', message: expect.not.stringContaining('hunter2') });
  });

  it('waits no longer than the limit, and takes what is thrown for a failure', async () => {
    expect(await errorOf(() => new Promise(() => {}), 10)).toMatchObject({ name: 'TimeoutError' });
    expect(await errorOf(throwing)).toMatchObject({ message: 'At once.' });
  });

  it('asks for rows of what reads and of what returns what it has written, and for a count of the rest', async () => {
    const asked: string[] = [];
    const query = clientQuery((_sql, _values, returns) => {
      asked.push(returns);
      return returns === 'rows' ? [{ id: 1 }] : 3n;
    });
    const rows = { rows: [{ id: 1 }], affected: 0 };
    expect(await query('SELECT id FROM "returning"', [], 1000)).toEqual(rows);
    expect(await query('DELETE FROM "t" WHERE x = $1 RETURNING id', [1], 1000)).toEqual(rows);
    expect(await query('DELETE FROM "RETURNING" WHERE x = $1', [1], 1000)).toEqual({ rows: [], affected: 3 });
    expect(asked).toEqual(['rows', 'rows', 'count']);
  });
});
