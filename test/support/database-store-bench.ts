import { setTimeout } from 'node:timers/promises';
import { type JsonObject, type SessionChanges, type SessionRecord } from 'nest-sessions';
import { DatabaseStore, SessionEntity } from 'nest-sessions/database';
import { type StoreUnderTest } from 'nest-sessions/testing';
import { DataSource, type DataSourceOptions, type Logger } from 'typeorm';
import { HOUR, newRecord, save } from '../../libs/session/src/testing/store-bench.js';
import { type SharedOptions, testDataSource, type TestDataSource } from './data-source.js';
import { type DatabaseKind } from './services.js';
import { startTcpProxy } from './tcp-proxy.js';

/** What pools have unless told otherwise. */
export const POOL_SIZE = 10;

/** Counts what goes to the database. */
class StatementLog implements Logger {
  readonly statements: string[] = [];

  logQuery(text: string): void {
    this.statements.push(text);
  }

  logQueryError(): void {}
  logQuerySlow(): void {}
  logSchemaBuild(): void {}
  logMigration(): void {}
  log(): void {}
}

/** Runs a statement that only changes its connection, on all that the pool has. */
export async function onEveryConnection(dataSource: DataSource, sql: string): Promise<void> {
  const runners = Array.from({ length: POOL_SIZE }, () => dataSource.createQueryRunner());
  await Promise.all(runners.map((runner) => runner.connect()));
  await Promise.all(runners.map((runner) => runner.query(sql)));
  await Promise.all(runners.map((runner) => runner.release()));
}

/** A store on a database of its own, with what the tests do to it from outside. */
export class DatabaseStoreBench {
  readonly log = new StatementLog();
  store!: DatabaseStore;
  dataSource!: DataSource;
  private database!: TestDataSource;

  constructor(readonly kind: DatabaseKind) {}

  async open(options: SharedOptions = {}): Promise<void> {
    this.database = await testDataSource(this.kind, [SessionEntity], {
      logging: true,
      logger: this.log,
      ...options,
    });
    this.dataSource = this.database.dataSource;
    this.store = new DatabaseStore(this.dataSource);
  }

  close(): Promise<void> {
    return this.database.dispose();
  }

  /** The record as it is loaded after its creation. */
  async create(data: JsonObject = {}, overrides: Partial<SessionRecord> = {}): Promise<SessionRecord> {
    const record = newRecord(data, overrides);
    if (!(await this.store.create(record.id, record))) throw new Error('The id is taken.');
    return this.load(record.id);
  }

  async load(id: string): Promise<SessionRecord> {
    const record = await this.store.load(id);
    if (record === null) throw new Error('The record is gone.');
    return record;
  }

  save(loaded: SessionRecord, changes: SessionChanges): Promise<boolean> {
    return save(this.store, loaded, changes);
  }

  /** The row, expired or not. */
  row(id: string): Promise<SessionEntity | null> {
    return this.dataSource.getRepository(SessionEntity).findOneBy({ sessionId: id });
  }

  async update(id: string, columns: Partial<SessionEntity>): Promise<void> {
    await this.dataSource.getRepository(SessionEntity).update({ sessionId: id }, columns);
  }

  async expire(id: string): Promise<void> {
    const past = Date.now() - HOUR;
    await this.update(id, { expireDate: past, expireBucket: Math.floor(past / HOUR) });
  }

  /** Lets all rows be older than they are. */
  async elapse(ms: number): Promise<void> {
    const hour = this.kind === 'mysql' ? `DIV ${HOUR}` : `/ ${HOUR}`;
    await this.dataSource.query(
      `UPDATE nest_session SET created_at = created_at - ${ms}, last_seen_at = last_seen_at - ${ms}`,
    );
    await this.dataSource.query(`UPDATE nest_session SET expire_date = expire_date - ${ms}`);
    await this.dataSource.query(`UPDATE nest_session SET expire_bucket = expire_date ${hour}`);
  }

