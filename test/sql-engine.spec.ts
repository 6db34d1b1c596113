import { randomBytes } from 'node:crypto';
import { inspect } from 'node:util';
import { Controller, Get, Inject, Injectable, Module, type OnModuleDestroy, Post } from '@nestjs/common';
import { Session } from 'nest-sessions';
import { sqlEngine, type SqlEngineOptions } from 'nest-sessions/sql';
import { createPool, type ResultSetHeader, type RowDataPacket } from 'mysql2/promise';
import { Pool } from 'pg';
import { openSqlStore } from '../libs/session/src/stores/sql/sql-engine.js';
import { describeSessionStore } from '../libs/session/src/testing/describe-session-store.js';
import { newId, newRecord, save } from '../libs/session/src/testing/store-bench.js';
import { platforms, silent, startApp } from './support/app.js';
import { VisitorController, visitThrough } from './support/outage.js';
import { type DatabaseServer, describeWithService } from './support/services.js';
import { SqlClientBench } from './support/sql-client-bench.js';
import { createSessionTable, type SqlClientKind, sqlClients } from './support/sql-clients.js';
import { rowsOf } from './support/test-all.js';
import { exchange, sessionCookie } from './support/wire.js';

/** Those that stand for the others: on a server, where statements serve several requests, and in this process. */
const QUICK_CLIENTS = ['Knex on PostgreSQL', 'sql.js'];

function clientNamed(name: string): SqlClientKind {
  const client = sqlClients[name];
  if (!client) throw new Error(`There is no client ${name}.`);
  return client;
}

/** Skipped, or failed on CI, where the database of the client is not there. */
function describeWithClient(name: string, title: string, suite: (bench: SqlClientBench) => void): void {
  const client = clientNamed(name);
  const bench = new SqlClientBench(client);
  if (client.database === 'sqljs')
    describe(`${title} (${name})`, () => {
      suite(bench);
    });
  else
    describeWithService(client.database, `${title} (${name})`, () => {
      suite(bench);
    });
}

for (const [name, { database }] of rowsOf(sqlClients, QUICK_CLIENTS)) {
  describeWithClient(name, 'the SQL store', (bench) => {
    describeSessionStore('conforms', () => bench.underTest(), {
      // SQLite (sql.js) lives inside of this process.
      capabilities: { outages: database !== 'sqljs', ownClock: database !== 'sqljs' },
    });
  });
}

function failure(work: Promise<unknown>): Promise<unknown> {
  return work.catch((error: unknown) => error);
}

const ENCRYPTED = { encryption: { secrets: randomBytes(32).toString('base64url') } };

