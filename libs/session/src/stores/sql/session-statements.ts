import { type Dialect, type Statement } from './dialects.js';
import { selectedColumns, type SessionTable } from './session-table.js';

/** What a save does; each shape is a statement of its own, built at its first use. */
export interface SaveShape {
  /**
   * - `keep`: neither snapshot nor log
   * - `append`: a line to the log, so that a large snapshot need not be sent
   * - `fold`: a new snapshot and an empty log, unless somebody else has written since the load; then a line to the log
   */
  data: 'keep' | 'append' | 'fold';
  expiry: boolean;
  meta: boolean;
  keyHash: boolean;
  /** The extra columns that are written, quoted. Their values are `⟨extra 0⟩`, `⟨extra 1⟩`, … */
  extraColumns: readonly string[];
}

/** What nearly all saves of a small session are. */
export const plainSave: SaveShape = {
  data: 'fold',
  expiry: false,
  meta: false,
  keyHash: false,
  extraColumns: [],
};

type Assignment = readonly [column: string, value: string];

/**
 * The store's SQL. Every operation is one statement and needs no transaction, because drivers with one connection would
 * carry it out inside of somebody else's.
 *
 * Values stand as `⟨name⟩`. Those that end in `In` are durations from now: the database adds them to its own clock.
 */
export class SessionStatements {
  private readonly built = new Map<string, Statement>();

  constructor(
    private readonly table: SessionTable,
    private readonly dialect: Dialect,
  ) {}

  load(): Statement {
    return this.statement('load', () => `${this.select} WHERE ${this.isLive}`);
  }

  /** For a list of `⟨ids⟩`; undefined where the database takes no list. */
  loadTogether(): Statement | undefined {
    const isOneOf = this.dialect.isOneOf?.(this.table.columns.sessionId, '⟨ids⟩');
    if (isOneOf === undefined) return undefined;
    return this.statement('loadTogether', () => `${this.select} WHERE ${isOneOf} AND ${this.isUnexpired}`);
  }

  listByUser(): Statement {
    return this.statement(
      'listByUser',
      () => `${this.select} WHERE ${this.isOfUser} AND ${this.isUnexpired}`,
    );
  }

  /** Reads the whole table: few rows have expired, so that no index would spare much. */
  count(): Statement {
    const { name, columns } = this.table;
    return this.statement(
      'count',
      () => `
        SELECT COUNT(*) AS live_rows, COUNT(${columns.userId}) AS user_rows FROM ${name} WHERE ${this.isUnexpired}`,
    );
  }

  /** In the order of the primary key. The limit stands in the text, as in `clearExpired`. */
  list(limit: number): Statement {
    const { sessionId } = this.table.columns;
    const count = Math.trunc(limit);
    return this.statement(
      `list ${count}`,
      () => `
        ${this.select} WHERE ${sessionId} > ⟨after⟩ AND ${this.isUnexpired} ORDER BY ${sessionId} LIMIT ${count}`,
    );
  }

  insert(extraColumns: readonly string[]): Statement {
    return this.statement(`insert ${extraColumns.join()}`, () => {
      const { name, columns } = this.table;
      const assignments: Assignment[] = [
        [columns.sessionId, '⟨id⟩'],
        [columns.keyHash, '⟨keyHash⟩'],
        [columns.sessionData, '⟨snapshot⟩'],
        [columns.sessionLog, `''`],
        [columns.sessionMeta, '⟨meta⟩'],
        [columns.version, '1'],
        [columns.expireDate, this.deadline],
        [columns.expireBucket, this.dialect.hour(this.deadline)],
        [columns.userId, '⟨userId⟩'],
        [columns.expiry, '⟨expiry⟩'],
        [columns.createdAt, this.fromNow('⟨createdIn⟩')],
        [columns.lastSeenAt, this.fromNow('⟨lastSeenIn⟩')],
        ...extraColumns.map((column, index): Assignment => [column, `⟨extra ${index}⟩`]),
      ];
      return `
        INSERT INTO ${name} (${assignments.map(([column]) => column).join(', ')})
        VALUES (${assignments.map(([, value]) => value).join(', ')})
        ${this.dialect.unlessTaken(columns.sessionId)}`;
    });
  }

