import { jest } from '@jest/globals';
import { Logger as NestLogger } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { TypeOrmModule } from '@nestjs/typeorm';
import {
  CreateNestSession1767225600000,
  createSessionTable,
  databaseEngine,
  type DatabaseEngineOptions,
  DatabaseStore,
  dropSessionTable,
  SessionEntity,
} from 'nest-sessions/database';
import {
  Column,
  DataSource,
  type DataSourceOptions,
  DefaultNamingStrategy,
  Entity,
  Index,
  type Logger,
  type MigrationInterface,
  type QueryRunner,
} from 'typeorm';
import { type JsonObject, type SessionRecord } from '../libs/session/src/stores/session-store.js';
import { HOUR, newId, newRecord, save } from '../libs/session/src/testing/store-bench.js';
import { testDatabase, testDataSource, type TestDatabase } from './support/data-source.js';
import { describeOnEveryDatabase, describeWithService } from './support/services.js';

async function load(store: DatabaseStore, id: string): Promise<SessionRecord> {
  const record = await store.load(id);
  if (record === null) throw new Error('The record is gone.');
  return record;
}

/** As it is loaded after its creation. */
async function create(
  store: DatabaseStore,
  data: JsonObject = {},
  overrides: Partial<SessionRecord> = {},
): Promise<SessionRecord> {
  const record = newRecord(data, overrides);
  if (!(await store.create(record.id, record))) throw new Error('The id is taken.');
  return load(store, record.id);
}

@Entity('app_session')
class AppSession extends SessionEntity {
  @Index()
  @Column({ type: 'int', nullable: true })
  accountId!: number | null;

  @Column({ type: 'simple-json', nullable: true })
  roles!: string[] | null;

  @Column({ type: Date, nullable: true })
  signedInAt!: Date | null;

  static override columnsFrom(data: JsonObject): Partial<AppSession> {
    const { accountId, roles, signedInAt } = data;
    return {
      accountId: typeof accountId === 'number' ? accountId : null,
      roles: Array.isArray(roles) ? (roles as string[]) : null,
      signedInAt: typeof signedInAt === 'string' ? new Date(signedInAt) : null,
    };
  }
}

class OddNames extends DefaultNamingStrategy {
  override columnName(propertyName: string, customName: string | undefined): string {
    return `The ${customName ?? propertyName} of it`;
  }
}

class StatementLog implements Logger {
  last = '';
  count = 0;

  logQuery(text: string): void {
    this.last = text;
    this.count += 1;
  }

  logQueryError(): void {}
  logQuerySlow(): void {}
  logSchemaBuild(): void {}
  logMigration(): void {}
  log(): void {}
}

/** `type: 'mysql'` makes TypeORM see differences on MariaDB that are none. */
async function withRightType(options: DataSourceOptions): Promise<DataSourceOptions> {
  if (options.type !== 'mysql') return options;
  const dataSource = await new DataSource(options).initialize();
  const [row] = await dataSource.query<{ version: string }[]>('SELECT VERSION() AS version');
  await dataSource.destroy();
  return row?.version.includes('MariaDB') ? { ...options, type: 'mariadb' } : options;
}

