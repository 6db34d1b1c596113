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
import {
  type JsonObject,
  type SessionChanges,
  type SessionRecord,
} from '../libs/session/src/stores/session-store.js';
import { changed, HOUR, newKey, newRecord } from '../libs/session/src/testing/store-bench.js';
import { testDatabase, testDataSource, type TestDatabase } from './support/data-source.js';
import { describeOnEveryDatabase, describeWithService } from './support/services.js';

function save(
  store: DatabaseStore,
  key: string,
  loaded: SessionRecord,
  changes: SessionChanges,
): Promise<boolean> {
  return store.save(key, changes, changed(loaded, changes));
}

async function load(store: DatabaseStore, key: string): Promise<SessionRecord> {
  const record = await store.load(key);
  if (record === null) throw new Error('The record is gone.');
  return record;
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
  errors = 0;

  logQuery(text: string): void {
    this.last = text;
  }

  logQueryError(): void {
    this.errors++;
  }

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
    typeOrm: { synchronize: boolean; autoLoadEntities: boolean },
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
    const key = newKey();
    expect(await store.create(key, newRecord({ a: 1 }))).toBe(true);
    expect((await load(store, key)).data['a']).toBe(1);
  });

  it('gives a store on a named data source, with an entity of the user', async () => {
    const store = await start(
      { dataSource: 'sessions', entity: AppSession, preparedStatements: false },
      { synchronize: true, autoLoadEntities: true },
    );
    await store.create(newKey(), newRecord({ accountId: 7 }));
    expect(await AppSession.countBy({ accountId: 7 })).toBe(1);
  });

  it('stops the start-up when the table is missing', async () => {
    await expect(start({}, { synchronize: false, autoLoadEntities: true })).rejects.toMatchObject({
      code: 'SESSION_CONFIG',
      option: 'engine',
      message: expect.stringMatching(/"nest_session".*migration.*synchronize/s),
    });
  });

  it('stops the start-up when the data source does not know the entity', async () => {
    await expect(start({}, { synchronize: true, autoLoadEntities: false })).rejects.toMatchObject({
      code: 'SESSION_CONFIG',
      message: expect.stringContaining('autoLoadEntities'),
    });
  });
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

  const row = (key: string): Promise<AppSession | null> =>
    dataSource.getRepository(AppSession).findOneBy({ sessionKey: key });

  it('is filled on creation and on save, and emptied when the value goes', async () => {
    const key = newKey();
    await store.create(key, newRecord({ accountId: 1 }));
    expect(await row(key)).toMatchObject({ accountId: 1, roles: null });

    const signedInAt = '2026-02-03T04:05:06.000Z';
    await save(store, key, await load(store, key), { set: { accountId: 2, roles: ['a"b'], signedInAt } });
    expect(await row(key)).toMatchObject({
      accountId: 2,
      roles: ['a"b'],
      signedInAt: new Date(signedInAt),
    });

    await save(store, key, await load(store, key), { unset: ['accountId'] });
    expect(await row(key)).toMatchObject({ accountId: null, roles: ['a"b'] });
    await save(store, key, await load(store, key), { clear: true });
    expect(await row(key)).toMatchObject({ accountId: null, roles: null, signedInAt: null });
  });

  it('is not blanked by a concurrent request that knows nothing of the value, and set by one that does', async () => {
    const key = newKey();
    await store.create(key, newRecord());
    const loaded = await load(store, key);
    await save(store, key, loaded, { set: { accountId: 5 } });
    await save(store, key, loaded, { increment: { visits: 1 } });
    expect(await row(key)).toMatchObject({ accountId: 5 });
    await save(store, key, loaded, { set: { roles: ['late'] } });
    expect(await row(key)).toMatchObject({ accountId: 5, roles: ['late'] });
    expect(await load(store, key)).toMatchObject({ data: { accountId: 5, visits: 1, roles: ['late'] } });
  });

  it('is left alone by writes that touch no data', async () => {
    const key = newKey();
    await store.create(key, newRecord({ accountId: 3 }));
    const loaded = await load(store, key);
    await store.save(key, { userId: 'Ann' }, { ...loaded, data: {} });
    expect(await row(key)).toMatchObject({ accountId: 3, userId: 'Ann' });
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
    await expect(mistaken.create(newKey(), newRecord())).rejects.toMatchObject({
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
      const [key, next] = [newKey(), newKey()];
      expect(await store.create(key, newRecord({ accountId: 1 }))).toBe(true);
      expect(await store.create(key, newRecord())).toBe(false);
      const loaded = await load(store, key);
      expect(await save(store, key, loaded, { set: { accountId: 2 } })).toBe(true);
      expect(await store.touch(key, { ...loaded, version: 2, expiresAt: Date.now() + 2 * HOUR })).toBe(true);
      expect(await store.rename(key, next, { userId: 'Ann' }, loaded)).toBe(true);
      expect(await store.exists(next)).toBe(true);
      expect(await AppSession.findOneBy({ sessionKey: next })).toMatchObject({ accountId: 2, userId: 'Ann' });
      await store.create(key, newRecord({}, { expiresAt: Date.now() - HOUR }));
      expect(await store.clearExpired(10)).toBe(1);
      expect(await store.delete(next)).toBe(true);
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

        const key = newKey();
        await store.create(key, newRecord({ a: 'é🔑'.repeat(50_000), accountId: 1 }));
        await save(store, key, await load(store, key), { set: { b: 1 } });
        expect((await load(store, key)).data).toMatchObject({ a: 'é🔑'.repeat(50_000), b: 1 });

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
    ({ dataSource, dispose } = await testDataSource(kind, [AppSession], {
      logging: true,
      logger: log,
      namingStrategy: new OddNames(),
    }));
    // So many that an index is worth its while.
    const rows = Array.from({ length: 2000 }, (_, n) => ({
      sessionKey: newKey(),
      // Those that have never been moved are nearly all.
      formerKey: n % 50 === 0 ? newKey() : null,
      sessionData: '{}',
      sessionLog: '',
      version: 1,
      expireDate: Date.now() + HOUR,
      expireBucket: 1,
      sessionId: newRecord().id,
      createdAt: Date.now(),
      lastSeenAt: Date.now(),
    }));
    await dataSource.getRepository(AppSession).insert(rows);
    if (kind !== 'sqljs')
      await dataSource.query(`${kind === 'mysql' ? 'ANALYZE TABLE' : 'ANALYZE'} app_session`);
  });
  afterAll(() => dispose());

  const indexOn = (property: string): string => {
    const { indices } = dataSource.getMetadata(AppSession);
    const index = indices.find(({ columns }) => columns[0]?.propertyName === property);
    return index?.name ?? `an index on ${property}`;
  };

  it.each<[string, string, (store: DatabaseStore) => Promise<unknown>, unknown[]]>([
    ['what a rename left', 'formerKey', (store) => store.find(newKey()), [newKey()]],
    ['a session by its id', 'sessionId', (store) => store.deleteById('none'), ['none', 'none']],
  ])('finds %s', async (_what, property, work, values) => {
    await work(new DatabaseStore(dataSource, AppSession, { preparedStatements: false }));
    const parameters = kind === 'mysql' || property === 'formerKey' ? values : values.slice(0, 1);
    const plan = await dataSource.query<object[]>(`${EXPLAIN[kind]} ${log.last}`, parameters);
    expect(JSON.stringify(plan)).toContain(indexOn(property));
  });

  it('holds only the sessions that were moved, where the database has such indexes', async () => {
    if (kind === 'mysql') return;
    const sql =
      kind === 'postgres'
        ? 'SELECT indexdef AS text FROM pg_indexes WHERE indexname = $1'
        : 'SELECT sql AS text FROM sqlite_master WHERE name = ?';
    const [index] = await dataSource.query<{ text: string }[]>(sql, [indexOn('formerKey')]);
    expect(index?.text).toMatch(/WHERE \(?"The former_key of it" IS NOT NULL/);
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
    const key = newKey();
    await store.create(key, newRecord());
    await store.load(key);
    expect(await prepared(dataSource)).toHaveLength(2);

    await dataSource.query('DEALLOCATE ALL');
    expect(await save(store, key, await load(store, key), { set: { a: 1 } })).toBe(true);
    expect((await load(store, key)).data['a']).toBe(1);
    expect(await prepared(dataSource)).toHaveLength(0);
    await close();
  });

  it('goes on when the table is altered under it', async () => {
    const { dataSource, close } = await open(1);
    const store = new DatabaseStore(dataSource);
    const key = newKey();
    await store.create(key, newRecord({ a: 1 }));
    await store.load(key);
    await dataSource.query('ALTER TABLE nest_session ALTER COLUMN session_id TYPE text');
    expect((await load(store, key)).data['a']).toBe(1);
    await close();
  });

  it('prepares nothing when told so', async () => {
    const { dataSource, close } = await open(1);
    const store = new DatabaseStore(dataSource, SessionEntity, { preparedStatements: false });
    const key = newKey();
    await store.create(key, newRecord());
    expect(await store.load(key)).not.toBeNull();
    expect(await prepared(dataSource)).toHaveLength(0);
    await close();
  });

  it('touches without writing to an index', async () => {
    const { dataSource, close } = await open(1);
    const store = new DatabaseStore(dataSource);
    const key = newKey();
    // A deadline in the middle of an hour, so that no touch crosses into the next.
    const middle = Math.floor(Date.now() / HOUR) * HOUR + 2.5 * HOUR;
    await store.create(key, newRecord({}, { expiresAt: middle }));
    const loaded = await load(store, key);
    for (let n = 1; n <= 20; n++) {
      expect(await store.touch(key, { ...loaded, expiresAt: middle + n * 10_000 })).toBe(true);
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
    expect(table?.options).toEqual(['fillfactor=85', 'autovacuum_vacuum_scale_factor=0.02']);
    const [key] = await dataSource.query<Record<string, unknown>[]>(
      `SELECT collation_name FROM information_schema.columns
        WHERE table_schema = current_schema() AND table_name = 'nest_session' AND column_name = 'session_key'`,
    );
    expect(key).toEqual({ collation_name: 'C' });
    await close();
  });

  it('sends a statement again that was rolled back because of others', async () => {
    const { dataSource, close } = await open(4, '-c default_transaction_isolation=serializable');
    const store = new DatabaseStore(dataSource, SessionEntity, { preparedStatements: false });
    const key = newKey();
    await store.create(key, newRecord());
    const loaded = await load(store, key);
    log.errors = 0;
    for (let round = 0; round < 10; round++) {
      const saves = Array.from({ length: 4 }, () => save(store, key, loaded, { increment: { n: 1 } }));
      expect(await Promise.all(saves)).toEqual([true, true, true, true]);
    }
    expect(log.errors).toBeGreaterThan(0);
    expect((await load(store, key)).data['n']).toBe(40);
    await close();
  });

  it('lets one cleaner work at a time', async () => {
    const { dataSource, close } = await open(5);
    const store = new DatabaseStore(dataSource);
    await store.create(newKey(), newRecord({}, { expiresAt: Date.now() - HOUR }));
    const holder = dataSource.createQueryRunner();
    await holder.startTransaction();
    await store.clearExpired(0);
    const turn = /pg_try_advisory_xact_lock\(.*?\)/.exec(log.last)?.[0];
    expect(await holder.query(`SELECT ${turn} AS mine`)).toEqual([{ mine: true }]);
    expect(await store.clearExpired(10)).toBe(0);
    await holder.commitTransaction();
    await holder.release();
    expect(await store.clearExpired(10)).toBe(1);
    await close();
  });
});

describeWithService('mysql', 'DatabaseStore on MySQL', () => {
  it('finds its rows by the primary key, and the expired by the bucket', async () => {
    const log = new StatementLog();
    const { dataSource, dispose } = await testDataSource('mysql', [SessionEntity], {
      logging: true,
      logger: log,
    });
    const store = new DatabaseStore(dataSource);
    const keys = Array.from({ length: 300 }, newKey);
    await Promise.all(keys.map((key) => store.create(key, newRecord())));
    await store.load(keys[0] ?? '');
    const [plan] = await dataSource.query<{ key: string; rows: unknown }[]>(`EXPLAIN ${log.last}`, [keys[0]]);
    expect({ key: plan?.key, rows: Number(plan?.rows) }).toEqual({ key: 'PRIMARY', rows: 1 });

    await store.clearExpired(10);
    const [clearing] = await dataSource.query<{ key: string }[]>(`EXPLAIN ${log.last}`, [10]);
    expect(clearing?.key).toMatch(/IDX/);
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
    const key = newKey();
    await store.create(key, newRecord({ a: 1 }));
    const loaded = await load(store, key);
    expect(await save(store, key, loaded, { set: { a: 1 } })).toBe(true);
    expect(await save(store, key, loaded, {})).toBe(true);
    expect(await store.create(key, newRecord({ a: 1 }))).toBe(false);
    const again = await load(store, key);
    expect(await store.touch(key, { ...again, expiresAt: Date.now() + 2 * HOUR })).toBe(true);
    expect(await store.touch(key, { ...again, expiresAt: Date.now() + HOUR })).toBe(false);
    await dataSource.destroy();
    await database.dispose();
  });

  it('passes on a duplicate that is not one of the key', async () => {
    const { dataSource, dispose } = await testDataSource('mysql', [SessionEntity]);
    await dataSource.query('CREATE UNIQUE INDEX only_one ON nest_session (session_id)');
    const store = new DatabaseStore(dataSource);
    const record = newRecord();
    expect(await store.create(newKey(), record)).toBe(true);
    await expect(store.create(newKey(), record)).rejects.toMatchObject({ code: 'ER_DUP_ENTRY' });
    await dispose();
  });
});

describeOnEveryDatabase('the sessions of a user', (kind) => {
  it('are listed and ended', async () => {
    const { dataSource, dispose } = await testDataSource(kind, [SessionEntity]);
    try {
      const store = new DatabaseStore(dataSource);
      const make = async (letter: string, userId: string | null, lifetime: number): Promise<void> => {
        const key = `v1-${letter.repeat(64)}`;
        await store.create(key, newRecord({}, { id: letter, userId, expiresAt: Date.now() + lifetime }));
      };
      await make('a', 'Ada', 60_000);
      await make('b', 'Ada', 60_000);
      await make('c', 'Ada', -60_000);
      await make('d', 'ada', 60_000);
      await make('e', null, 60_000);
      await make('f', 'Ada', 60_000);
      await dataSource.getRepository(SessionEntity).update({ sessionId: 'f' }, { sessionData: 'garbage' });

      const listed = async (userId: string): Promise<string[]> =>
        (await store.listByUser(userId)).map(({ id }) => id).toSorted((a, b) => a.localeCompare(b));
      expect(await listed('Ada')).toEqual(['a', 'b']);
      expect(await store.deleteByUser('Ada', ['b', 'none'])).toBe(3);
      expect(await listed('Ada')).toEqual(['b']);
      expect(await store.deleteByUser('Ada')).toBe(1);
      expect(await listed('ada')).toEqual(['d']);
      expect(await dataSource.getRepository(SessionEntity).count()).toBe(2);
    } finally {
      await dispose();
    }
  });
});