  /** It updates a live row and never inserts one: what has ended stays ended. */
  save(shape: SaveShape): Statement {
    return this.statement(
      `save ${JSON.stringify(shape)}`,
      () =>
        `UPDATE ${this.table.name} SET ${this.assignments(shape)} WHERE ${this.isLive} AND ${this.conditions(shape)}`,
    );
  }

  /** Plain saves of several rows, with lists for values; undefined where the database has no such statement. */
  saveTogether(): Statement | undefined {
    const template = this.dialect.saveTogether?.(
      this.table,
      this.assignments(plainSave),
      this.conditions(plainSave),
      this.isUnexpired,
    );
    return template === undefined ? undefined : this.statement('saveTogether', () => template);
  }

  /** Leaves alone what somebody else has written since the load, and never moves a deadline back. */
  touch(): Statement {
    return this.statement('touch', () => {
      const { name, columns } = this.table;
      const assignments = list([
        [columns.expireDate, this.deadline],
        [columns.expireBucket, this.dialect.hour(this.deadline)],
        [columns.lastSeenAt, this.fromNow('⟨lastSeenIn⟩')],
      ]);
      return `
        UPDATE ${name} SET ${assignments}
        WHERE ${this.isLive} AND ${this.isUnchanged} AND ${columns.expireDate} < ${this.deadline}`;
    });
  }

  delete(): Statement {
    const { name, columns } = this.table;
    return this.statement('delete', () => `DELETE FROM ${name} WHERE ${columns.sessionId} = ⟨id⟩`);
  }

  /** Returns what it deletes. MySQL has no such statement, nor has an SQLite before 3.35. */
  take(): Statement {
    const { name } = this.table;
    return this.statement('take', () => `DELETE FROM ${name} WHERE ${this.isLive} RETURNING ${this.row}`);
  }

  /** For where `take` is not known. */
  deleteUnchanged(): Statement {
    const { name } = this.table;
    return this.statement(
      'deleteUnchanged',
      () => `DELETE FROM ${name} WHERE ${this.isLive} AND ${this.isUnchanged}`,
    );
  }

  /** @param exceptions how many session ids `⟨id 0⟩`, `⟨id 1⟩`, … are spared */
  deleteByUser(exceptions: number): Statement {
    const { name, columns } = this.table;
    const spared = Array.from({ length: exceptions }, (_, index) => `⟨id ${index}⟩`);
    const others = exceptions === 0 ? '' : `AND ${columns.sessionId} NOT IN (${spared.join(', ')})`;
    return this.statement(
      `deleteByUser ${exceptions}`,
      () => `DELETE FROM ${name} WHERE ${this.isOfUser} ${others}`,
    );
  }

  /** The limit stands in the text, for MySQL 8 takes no bound number there. */
  clearExpired(batchSize: number): Statement {
    const limit = Math.trunc(batchSize);
    return this.statement(`clearExpired ${limit}`, () => this.dialect.clearExpired(this.table, limit));
  }

  /** Names every column of the table and reads no row. */
  probe(): Statement {
    const { name, columns, extraColumns } = this.table;
    // Qualified, because SQLite takes an unknown name in double quotes for a string.
    const names = [...Object.values(columns), ...extraColumns].map((column) => `probed.${column}`);
    return this.statement('probe', () => `SELECT ${names.join(', ')} FROM ${name} probed WHERE 1 = 0`);
  }

  /** Undefined where all text is Unicode. */
  encodings(): Statement | undefined {
    const template = this.dialect.encodings?.(this.table);
    return template === undefined ? undefined : this.statement('encodings', () => template);
  }