describeOnEveryDatabase('databaseEngine', (kind) => {
  let database: TestDatabase;
  let opened: DataSource[] = [];
  beforeEach(async () => {
    database = await testDatabase(kind);
    opened = [];
  });
  afterEach(async () => {
    // A start-up that fails leaves its data source open: an application would exit.
    await Promise.all(opened.map((dataSource) => dataSource.destroy()));
    await database.dispose();
  });

  const start = async (
    engineOptions: DatabaseEngineOptions,
    typeOrm: { synchronize: boolean; autoLoadEntities: boolean } & Record<string, unknown>,
  ): Promise<DatabaseStore> => {
    const engine = databaseEngine(engineOptions);
    const named = engineOptions.dataSource === undefined ? {} : { name: engineOptions.dataSource };
    const module = await Test.createTestingModule({
      imports: [
        TypeOrmModule.forRootAsync({
          ...named,
          useFactory: () => ({ ...named, ...database.options, ...typeOrm, retryAttempts: 0 }),
          dataSourceFactory: async (options) => {
            const dataSource = await new DataSource(options as DataSourceOptions).initialize();
            opened.push(dataSource);
            return dataSource;
          },
        }),
        ...(engine.imports ?? []),
      ],
      providers: [{ provide: 'store', inject: engine.inject ?? [], useFactory: engine.useFactory }],
    }).compile();
    return module.get<DatabaseStore>('store');
  };

  it('gives a store on the default data source', async () => {
    const store = await start({}, { synchronize: true, autoLoadEntities: true });
    expect((await create(store, { a: 1 })).data['a']).toBe(1);
  });

  it('gives a store on a named data source, with an entity of the user', async () => {
    const store = await start(
      { dataSource: 'sessions', entity: AppSession, preparedStatements: false },
      { synchronize: true, autoLoadEntities: true },
    );
    await create(store, { accountId: 7 });
    expect(await AppSession.countBy({ accountId: 7 })).toBe(1);
  });

  it('stops the start-up when the table is missing', async () => {
    await expect(start({}, { synchronize: false, autoLoadEntities: true })).rejects.toMatchObject({
      code: 'SESSION_CONFIG',
      option: 'engine',
      message: expect.stringMatching(/nest_session.*migration.*synchronize/s),
    });
  });

  it('stops the start-up when the data source does not know the entity', async () => {
    await expect(start({}, { synchronize: true, autoLoadEntities: false })).rejects.toMatchObject({
      code: 'SESSION_CONFIG',
      message: expect.stringContaining('autoLoadEntities'),
    });
  });

  if (kind === 'mysql') {
    it.each(['latin1', 'utf8', 'cp1251_general_ci'])(
      'stops the start-up when the connection has the charset %s',
      async (charset) => {
        const settings = { synchronize: true, autoLoadEntities: true };
        await start({}, settings);
        await expect(start({}, { ...settings, charset })).rejects.toMatchObject({
          code: 'SESSION_CONFIG',
          option: 'engine',
          message: expect.stringMatching(/the charset of the connection is .*utf8mb4/),
        });
      },
    );
  }

  if (kind === 'sqljs') return;

  /** Statements of the application, on the connections of the sessions. */
  const limits =
    kind === 'mysql'
      ? { enableQueryTimeout: true, maxQueryExecutionTime: 5000 }
      : { extra: { query_timeout: 5000 } };

  it.each([
    { environment: 'production', settings: { entities: [AppSession] }, warnings: 1 },
    { environment: 'production', settings: { entities: [AppSession], ...limits }, warnings: 0 },
    { environment: 'production', settings: {}, warnings: 0 },
    { environment: 'development', settings: { entities: [AppSession] }, warnings: 0 },
  ])(
    'warns of statements without a limit, which only the application can set: %p',
    async ({ environment, settings, warnings }) => {
      await start({}, { synchronize: true, autoLoadEntities: true });
      const before = process.env['NODE_ENV'];
      process.env['NODE_ENV'] = environment;
      const warn = jest.spyOn(NestLogger.prototype, 'warn').mockImplementation(() => undefined);
      const { extra } = database.options as { extra?: object };
      try {
        await start(
          {},
          {
            synchronize: true,
            autoLoadEntities: true,
            ...settings,
            ...('extra' in settings && { extra: { ...extra, ...settings.extra } }),
          },
        );
        expect(warn.mock.calls.filter(([text]) => /time limit/.test(String(text)))).toHaveLength(warnings);
      } finally {
        process.env['NODE_ENV'] = before;
        warn.mockRestore();
      }
    },
  );
});