  onEveryConnection(sql: string): Promise<void> {
    return onEveryConnection(this.dataSource, sql);
  }

  async statementsOf(work: () => Promise<unknown>): Promise<string[]> {
    const before = this.log.statements.length;
    await work();
    return this.log.statements.slice(before);
  }

  /**
   * Starts the operations one by one behind a lock on the row, so that each is in the database before the next one
   * starts, and lets them go together. Only the first is sure to be served first: behind it, a database may serve in
   * another order.
   */
  async race(id: string, operations: readonly (() => Promise<unknown>)[]): Promise<unknown[]> {
    const holder = this.dataSource.createQueryRunner();
    await holder.startTransaction();
    try {
      await holder.manager
        .createQueryBuilder(SessionEntity, 's')
        .setLock('pessimistic_write')
        .where('s.sessionId = :id', { id })
        .getOne();
      const running: Promise<unknown>[] = [];
      let unsettled = 0;
      for (const operation of operations) {
        unsettled += 1;
        // One that does not touch the row has no need to wait.
        running.push(operation().finally(() => (unsettled -= 1)));
        await this.untilWaiting(() => unsettled);
      }
      await holder.rollbackTransaction();
      return await Promise.all(running);
    } finally {
      if (holder.isTransactionActive) await holder.rollbackTransaction();
      await holder.release();
    }
  }

  /** The server's numbers of the connections that wait, when so many of them do. */
  async untilWaiting(count: () => number): Promise<number[]> {
    for (;;) {
      // InnoDB shows its transactions as they are now only if a tenth of a second has passed since the last look.
      if (this.kind === 'mysql') await setTimeout(110);
      const waiting = await this.waiting();
      if (waiting.length >= count()) return waiting;
    }
  }

  private async waiting(): Promise<number[]> {
    const sql =
      this.kind === 'postgres'
        ? `SELECT pid AS id FROM pg_stat_activity a WHERE wait_event_type = 'Lock' AND EXISTS
            (SELECT 1 FROM pg_locks l WHERE l.pid = a.pid AND l.relation = 'nest_session'::regclass)`
        : `SELECT p.id AS id FROM information_schema.innodb_trx t JOIN information_schema.processlist p
            ON p.id = t.trx_mysql_thread_id WHERE p.db = DATABASE() AND t.trx_state = 'LOCK WAIT'`;
    const rows = await this.dataSource.query<{ id: string | number }[]>(sql);
    return rows.map(({ id }) => Number(id));
  }

  /** For the conformance kit. On a server the store has a connection that can be cut. */
  async underTest(): Promise<StoreUnderTest> {
    await this.open();
    const { store, dataSource } = this;
    const shared: StoreUnderTest = {
      store,
      sibling: () => new DatabaseStore(dataSource),
      elapse: (ms) => this.elapse(ms),
      corrupt: (id) => this.update(id, { sessionData: 'not json' }),
      dispose: () => this.close(),
    };
    if (this.kind === 'sqljs') return shared;

    const url = new URL((dataSource.options as { url: string }).url);
    const proxy = await startTcpProxy(url.hostname, Number(url.port || DEFAULT_PORTS[this.kind]));
    url.hostname = '127.0.0.1';
    url.port = String(proxy.port);
    const remote = new DataSource({
      ...dataSource.options,
      url: url.href,
      synchronize: false,
    } as DataSourceOptions);
    await remote.initialize();
    return {
      ...shared,
      store: new DatabaseStore(remote),
      sibling: () => store,
      race: (id, operations) => this.race(id, operations),
      cut: async () => proxy.cut(),
      mend: async () => proxy.mend(),
      dispose: async () => {
        await remote.destroy();
        await proxy.close();
        await this.close();
      },
    };
  }
}

const DEFAULT_PORTS = { postgres: 5432, mysql: 3306 };
