import { type Dialect } from './dialect.js';
import { type SessionTable } from './session-table.js';
import { type Statement } from './statement.js';

/** What a write does; each shape is a statement of its own, built at its first use. */
export interface WriteShape {
  /**
   * - `keep`: neither snapshot nor log
   * - `append`: a line to the log, so that a large snapshot need not be sent
   * - `fold`: a new snapshot and an empty log, unless somebody else wrote since the load; then a line to the log
   */
  data: 'keep' | 'append' | 'fold';
  expiry: boolean;
  userId: boolean;
  newKey: boolean;
  /** Property names of the extra columns that are written. */
  extraColumns: readonly string[];
}

/** Name of the parameter that carries an extra column's value. */
export const extraParameter = (property: string): string => `extra ${property}`;

/** Name of the parameter that carries the session id of a session that is not to be ended. */
export const spareParameter = (index: number): string => `id ${index}`;

/** What nearly all saves of a small session are. */
export const plainSave: WriteShape = {
  data: 'fold',
  expiry: false,
  userId: false,
  newKey: false,
  extraColumns: [],
};

export function isPlainSave({ data, expiry, userId, newKey, extraColumns }: WriteShape): boolean {
  return data === 'fold' && !expiry && !userId && !newKey && extraColumns.length === 0;
}

type Assignment = readonly [column: string, value: string];