describeOnEveryDatabase('an entity with columns of its own', (kind) => {
  let store: DatabaseStore;
  let dataSource: DataSource;
  let dispose: () => Promise<void>;
  beforeAll(async () => {
    ({ dataSource, dispose } = await testDataSource(kind, [AppSession]));
    store = new DatabaseStore(dataSource, AppSession);
  });
  afterAll(() => dispose());

  const row = (id: string): Promise<AppSession | null> =>
    dataSource.getRepository(AppSession).findOneBy({ sessionId: id });

  it('is filled on creation and on save, and emptied when the value goes', async () => {
    const { id } = await create(store, { accountId: 1 });
    expect(await row(id)).toMatchObject({ accountId: 1, roles: null });

    const signedInAt = '2026-02-03T04:05:06.000Z';
    const set = { accountId: 2, roles: ['a"b'], signedInAt };
    await save(store, await load(store, id), { set });
    expect(await row(id)).toMatchObject({
      accountId: 2,
      roles: ['a"b'],
      signedInAt: new Date(signedInAt),
    });

    await save(store, await load(store, id), { unset: ['accountId'] });
    expect(await row(id)).toMatchObject({ accountId: null, roles: ['a"b'] });
    await save(store, await load(store, id), { clear: true });
    expect(await row(id)).toMatchObject({ accountId: null, roles: null, signedInAt: null });
  });

  it('is not blanked by a concurrent request that knows nothing of the value, and set by one that does', async () => {
    const loaded = await create(store);
    const { id } = loaded;
    await save(store, loaded, { set: { accountId: 5 } });
    await save(store, loaded, { increment: { visits: 1 } });
    expect(await row(id)).toMatchObject({ accountId: 5 });
    await save(store, loaded, { set: { roles: ['late'] } });
    expect(await row(id)).toMatchObject({ accountId: 5, roles: ['late'] });
    expect(await load(store, id)).toMatchObject({ data: { accountId: 5, visits: 1, roles: ['late'] } });
  });

  it('is left alone by writes that touch no data', async () => {
    const loaded = await create(store, { accountId: 3 });
    expect(await store.save(loaded.id, loaded.keyHash, { expiry: 60 }, { ...loaded, data: {} })).toBe(true);
    expect(await row(loaded.id)).toMatchObject({ accountId: 3, expiry: '60' });
  });

  it('follows the data when the store has to merge them', async () => {
    const loaded = await create(store, { accountId: 1, filler: 'x'.repeat(1000) });
    store.limits = { size: 2000, keys: 100 };
    for (const accountId of [2, 3]) {
      const set = { accountId, filler: `${accountId}`.repeat(1000) };
      expect(await save(store, loaded, { set })).toBe(true);
      expect(await row(loaded.id)).toMatchObject({ accountId });
    }
    store.limits = { size: Infinity, keys: Infinity };
  });

  it('refuses values for columns that it has not', async () => {
    class Mistaken extends AppSession {
      static override columnsFrom(): Record<string, unknown> {
        return { acountId: 1 };
      }
    }
    const known = dataSource.getMetadata(AppSession);
    dataSource.entityMetadatasMap.set(Mistaken, known);
    const mistaken = new DatabaseStore(dataSource, Mistaken);
    await expect(create(mistaken)).rejects.toMatchObject({
      code: 'SESSION_CONFIG',
      message: expect.stringContaining('"acountId"'),
    });
  });
});

describeOnEveryDatabase('names', (kind) => {
  it('come from the metadata, quoted', async () => {
    const { dataSource, dispose } = await testDataSource(kind, [AppSession], {
      namingStrategy: new OddNames(),
      entityPrefix: 'Odd ',
    });
    try {
      expect(dataSource.getMetadata(AppSession).tableName).toBe('Odd app_session');
      const store = new DatabaseStore(dataSource, AppSession);
      await store.checkTable();
      const loaded = await create(store, { accountId: 1 }, { userId: 'Ann' });
      const { id } = loaded;
      expect(await store.create(id, newRecord({}, { id }))).toBe(false);
      expect(await save(store, loaded, { set: { accountId: 2 } })).toBe(true);
      expect(await store.touch(id, { ...loaded, version: 2, expiresAt: Date.now() + 2 * HOUR })).toBe(true);
      expect(await AppSession.findOneBy({ sessionId: id })).toMatchObject({ accountId: 2, userId: 'Ann' });
      expect((await store.listByUser('Ann')).map((record) => record.id)).toEqual([id]);
      const expired = newRecord({}, { expiresAt: Date.now() - HOUR });
      await store.create(expired.id, expired);
      expect(await store.clearExpired(10)).toBe(1);
      expect(await store.take(id)).toMatchObject({ data: { accountId: 2 }, userId: 'Ann' });
      expect(await store.delete(id)).toBe(false);
    } finally {
      await dispose();
    }
  });

  it('are missed when one column is not there', async () => {
    const { dataSource, dispose } = await testDataSource(kind, [SessionEntity]);
    try {
      const store = new DatabaseStore(dataSource);
      await store.checkTable();
      await dataSource.query('ALTER TABLE nest_session DROP COLUMN last_seen_at');
      await expect(store.checkTable()).rejects.toMatchObject({ code: 'SESSION_CONFIG' });
    } finally {
      await dispose();
    }
  });
});

