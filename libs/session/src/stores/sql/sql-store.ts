import { setTimeout } from 'node:timers/promises';
import { SessionConfigError, SessionRecordCorruptError } from '../../session.errors.js';
import { RecordCodec } from '../record-codec.js';
import { changedRecord, checkRecordSize, shouldFold } from '../record-log.js';
import { type EncryptionOptions } from '../sealing.js';
import {
  type JsonObject,
  type RecordPage,
  type SessionChanges,
  type SessionCount,
  type SessionRecord,
  SessionStore,
} from '../session-store.js';
import { Batches } from './batches.js';
import { type Dialect, type Statement } from './dialects.js';
import { plainSave, SessionStatements } from './session-statements.js';
import { encodeExpiry, type SessionRow, type SessionTable, toRecord } from './session-table.js';
import { isBroken, isConflict, isMissingTableOrColumn, isSyntaxError, toStoreError } from './sql-errors.js';

export interface SqlResult {
  /** Of a SELECT, and of a statement with RETURNING. */
  rows: Record<string, unknown>[];
  /** Of a statement without RETURNING: how many rows were found and written. */
  affected: number;
}

/**
 * Runs one statement outside of every transaction, with its values bound by the server and not put into the text.
 * It throws the driver's own error.
 *
 * `limit`: after so many milliseconds nobody waits for the answer any more. A connection that is silent for so long is
 * given up, so that the pool can make another.
 */
export type SqlQuery = (text: string, values: readonly unknown[], limit: number) => Promise<SqlResult>;

/** A column of the application's own, quoted, and what goes into it. */
export type ExtraValue = readonly [column: string, value: unknown];

export interface SqlStoreOptions {
  query: SqlQuery;
  dialect: Dialect;
  table: SessionTable;
  /** What goes into the table's extra columns, taken from the session's data. */
  extraValues?: (data: JsonObject) => readonly ExtraValue[];
  encryption?: EncryptionOptions | undefined;
}

/** What a save is made of: the values of its statement, by name. */
interface Save {
  readonly id: string;
  readonly keyHash: string;
  readonly version: number;
  readonly expiresIn: number;
  readonly snapshot: string;
  readonly line: string;
  /** How many bytes the stored data may have at most, for the line to be added. */
  readonly room: number;
}

/** How long a log is, as far as this process knows. */
interface KnownLog {
  readonly snapshotLength: number;
  length: number;
  lines: number;
}

/** Dates beyond this are of no use to a session, and their hours would not fit the column. */
const LAST_MOMENT = Date.UTC(9999, 11, 31);

/**
 * The share of its time limit that an operation takes at most. What has begun before the network came back is over
 * before those have run out of time that have begun after it.
 */
const SHARE = 0.8;

/** For what no visitor waits for: the look at the start-up and the clearing. Milliseconds. */
const PATIENCE = 60_000;

/** The longest pause before a statement is sent again that the database rolled back because of others. Milliseconds. */
const LONGEST_PAUSE = 250;

/** Of so many sessions at most the length of the log is remembered. */
const REMEMBERED = 10_000;

/**
 * Keeps sessions in a table, over anything that runs SQL.
 *
 * One statement per operation, no transaction, no lock that outlives its statement; on PostgreSQL, one for the loads or
 * the saves of concurrent requests. Whether a session is live is judged by the database's clock.
 */
export class SqlStore extends SessionStore {
  private readonly query: SqlQuery;
  private readonly dialect: Dialect;
  private readonly table: SessionTable;
  private readonly codec: RecordCodec;
  private readonly statements: SessionStatements;
  private readonly extraValues: (data: JsonObject) => readonly ExtraValue[];
  private readonly loads: Batches<string, SessionRow | undefined>;
  private readonly plainSaves: Batches<Save, boolean>;
  /**
   * Large sessions whose next change is only appended. A hint: a session that is not in it is written whole, which folds
   * its log.
   */
  private readonly knownLogs = new Map<string, KnownLog>();
  private returnsDeleted = true;

