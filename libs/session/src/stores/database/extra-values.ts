import { SessionConfigError } from '../../session.errors.js';
import { type JsonObject } from '../session-store.js';
import { extraParameter } from './row-assignments.js';
import { type SessionEntity } from './session.entity.js';
import { type SessionTable } from './session-table.js';
import { type Values } from './statement.js';

/** What goes into the columns that a subclass of the entity adds. */
export interface ExtraValues {
  /** Property names of the columns. */
  readonly properties: readonly string[];
  readonly values: Values;
}

export const noExtraValues: ExtraValues = { properties: [], values: {} };

/** @throws SessionConfigError when `columnsFrom` returns something that is no column */
export function extraValues(
  entity: typeof SessionEntity,
  table: SessionTable,
  data: JsonObject,
): ExtraValues {
  const columns = Object.entries(entity.columnsFrom(data));
  if (columns.length === 0) return noExtraValues;
  const values = columns.map(([property, value]): [string, unknown] => {
    const column = table.extraColumns.get(property);
    if (column === undefined) {
      throw new SessionConfigError(
        'engine',
        `has the entity ${entity.name}, whose columnsFrom() returns "${property}", which is none of the ` +
          'columns that it adds. Return property names of its columns only.',
      );
    }
    return [extraParameter(property), column.toDatabase(value)];
  });
  return { properties: columns.map(([property]) => property), values: Object.fromEntries(values) };
}
