// The conformance kit of nest-sessions on a client. An application does not need it.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { type SessionStore } from 'nest-sessions';
import { sessionSchema, sqlEngine } from 'nest-sessions/sql';
import { describeSessionStore, type StoreUnderTest } from 'nest-sessions/testing';
import { type SqlClient } from './sql-client.js';
import { startWire } from './wire.js';

/** @param place the URL of a database, or the file of one */
type Open = (place: string) => SqlClient | Promise<SqlClient>;

/** One for each process, so that several may work in a database. */
const TABLE = `kit_${process.pid}`;

/**
 * On a file of its own.
 * @param missing why the client cannot run here
 */
export function describeOnFile(name: string, open: Open, missing?: string): void {
  if (missing !== undefined) return skip(name, missing);
  const capabilities = { outages: false };
  describeSessionStore(name, () => onFile(open), { capabilities, describe, it, after });
  describeStart(name, open, ':memory:');
}

/** On the database whose URL is in this environment variable. */
export function describeOnServer(name: string, variable: string, open: Open): void {
  const url = process.env[variable];
  if (url === undefined) return skip(name, `${variable} is not set`);
  describeSessionStore(name, () => onServer(open, url), { describe, it, after });
  describeStart(name, open, url);
}

function describeStart(name: string, open: Open, place: string): void {
  it(`${name}: a start without the table fails, and says how to make it`, async () => {
    const { options, close } = await open(place);
    const start = async () => sqlEngine({ ...options, table: 'not_there' }).useFactory();
    await assert.rejects(start, /needs the table .not_there.*nest-sessions schema/);
    await close();
  });
}

/** The check of the examples prints the lines that begin so. */
function skip(name: string, reason: string): void {
  console.log(`SKIPPED: the kit on ${name}. ${reason.split('\n', 2).join(' ')}`);
  it.skip(name);
}

async function onFile(open: Open): Promise<StoreUnderTest> {
  const directory = mkdtempSync(join(tmpdir(), 'sql-clients-'));
  const file = join(directory, 'app.db');
  const [client, other] = [await open(file), await open(file)];
  await createTable(client);
  return {
    ...fromOutside(client),
    store: await storeOn(client),
    sibling: () => storeOn(other),
    async dispose() {
      await client.close();
      await other.close();
      rmSync(directory, { recursive: true });
    },
  };
}

/** The store is on a wire that can be cut. */
async function onServer(open: Open, url: string): Promise<StoreUnderTest> {
  const client = await open(url);
  await createTable(client);
  const wire = await startWire(url);
  const remote = await open(wire.url);
  return {
    ...fromOutside(client),
    store: await storeOn(remote),
    sibling: () => storeOn(client),
    cut: async () => wire.cut(),
    mend: async () => wire.mend(),
    async dispose() {
      await client.options.query(`DROP TABLE ${TABLE}`, [], 'count');
      await remote.close();
      await client.close();
      wire.close();
    },
  };
}

async function storeOn({ options }: SqlClient): Promise<SessionStore> {
  return (await sqlEngine({ ...options, table: TABLE }).useFactory()) as SessionStore;
}

/** Not every client runs several statements at once. */
async function createTable({ options: { dialect, query } }: SqlClient): Promise<void> {
  for (const statement of sessionSchema(dialect, TABLE).split(/;\n(?=CREATE|DO|$)/)) {
    if (statement !== '') await query(statement, [], 'count');
  }
}

/** What the kit does to the table behind the back of the store. */
function fromOutside({ options: { dialect, query } }: SqlClient): Pick<StoreUnderTest, 'elapse' | 'corrupt'> {
  const update = async (assignments: string) =>
    void (await query(`UPDATE ${TABLE} SET ${assignments}`, [], 'count'));
  return {
    async elapse(ms) {
      const moments = ['created_at', 'last_seen_at', 'expire_date'];
      await update(moments.map((column) => `${column} = ${column} - ${ms}`).join(', '));
      await update(`expire_bucket = expire_date ${dialect === 'mysql' ? 'DIV' : '/'} 3600000`);
    },
    corrupt: (id) => update(`session_data = 'not json' WHERE session_key = '${id}'`),
  };
}