  /** @throws SessionConfigError when a secret is weak */
  constructor({ query, dialect, table, encryption, extraValues = () => [] }: SqlStoreOptions) {
    super();
    this.query = query;
    this.dialect = dialect;
    this.table = table;
    this.extraValues = extraValues;
    this.codec = new RecordCodec(encryption);
    this.statements = new SessionStatements(table, dialect);
    const [load, loadTogether] = [this.statements.load(), this.statements.loadTogether()];
    this.loads = new Batches({
      one: (id) => this.run('load', load, { id }, firstRow),
      together: loadTogether && ((ids) => this.loadTogether(loadTogether, ids)),
    });
    const [save, saveTogether] = [this.statements.save(plainSave), this.statements.saveTogether()];
    this.plainSaves = new Batches({
      one: (values) => this.run('save', save, values, isAffected),
      together: saveTogether && ((saves) => this.saveTogether(saveTogether, saves)),
      rowOf: ({ id }) => id,
    });
  }

  load(id: string): Promise<SessionRecord | null> {
    return this.loads.add(id).then((row) => {
      if (row === undefined) return null;
      const record = toRecord(row, this.codec, Date.now());
      this.remember(id, row.data.length, row.log);
      return record;
    });
  }

  /** An expired row that has not been cleared yet counts as taken, too. */
  async create(id: string, record: SessionRecord): Promise<boolean> {
    const extra = this.extraValues(record.data);
    const values = {
      id,
      keyHash: record.keyHash,
      snapshot: this.encodeSnapshot(id, record.data),
      meta: this.codec.encodeMeta(record.meta, id) ?? '',
      expiry: encodeExpiry(record.expiry),
      userId: record.userId,
      expiresIn: fromNow(record.expiresAt),
      createdIn: fromNow(record.createdAt),
      lastSeenIn: fromNow(record.lastSeenAt),
      ...valuesOf(extra),
    };
    try {
      return await this.run('create', this.statements.insert(columnsOf(extra)), values, isAffected);
    } catch (error) {
      if (this.dialect.isTaken?.(error)) return false;
      throw error;
    }
  }

  async save(id: string, keyHash: string, changes: SessionChanges, record: SessionRecord): Promise<boolean> {
    const { size } = this.limits;
    if (await this.write(id, keyHash, changes, record, size)) return true;
    if (size === Infinity) return false;
    // It is gone, its secret was replaced, or there is no room for one more line: those of the log may repeat themselves,
    // so the data that they amount to are measured.
    for (;;) {
      const current = await this.load(id);
      if (current?.keyHash !== keyHash) return false;
      const { version } = current;
      const merged = { ...changedRecord(current, changes, record, Date.now()), version };
      if (await this.write(id, keyHash, changes, merged, null)) return true;
    }
  }

  delete(id: string): Promise<boolean> {
    return this.run('delete', this.statements.delete(), { id }, isAffected);
  }

  override async take(id: string): Promise<SessionRecord | null> {
    if (this.returnsDeleted) {
      try {
        const row = await this.run('take', this.statements.take(), { id }, firstRow);
        return row ? toRecord(row, this.codec, Date.now()) : null;
      } catch (error) {
        if (!isSyntaxError(error)) throw error;
        this.returnsDeleted = false;
      }
    }
    for (;;) {
      const record = await this.load(id);
      if (record === null) return null;
      const { version } = record;
      const statement = this.statements.deleteUnchanged();
      if (await this.run('take', statement, { id, version }, isAffected)) return record;
    }
  }

  override touch(id: string, record: SessionRecord): Promise<boolean> {
    const values = {
      id,
      version: record.version,
      expiresIn: fromNow(record.expiresAt),
      lastSeenIn: fromNow(record.lastSeenAt),
    };
    return this.run('touch', this.statements.touch(), values, isAffected);
  }

  /** Rows that cannot be decoded are left out: nobody can use them. */
  override async listByUser(userId: string): Promise<SessionRecord[]> {
    return this.readable(await this.run('listByUser', this.statements.listByUser(), { userId }, rowsOf));
  }

  override async deleteByUser(userId: string, exceptIds: readonly string[] = []): Promise<number> {
    const spared = Object.fromEntries(exceptIds.map((id, index) => [`id ${index}`, id]));
    const statement = this.statements.deleteByUser(exceptIds.length);
    return this.run('deleteByUser', statement, { userId, ...spared }, affectedRows);
  }

  override async count(): Promise<SessionCount> {
    return this.run('count', this.statements.count(), {}, countOf);
  }

