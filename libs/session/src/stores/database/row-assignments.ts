import { type Dialect } from './dialect.js';
import { type SessionTable } from './session-table.js';

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
  meta: boolean;
  newKey: boolean;
  /** Property names of the extra columns that are written. */
  extraColumns: readonly string[];
}

/** What nearly all saves of a small session are. */
export const plainSave: WriteShape = {
  data: 'fold',
  expiry: false,
  userId: false,
  meta: false,
  newKey: false,
  extraColumns: [],
};

export function isPlainSave({ data, expiry, userId, meta, newKey, extraColumns }: WriteShape): boolean {
  return data === 'fold' && !expiry && !userId && !meta && !newKey && extraColumns.length === 0;
}

/** Name of the parameter that carries an extra column's value. */
export const extraParameter = (property: string): string => `extra ${property}`;

export type Assignment = readonly [column: string, value: string];

/**
 * What the columns of a row are set to, by inserts and by updates. Values stand as `⟨name⟩`. Those that end in `In` are
 * durations from now: the database adds them to its own clock.
 */
export class RowAssignments {
  constructor(
    private readonly table: SessionTable,
    private readonly dialect: Dialect,
  ) {}

  ofInsert(extraColumns: readonly string[]): Assignment[] {
    const { columns } = this.table;
    return [
      [columns.sessionKey, '⟨key⟩'],
      [columns.sessionData, '⟨snapshot⟩'],
      [columns.sessionLog, `''`],
      [columns.sessionMeta, '⟨meta⟩'],
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
  }

  ofTouch(): Assignment[] {
    const { expireDate, expireBucket, lastSeenAt } = this.table.columns;
    return [
      [expireDate, this.deadline],
      [expireBucket, this.dialect.hour(this.deadline)],
      [lastSeenAt, this.fromNow('⟨lastSeenIn⟩')],
    ];
  }

  ofUpdate(shape: WriteShape): Assignment[] {
    const { columns } = this.table;
    return [
      ...this.ofData(shape.data),
      ...this.ofDeadline(shape.expiry),
      [columns.lastSeenAt, this.dialect.now],
      ...(shape.userId ? [[columns.userId, '⟨userId⟩'] as const] : []),
      ...(shape.meta ? [[columns.sessionMeta, '⟨meta⟩'] as const] : []),
      ...shape.extraColumns.map((property) => this.ofExtra(property)),
      // In this order, for MySQL assigns from left to right: the former key is the one that was there, and everything
      // compares the version that was there.
      ...(shape.newKey
        ? ([
            [columns.formerKey, columns.sessionKey],
            [columns.sessionKey, '⟨newKey⟩'],
          ] as const)
        : []),
      [columns.version, `${columns.version} + 1`],
    ];
  }

  /** Nobody has written since this request loaded the record. */
  get isUnchanged(): string {
    return `${this.table.columns.version} = ⟨version⟩`;
  }

  get deadline(): string {
    return this.fromNow('⟨expiresIn⟩');
  }

  private ofData(data: WriteShape['data']): Assignment[] {
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
  private ofDeadline(withExpiry: boolean): Assignment[] {
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
  private ofExtra(property: string): Assignment {
    const column = this.extraName(property);
    const value = extraValue(property);
    return [column, this.ifUnchanged(value, `COALESCE(${value}, ${column})`)];
  }

  private ifUnchanged(then: string, otherwise: string): string {
    return `CASE WHEN ${this.isUnchanged} THEN ${then} ELSE ${otherwise} END`;
  }

  private fromNow(duration: string): string {
    return `${this.dialect.now} + ${this.dialect.integer(duration)}`;
  }

  private extraName(property: string): string {
    const column = this.table.extraColumns.get(property);
    if (column === undefined) throw new Error(`"${property}" is no column`);
    return column.name;
  }
}

function extraValue(property: string): string {
  return `⟨${extraParameter(property)}⟩`;
}
