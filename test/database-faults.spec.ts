import { setTimeout } from 'node:timers/promises';
import {
  type CallHandler,
  Controller,
  type ExecutionContext,
  Injectable,
  type NestInterceptor,
  Post,
  Session as NestSession,
  UseInterceptors,
} from '@nestjs/common';
import { Session } from 'nest-sessions';
import { DatabaseStore, SessionEntity } from 'nest-sessions/database';
import { finalize, mergeMap, type Observable } from 'rxjs';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { newRecord } from '../libs/session/src/testing/store-bench.js';
import { platforms, type RunningApp } from './support/app.js';
import {
  type RemoteDatabase,
  remoteDatabase,
  testDatabase,
  type TestDatabase,
} from './support/data-source.js';
import { DatabaseStoreBench, onEveryConnection } from './support/database-store-bench.js';
import { appOnDatabase, visitThrough } from './support/outage.js';
import { type DatabaseServer, describeWithService } from './support/services.js';
import { type Answer, exchange, sessionCookie } from './support/wire.js';

// What a database does to its clients on a bad day.

/** Of a trigger on the table, which answers a save with an error of any code. */
const refusals: Record<DatabaseServer, (code: string, state: string) => string[]> = {
  postgres: (code) => [
    `CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
      $$ BEGIN RAISE EXCEPTION 'As on a bad day' USING ERRCODE = '${code}'; END $$`,
    `CREATE OR REPLACE TRIGGER refuse BEFORE UPDATE ON nest_session FOR EACH ROW EXECUTE FUNCTION refuse()`,
  ],
  mysql: (code, state) => [
    `DROP TRIGGER IF EXISTS refuse`,
    `CREATE TRIGGER refuse BEFORE UPDATE ON nest_session FOR EACH ROW
      SIGNAL SQLSTATE '${state}' SET MYSQL_ERRNO = ${code}, MESSAGE_TEXT = 'As on a bad day'`,
  ],
};

const servers: readonly DatabaseServer[] = ['postgres', 'mysql'];

const unavailable = 'SESSION_STORE_UNAVAILABLE';

/** What the server says, and the code of what the store throws: its own, or the driver's where the fault is ours. */
const errors: Record<DatabaseServer, [code: string, state: string, meaning: string, expected: string][]> = {
  postgres: [
    ['58030', '', 'an input or output error', unavailable],
    ['58000', '', 'an error of the system', unavailable],
    ['58P01', '', 'a file that is missing', unavailable],
    ['XX000', '', 'an internal error', unavailable],
    ['XX001', '', 'a corrupt page', unavailable],
    ['XX002', '', 'a corrupt index', unavailable],
    ['3D000', '', 'a database that is missing', unavailable],
    ['55000', '', 'not in this state', unavailable],
    ['55P03', '', 'a lock that is not free', unavailable],
    ['53100', '', 'a full disk', unavailable],
    ['53200', '', 'no memory', unavailable],
    ['53300', '', 'too many connections', unavailable],
    ['57014', '', 'a statement that took too long', unavailable],
    ['57P03', '', 'a server that is starting', unavailable],
    ['25006', '', 'a read-only server', unavailable],
    ['42501', '', 'no privilege', unavailable],
    ['P0001', '', 'an error of a trigger', unavailable],
    ['42P01', '', 'a table that is missing', '42P01'],
    ['42703', '', 'a column that is missing', '42703'],
    ['22001', '', 'a value that is too long', '22001'],
    ['23514', '', 'a constraint', '23514'],
  ],
  mysql: [
    ['1969', '70100', 'MariaDB: a statement that took too long', unavailable],
    ['3024', 'HY000', 'MySQL: a statement that took too long', unavailable],
    ['1114', 'HY000', 'a full disk', unavailable],
    ['1021', 'HY000', 'a full disk, while a table is written', unavailable],
    ['1030', 'HY000', 'an error of the storage engine', unavailable],
    ['1041', 'HY000', 'no memory', unavailable],
    ['1040', '08004', 'too many connections', unavailable],
    ['1203', '42000', 'too many connections of the user', unavailable],
    ['1226', '42000', 'a limit of the user', unavailable],
    ['1461', '42000', 'too many prepared statements', unavailable],
    ['1047', '08S01', 'Galera: a node that is not prepared', unavailable],
    ['3100', 'HY000', 'group replication: a member that takes no writes', unavailable],
    ['3098', 'HY000', 'group replication: a table that it refuses', unavailable],
    ['3032', 'HY000', 'a server that is offline', unavailable],
    ['1290', 'HY000', 'a read-only server', unavailable],
    ['1792', '25006', 'a read-only transaction', unavailable],
    ['1836', 'HY000', 'a read-only mode', unavailable],
    ['1874', 'HY000', 'a read-only storage engine', unavailable],
    ['1036', 'HY000', 'a read-only table', unavailable],
    ['1205', 'HY000', 'a lock that was waited for too long', unavailable],
    ['3572', 'HY000', 'a lock that is not free', unavailable],
    ['1317', '70100', 'a statement that was killed', unavailable],
    ['1142', '42000', 'no privilege', unavailable],
    ['4242', 'HY000', 'an error that nobody knows', unavailable],
    ['1146', '42S02', 'a table that is missing', 'ER_NO_SUCH_TABLE'],
    ['1054', '42S22', 'a column that is missing', 'ER_BAD_FIELD_ERROR'],
    ['1406', '22001', 'a value that is too long', 'ER_DATA_TOO_LONG'],
    ['1366', 'HY000', 'a text that is none', 'ER_TRUNCATED_WRONG_VALUE_FOR_FIELD'],
    ['1364', 'HY000', 'a column without a value', 'ER_NO_DEFAULT_FOR_FIELD'],
  ],
};

