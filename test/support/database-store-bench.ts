import { setTimeout } from 'node:timers/promises';
import { type JsonObject, type SessionChanges, type SessionRecord } from 'nest-sessions';
import { DatabaseStore, SessionEntity } from 'nest-sessions/database';
import { type StoreUnderTest } from 'nest-sessions/testing';
import { DataSource, type DataSourceOptions, type Logger } from 'typeorm';
import { changed, HOUR, newKey, newRecord } from '../../libs/session/src/testing/store-bench.js';
import { testDataSource, type TestDataSource } from './data-source.js';
import { type DatabaseKind } from './services.js';
import { startTcpProxy } from './tcp-proxy.js';

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

/** A store on a database of its own, with what the tests do to it from outside. */
export class DatabaseStoreBench {
  readonly log = new StatementLog();
  store!: DatabaseStore;
  dataSource!: DataSource;
  private database!: TestDataSource;

  constructor(readonly kind: DatabaseKind) {}

  async open(): Promise<void> {
    this.database = await testDataSource(this.kind, [SessionEntity], { logging: true, logger: this.log });
    this.dataSource = this.database.dataSource;
    this.store = new DatabaseStore(this.dataSource);
  }

  close(): Promise<void> {
    return this.database.dispose();
  }

  async create(data: JsonObject = {}, overrides: Partial<SessionRecord> = {}): Promise<string> {
    const key = newKey();
    if (!(await this.store.create(key, newRecord(data, overrides)))) throw new Error('The key is taken.');
    return key;
  }

  async load(key: string): Promise<SessionRecord> {
    const record = await this.store.load(key);
    if (record === null) throw new Error('The record is gone.');
    return record;
  }

  async save(key: string, loaded: SessionRecord, changes: SessionChanges): Promise<boolean> {
    return this.store.save(key, changes, changed(loaded, changes));
  }

  /** The row, expired or not. */
  row(key: string): Promise<SessionEntity | null> {
    return this.dataSource.getRepository(SessionEntity).findOneBy({ sessionKey: key });
  }

  async update(key: string, columns: Partial<SessionEntity>): Promise<void> {
    await this.dataSource.getRepository(SessionEntity).update({ sessionKey: key }, columns);
  }

  async expire(key: string): Promise<void> {
    const past = Date.now() - HOUR;
    await this.update(key, { expireDate: past, expireBucket: Math.floor(past / HOUR) });
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

  async statementsOf(work: () => Promise<unknown>): Promise<string[]> {
    const before = this.log.statements.length;
    await work();
    return this.log.statements.slice(before);
  }

  /**
   * Starts the operations one by one behind a lock on the row, so that each is in the database before the next one
   * starts, and lets them go together. Only who comes first is sure to be served first: behind it, a database may serve
   * in another order.
   */
  async race(key: string, operations: readonly (() => Promise<unknown>)[]): Promise<unknown[]> {
    const holder = this.dataSource.createQueryRunner();
    await holder.startTransaction();
    try {
      await holder.manager
        .createQueryBuilder(SessionEntity, 's')
        .setLock('pessimistic_write')
        .where('s.sessionKey = :key', { key })
        .getOne();
      const running: Promise<unknown>[] = [];
      for (const operation of operations) {
        running.push(operation());
        await this.untilWaiting(running.length);
      }
      await holder.rollbackTransaction();
      return await Promise.all(running);
    } finally {
      if (holder.isTransactionActive) await holder.rollbackTransaction();
      await holder.release();
    }
  }

  /** The server's numbers of the connections that wait, when so many of them do. */
  async untilWaiting(count: number): Promise<number[]> {
    for (;;) {
      // InnoDB shows its transactions as they are now only if nobody has looked for a tenth of a second.
      if (this.kind === 'mysql') await setTimeout(110);
      const waiting = await this.waiting();
      if (waiting.length >= count) return waiting;
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
      corrupt: (key) => this.update(key, { sessionData: 'not json' }),
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
      race: (key, operations) => this.race(key, operations),
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