for (const name of ['pg', 'mysql2', 'sql.js']) {
  describeWithClient(name, 'what a client gets to see', (bench) => {
    beforeAll(() => bench.open());
    afterAll(() => bench.close());

    it('values are bound: none is in a statement, whatever it is', async () => {
      const { options } = bench.client;
      const statements: string[] = [];
      const store = await openSqlStore({
        ...options,
        query: (sql, values, returns) => {
          statements.push(sql);
          for (const value of values) expect(['string', 'number', 'object']).toContain(typeof value);
          return options.query(sql, values, returns);
        },
      });
      const hostile = `'; DROP TABLE nest_session; -- " \\' \`?$1⟨id⟩ Hostile`;
      const record = newRecord({ hostile }, { userId: hostile });
      expect(await store.create(record.id, record)).toBe(true);
      expect(await store.create(record.id, record)).toBe(false);
      const loaded = await store.load(record.id);
      expect(loaded?.data['hostile']).toBe(hostile);
      expect(await save(store, loaded ?? record, { set: { [hostile]: hostile } })).toBe(true);
      expect((await store.listByUser(hostile)).map(({ id }) => id)).toEqual([record.id]);
      expect(await store.deleteByUser(hostile, [newId()])).toBe(1);
      expect(statements.join('\n')).not.toMatch(/Hostile|DROP/);
    });

    it('the encrypted texts only, if it is asked for', async () => {
      const store = await openSqlStore({ ...bench.client.options, ...ENCRYPTED });
      const record = newRecord({ word: 'plain' }, { meta: { stamp: 'plain' } });
      await store.create(record.id, record);
      expect(JSON.stringify(await bench.rows('SELECT * FROM nest_session'))).not.toContain('plain');
      expect((await store.load(record.id))?.data['word']).toBe('plain');
      await store.delete(record.id);
    });

    it('keeps users apart whose names differ by case, accents or blanks only', async () => {
      if (bench.client.options.dialect === 'mysql') {
        // As other tools create the table.
        await bench.run(
          'ALTER TABLE nest_session MODIFY user_id varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci NULL',
        );
      }
      const users = ['ada', 'Ada', 'ada ', 'áda'];
      for (const userId of users) {
        const record = newRecord({}, { userId });
        await bench.store.create(record.id, record);
      }
      for (const userId of users) {
        expect((await bench.store.listByUser(userId)).map((record) => record.userId)).toEqual([userId]);
        expect(await bench.store.deleteByUser(userId)).toBe(1);
      }
    });

    it('a table of another name', async () => {
      await createSessionTable(bench.client.options, 'my-$sessions');
      const store = await openSqlStore({ ...bench.client.options, table: 'my-$sessions' });
      const record = newRecord();
      expect(await store.create(record.id, record)).toBe(true);
      expect(await bench.store.load(record.id)).toBeNull();
      expect(await store.take(record.id)).toMatchObject({ id: record.id });
    });

    it.each([
      [
        'the table is missing',
        { table: 'elsewhere' },
        /"engine" needs the table .elsewhere. with all its columns.*schema --dialect \w+ --table elsewhere/,
      ],
      [
        'rows are no rows',
        { query: () => ({ rows: [] }) },
        /"query" resolved with an object for a statement that reads/,
      ],
      [
        'the client takes other placeholders',
        { query: () => Promise.reject(new Error('Expected 2 bindings, saw 0')) },
        /"query" could not run a simple statement \(Expected 2 bindings, saw 0\)\. Check that "dialect"/,
      ],
      ['there are no rows', { query: () => [] }, /"query" resolved with no row where there is one/],
    ])('the start fails when %s', async (_, wrong, message) => {
      const options = { ...bench.client.options, ...wrong } as unknown as SqlEngineOptions;
      await expect(openSqlStore(options)).rejects.toMatchObject({
        code: 'SESSION_CONFIG',
        message: expect.stringMatching(message),
      });
    });

    it.each([
      [
        'rename columns',
        (row: object): object => ({ givenText: Object.values(row)[0] }),
        /"query" resolved with a row of givenText, and not/,
      ],
      [
        'damage texts',
        (row: object): object => ({ ...row, given_text: 'Caf?' }),
        /"query" resolved with another text than it was bound with/,
      ],
      [
        'round numbers',
        (row: object): object => ({ ...row, given_number: 2 ** 40 }),
        /"query" resolved with another number/,
      ],
    ])('the start fails with clients that %s', async (_, spoil, message) => {
      const { options } = bench.client;
      const query: SqlEngineOptions['query'] = async (sql, values, returns) => {
        const answer = await options.query(sql, values, returns);
        return returns === 'rows' ? (answer as object[]).map(spoil) : answer;
      };
      await expect(openSqlStore({ ...options, query })).rejects.toThrow(message);
    });

    it('the start fails when no rows are counted', async () => {
      const { options } = bench.client;
      const query: SqlEngineOptions['query'] = async (sql, values, returns) => {
        const answer = await options.query(sql, values, returns);
        return returns === 'rows' ? answer : undefined;
      };
      await expect(openSqlStore({ ...options, query })).rejects.toThrow(
        /"query" resolved with undefined for a statement that writes/,
      );
    });
  });
}

it.each([
  [{ dialect: 'oracle' }, /"dialect" has to be 'postgres', 'mysql'/],
  [{ dialect: 'toString' }, /"dialect" has to be/],
  [{ query: undefined }, /"query" has to be a function/],
  [{ table: 'a"b' }, /"table" has to be the name of a table/],
  [{ table: 'a.b.c' }, /"table" has to be the name of a table/],
  [{ table: 'sessions; --' }, /"table" has to be the name of a table/],
  [{ placeholder: ':1' }, /"placeholder" has to be '\?', or '\$1' on PostgreSQL/],
  [{ dialect: 'mysql', placeholder: '$1' }, /"placeholder" has to be '\?', or '\$1' on PostgreSQL/],
  [{ encryption: { secrets: 'short' } }, /"encryption.secrets" has less than 32 bytes/],
])('the engine refuses %p', async (wrong, message) => {
  const options = { dialect: 'postgres', query: () => [], ...wrong } as unknown as SqlEngineOptions;
  expect(() => sqlEngine(options)).toThrow(message);
  const { useFactory } = sqlEngine({ useFactory: () => options });
  await expect(useFactory()).rejects.toThrow(message);
});

