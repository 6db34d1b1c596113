import { Batches } from './batches.js';
import { type LoadedRow } from './session-row.js';
import { type SessionStatements } from './session-statements.js';
import { type RunStatement } from './statement.js';

/** The live row under a store key, undefined when there is none. Others may have been given the same object. */
export type LoadRow = (key: string) => Promise<LoadedRow | undefined>;

/** Loads rows one by one or, where the database takes lists, those of concurrent requests together. */
export function rowLoader(run: RunStatement, statements: SessionStatements): LoadRow {
  const one: LoadRow = async (key) => {
    const { rows } = await run('load', statements.load(), { key });
    return rows[0] as LoadedRow | undefined;
  };
  const statement = statements.loadTogether();
  if (statement === undefined) return one;

  const batches = new Batches<string, LoadedRow | undefined>({
    one,
    async together(keys) {
      const { rows } = await run('load', statement, { keys });
      const absent = keys.map((key) => [key, undefined] as const);
      const found = (rows as unknown as KeyedRow[]).map((row) => [row.loaded_key, row] as const);
      return new Map([...absent, ...found]);
    },
  });
  return (key) => batches.add(key);
}

interface KeyedRow extends LoadedRow {
  loaded_key: string;
}
