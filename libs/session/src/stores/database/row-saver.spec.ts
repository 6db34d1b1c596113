import { type PlainSave, rowSaver } from './row-saver.js';
import { type SessionStatements } from './session-statements.js';
import { type RunStatement, type Statement, type Values } from './statement.js';

const single: Statement = { text: 'single', parameters: [] };
const together: Statement = { text: 'together', parameters: [] };
const statements = { update: () => single, saveTogether: () => together } as unknown as SessionStatements;

const save = (key: string, line = ''): PlainSave => ({
  key,
  line,
  version: 1,
  expiresIn: 60,
  snapshot: '{}',
});

describe('rowSaver', () => {
  it('sends no two saves of a row together, but the second and those of rows left out on their own', async () => {
    const sent: [text: string, values: Values][] = [];
    const run: RunStatement = async (_operation, { text }, values) => {
      sent.push([text, values]);
      const keys = Array.isArray(values['key']) ? values['key'] : [];
      const rows = keys
        .filter((key) => key !== 'locked' && key !== 'gone')
        .map((key) => ({ saved_key: String(key) }));
      return { rows, affected: values['key'] === 'gone' ? 0 : 1 };
    };
    const saveRow = rowSaver(run, statements);
    const saves = [save('a'), save('b'), save('c', '1st'), save('locked'), save('gone'), save('c', '2nd')];
    expect(await Promise.all(saves.map(saveRow))).toEqual([true, true, true, true, false, true]);

    expect(sent.map(([text]) => text)).toEqual([
      'single',
      'single',
      'together',
      'single',
      'single',
      'single',
    ]);
    const lists = sent[2]?.[1] as Record<keyof PlainSave, unknown[]>;
    const rows = lists.key.map((key, index) => [key, lists.line[index]]);
    expect(new Map(rows as [string, string][])).toEqual(
      new Map([
        ['c', '1st'],
        ['locked', ''],
        ['gone', ''],
      ]),
    );
    expect(rows).toHaveLength(3);
    expect(sent.slice(3).map(([, { key, line }]) => [key, line])).toEqual([
      ['locked', ''],
      ['gone', ''],
      ['c', '2nd'],
    ]);
  });
});
