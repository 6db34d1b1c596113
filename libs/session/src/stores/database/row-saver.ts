import { Batches } from './batches.js';
import { plainSave } from './row-assignments.js';
import { type SessionStatements } from './session-statements.js';
import { type RunStatement } from './statement.js';

/** The values of a plain save, named as in its statement. */
export interface PlainSave {
  readonly key: string;
  readonly version: number;
  readonly expiresIn: number;
  readonly snapshot: string;
  readonly line: string;
}

/** False: the row is gone. */
export type SaveRow = (save: PlainSave) => Promise<boolean>;

/** Carries out plain saves one by one or, where the database can, those of concurrent requests together. */
export function rowSaver(run: RunStatement, statements: SessionStatements): SaveRow {
  const one: SaveRow = async (save) => {
    const { affected } = await run('save', statements.update(plainSave), { ...save });
    return affected > 0;
  };
  const statement = statements.saveTogether();
  if (statement === undefined) return one;

  const batches = new Batches<PlainSave, boolean>({
    one,
    async together(saves) {
      // The statement would carry out one of two saves of a row and say nothing. The second is left without an answer,
      // like those of rows that are locked or gone.
      const firsts = new Map(saves.toReversed().map((save) => [save.key, save]));
      const { rows } = await run('save', statement, listsOf([...firsts.values()]));
      const saved = (rows as { saved_key?: string }[]).map((row) => firsts.get(row.saved_key ?? ''));
      return new Map(saved.flatMap((save) => (save ? [[save, true]] : [])));
    },
  });
  return (save) => batches.add(save);
}

function listsOf(saves: readonly PlainSave[]): Record<keyof PlainSave, unknown[]> {
  return {
    key: saves.map(({ key }) => key),
    version: saves.map(({ version }) => version),
    expiresIn: saves.map(({ expiresIn }) => expiresIn),
    snapshot: saves.map(({ snapshot }) => snapshot),
    line: saves.map(({ line }) => line),
  };
}