for (const kind of servers) {
  describeWithService(kind, `DatabaseStore told of an error (${kind})`, () => {
    const bench = new DatabaseStoreBench(kind);
    beforeAll(() => bench.open());
    afterAll(() => bench.close());

    it('says that it is unavailable when the server ends a statement for its time', async () => {
      const loaded = await bench.create();
      const [server] = await bench.dataSource.query<{ version: string }[]>('SELECT VERSION() AS version');
      const mariadb = server?.version.includes('MariaDB');
      await bench.onEveryConnection(
        kind === 'postgres'
          ? `SET statement_timeout = '100ms'`
          : `SET SESSION ${mariadb ? 'max_statement_time = 0.1' : 'innodb_lock_wait_timeout = 1'}`,
      );
      const holder = bench.dataSource.createQueryRunner();
      await holder.startTransaction();
      await holder.manager.update(SessionEntity, { sessionId: loaded.id }, { userId: 'Ann' });
      await expect(bench.save(loaded, { set: { a: 1 } })).rejects.toMatchObject({ code: unavailable });
      await holder.rollbackTransaction();
      await holder.release();
      expect(await bench.save(loaded, { set: { a: 1 } })).toBe(true);
    });

    it.each(errors[kind])('%s %s: %s', async (code, state, _meaning, expected) => {
      const loaded = await bench.create({ a: 1 });
      for (const statement of refusals[kind](code, state)) await bench.dataSource.query(statement);
      const saves = [{ set: { a: 2 } }, { expiry: 60 }].map((changes) => bench.save(loaded, changes));
      for (const save of await Promise.allSettled(saves)) {
        expect(save).toMatchObject({ status: 'rejected', reason: { code: expected } });
      }
      expect((await bench.load(loaded.id)).data['a']).toBe(1);
    });
  });
}

/** Refusals of a server that was demoted, or has left its cluster, and one that says nothing about the connection. */
const demotions: Record<DatabaseServer, [code: string, state: string, drops: boolean][]> = {
  postgres: [
    ['25006', '', true],
    ['53100', '', false],
  ],
  mysql: [
    ['1290', 'HY000', true],
    ['1792', '25006', true],
    ['1836', 'HY000', true],
    ['1047', '08S01', true],
    ['3100', 'HY000', true],
    ['1114', 'HY000', false],
  ],
};

for (const kind of servers) {
  describeWithService(kind, `a connection to a server that takes no writes any more (${kind})`, () => {
    const bench = new DatabaseStoreBench(kind);
    beforeAll(() => bench.open({ poolSize: 1 }));
    afterAll(() => bench.close());

    const connection = async (): Promise<unknown> => {
      const [row] = await bench.dataSource.query<{ id: unknown }[]>(
        kind === 'postgres' ? 'SELECT pg_backend_pid() AS id' : 'SELECT CONNECTION_ID() AS id',
      );
      return row?.id;
    };

    it.each(demotions[kind])('%s %s: is replaced: %p', async (code, state, drops) => {
      const loaded = await bench.create();
      for (const statement of refusals[kind](code, state)) await bench.dataSource.query(statement);
      const before = await connection();
      for (let n = 0; n < 2; n += 1) {
        await expect(bench.save(loaded, { set: { a: n } })).rejects.toMatchObject({ code: unavailable });
      }
      expect((await connection()) !== before).toBe(drops);
    });
  });
}

