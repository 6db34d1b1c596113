import { type DataSource } from 'typeorm';
import { SessionConfigError, SessionRecordCorruptError } from '../../session.errors.js';
import { type EncryptionOptions } from '../record-cipher.js';
import { RecordCodec } from '../record-codec.js';
import { shouldFold } from '../session-log.js';
import {
  type SessionChanges,
  type SessionMoved,
  type SessionRecord,
  SessionStore,
} from '../session-store.js';
import { isMissingTableOrColumn } from './database-errors.js';
import { type Dialect } from './dialect.js';
import { dialectOf } from './dialects.js';
import { type ExtraValues, extraValues, noExtraValues } from './extra-values.js';
import { LongLogs } from './long-logs.js';
import { isPlainSave, type WriteShape } from './row-assignments.js';
import { type LoadRow, rowLoader } from './row-loader.js';
import { type PlainSave, rowSaver, type SaveRow } from './row-saver.js';
import { SessionEntity } from './session.entity.js';
import { encodeExpiry, type LoadedRow, type MovedRow, toRecord } from './session-row.js';
import { SessionStatements, spareParameter } from './session-statements.js';
import { sessionTable, type SessionTable } from './session-table.js';
import { type RunStatement } from './statement.js';
import { statementRunner } from './statement-runner.js';

export interface DatabaseStoreOptions {
  /**
   * On PostgreSQL: send named prepared statements. Turn off behind a pooler that does not know them, such as
   * PgBouncer before 1.21 in transaction mode.
   * @default true
   */
  preparedStatements?: boolean;
  /**
   * Encrypts `session_data`, `session_log` and `session_meta`. The other columns, those of your own included, stay plain.
   * @default off
   */
  encryption?: EncryptionOptions;
}

/** Dates beyond this are of no use to a session, and their hours would not fit the column. */
const LAST_MOMENT = Date.UTC(9999, 11, 31);

/**
 * Keeps sessions in a table of a TypeORM data source: PostgreSQL, MySQL, MariaDB or SQLite.
 *
 * One statement per operation (two where `find` finds nothing), no transaction, no lock that outlives its statement; on
 * PostgreSQL, one for the loads or the saves of concurrent requests. Whether a session is live is judged by the database's clock.
 *
 * @throws SessionConfigError when the data source does not know the entity or is of a kind the store does not know, or
 * when a secret is weak
 */
export class DatabaseStore extends SessionStore {
  override readonly remembersMoves = true;
  private readonly codec: RecordCodec;
  private readonly dialect: Dialect;
  private readonly table: SessionTable;
  private readonly statements: SessionStatements;
  private readonly run: RunStatement;
  private readonly loadRow: LoadRow<LoadedRow>;
  private readonly loadMove: LoadRow<MovedRow>;
  private readonly saveRow: SaveRow;
  private readonly longLogs = new LongLogs();

  constructor(
    dataSource: DataSource,
    private readonly entity: typeof SessionEntity = SessionEntity,
    { preparedStatements = true, encryption }: DatabaseStoreOptions = {},
  ) {
    super();
    const dialect = dialectOf(dataSource);
    if (dialect === undefined) {
      throw new SessionConfigError(
        'engine',
        `needs a data source of type postgres, mysql, mariadb, sqljs or better-sqlite3, not ${dataSource.options.type}.`,
      );
    }
    this.codec = new RecordCodec(encryption);
    this.dialect = dialect;
    this.table = sessionTable(dataSource, entity);
    this.statements = new SessionStatements(this.table, dialect);
    this.run = statementRunner(dataSource, preparedStatements);
    const { statements } = this;
    this.loadRow = rowLoader(this.run, statements.load(), statements.loadTogether());
    this.loadMove = rowLoader(this.run, statements.loadMove(), statements.loadMovesTogether());
    this.saveRow = rowSaver(this.run, statements);
  }

  async load(key: string): Promise<SessionRecord | null> {
    const row = await this.loadRow(key);
    if (row === undefined) return null;
    const record = toRecord(row, this.codec, Date.now());
    if (shouldFold(row.data.length, row.log.length)) this.longLogs.remember(key);
    return record;
  }

  /**
   * What a rename has left behind is looked for only where nothing is found: one statement for both would cost those
   * that are found, which are nearly all, a sixth more of the database's time. Of several renames the last is known.
   */
  override async find(key: string): Promise<SessionRecord | SessionMoved | null> {
    const record = await this.load(key);
    if (record !== null) return record;
    const move = await this.loadMove(key);
    return move === undefined ? null : { movedTo: move.moved_to };
  }

  /** An expired row that has not been cleared yet counts as taken, too. */
  async create(key: string, record: SessionRecord): Promise<boolean> {
    const extra = this.extraValuesOf(record);
    const values = {
      ...this.valuesOf(key, record),
      ...extra.values,
      id: record.id,
      snapshot: this.codec.encodeSnapshot(record.data, record.id),
      meta: this.codec.encodeMeta(record.meta, record.id),
      expiry: encodeExpiry(record.expiry),
      userId: record.userId,
      createdIn: fromNow(record.createdAt),
      lastSeenIn: fromNow(record.lastSeenAt),
    };
    try {
      const { affected } = await this.run('create', this.statements.insert(extra.properties), values);
      return affected > 0;
    } catch (error) {
      if (this.dialect.isTaken(error)) return false;
      throw error;
    }
  }

