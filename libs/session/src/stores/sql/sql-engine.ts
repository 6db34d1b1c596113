import { SessionConfigError, SessionStoreUnavailableError } from '../../session.errors.js';
import { type EncryptionOptions } from '../sealing.js';
import { checkSecrets } from '../secrets.js';
import { type EngineFactory, engineOf, type SessionEngine } from '../session-engine.js';
import { type DialectName, dialects, positionalStatement } from './dialects.js';
import { sessionTableNamed, TABLE_NAME } from './session-schema.js';
import { checkClient, clientQuery, type SqlClientQuery } from './sql-client.js';
import { SqlStore } from './sql-store.js';

/** What `sqlEngine` takes. */
export interface SqlEngineOptions {
  /** The dialect of the database. For MariaDB use `'mysql'`. */
  dialect: DialectName;
  /** Runs a statement on your client. The client stays yours: the engine opens and closes nothing. */
  query: SqlClientQuery;
  /**
   * The table of the sessions, with its schema if it needs one: `'auth.sessions'`. Letters, digits, `_`, `$` and `-`.
   * @default 'nest_session'
   */
  table?: string;
  /**
   * How the client marks values in a statement: `'?'`, or numbered `'$1'`, which is for PostgreSQL only.
   * @default '$1' on PostgreSQL, otherwise '?'
   */
  placeholder?: '$1' | '?';
  /**
   * Encrypts `session_data`, `session_log` and `session_meta`. The other columns stay plain.
   * @default off
   */
  encryption?: EncryptionOptions;
}

/**
 * Keeps sessions in a table of PostgreSQL, MySQL, MariaDB or SQLite, with any client that runs SQL: pg, mysql2,
 * better-sqlite3, node:sqlite, Prisma, Drizzle, Kysely, Knex, MikroORM, …
 *
 * If the table is missing or `query` does not work as it should, the start-up fails with a `SessionConfigError`.
 * `npx nest-sessions schema --dialect postgres` prints the table.
 *
 * @throws SessionConfigError if an option is wrong
 *
 * @example
 * ```ts
 * SessionModule.forRoot(sqlEngine({
 *   dialect: 'postgres',
 *   query: async (sql, values, returns) => {
 *     const { rows, rowCount } = await pool.query(sql, values);
 *     return returns === 'rows' ? rows : rowCount;
 *   },
 * }))
 * SessionModule.forRoot(sqlEngine({
 *   inject: [PrismaService],
 *   useFactory: (prisma: PrismaService) => ({
 *     dialect: 'postgres',
 *     query: (sql, values, returns) =>
 *       returns === 'rows' ? prisma.$queryRawUnsafe(sql, ...values) : prisma.$executeRawUnsafe(sql, ...values),
 *   }),
 * }))
 * ```
 */
export function sqlEngine(options: SqlEngineOptions | EngineFactory<SqlEngineOptions>): SessionEngine {
  return engineOf(options, checkOptions, openSqlStore);
}

/** For what no visitor waits for: the questions at the start-up. Milliseconds. */
const PATIENCE = 60_000;

/** @throws SessionConfigError when the table is missing, or the client does not do what it should */
export async function openSqlStore(options: SqlEngineOptions): Promise<SqlStore> {
  const { dialect: name, placeholder, table = TABLE_NAME, encryption } = options;
  const query = clientQuery(options.query);
  const dialect = dialects[name];
  const marked = placeholder === '?' ? { ...dialect, statement: positionalStatement } : dialect;
  const store = new SqlStore({
    query,
    dialect: await checkClient(query, marked, PATIENCE),
    table: sessionTableNamed(table, name),
    encryption,
  });
  const ofTable = table === TABLE_NAME ? '' : ` --table ${table}`;
  await store.checkTable(`Create it: npx nest-sessions schema --dialect ${name}${ofTable} prints it.`);
  await checkCount(store);
  return store;
}

/** A statement that writes nothing, to see that its count is a number. A database may start without taking writes. */
async function checkCount(store: SqlStore): Promise<void> {
  try {
    await store.delete('');
  } catch (error) {
    if (!(error instanceof SessionStoreUnavailableError)) throw error;
  }
}

/** @throws SessionConfigError */
function checkOptions({ dialect, query, table, placeholder, encryption }: Partial<SqlEngineOptions>): void {
  if (dialect === undefined || !Object.hasOwn(dialects, dialect)) {
    throw new SessionConfigError(
      'dialect',
      `has to be 'postgres', 'mysql' (MariaDB as well) or 'sqlite'. Set that of your database.`,
    );
  }
  if (typeof query !== 'function') {
    throw new SessionConfigError(
      'query',
      'has to be a function that runs a statement on your client: (sql, values, returns) => rows or count.',
    );
  }
  if (table !== undefined) sessionTableNamed(table, dialect);
  const isMark = placeholder === undefined || placeholder === '?' || placeholder === '$1';
  if (!isMark || (placeholder === '$1' && dialect !== 'postgres')) {
    throw new SessionConfigError(
      'placeholder',
      `has to be '?', or '$1' on PostgreSQL. Leave it out to use that of the database's driver.`,
    );
  }
  if (encryption !== undefined) checkSecrets(encryption.secrets, 'encryption.secrets');
}
