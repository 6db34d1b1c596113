import { type DataSource } from 'typeorm';
import { SessionConfigError, SessionRecordCorruptError } from '../../session.errors.js';
import { encodeLogLine, encodeSnapshot, shouldFold } from '../session-log.js';
import { type JsonObject, type SessionChanges, type SessionRecord, SessionStore } from '../session-store.js';
import { isMissingTableOrColumn } from './database-errors.js';
import { type Dialect } from './dialect.js';
import { dialectOf } from './dialects.js';
import { SessionEntity } from './session.entity.js';
import {
  extraParameter,
  isPlainSave,
  SessionStatements,
  spareParameter,
  type WriteShape,
} from './session-statements.js';
import { type LoadRow, rowLoader } from './row-loader.js';
import { type PlainSave, rowSaver, type SaveRow } from './row-saver.js';
import { encodeExpiry, type LoadedRow, toRecord } from './session-row.js';
import { sessionTable, type SessionTable } from './session-table.js';
import { type RunStatement, type Values } from './statement.js';
import { statementRunner } from './statement-runner.js';

export interface DatabaseStoreOptions {
  /**
   * On PostgreSQL: send named prepared statements. Turn off behind a pooler that does not know them, such as
   * PgBouncer before 1.21 in transaction mode.
   * @default true
   */
  preparedStatements?: boolean;
}

/** Dates beyond this are of no use to a session, and their hours would not fit the column. */
const LAST_MOMENT = Date.UTC(9999, 11, 31);

/** How many sessions with a long log are remembered between their load and their save. */
const REMEMBERED_LOGS = 10_000;

/**
 * Keeps sessions in a table of a TypeORM data source: PostgreSQL, MySQL, MariaDB or SQLite.
 *
 * One statement per operation, no transaction, no lock that outlives its statement; on PostgreSQL, one for the loads
 * or the saves of concurrent requests. Whether a session is live is judged by the database's clock.
 *
 * @throws SessionConfigError when the data source does not know the entity, or is of a kind the store does not know
 */
export class DatabaseStore extends SessionStore {
  private readonly dialect: Dialect;
  private readonly table: SessionTable;
  private readonly statements: SessionStatements;
  private readonly run: RunStatement;
  private readonly loadRow: LoadRow;
  private readonly saveRow: SaveRow;
  /** Store keys of loaded records whose log wants folding. A hint: what is forgotten is folded after the next load. */
  private readonly longLogs = new Set<string>();

  constructor(
    dataSource: DataSource,
    private readonly entity: typeof SessionEntity = SessionEntity,
    { preparedStatements = true }: DatabaseStoreOptions = {},
  ) {
    super();
    const dialect = dialectOf(dataSource);
    if (dialect === undefined) {
      throw new SessionConfigError(
        'engine',
        `needs a data source of type postgres, mysql, mariadb, sqljs or better-sqlite3, not ${dataSource.options.type}.`,
      );
    }
    this.dialect = dialect;
    this.table = sessionTable(dataSource, entity);
    this.statements = new SessionStatements(this.table, dialect);
    this.run = statementRunner(dataSource, preparedStatements);
    this.loadRow = rowLoader(this.run, this.statements);
    this.saveRow = rowSaver(this.run, this.statements);
  }

  async load(key: string): Promise<SessionRecord | null> {
    const row = await this.loadRow(key);
    if (row === undefined) return null;
    const record = toRecord(row);
    if (shouldFold(row.data.length, row.log.length)) this.rememberLongLog(key);
    return record;
  }

  /** An expired row that has not been cleared yet counts as taken, too. */
  async create(key: string, record: SessionRecord): Promise<boolean> {
    const extra = this.extraValues(record.data);
    const values = {
      ...this.valuesOf(key, record),
      ...extra.values,
      id: record.id,
      snapshot: encodeSnapshot(record.data),
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
    return (rows as unknown as LoadedRow[]).flatMap((row) => {
      try {
        return [toRecord(row)];
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
    const line = encodeLogLine(changes);
    const snapshot = line === '' ? '' : encodeSnapshot(record.data);
    const extra = line === '' ? noExtraValues : this.extraValues(record.data);
    const shape: WriteShape = {
      data: line === '' ? 'keep' : this.folds(key, snapshot, line) ? 'fold' : 'append',
      expiry: changes.expiry !== undefined,
      userId: changes.userId !== undefined,
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
    });
    return affected > 0;
  }

  private valuesOf(key: string, record: SessionRecord): Pick<PlainSave, 'key' | 'version' | 'expiresIn'> {
    return { key, version: record.version, expiresIn: fromNow(record.expiresAt) };
  }

  private folds(key: string, snapshot: string, line: string): boolean {
    return this.longLogs.delete(key) || shouldFold(snapshot.length, line.length);
  }

  private rememberLongLog(key: string): void {
    if (this.longLogs.size >= REMEMBERED_LOGS) this.longLogs.clear();
    this.longLogs.add(key);
  }

  private extraValues(data: JsonObject): ExtraValues {
    const columns = Object.entries(this.entity.columnsFrom(data));
    if (columns.length === 0) return noExtraValues;
    const values = columns.map(([property, value]): [string, unknown] => {
      const column = this.table.extraColumns.get(property);
      if (column === undefined) {
        throw new SessionConfigError(
          'engine',
          `has the entity ${this.entity.name}, whose columnsFrom() returns "${property}", which is none of the ` +
            'columns that it adds. Return property names of its columns only.',
        );
      }
      return [extraParameter(property), column.toDatabase(value)];
    });
    return { properties: columns.map(([property]) => property), values: Object.fromEntries(values) };
  }
}

interface ExtraValues {
  properties: readonly string[];
  values: Values;
}

const noExtraValues: ExtraValues = { properties: [], values: {} };

/** Milliseconds from now, for the database to add to its own clock. */
function fromNow(moment: number): number {
  return Math.round(Math.min(moment, LAST_MOMENT) - Date.now());
}