describe('DatabaseStore told of an error (sqljs)', () => {
  const bench = new DatabaseStoreBench('sqljs');
  beforeEach(() => bench.open());
  afterEach(() => bench.close());

  it.each([
    ['a database that is read-only', 'PRAGMA query_only = 1', { code: unavailable }],
    ['a database that is full', 'PRAGMA max_page_count = 1', { code: unavailable }],
    ['a table that is missing', 'DROP TABLE nest_session', { message: 'no such table: nest_session' }],
  ])('%s', async (_meaning, sql, expected) => {
    const loaded = await bench.create({ a: 1 });
    await bench.dataSource.query(sql);
    const saving = bench.save(loaded, { set: { big: 'x'.repeat(50_000) } });
    await expect(saving).rejects.toMatchObject(expected);
  });
});

/** More than a pool has connections. */
const MANY = 15;

for (const [index, kind] of servers.entries()) {
  const platform = platforms[index] as (typeof platforms)[number];
  describeWithService(kind, `when the network falls silent (${kind}, ${platform})`, () => {
    let remote: RemoteDatabase;
    let app: RunningApp;
    beforeAll(async () => {
      remote = await remoteDatabase(kind);
      app = await appOnDatabase(platform, remote.options, { storeTimeout: '1s' });
    });
    afterAll(() => remote.dispose(() => app.close()));

    it('visitors are served again within five seconds after it is back', async () => {
      const { wire } = remote;
      const { statuses, servedAfter, visits } = await visitThrough(app, {
        strike: () => wire.silence(),
        mend: () => wire.mend(),
        length: 0,
      });
      expect(statuses).toEqual([503]);
      expect(servedAfter).toBeLessThan(5000);
      expect(new Set(visits)).toEqual(new Set(['1']));
    });
  });

  describeWithService(kind, `when connections have fallen silent while they were idle (${kind})`, () => {
    it('that costs one request, not one for each of them', async () => {
      const remote = await remoteDatabase(kind);
      const dataSource = await new DataSource({
        ...remote.options,
        entities: [SessionEntity],
        synchronize: true,
      }).initialize();
      const store = new DatabaseStore(dataSource);
      store.timeLimit = 2000;
      try {
        const { id } = newRecord();
        // Each on a connection of its own.
        await Promise.all(Array.from({ length: MANY }, () => store.delete(id)));
        remote.wire.silence();
        remote.wire.mend();
        await expect(store.delete(id)).rejects.toMatchObject({ code: unavailable });
        for (let n = 0; n < MANY; n += 1) expect(await store.delete(id)).toBe(false);
      } finally {
        await remote.dispose(() => dataSource.destroy());
      }
    });
  });
}

async function statusesOf(answers: Promise<Answer>[]): Promise<number[]> {
  return [...new Set((await Promise.all(answers)).map(({ status }) => status))];
}

for (const [index, kind] of servers.entries()) {
  const platform = platforms[index] as (typeof platforms)[number];
  describeWithService(kind, `when all connections break for a moment (${kind}, ${platform})`, () => {
    it('visitors who read are served, and those who write before anything was sent', async () => {
      const database = await remoteDatabase(kind);
      const { wire } = database;
      const app = await appOnDatabase(platform, database.options, { storeTimeout: '1m' });
      try {
        const send = (method: 'GET' | 'POST', path: string, cookie = ''): Promise<Answer> =>
          exchange(`${app.url}${path}`, { method, headers: { Cookie: cookie } }).answer;
        const arrived = await Promise.all(Array.from({ length: 8 }, () => send('POST', '/visit')));
        const cookies = arrived.map((answer) => sessionCookie(answer) as string);
        // Under way when it breaks.
        wire.stall();
        const reads = cookies.map((cookie) => send('GET', '/seen', cookie));
        await setTimeout(100);
        wire.mend();
        expect(await statusesOf(reads)).toEqual([200]);

        // Nothing can be sent.
        wire.cut();
        const writes = cookies.map((cookie) => send('POST', '/visit', cookie));
        await setTimeout(100);
        wire.mend();
        expect(await statusesOf(writes)).toEqual([201]);
      } finally {
        await database.dispose(() => app.close());
      }
    });
  });
}