  /** By the primary key: a page costs the same wherever it is. Rows that cannot be decoded are left out. */
  override async list(after: string | null, limit: number): Promise<RecordPage> {
    const page = await this.run('list', this.statements.list(limit), { after: after ?? '' }, rowsOf);
    return {
      records: this.readable(page),
      next: page.length < limit ? null : (page.at(-1)?.id ?? null),
    };
  }

  override async clearExpired(batchSize: number): Promise<number> {
    const statement = this.statements.clearExpired(batchSize);
    return this.run('clearExpired', statement, {}, affectedRows, PATIENCE);
  }

  /**
   * Asks the database for the table and its columns, and whether they and the connection carry every text.
   * @param advice what to do when something is missing
   * @throws SessionConfigError when something is missing, or would corrupt text
   */
  async checkTable(advice = 'Create it with all its columns.'): Promise<void> {
    try {
      await this.run('check the table', this.statements.probe(), {}, rowsOf, PATIENCE);
    } catch (error) {
      if (!isMissingTableOrColumn(error)) throw error;
      throw new SessionConfigError(
        'engine',
        `needs the table ${this.table.name} with all its columns, but part of it is missing ` +
          `(${(error as Error).message}). ${advice}`,
        { cause: error },
      );
    }
    await this.checkEncodings();
  }

  private readable(rows: readonly SessionRow[]): SessionRecord[] {
    const now = Date.now();
    return rows.flatMap((row) => {
      try {
        return [toRecord(row, this.codec, now)];
      } catch (error) {
        if (error instanceof SessionRecordCorruptError) return [];
        throw error;
      }
    });
  }

  /** In another encoding than Unicode, a text is saved without an error and comes back as another one. */
  private async checkEncodings(): Promise<void> {
    const statement = this.statements.encodings();
    if (statement === undefined) return;
    const row = await this.run('check the encoding', statement, {}, firstRow, PATIENCE);
    for (const [subject, encoding] of Object.entries(row ?? {})) {
      if (this.dialect.unicode?.test(String(encoding))) continue;
      throw new SessionConfigError(
        'engine',
        `needs Unicode text, but the ${subject} is ${String(encoding)}. Use UTF-8 (on MySQL and MariaDB: utf8mb4).`,
      );
    }
  }

  /**
   * One update of a live row.
   * @param limit how large the data may become when the snapshot cannot be replaced; null: only replace it
   * @throws SessionLimitError when the new snapshot is larger than a record may be
   */
  private write(
    id: string,
    keyHash: string,
    changes: SessionChanges,
    record: SessionRecord,
    limit: number | null,
  ): Promise<boolean> {
    const line = this.codec.encodeLogLine(changes, id);
    const data = line === '' ? 'keep' : limit !== null && this.appends(id, line) ? 'append' : 'fold';
    const save: Save = {
      id,
      keyHash,
      version: record.version,
      expiresIn: fromNow(record.expiresAt),
      snapshot: data === 'fold' ? this.encodeSnapshot(id, record.data) : '',
      line,
      room: limit === null ? -1 : Math.min(limit, Number.MAX_SAFE_INTEGER) - line.length,
    };
    const extra = line === '' ? [] : this.extraValues(record.data);
    const statement = this.statements.save({
      data,
      expiry: changes.expiry !== undefined,
      meta: changes.meta !== undefined,
      keyHash: changes.keyHash !== undefined,
      extraColumns: columnsOf(extra),
    });
    if (statement === this.statements.save(plainSave)) return this.plainSaves.add(save);
    const values = {
      ...save,
      newHash: changes.keyHash,
      expiry: encodeExpiry(changes.expiry ?? null),
      meta: this.codec.encodeMeta(changes.meta ?? {}, id) ?? '',
      ...valuesOf(extra),
    };
    return this.run('save', statement, values, isAffected);
  }

  /** @throws SessionLimitError */
  private encodeSnapshot(id: string, data: JsonObject): string {
    const snapshot = this.codec.encodeSnapshot(data, id);
    // An encrypted text is longer than the data that are measured.
    checkRecordSize(data, this.limits, snapshot.length <= this.limits.size ? snapshot.length : undefined);
    this.remember(id, snapshot.length, '');
    return snapshot;
  }

  /** Shall this line only be added to the log? */
  private appends(id: string, line: string): boolean {
    const known = this.knownLogs.get(id);
    if (known === undefined) return false;
    known.length += line.length;
    known.lines += 1;
    return !shouldFold(known.snapshotLength, known.length, known.lines);
  }