@Entity({ schema: 'odd.schema', name: 'session' })
class SchemaSession extends SessionEntity {}

@Entity({ schema: 'plain', name: 'odd.session' })
class TableSession extends SessionEntity {}

@Entity('plain.session')
class PathSession extends SessionEntity {}

describeWithService('postgres', 'a dot in the name', () => {
  it.each([
    { where: 'of the schema', schema: 'odd.schema', entity: SchemaSession, table: '"odd.schema"."session"' },
    { where: 'of the table', schema: 'plain', entity: TableSession, table: '"plain"."odd.session"' },
    { where: 'between both', schema: 'plain', entity: PathSession, table: '"plain"."session"' },
  ])('$where', async ({ schema, entity, table }) => {
    const { dataSource, dispose } = await testDataSource('postgres', [entity, PathSession], {
      synchronize: false,
    });
    try {
      await dataSource.query(`DROP SCHEMA IF EXISTS "${schema}" CASCADE`);
      await dataSource.query(`CREATE SCHEMA "${schema}"`);
      const queryRunner = dataSource.createQueryRunner();
      // TypeORM can make no table with a dot in its name, so this one was made by hand.
      await createSessionTable(queryRunner, entity === TableSession ? PathSession : entity);
      if (entity === TableSession) {
        await queryRunner.query('ALTER TABLE "plain"."session" RENAME TO "odd.session"');
      }
      await queryRunner.release();
      const store = new DatabaseStore(dataSource, entity);
      await store.checkTable();
      const { id } = await create(store, { a: 1 });
      expect(await dataSource.query(`SELECT session_key AS id FROM ${table}`)).toEqual([{ id }]);
    } finally {
      await dataSource.query(`DROP SCHEMA IF EXISTS "${schema}" CASCADE`);
      await dispose();
    }
  });
});

class CreateAppSession1767225600001 implements MigrationInterface {
  up(queryRunner: QueryRunner): Promise<void> {
    return createSessionTable(queryRunner, AppSession);
  }

  down(queryRunner: QueryRunner): Promise<void> {
    return dropSessionTable(queryRunner, AppSession);
  }
}

describeOnEveryDatabase('the migration', (kind) => {
  it.each([
    { entity: SessionEntity, migration: CreateNestSession1767225600000 },
    { entity: AppSession, migration: CreateAppSession1767225600001 },
  ])(
    'makes the table that $entity.name describes, and takes it away again',
    async ({ entity, migration }) => {
      const database = await testDatabase(kind);
      const dataSource = new DataSource({
        ...(await withRightType(database.options)),
        entities: [entity],
        migrations: [migration],
      });
      try {
        await dataSource.initialize();
        await dataSource.runMigrations();
        const store = new DatabaseStore(dataSource, entity);
        await store.checkTable();
        const { upQueries } = await dataSource.driver.createSchemaBuilder().log();
        expect(upQueries.map(({ query }) => query)).toEqual([]);

        const loaded = await create(store, { a: 'é🔑'.repeat(50_000), accountId: 1 });
        await save(store, loaded, { set: { b: 1 } });
        expect((await load(store, loaded.id)).data).toMatchObject({ a: 'é🔑'.repeat(50_000), b: 1 });

        await dataSource.undoLastMigration();
        await expect(store.checkTable()).rejects.toMatchObject({ code: 'SESSION_CONFIG' });
      } finally {
        if (dataSource.isInitialized) await dataSource.destroy();
        await database.dispose();
      }
    },
  );
});