for (const kind of servers) {
  describeWithService(kind, `a database whose transactions are isolated by default (${kind})`, () => {
    it.each(['REPEATABLE READ', 'SERIALIZABLE'])(
      '%s: of 200 writes of a visitor at once none is refused',
      async (level) => {
        const bench = new DatabaseStoreBench(kind);
        await bench.open();
        // Two, because one lets the saves of a session wait for each other.
        const apps = await Promise.all(
          platforms.map((platform) =>
            appOnDatabase(platform, bench.dataSource.options, { storeTimeout: '1m' }),
          ),
        );
        const write = (n: number, cookie: string): Promise<Answer> =>
          exchange(`${apps[n % apps.length]?.url}/visit`, { method: 'POST', headers: { Cookie: cookie } })
            .answer;
        try {
          for (const { app } of apps) {
            await onEveryConnection(
              app.get(DataSource),
              kind === 'postgres'
                ? `SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL ${level}`
                : `SET SESSION TRANSACTION ISOLATION LEVEL ${level}`,
            );
          }
          const cookie = sessionCookie(await write(0, '')) as string;
          const answers = await Promise.all(Array.from({ length: 200 }, (_, n) => write(n, cookie)));
          expect(answers.filter(({ status }) => status !== 201)).toEqual([]);
          const [, id] = /^sessionid=(.{22})/.exec(cookie) ?? [];
          expect((await bench.load(String(id))).data['visits']).toBe(201);
        } finally {
          await Promise.all(apps.map((app) => app.close()));
          await bench.close();
        }
      },
    );
  });
}

const POOL_SIZE = 10;
const AT_ONCE = 12;

/** A transaction around every handler, as applications have it. */
@Injectable()
class TransactionInterceptor implements NestInterceptor {
  private held = 0;
  private letGo: (() => void) | undefined;
  /** Handlers begin when every connection of the pool is held. */
  private readonly allHeld = new Promise<void>((resolve) => (this.letGo = resolve));

  constructor(private readonly dataSource: DataSource) {}

  async intercept(_context: ExecutionContext, next: CallHandler): Promise<Observable<unknown>> {
    const runner = this.dataSource.createQueryRunner();
    await runner.startTransaction();
    this.held += 1;
    if (this.held === POOL_SIZE) this.letGo?.();
    await this.allHeld;
    return next.handle().pipe(
      mergeMap(async (answer: unknown) => {
        await runner.commitTransaction();
        return answer;
      }),
      finalize(() => void runner.release()),
    );
  }
}

/** The function has another name than the method. */
const wrapped: MethodDecorator = (_target, _name, descriptor) => {
  const { value } = descriptor as { value: (...values: unknown[]) => unknown };
  Object.assign(descriptor, {
    value(this: unknown, ...values: unknown[]) {
      return value.apply(this, values);
    },
  });
};

interface Visits {
  visits: number;
}

@Controller()
class TransactionController {
  @Post('ours')
  @UseInterceptors(TransactionInterceptor)
  ours(@Session() session: Session<Visits>) {
    return session.increment('visits');
  }

  @Post('one-value')
  @UseInterceptors(TransactionInterceptor)
  oneValue(@Session('visits') _visits: number, @Session() session: Session<Visits>) {
    return session.increment('visits');
  }

  @Post('nest')
  @UseInterceptors(TransactionInterceptor)
  nest(@NestSession() session: Session<Visits>) {
    return session.increment('visits');
  }

  @Post('wrapped-nest')
  @UseInterceptors(TransactionInterceptor)
  @wrapped
  wrappedNest(@NestSession() session: Session<Visits>) {
    return session.increment('visits');
  }

  @Post('wrapped-ours')
  @UseInterceptors(TransactionInterceptor)
  @wrapped
  wrappedOurs(@Session() session: Session<Visits>) {
    return session.increment('visits');
  }

  @Post('visit')
  visit(@Session() session: Session<Visits>) {
    return session.increment('visits');
  }
}

for (const kind of servers) {
  describeWithService(kind, `a transaction per request (${kind})`, () => {
    let database: TestDatabase;
    beforeAll(async () => {
      database = await testDatabase(kind);
    });
    afterAll(() => database.dispose());

    describe.each(platforms)('on %s', (platform) => {
      it.each(['ours', 'one-value', 'nest', 'wrapped-ours', 'wrapped-nest'])(
        'serves more requests at once than the pool has connections (/%s)',
        async (path) => {
          const app = await appOnDatabase(
            platform,
            { ...database.options, poolSize: POOL_SIZE } as DataSourceOptions,
            {
              storeTimeout: '20s',
            },
            TransactionController,
          );
          try {
            const send = (to: string, cookie = ''): Promise<Answer> =>
              exchange(`${app.url}/${to}`, { method: 'POST', headers: { Cookie: cookie } }).answer;
            const arrived = await Promise.all(Array.from({ length: AT_ONCE }, () => send('visit')));
            const answers = await Promise.all(arrived.map((answer) => send(path, sessionCookie(answer))));
            expect(answers.map(({ status, body }) => [status, body.toString()])).toEqual(
              arrived.map(() => [201, '2']),
            );
          } finally {
            await app.close();
          }
        },
      );
    });
  });
}