  private remember(id: string, snapshotLength: number, log: string): void {
    this.knownLogs.delete(id);
    if (shouldFold(snapshotLength, log.length)) return;
    if (this.knownLogs.size >= REMEMBERED) this.knownLogs.clear();
    this.knownLogs.set(id, { snapshotLength, length: log.length, lines: log.split('\n').length - 1 });
  }

  private async loadTogether(
    statement: Statement,
    ids: readonly string[],
  ): Promise<Map<string, SessionRow | undefined>> {
    const rows = new Map<string, SessionRow | undefined>(ids.map((id) => [id, undefined]));
    for (const row of await this.run('load', statement, { ids }, rowsOf)) rows.set(row.id, row);
    return rows;
  }

  /** Saves of rows that are locked or gone are left without an answer, and so are those that are refused. */
  private async saveTogether(statement: Statement, saves: readonly Save[]): Promise<Map<Save, boolean>> {
    const rows = await this.run('save', statement, listsOf(saves), ({ rows: given }) => given);
    const saved = new Set(rows.map(({ saved_id }) => saved_id));
    return new Map(saves.filter(({ id }) => saved.has(id)).map((save) => [save, true]));
  }

  /**
   * Functions that pass promises on, instead of async ones that wait for them: every load and save goes this way.
   * @param use makes of the answer what the operation wants to know
   */
  private run<Result>(
    operation: string,
    statement: Statement,
    values: object,
    use: (result: SqlResult) => Result,
    limit = SHARE * this.timeLimit,
  ): Promise<Result> {
    const byName = values as Readonly<Record<string, unknown>>;
    const parameters = statement.parameters.map((name) => byName[name] ?? null);
    const started = performance.now();
    const send = (): Promise<SqlResult> => this.query(statement.text, parameters, limit);
    return send().then(use, async (error: unknown) =>
      use(await this.sendAgain({ operation, error, send, statement, until: started + limit })),
    );
  }

  /** After an error that says, or leaves it certain, that nothing was done. */
  private async sendAgain({ operation, error, send, statement, until }: Failed): Promise<SqlResult> {
    let broke = false;
    for (let pause = 2; ; pause = Math.min(2 * pause, LONGEST_PAUSE)) {
      // A statement of ours that was rolled back left nothing behind, so it may simply be sent again. One that only reads
      // may, too, when its connection broke; once, on another.
      const again = isConflict(error) || (!broke && isBroken(error) && /^SELECT\b/i.test(statement.text));
      broke ||= isBroken(error);
      if (!again || performance.now() > until) throw toStoreError(operation, error);
      // At random, because those that have met once would meet again.
      await setTimeout(Math.random() * pause);
      try {
        return await send();
      } catch (next) {
        error = next;
      }
    }
  }
}

/** A statement that has failed. */
interface Failed {
  operation: string;
  error: unknown;
  send: () => Promise<SqlResult>;
  statement: Statement;
  /** On the clock of `performance`: after that nobody waits any more. */
  until: number;
}

function rowsOf({ rows }: SqlResult): SessionRow[] {
  return rows as unknown as SessionRow[];
}

function firstRow(result: SqlResult): SessionRow | undefined {
  return rowsOf(result)[0];
}

function countOf({ rows: [row] }: SqlResult): SessionCount {
  return { live: Number(row?.['live_rows']), loggedIn: Number(row?.['user_rows']) };
}

function affectedRows({ affected }: SqlResult): number {
  return affected;
}

function isAffected({ affected }: SqlResult): boolean {
  return affected > 0;
}

function columnsOf(extra: readonly ExtraValue[]): string[] {
  return extra.map(([column]) => column);
}

function valuesOf(extra: readonly ExtraValue[]): Record<string, unknown> {
  return Object.fromEntries(extra.map(([, value], index) => [`extra ${index}`, value]));
}

/** The values of each parameter, as a list. */
function listsOf(saves: readonly Save[]): object {
  const [first] = saves;
  const names = Object.keys(first ?? {}) as (keyof Save)[];
  return Object.fromEntries(names.map((name) => [name, saves.map((save) => save[name])]));
}

/** Milliseconds from now, for the database to add to its own clock. */
function fromNow(moment: number): number {
  return Math.round(Math.min(moment, LAST_MOMENT) - Date.now());
}
