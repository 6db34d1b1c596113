import { type EntityMetadata } from 'typeorm';
import { type SessionTable } from './session-table.js';
import { type Statement } from './statement.js';

/** Only what the databases disagree about. */
export interface Dialect {
  /** From SQL in which values stand as `⟨name⟩`. */
  statement(template: string): Statement;

  /** The database's clock in epoch milliseconds: one value for the whole statement, and no time zone in it. */
  readonly now: string;

  /** A bound number, as an integer to calculate with. */
  integer(value: string): string;

  /** The hour since the epoch of an expression in epoch milliseconds. */
  hour(moment: string): string;

  /** Is the text in this column this one, to the last blank? */
  isExactly(column: string, text: string): string;

  /** Is the text in this column one of a bound list of any length? Absent where lists cannot be bound. */
  isOneOf?(column: string, list: string): string;

  append(column: string, text: string): string;

  /**
   * One update of several live rows, each with values of its own from lists of one length, no key twice. Rows that
   * somebody else has locked are left out, not waited for; `saved_key` is returned of the others. Absent where the
   * database has no such statement.
   * @param assignments with the values of a single row's save
   */
  saveTogether?(table: SessionTable, assignments: string, isUnexpired: string): string;

  /** End of an INSERT that inserts nothing when the key is taken, and the error that says so where there is no such. */
  unlessTaken(keyColumn: string): string;
  isTaken(error: unknown): boolean;

  /** Deletes up to `⟨limit⟩` expired rows, never one that is touched at that moment; safe to run several times at once. */
  clearExpired(table: SessionTable): string;

  /** What columns are made of on this database, where it is not what the entity says. */
  readonly columns: Readonly<Record<string, Partial<EntityMetadata['columns'][number]>>>;
}