  save(key: string, changes: SessionChanges, record: SessionRecord): Promise<boolean> {
    return this.write('save', key, changes, record);
  }

  async delete(key: string, id?: string): Promise<boolean> {
    const { affected } = await this.run('delete', this.statements.delete(id !== undefined), { key, id });
    return affected > 0;
  }

  override async touch(key: string, record: SessionRecord): Promise<boolean> {
    const { affected } = await this.run('touch', this.statements.touch(), {
      ...this.valuesOf(key, record),
      lastSeenIn: fromNow(record.lastSeenAt),
    });
    return affected > 0;
  }

  /** @throws the database's error when something lives under the new key; nothing has changed then */
  override rename(
    key: string,
    newKey: string,
    changes: SessionChanges,
    record: SessionRecord,
  ): Promise<boolean> {
    return this.write('rename', key, changes, record, newKey);
  }

  override async exists(key: string): Promise<boolean> {
    const { rows } = await this.run('check', this.statements.exists(), { key });
    return rows.length > 0;
  }

  /** Rows that cannot be decoded are left out: nobody can use them. */
  override async listByUser(userId: string): Promise<SessionRecord[]> {
    const { rows } = await this.run('listByUser', this.statements.listByUser(), { userId });
    const now = Date.now();
    return (rows as unknown as LoadedRow[]).flatMap((row) => {
      try {
        return [toRecord(row, this.codec, now)];
      } catch (error) {
        if (error instanceof SessionRecordCorruptError) return [];
        throw error;
      }
    });
  }

  override async deleteByUser(userId: string, exceptIds: readonly string[] = []): Promise<number> {
    const spared = exceptIds.map((id, index) => [spareParameter(index), id] as const);
    const statement = this.statements.deleteByUser(spared.length);
    const { affected } = await this.run('deleteByUser', statement, { userId, ...Object.fromEntries(spared) });
    return affected;
  }

  override async deleteById(id: string, userId?: string): Promise<boolean> {
    const statement = this.statements.deleteById(userId !== undefined);
    const { affected } = await this.run('deleteById', statement, { id, userId });
    return affected > 0;
  }

  override async clearExpired(batchSize: number): Promise<number> {
    const { affected } = await this.run('clearExpired', this.statements.clearExpired(), { limit: batchSize });
    return affected;
  }

  /**
   * Asks the database for the table and its columns, in one cheap statement.
   * @throws SessionConfigError when something is missing
   */
  async checkTable(): Promise<void> {
    try {
      await this.run('check the table', this.statements.probe(), {});
    } catch (error) {
      if (!isMissingTableOrColumn(error)) throw error;
      throw new SessionConfigError(
        'engine',
        `needs the table "${this.table.path}" with all columns of ${this.entity.name}, and something of it is missing ` +
          `(${(error as Error).message}). Run the migration (add the one that nest-sessions/database exports to the ` +
          'migrations of the data source), or set "synchronize: true" in development.',
        { cause: error },
      );
    }
  }

  /** What save and rename have in common: one update of a live row. */
  private async write(
    operation: string,
    key: string,
    changes: SessionChanges,
    record: SessionRecord,
    newKey?: string,
  ): Promise<boolean> {
    const line = this.codec.encodeLogLine(changes, record.id);
    const snapshot = line === '' ? '' : this.codec.encodeSnapshot(record.data, record.id);
    const extra = line === '' ? noExtraValues : this.extraValuesOf(record);
    const shape: WriteShape = {
      data: line === '' ? 'keep' : this.folds(key, snapshot, line) ? 'fold' : 'append',
      expiry: changes.expiry !== undefined,
      userId: changes.userId !== undefined,
      meta: changes.meta !== undefined,
      newKey: newKey !== undefined,
      extraColumns: extra.properties,
    };
    const values = { ...this.valuesOf(key, record), snapshot, line };
    if (isPlainSave(shape)) return this.saveRow(values);
    const { affected } = await this.run(operation, this.statements.update(shape), {
      ...values,
      ...extra.values,
      newKey,
      expiry: encodeExpiry(changes.expiry ?? null),
      userId: changes.userId,
      meta: changes.meta && this.codec.encodeMeta(changes.meta, record.id),
    });
    return affected > 0;
  }

  private valuesOf(key: string, record: SessionRecord): Pick<PlainSave, 'key' | 'version' | 'expiresIn'> {
    return { key, version: record.version, expiresIn: fromNow(record.expiresAt) };
  }

  private folds(key: string, snapshot: string, line: string): boolean {
    return this.longLogs.take(key) || shouldFold(snapshot.length, line.length);
  }

  private extraValuesOf({ data }: SessionRecord): ExtraValues {
    return extraValues(this.entity, this.table, data);
  }
}

/** Milliseconds from now, for the database to add to its own clock. */
function fromNow(moment: number): number {
  return Math.round(Math.min(moment, LAST_MOMENT) - Date.now());
}