/** Statements of ours that the connection has prepared. */
const prepared = (dataSource: DataSource): Promise<unknown[]> =>
  dataSource.query<unknown[]>(`SELECT name FROM pg_prepared_statements WHERE name LIKE 'nest_session%'`);

const EXPLAIN = { postgres: 'EXPLAIN', mysql: 'EXPLAIN', sqljs: 'EXPLAIN QUERY PLAN' };

describeOnEveryDatabase('an index', (kind) => {
  const log = new StatementLog();
  let dataSource: DataSource;
  let dispose: () => Promise<void>;
  beforeAll(async () => {
    ({ dataSource, dispose } = await testDataSource(kind, [SessionEntity], {
      logging: true,
      logger: log,
      namingStrategy: new OddNames(),
    }));
    // So many that an index is worth its while.
    const rows = Array.from({ length: 2000 }, (_, n) => ({
      sessionId: newId(),
      keyHash: 'v1.none',
      sessionData: '{}',
      sessionLog: '',
      sessionMeta: '',
      expiry: '',
      version: 1,
      expireDate: Date.now() + n * HOUR,
      expireBucket: Math.floor(Date.now() / HOUR) + n,
      userId: `user ${n}`,
      createdAt: Date.now(),
      lastSeenAt: Date.now(),
    }));
    await dataSource.getRepository(SessionEntity).insert(rows);
    if (kind !== 'sqljs')
      await dataSource.query(`${kind === 'mysql' ? 'ANALYZE TABLE' : 'ANALYZE'} nest_session`);
  });
  afterAll(() => dispose());

  const indexOn = (property: string): string | undefined => {
    const { indices } = dataSource.getMetadata(SessionEntity);
    return indices.find(({ columns }) => columns[0]?.propertyName === property)?.name;
  };

  it('is on the user and on the hour of the deadline, and on nothing else', () => {
    const { indices } = dataSource.getMetadata(SessionEntity);
    expect(indices.map(({ columns }) => columns.map(({ propertyName }) => propertyName))).toEqual([
      ['expireBucket'],
      ['userId'],
    ]);
  });

  it.each<[string, string, (store: DatabaseStore) => Promise<unknown>, unknown[]]>([
    ["a user's sessions", 'userId', (store) => store.listByUser('user 7'), ['user 7', 'user 7']],
    ['what has expired', 'expireBucket', (store) => store.clearExpired(10), []],
  ])('finds %s', async (_what, property, work, values) => {
    await work(new DatabaseStore(dataSource));
    const parameters = kind === 'mysql' ? values : values.slice(0, 1);
    const plan = await dataSource.query<object[]>(`${EXPLAIN[kind]} ${log.last}`, parameters);
    expect(JSON.stringify(plan)).toContain(indexOn(property));
  });
});