/**
 * The store's SQL. Every operation is one statement and needs no transaction, for SQLite-type drivers interleave
 * transactions on their one connection.
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
    return this.statement('load', () => `${this.selectRecords()} WHERE ${this.isLive()}`);
  }

  /** For a list of `⟨keys⟩`, each row with its key; undefined where the database takes no list. */
  loadTogether(): Statement | undefined {
    const { sessionKey } = this.table.columns;
    const isOneOf = this.dialect.isOneOf?.(sessionKey, '⟨keys⟩');
    if (isOneOf === undefined) return undefined;
    return this.statement(
      'loadTogether',
      () => `${this.selectRecords(`${sessionKey} AS loaded_key`)} WHERE ${isOneOf} AND ${this.isUnexpired}`,
    );
  }

  listByUser(): Statement {
    return this.statement(
      'listByUser',
      () => `${this.selectRecords()} WHERE ${this.isOfUser} AND ${this.isUnexpired}`,
    );
  }

  /** @param exceptions how many session ids `⟨id 0⟩`, `⟨id 1⟩`, … are spared */
  deleteByUser(exceptions: number): Statement {
    const { name, columns } = this.table;
    const spared = Array.from({ length: exceptions }, (_, index) => `⟨${spareParameter(index)}⟩`);
    const others = spared.length === 0 ? '' : `AND ${columns.sessionId} NOT IN (${spared.join(', ')})`;
    return this.statement(
      `deleteByUser ${exceptions}`,
      () => `DELETE FROM ${name} WHERE ${this.isOfUser} ${others}`,
    );
  }

  private selectRecords(...more: string[]): string {
    const { name, columns } = this.table;
    return `
      SELECT ${columns.sessionData} AS data, ${columns.sessionLog} AS log, ${columns.version} AS loaded_version,
        ${columns.expireDate} AS expires_at, ${columns.sessionId} AS public_id, ${columns.userId} AS owner,
        ${columns.expiry} AS own_expiry, ${columns.createdAt} AS created, ${columns.lastSeenAt} AS last_seen,
        ${[`${this.dialect.now} AS store_now`, ...more].join(', ')}
      FROM ${name}`;
  }

  exists(): Statement {
    return this.statement('exists', () => `SELECT 1 FROM ${this.table.name} WHERE ${this.isLive()}`);
  }

  /** By session id as well, for a concurrent rename may have moved the row from under the key. */
  delete(byId: boolean): Statement {
    const { name, columns } = this.table;
    const orId = byId ? `OR ${columns.sessionId} = ⟨id⟩` : '';
    return this.statement(
      `delete ${byId}`,
      () => `DELETE FROM ${name} WHERE ${columns.sessionKey} = ⟨key⟩ ${orId}`,
    );
  }

  clearExpired(): Statement {
    return this.statement('clearExpired', () => this.dialect.clearExpired(this.table));
  }

  /** Names every column of the table and reads no row. */
  probe(): Statement {
    const { name, columns, extraColumns } = this.table;
    const names = [...Object.values(columns), ...[...extraColumns.values()].map((column) => column.name)];
    return this.statement(
      'probe',
      // Qualified, because SQLite takes an unknown name in double quotes for a string.
      () => `SELECT ${names.map((column) => `probed.${column}`).join(', ')} FROM ${name} probed WHERE 1 = 0`,
    );
  }

  /** Leaves alone what somebody else has written since the load, and never moves a deadline back. */
  touch(): Statement {
    const { name, columns } = this.table;
    return this.statement(
      'touch',
      () => `
      UPDATE ${name} SET
        ${columns.expireDate} = ${this.deadline},
        ${columns.expireBucket} = ${this.dialect.hour(this.deadline)},
        ${columns.lastSeenAt} = ${this.fromNow('⟨lastSeenIn⟩')}
      WHERE ${this.isLive()} AND ${this.isUnchanged} AND ${columns.expireDate} < ${this.deadline}`,
    );
  }

  insert(extraColumns: readonly string[]): Statement {
    const { name, columns } = this.table;
    return this.statement(`insert ${extraColumns.join()}`, () => {
      const assignments: Assignment[] = [
        [columns.sessionKey, '⟨key⟩'],
        [columns.sessionData, '⟨snapshot⟩'],
        [columns.sessionLog, `''`],
        [columns.version, '1'],
        [columns.expireDate, this.deadline],
        [columns.expireBucket, this.dialect.hour(this.deadline)],
        [columns.sessionId, '⟨id⟩'],
        [columns.userId, '⟨userId⟩'],
        [columns.expiry, '⟨expiry⟩'],
        [columns.createdAt, this.fromNow('⟨createdIn⟩')],
        [columns.lastSeenAt, this.fromNow('⟨lastSeenIn⟩')],
        ...extraColumns.map((property): Assignment => [this.extraName(property), extraValue(property)]),
      ];
      return `
        INSERT INTO ${name} (${assignments.map(([column]) => column).join(', ')})
        VALUES (${assignments.map(([, value]) => value).join(', ')})
        ${this.dialect.unlessTaken(columns.sessionKey)}`;
    });
  }

  /** A save or a rename. It updates a live row and never inserts one: what has ended stays ended. */
  update(shape: WriteShape): Statement {
    return this.statement(
      `update ${JSON.stringify(shape)}`,
      () => `UPDATE ${this.table.name} SET ${this.assignments(shape)} WHERE ${this.isLive()}`,
    );
  }

  /** Plain saves of several rows, with lists for values; undefined where the database has no such statement. */
  saveTogether(): Statement | undefined {
    const template = this.dialect.saveTogether?.(this.table, this.assignments(plainSave), this.isUnexpired);
    return template === undefined ? undefined : this.statement('saveTogether', () => template);
  }

  private assignments(shape: WriteShape): string {
    const { columns } = this.table;
    const assignments: Assignment[] = [
      ...this.dataAssignments(shape.data),
      ...this.deadlineAssignments(shape.expiry),
      [columns.lastSeenAt, this.dialect.now],
      ...(shape.userId ? [[columns.userId, '⟨userId⟩'] as const] : []),
      ...shape.extraColumns.map((property) => this.extraAssignment(property)),
      ...(shape.newKey ? [[columns.sessionKey, '⟨newKey⟩'] as const] : []),
      // Last, for MySQL assigns from left to right, and everything above compares the version that was there.
      [columns.version, `${columns.version} + 1`],
    ];
    return assignments.map(([column, value]) => `${column} = ${value}`).join(', ');
  }

  private dataAssignments(data: WriteShape['data']): Assignment[] {
    const { sessionData, sessionLog } = this.table.columns;
    const appended = this.dialect.append(sessionLog, '⟨line⟩');
    if (data === 'keep') return [];
    if (data === 'append') return [[sessionLog, appended]];
    return [
      [sessionData, this.ifUnchanged('⟨snapshot⟩', sessionData)],
      [sessionLog, this.ifUnchanged(`''`, appended)],
    ];
  }

  /** Whoever wrote since the load has set the deadline; only a `setExpiry` of this request goes above that. */
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

  /** See `SessionEntity.columnsFrom` for the meaning. */
  private extraAssignment(property: string): Assignment {
    const column = this.extraName(property);
    const value = extraValue(property);
    return [column, this.ifUnchanged(value, `COALESCE(${value}, ${column})`)];
  }

  private ifUnchanged(then: string, otherwise: string): string {
    return `CASE WHEN ${this.isUnchanged} THEN ${then} ELSE ${otherwise} END`;
  }

  /** Nobody has written since this request loaded the record. */
  private get isUnchanged(): string {
    return `${this.table.columns.version} = ⟨version⟩`;
  }

  private isLive(): string {
    return `${this.table.columns.sessionKey} = ⟨key⟩ AND ${this.isUnexpired}`;
  }

  private get isUnexpired(): string {
    return `${this.table.columns.expireDate} > ${this.dialect.now}`;
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

  private extraName(property: string): string {
    const column = this.table.extraColumns.get(property);
    if (column === undefined) throw new Error(`"${property}" is no column`);
    return column.name;
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

function extraValue(property: string): string {
  return `⟨${extraParameter(property)}⟩`;
}