describeWithService('mysql', 'a server that takes no backslashes', () => {
  it('stops the start with a client that writes the values into the text', async () => {
    const bench = new SqlClientBench(clientNamed('mysql2'));
    await bench.open();
    try {
      const pool = createPool(bench.url);
      pool.pool.on('connection', (connection) => connection.query(`SET sql_mode = 'NO_BACKSLASH_ESCAPES'`));
      const options = (method: 'query' | 'execute'): SqlEngineOptions => ({
        dialect: 'mysql',
        query: async (sql, values, returns) => {
          const [result] = await (method === 'query'
            ? pool.query<RowDataPacket[] & ResultSetHeader>(sql, values)
            : pool.execute<RowDataPacket[] & ResultSetHeader>(sql, values));
          return returns === 'rows' ? result : result.affectedRows;
        },
      });
      await expect(openSqlStore(options('query'))).rejects.toMatchObject({ code: 'SESSION_CONFIG' });
      await openSqlStore(options('execute'));
      await pool.end();
    } finally {
      await bench.close();
    }
  });
});

describeWithService('postgres', 'a client that binds no lists', () => {
  it.each([
    ['is sent one statement for each load', false],
    ['and another one gets several at once', true],
  ])('%s', async (_, bindsLists) => {
    const bench = new SqlClientBench(clientNamed('pg'));
    await bench.open();
    const { options } = bench.client;
    let loads = 0;
    const query: SqlEngineOptions['query'] = async (sql, values, returns) => {
      if (!bindsLists && sql.includes('[]')) throw new Error('This client knows no arrays.');
      if (sql.includes('AS key_hash')) loads += 1;
      return options.query(sql, values, returns);
    };
    try {
      const store = await openSqlStore({ ...options, query });
      const records = Array.from({ length: 20 }, () => newRecord());
      await Promise.all(records.map((record) => store.create(record.id, record)));
      const loaded = await Promise.all(records.map(({ id }) => store.load(id)));
      expect(loaded.map((record) => record?.id)).toEqual(records.map(({ id }) => id));
      expect(loads < records.length).toBe(bindsLists);
    } finally {
      await bench.close();
    }
  });
});

for (const name of [
  'Knex on PostgreSQL',
  'Knex on MySQL',
  'Drizzle on PostgreSQL',
  'Kysely on PostgreSQL',
  'sql.js',
]) {
  describeWithClient(name, 'errors', (bench) => {
    beforeAll(() => bench.open());
    afterAll(() => bench.close());

    it('hold no value of the statement, though the client quotes it', async () => {
      const record = newRecord({ word: "it's - hunter2" }, { userId: 'x'.repeat(300) });
      const errors: unknown[] = [];
      if (name !== 'sql.js') errors.push(await failure(bench.store.create(record.id, record)));
      await bench.run('ALTER TABLE nest_session RENAME TO elsewhere');
      errors.push(await failure(bench.store.create(record.id, record)));
      errors.push(await failure(bench.store.load(record.id)));
      await bench.run('ALTER TABLE elsewhere RENAME TO nest_session');
      for (const error of errors) {
        expect(error).toBeInstanceOf(Error);
        expect(inspect(error, { showHidden: true, depth: 9 })).not.toMatch(
          new RegExp(`hunter2|xxxxx|${record.id}|${record.keyHash}`),
        );
        // They are known as faults of the set-up, whatever the client has put around them.
        expect(error).not.toMatchObject({ code: 'SESSION_STORE_UNAVAILABLE' });
      }
    });

    it('tell of a missing table by its name, at the start', async () => {
      const opening = openSqlStore({ ...bench.client.options, table: 'elsewhere' });
      await expect(opening).rejects.toMatchObject({
        code: 'SESSION_CONFIG',
        message: expect.stringMatching(
          /missing \([^()]*elsewhere[^()]*\)\. Create it: npx nest-sessions schema/,
        ),
      });
    });
  });
}

const POOL_URL = Symbol('POOL_URL');

/** A client of the application's own, as it has it for everything else. */
@Injectable()
class Database implements OnModuleDestroy {
  readonly pool: Pool;

  constructor(@Inject(POOL_URL) connectionString: string) {
    this.pool = new Pool({ connectionString });
  }

  async onModuleDestroy(): Promise<void> {
    await this.pool.end();
  }
}