describeWithService('postgres', 'DatabaseStore on PostgreSQL', () => {
  const log = new StatementLog();
  const open = async (poolSize: number, settings = '') => {
    const database = await testDatabase('postgres');
    const { extra } = database.options as { extra: { options: string } };
    const dataSource = new DataSource({
      ...database.options,
      extra: { options: `${extra.options} ${settings}` },
      poolSize,
      logging: true,
      logger: log,
      entities: [SessionEntity],
      migrations: [CreateNestSession1767225600000],
      migrationsRun: true,
    } as DataSourceOptions);
    await dataSource.initialize();
    return {
      dataSource,
      close: async () => {
        await dataSource.destroy();
        await database.dispose();
      },
    };
  };
  it('prepares its statements, and goes on without when the connection has lost them', async () => {
    const { dataSource, close } = await open(1);
    const store = new DatabaseStore(dataSource);
    const { id } = await create(store);
    expect(await prepared(dataSource)).toHaveLength(2);

    await dataSource.query('DEALLOCATE ALL');
    expect(await save(store, await load(store, id), { set: { a: 1 } })).toBe(true);
    expect((await load(store, id)).data['a']).toBe(1);
    expect(await prepared(dataSource)).toHaveLength(0);
    await close();
  });

  it('goes on when the table is altered under it, and prepares its statements again', async () => {
    const { dataSource, close } = await open(1);
    const store = new DatabaseStore(dataSource);
    const { id } = await create(store, { a: 1 });
    await dataSource.query('ALTER TABLE nest_session ALTER COLUMN user_id TYPE text');
    expect((await load(store, id)).data['a']).toBe(1);
    expect((await load(store, id)).data['a']).toBe(1);
    expect(await prepared(dataSource)).toHaveLength(1);
    await close();
  });

  it('prepares nothing when told so', async () => {
    const { dataSource, close } = await open(1);
    const store = new DatabaseStore(dataSource, SessionEntity, { preparedStatements: false });
    await create(store);
    expect(await prepared(dataSource)).toHaveLength(0);
    await close();
  });

  it('touches without writing to an index', async () => {
    const { dataSource, close } = await open(1);
    const store = new DatabaseStore(dataSource);
    // A deadline in the middle of an hour, so that no touch crosses into the next.
    const middle = Math.floor(Date.now() / HOUR) * HOUR + 2.5 * HOUR;
    const loaded = await create(store, {}, { expiresAt: middle });
    for (let n = 1; n <= 20; n++) {
      expect(await store.touch(loaded.id, { ...loaded, expiresAt: middle + n * 10_000 })).toBe(true);
    }
    await dataSource.query('SELECT pg_stat_force_next_flush()');
    const [statistics] = await dataSource.query<Record<string, unknown>[]>(
      `SELECT n_tup_upd::int AS updated, n_tup_hot_upd::int AS hot FROM pg_stat_user_tables
        WHERE relid = 'nest_session'::regclass`,
    );
    expect(statistics).toEqual({ updated: 20, hot: 20 });
    await close();
  });

  it('is stored as the measurements ask for', async () => {
    const { dataSource, close } = await open(1);
    const [table] = await dataSource.query<{ options: string[] }[]>(
      `SELECT reloptions AS options FROM pg_class WHERE oid = 'nest_session'::regclass`,
    );
    expect(table?.options).toEqual(['autovacuum_vacuum_scale_factor=0.02']);
    const [key] = await dataSource.query<Record<string, unknown>[]>(
      `SELECT collation_name FROM information_schema.columns
        WHERE table_schema = current_schema() AND table_name = 'nest_session' AND column_name = 'session_key'`,
    );
    expect(key).toEqual({ collation_name: 'C' });
    await close();
  });

  it.each(['serializable', 'repeatable read'])(
    'sends a statement again that was rolled back because of others, where the default is %s',
    async (isolation) => {
      const { dataSource, close } = await open(
        10,
        `-c default_transaction_isolation=${isolation.replace(' ', '\\ ')}`,
      );
      // Each is a process of its own: one process sends the saves of a session one after the other.
      const stores = Array.from({ length: 8 }, () => new DatabaseStore(dataSource));
      const [store] = stores as [DatabaseStore];
      const loaded = await create(store);
      const statements = log.count;
      const saves = Array.from({ length: 25 }, () =>
        stores.map((each) => save(each, loaded, { increment: { n: 1 } })),
      ).flat();
      expect(await Promise.all(saves)).toEqual(saves.map(() => true));
      expect(log.count - statements).toBeGreaterThan(200);
      expect((await load(store, loaded.id)).data['n']).toBe(200);
      await close();
    },
  );

  it('lets one cleaner work at a time', async () => {
    const { dataSource, close } = await open(5);
    const store = new DatabaseStore(dataSource);
    const expired = newRecord({}, { expiresAt: Date.now() - HOUR });
    await store.create(expired.id, expired);
    const holder = dataSource.createQueryRunner();
    await holder.startTransaction();
    await store.clearExpired(0);
    const turn = /pg_try_advisory_xact_lock\(.*?\)/.exec(log.last)?.[0];
    expect(await holder.query(`SELECT ${turn} AS mine`)).toEqual([{ mine: true }]);
    expect(await store.clearExpired(10)).toBe(0);
    // A table of the same name in another schema has cleaners of its own.
    const elsewhere = await open(1);
    const other = new DatabaseStore(elsewhere.dataSource);
    await other.create(expired.id, expired);
    expect(await other.clearExpired(10)).toBe(1);
    await elsewhere.close();
    await holder.commitTransaction();
    await holder.release();
    expect(await store.clearExpired(10)).toBe(1);
    await close();
  });
});

