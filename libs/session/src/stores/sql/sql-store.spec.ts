import { type SessionRecord } from '../session-store.js';
import { dialects } from './dialects.js';
import { type SessionColumn, sessionColumns } from './session-table.js';
import { SqlStore } from './sql-store.js';

const columns = Object.fromEntries(sessionColumns.map((column) => [column, column])) as Record<
  SessionColumn,
  string
>;

const record = (id: string): SessionRecord => ({
  id,
  keyHash: 'v1.hash',
  userId: null,
  data: {},
  expiry: null,
  createdAt: 0,
  lastSeenAt: 0,
  expiresAt: Date.now() + 60_000,
  version: 1,
  meta: {},
});

interface Sent {
  ids: unknown;
  lines: unknown;
}

/** A store on a database that saves all but the sessions that are locked or gone. */
function storeOn(sent: Sent[]): SqlStore {
  return new SqlStore({
    dialect: dialects.postgres,
    table: { name: 'session', columns, extraColumns: [] },
    query: async (text, values) => {
      const list = values.find((value) => Array.isArray(value));
      const ids: unknown[] = list ?? values.filter((value) => /^[a-z]+$/.test(String(value)));
      const lines = text.startsWith('WITH')
        ? values.find((value) => Array.isArray(value) && /^\{.*\n$/.test(String(value[0])))
        : values.find((value) => /^\{.*\n$/.test(String(value)));
      sent.push({ ids: list ?? ids[0], lines });
      const saved = ids.filter((id) => id !== 'gone' && (id !== 'locked' || !list));
      return { rows: saved.map((saved_id) => ({ saved_id })), affected: saved.length };
    },
  });
}

const line = (n: number): string => `{"s":{"n":${n}}}\n`;

describe('SqlStore', () => {
  it('sends saves together, those of a session one after the other, and those left out on their own', async () => {
    const sent: Sent[] = [];
    const store = storeOn(sent);
    const saves = ['a', 'b', 'c', 'locked', 'gone', 'c', 'a'].map((id, n) =>
      store.save(id, 'v1.hash', { set: { n } }, record(id)),
    );
    expect(await Promise.all(saves)).toEqual([true, true, true, true, false, true, true]);
    expect(sent.slice(0, 3)).toEqual([
      { ids: 'a', lines: line(0) },
      { ids: 'b', lines: line(1) },
      { ids: ['c', 'locked', 'gone', 'a'], lines: [2, 3, 4, 6].map(line) },
    ]);
    expect(sent.slice(3)).toEqual(
      expect.arrayContaining([
        { ids: 'locked', lines: line(3) },
        { ids: 'gone', lines: line(4) },
        { ids: 'c', lines: line(5) },
      ]),
    );
    expect(sent).toHaveLength(6);
  });
});