@Controller()
class AccountController {
  @Post('login')
  login(@Session() session: Session<{ visits: number }>) {
    session.increment('visits');
    session.login('ada');
  }

  @Get('mine')
  mine(@Session() session: Session<{ visits: number }>) {
    return { userId: session.userId, visits: session.visits };
  }

  @Post('logout')
  logout(@Session() session: Session) {
    session.logout();
  }
}

describeWithService('postgres', 'sqlEngine', () => {
  const bench = new SqlClientBench(clientNamed('pg'));
  beforeAll(() => bench.open());
  afterAll(() => bench.close());

  it.each(platforms)('takes its client from the application, on %s', async (platform) => {
    @Module({
      providers: [{ provide: POOL_URL, useValue: bench.url }, Database],
      exports: [Database],
    })
    class DatabaseModule {}
    const app = await startApp(platform, {
      engine: sqlEngine({
        imports: [DatabaseModule],
        inject: [Database],
        useFactory: ({ pool }: Database): SqlEngineOptions => ({
          dialect: 'postgres',
          query: async (sql, values, returns) => {
            const { rows, rowCount } = await pool.query<object>(sql, values);
            return returns === 'rows' ? rows : rowCount;
          },
        }),
      }),
      controllers: [AccountController],
      logger: silent,
    });
    const send = (method: 'GET' | 'POST', path: string, cookie = '') =>
      exchange(`${app.url}${path}`, { method, headers: { Cookie: cookie } }).answer;
    try {
      const cookie = sessionCookie(await send('POST', '/login')) as string;
      expect((await send('GET', '/mine', cookie)).body.toString()).toBe('{"userId":"ada","visits":1}');
      expect(await bench.rows('SELECT user_id FROM nest_session')).toEqual([{ user_id: 'ada' }]);
      await send('POST', '/logout', cookie);
      expect(await bench.rows('SELECT user_id FROM nest_session')).toEqual([]);
      expect((await send('GET', '/mine', cookie)).body.toString()).toBe('{"userId":null}');
    } finally {
      await app.close();
    }
  });
});

/** Clients that give up a connection that does not answer, as docs/engines/sql.md has them. Milliseconds. */
const LIMIT = 800;

const patientClients: Record<string, SqlClientKind> = {
  pg: {
    database: 'postgres',
    open(url) {
      const pool = new Pool({
        connectionString: url,
        query_timeout: LIMIT,
        connectionTimeoutMillis: LIMIT,
      });
      pool.on('error', () => {});
      return {
        options: {
          dialect: 'postgres',
          query: async (sql, values, returns) => {
            const { rows, rowCount } = await pool.query<object>(sql, values);
            return returns === 'rows' ? rows : rowCount;
          },
        },
        close: () => pool.end(),
      };
    },
  },

  mysql2: {
    database: 'mysql',
    open(uri) {
      const pool = createPool({ uri, connectTimeout: LIMIT });
      return {
        options: {
          dialect: 'mysql',
          query: async (sql, values, returns) => {
            const connection = await pool.getConnection();
            const timer = setTimeout(() => connection.destroy(), LIMIT);
            try {
              const [result] = await connection.execute<RowDataPacket[] & ResultSetHeader>(sql, values);
              return returns === 'rows' ? result : result.affectedRows;
            } finally {
              clearTimeout(timer);
              connection.release();
            }
          },
        },
        // A connection that is still being made fails it.
        close: () => pool.end().catch(() => {}),
      };
    },
  },
};

for (const [index, [name, client]] of rowsOf(patientClients, ['pg']).entries()) {
  const platform = platforms[index] as (typeof platforms)[number];
  describeWithService(
    client.database as DatabaseServer,
    `a network that falls silent (${name}, ${platform})`,
    () => {
      it('visitors are served again without a restart, with a client that gives connections up', async () => {
        const bench = new SqlClientBench(client);
        await bench.open();
        const wire = await bench.proxy();
        const remote = await bench.connect(wire);
        const app = await startApp(platform, {
          engine: sqlEngine(remote.options),
          options: { storeTimeout: '1s' },
          controllers: [VisitorController],
          logger: silent,
        });
        try {
          const { statuses, visits } = await visitThrough(app, {
            strike: () => wire.silence(),
            mend: () => wire.mend(),
            length: 0,
          });
          expect(statuses).toEqual([503]);
          expect(new Set(visits)).toEqual(new Set(['1']));
        } finally {
          await wire.close();
          await app.close();
          await bench.close();
        }
      });
    },
  );
}