describeWithService('postgres', 'a database in another encoding', () => {
  it('stops the start-up', async () => {
    const { dataSource, dispose } = await testDataSource('postgres', []);
    const name = `latin1_${newId().toLowerCase().replaceAll('-', '_')}`;
    await dataSource.query(
      `CREATE DATABASE "${name}" TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'`,
    );
    try {
      const url = new URL((dataSource.options as { url: string }).url);
      url.pathname = `/${name}`;
      const other = new DataSource({
        type: 'postgres',
        url: url.href,
        entities: [SessionEntity],
        synchronize: true,
      });
      await other.initialize();
      await expect(new DatabaseStore(other).checkTable()).rejects.toMatchObject({
        code: 'SESSION_CONFIG',
        message: expect.stringContaining('encoding of the database is LATIN1'),
      });
      await other.destroy();
    } finally {
      await dataSource.query(`DROP DATABASE "${name}" WITH (FORCE)`);
      await dispose();
    }
  });
});

describeWithService('mysql', 'DatabaseStore on MySQL', () => {
  it('finds its rows by the primary key', async () => {
    const log = new StatementLog();
    const { dataSource, dispose } = await testDataSource('mysql', [SessionEntity], {
      logging: true,
      logger: log,
    });
    const store = new DatabaseStore(dataSource);
    const [first] = await Promise.all(Array.from({ length: 300 }, () => create(store)));
    await store.load(first?.id ?? '');
    const [plan] = await dataSource.query<{ key: string; rows: unknown }[]>(`EXPLAIN ${log.last}`, [
      first?.id,
    ]);
    expect({ key: plan?.key, rows: Number(plan?.rows) }).toEqual({ key: 'PRIMARY', rows: 1 });
    await dispose();
  });

  it('reads the number of affected rows right when FOUND_ROWS is off', async () => {
    const database = await testDatabase('mysql');
    const dataSource = new DataSource({
      ...database.options,
      extra: { flags: '-FOUND_ROWS' },
      synchronize: true,
      entities: [SessionEntity],
    });
    await dataSource.initialize();
    const store = new DatabaseStore(dataSource);
    const loaded = await create(store, { a: 1 });
    const { id } = loaded;
    expect(await save(store, loaded, { set: { a: 1 } })).toBe(true);
    expect(await save(store, loaded, {})).toBe(true);
    expect(await store.create(id, loaded)).toBe(false);
    const again = await load(store, id);
    expect(await store.touch(id, { ...again, expiresAt: Date.now() + 2 * HOUR })).toBe(true);
    expect(await store.touch(id, { ...again, expiresAt: Date.now() + HOUR })).toBe(false);
    await dataSource.destroy();
    await database.dispose();
  });

  it.each(['session_data', 'session_log', 'session_meta', 'user_id'])(
    'stops the start-up when the column %s does not carry every text',
    async (column) => {
      const { dataSource, dispose } = await testDataSource('mysql', [SessionEntity]);
      await dataSource.query(`ALTER TABLE nest_session MODIFY ${column} VARCHAR(255) CHARACTER SET utf8mb3`);
      await expect(new DatabaseStore(dataSource).checkTable()).rejects.toMatchObject({
        code: 'SESSION_CONFIG',
        message: expect.stringContaining(`the ${column} is utf8`),
      });
      await dispose();
    },
  );

  it('passes on a duplicate that is not one of the key', async () => {
    const { dataSource, dispose } = await testDataSource('mysql', [SessionEntity]);
    await dataSource.query('CREATE UNIQUE INDEX only_one ON nest_session (user_id)');
    const store = new DatabaseStore(dataSource);
    await create(store, {}, { userId: 'Ann' });
    await expect(create(store, {}, { userId: 'Ann' })).rejects.toMatchObject({ code: 'ER_DUP_ENTRY' });
    await dispose();
  });
});
