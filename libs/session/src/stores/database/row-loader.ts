import { Batches } from './batches.js';
import { type RunStatement, type Statement } from './statement.js';

/** The row that a key leads to, undefined when there is none. Others may have been given the same object. */
export type LoadRow<Row> = (key: string) => Promise<Row | undefined>;

/**
 * Loads rows one by one or, where the database takes lists, those of concurrent requests together.
 * @param single for a `⟨key⟩`
 * @param together for a list of `⟨keys⟩`, each row with its `asked_key`
 */
export function rowLoader<Row extends object>(
  run: RunStatement,
  single: Statement,
  together: Statement | undefined,
): LoadRow<Row> {
  const one: LoadRow<Row> = async (key) => {
    const { rows } = await run('load', single, { key });
    return rows[0] as Row | undefined;
  };
  if (together === undefined) return one;

  const batches = new Batches<string, Row | undefined>({
    one,
    async together(keys) {
      const { rows } = await run('load', together, { keys });
      const absent = keys.map((key) => [key, undefined] as const);
      const found = (rows as (Row & { asked_key: string })[]).map((row) => [row.asked_key, row] as const);
      return new Map([...absent, ...found]);
    },
  });
  return (key) => batches.add(key);
}
