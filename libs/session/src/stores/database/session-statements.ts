import { type Dialect } from './dialect.js';
import { type Assignment, plainSave, RowAssignments, type WriteShape } from './row-assignments.js';
import { type SessionTable } from './session-table.js';
import { type Statement } from './statement.js';

/** Name of the parameter that carries the session id of a session that is not to be ended. */
export const spareParameter = (index: number): string => `id ${index}`;

/**
 * The store's SQL. Every operation is one statement and needs no transaction, for SQLite-type drivers interleave
 * transactions on their one connection.
 */
export class SessionStatements {
  private readonly assignments: RowAssignments;
  private readonly built = new Map<string, Statement>();

  constructor(
    private readonly table: SessionTable,
    private readonly dialect: Dialect,
  ) {
    this.assignments = new RowAssignments(table, dialect);
  }

  load(): Statement {
    return this.statement('load', () => `${this.selectRecords()} WHERE ${this.isLive}`);
  }

  /** For a list of `⟨keys⟩`, each row with its `asked_key`; undefined where the database takes no list. */
  loadTogether(): Statement | undefined {
    const { sessionKey } = this.table.columns;
    return this.together('loadTogether', sessionKey, this.selectRecords(`${sessionKey} AS asked_key`));
  }

  /** Where the live row is that was last under `⟨key⟩`. */
  loadMove(): Statement {
    const { formerKey } = this.table.columns;
    return this.statement(
      'loadMove',
      () => `${this.selectMoves} WHERE ${formerKey} = ⟨key⟩ AND ${this.isUnexpired}`,
    );
  }

  /** As of `loadTogether`. */
  loadMovesTogether(): Statement | undefined {
    return this.together('loadMovesTogether', this.table.columns.formerKey, this.selectMoves);
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

  /** @param ofUser only if it is bound to `⟨userId⟩` */
  deleteById(ofUser: boolean): Statement {
    const { name, columns } = this.table;
    const isIt = this.dialect.isExactly(columns.sessionId, '⟨id⟩');
    return this.statement(
      `deleteById ${ofUser}`,
      () =>
        `DELETE FROM ${name} WHERE ${isIt} AND ${this.isUnexpired} ${ofUser ? `AND ${this.isOfUser}` : ''}`,
    );
  }

  exists(): Statement {
    return this.statement('exists', () => `SELECT 1 FROM ${this.table.name} WHERE ${this.isLive}`);
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
    const { isUnchanged, deadline } = this.assignments;
    return this.statement(
      'touch',
      () => `
        UPDATE ${this.table.name} SET ${list(this.assignments.ofTouch())}
        WHERE ${this.isLive} AND ${isUnchanged} AND ${this.table.columns.expireDate} < ${deadline}`,
    );
  }

  insert(extraColumns: readonly string[]): Statement {
    const { name, columns } = this.table;
    return this.statement(`insert ${extraColumns.join()}`, () => {
      const assignments = this.assignments.ofInsert(extraColumns);
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
      () => `UPDATE ${this.table.name} SET ${list(this.assignments.ofUpdate(shape))} WHERE ${this.isLive}`,
    );
  }

  /** Plain saves of several rows, with lists for values; undefined where the database has no such statement. */
  saveTogether(): Statement | undefined {
    const assignments = list(this.assignments.ofUpdate(plainSave));
    const template = this.dialect.saveTogether?.(this.table, assignments, this.isUnexpired);
    return template === undefined ? undefined : this.statement('saveTogether', () => template);
  }

  private selectRecords(...more: string[]): string {
    const { name, columns } = this.table;
    return `
      SELECT ${columns.sessionData} AS data, ${columns.sessionLog} AS log, ${columns.sessionMeta} AS meta,
        ${columns.version} AS loaded_version, ${columns.expireDate} AS expires_at,
        ${columns.sessionId} AS public_id, ${columns.userId} AS owner, ${columns.expiry} AS own_expiry,
        ${columns.createdAt} AS created, ${columns.lastSeenAt} AS last_seen,
        ${[`${this.dialect.now} AS store_now`, ...more].join(', ')}
      FROM ${name}`;
  }

  private get selectMoves(): string {
    const { name, columns } = this.table;
    return `SELECT ${columns.sessionKey} AS moved_to, ${columns.formerKey} AS asked_key FROM ${name}`;
  }

  private together(shape: string, column: string, select: string): Statement | undefined {
    const isOneOf = this.dialect.isOneOf?.(column, '⟨keys⟩');
    if (isOneOf === undefined) return undefined;
    return this.statement(shape, () => `${select} WHERE ${isOneOf} AND ${this.isUnexpired}`);
  }

  private get isLive(): string {
    return `${this.table.columns.sessionKey} = ⟨key⟩ AND ${this.isUnexpired}`;
  }

  private get isUnexpired(): string {
    return `${this.table.columns.expireDate} > ${this.dialect.now}`;
  }

  private get isOfUser(): string {
    return this.dialect.isExactly(this.table.columns.userId, '⟨userId⟩');
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