  private assignments(shape: SaveShape): string {
    const { columns } = this.table;
    return list([
      ...this.dataAssignments(shape.data),
      ...this.deadlineAssignments(shape.expiry),
      [columns.lastSeenAt, this.dialect.now],
      ...(shape.meta ? [[columns.sessionMeta, '⟨meta⟩'] as const] : []),
      ...(shape.keyHash ? [[columns.keyHash, '⟨newHash⟩'] as const] : []),
      ...shape.extraColumns.map((column, index): Assignment => {
        const value = `⟨extra ${index}⟩`;
        // A request that came late fills the column, but does not empty it.
        return [column, this.ifUnchanged(value, `COALESCE(${value}, ${column})`)];
      }),
      // Last, because MySQL assigns from left to right, and everything compares the version that was there.
      [columns.version, `${columns.version} + 1`],
    ]);
  }

  private dataAssignments(data: SaveShape['data']): Assignment[] {
    const { sessionData, sessionLog } = this.table.columns;
    const appended = this.dialect.append(sessionLog, '⟨line⟩');
    if (data === 'keep') return [];
    if (data === 'append') return [[sessionLog, appended]];
    return [
      [sessionData, this.ifUnchanged('⟨snapshot⟩', sessionData)],
      [sessionLog, this.ifUnchanged(`''`, appended)],
    ];
  }

  /** A save since the load has set the deadline; only a `setExpiry` of this request goes above that. */
  private deadlineAssignments(withExpiry: boolean): Assignment[] {
    const { expireDate, expireBucket, expiry } = this.table.columns;
    const bucket = this.dialect.hour(this.deadline);
    if (withExpiry) {
      return [
        [expireDate, this.deadline],
        [expireBucket, bucket],
        [expiry, '⟨expiry⟩'],
      ];
    }
    return [
      [expireDate, this.ifUnchanged(this.deadline, expireDate)],
      [expireBucket, this.ifUnchanged(bucket, expireBucket)],
    ];
  }

  /** The secret is still the one that the request came with, and a line that is added to the log finds room. */
  private conditions({ data }: SaveShape): string {
    const { keyHash, sessionData, sessionLog } = this.table.columns;
    const hasKey = `${keyHash} = ⟨keyHash⟩`;
    const size = [sessionData, sessionLog].map((column) => this.dialect.bytes(column)).join(' + ');
    const hasRoom = `${size} <= ${this.dialect.integer('⟨room⟩')}`;
    if (data === 'keep') return hasKey;
    return `${hasKey} AND ${data === 'append' ? hasRoom : `(${this.isUnchanged} OR ${hasRoom})`}`;
  }

  private get select(): string {
    return `SELECT ${this.row} FROM ${this.table.name}`;
  }

  private get row(): string {
    return selectedColumns(this.table, this.dialect.now);
  }

  private get isLive(): string {
    return `${this.table.columns.sessionId} = ⟨id⟩ AND ${this.isUnexpired}`;
  }

  private get isUnexpired(): string {
    return `${this.table.columns.expireDate} > ${this.dialect.now}`;
  }

  /** Nobody has written since this request loaded the record. */
  private get isUnchanged(): string {
    return `${this.table.columns.version} = ⟨version⟩`;
  }

  private get isOfUser(): string {
    return this.dialect.isExactly(this.table.columns.userId, '⟨userId⟩');
  }

  private get deadline(): string {
    return this.fromNow('⟨expiresIn⟩');
  }

  private fromNow(duration: string): string {
    return `${this.dialect.now} + ${this.dialect.integer(duration)}`;
  }

  private ifUnchanged(then: string, otherwise: string): string {
    return `CASE WHEN ${this.isUnchanged} THEN ${then} ELSE ${otherwise} END`;
  }

  private statement(shape: string, template: () => string): Statement {
    let statement = this.built.get(shape);
    if (statement === undefined) {
      statement = this.dialect.statement(template());
      this.built.set(shape, statement);
    }
    return statement;
  }
}

function list(assignments: readonly Assignment[]): string {
  return assignments.map(([column, value]) => `${column} = ${value}`).join(', ');
}
