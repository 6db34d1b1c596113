import { type SqlEngineOptions } from 'nest-sessions/sql';
import { type StoreUnderTest } from 'nest-sessions/testing';
import { openSqlStore } from '../../libs/session/src/stores/sql/sql-engine.js';
import { type SqlStore } from '../../libs/session/src/stores/sql/sql-store.js';
import { HOUR } from '../../libs/session/src/testing/store-bench.js';
import { type TestDatabase, testDatabase } from './data-source.js';
import { type DatabaseKind, type DatabaseServer } from './services.js';
import { createSessionTable, type SqlClient, type SqlClientKind } from './sql-clients.js';
import { startTcpProxy, type TcpProxy } from './tcp-proxy.js';

const DEFAULT_PORTS: Record<DatabaseServer, number> = { postgres: 5432, mysql: 3306 };

/** A database of its own with the table as the command prints it, and clients on it. */
export class SqlClientBench {
  client!: SqlClient;
  store!: SqlStore;
  private database!: TestDatabase;
  private readonly clients: SqlClient[] = [];

  constructor(private readonly kind: SqlClientKind) {}

  async open(): Promise<void> {
    this.database = await testDatabase(this.kind.database);
    this.client = await this.connect();
    await createSessionTable(this.client.options);
    this.store = await openSqlStore(this.client.options);
  }

  /** One more client; in the memory of this process there is only one. */
  async connect(through?: TcpProxy): Promise<SqlClient> {
    if (this.kind.database === 'sqljs' && this.client !== undefined) return this.client;
    const client = await this.kind.open(urlOf(this.kind.database, this.database, through));
    this.clients.push(client);
    return client;
  }

  get url(): string {
    return urlOf(this.kind.database, this.database);
  }

  /** A wire to the database. */
  proxy(): Promise<TcpProxy> {
    const kind = this.kind.database as DatabaseServer;
    const { hostname, port } = new URL(this.url);
    return startTcpProxy(hostname, Number(port || DEFAULT_PORTS[kind]));
  }

  async run(sql: string): Promise<void> {
    await this.client.options.query(sql, [], 'count');
  }

  async rows<Row>(sql: string): Promise<Row[]> {
    return (await this.client.options.query(sql, [], 'rows')) as Row[];
  }

  /** Lets all rows be older than they are. */
  elapse(ms: number): Promise<void> {
    return ageRows(this.client.options, ms);
  }

  async close(): Promise<void> {
    await Promise.all(this.clients.map((client) => client.close()));
    await this.database.dispose();
  }

  /** For the conformance kit. On a server the store has a connection that can be cut. */
  async underTest(options: Partial<SqlEngineOptions> = {}): Promise<StoreUnderTest> {
    await this.open();
    const open = (client: SqlClient): Promise<SqlStore> => openSqlStore({ ...client.options, ...options });
    const shared = {
      sibling: () => open(this.client),
      elapse: (ms: number) => this.elapse(ms),
      corrupt: (id: string) =>
        this.run(`UPDATE nest_session SET session_data = 'not json' WHERE session_key = '${id}'`),
    };
    if (this.kind.database === 'sqljs')
      return { ...shared, store: await open(this.client), dispose: () => this.close() };
    const proxy = await this.proxy();
    const remote = await this.connect(proxy);
    return {
      ...shared,
      store: await open(remote),
      cut: async () => proxy.cut(),
      mend: async () => proxy.mend(),
      dispose: async () => {
        await this.close();
        await proxy.close();
      },
    };
  }
}

export async function ageRows({ dialect, query }: SqlEngineOptions, ms: number): Promise<void> {
  const hour = dialect === 'mysql' ? `DIV ${HOUR}` : `/ ${HOUR}`;
  for (const assignments of [
    `created_at = created_at - ${ms}, last_seen_at = last_seen_at - ${ms}, expire_date = expire_date - ${ms}`,
    `expire_bucket = expire_date ${hour}`,
  ]) {
    await query(`UPDATE nest_session SET ${assignments}`, [], 'count');
  }
}

/** With the schema of the test, and through the wire if there is one. */
export function urlOf(kind: DatabaseKind, { options }: TestDatabase, through?: TcpProxy): string {
  if (kind === 'sqljs' || !('url' in options) || options.url === undefined) return '';
  const url = new URL(options.url);
  if (through) url.host = `127.0.0.1:${through.port}`;
  const { options: ofSession } = (options.extra ?? {}) as { options?: string };
  if (ofSession !== undefined) url.searchParams.set('options', ofSession);
  return url.href.replaceAll('+', '%20');
}
