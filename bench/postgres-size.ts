/**
 * What a session takes up in PostgreSQL, beside connect-pg-simple: bytes per row of 20,000 sessions, as they are after they
 * were created, and again when each has been written once and the table was vacuumed. Tables, TOAST and indexes count.
 *
 * On the PostgreSQL of BENCH_POSTGRES_URL, in a database of its own.
 */
import { randomBytes } from 'node:crypto';
import connectPgSimple from 'connect-pg-simple';
import session from 'express-session';
import { type JsonObject, type SessionRecord } from 'nest-sessions';
import { CreateNestSession1767225600000, DatabaseStore, SessionEntity } from 'nest-sessions/database';
import { Pool } from 'pg';
import { DataSource } from 'typeorm';
import { newRecord, TWO_WEEKS } from './new-record.js';
import { type CleanUp, createDatabase } from './places.js';

const SESSIONS = 20_000;
const AT_ONCE = 100;

interface Contents {
  userId: string | null;
  data: JsonObject;
}

const kinds: Record<string, (n: number) => Contents> = {
  'a session of 1 KB with a user': (n) => ({
    userId: `user-${n}`,
    data: { name: 'Ada', cart: randomBytes(728).toString('base64url'), n: 1 },
  }),
  'a session of 1 KB': () => ({
    userId: null,
    data: { name: 'Ada', cart: randomBytes(728).toString('base64url'), n: 1 },
  }),
  'a small session with a user': (n) => ({ userId: `user-${n}`, data: { n: 1 } }),
  'a small session': () => ({ userId: null, data: { n: 1 } }),
};

const cleanUps: CleanUp[] = [];
try {
  await measure(await createDatabase(cleanUps));
} finally {
  for (const cleanUp of cleanUps.toReversed()) await cleanUp();
}

async function measure(url: string): Promise<void> {
  const pool = new Pool({ connectionString: url });
  cleanUps.push(() => pool.end());
  const dataSource = new DataSource({
    type: 'postgres',
    url,
    entities: [SessionEntity],
    migrations: [CreateNestSession1767225600000],
    migrationsRun: true,
  });
  await dataSource.initialize();
  cleanUps.push(() => dataSource.destroy());
  for (const [kind, contentsOf] of Object.entries(kinds)) {
    console.log(kind);
    const peer = await peerSizes(pool, contentsOf);
    const ours = await ourSizes(pool, new DatabaseStore(dataSource), contentsOf);
    for (const [name, sizes] of Object.entries({ 'connect-pg-simple': peer, 'nest-sessions': ours })) {
      const [created, written] = sizes;
      console.log(`  ${name.padEnd(18)} ${inWords(created)}; written once: ${inWords(written)}`);
    }
    const ratio = (stage: 0 | 1): string => (total(ours[stage]) / total(peer[stage])).toFixed(2);
    console.log(`  ${ratio(0)} times the bytes; written once: ${ratio(1)} times\n`);
  }
}

interface Size {
  table: number;
  indexes: number;
}

type Sizes = [created: Size, written: Size];

function total({ table, indexes }: Size): number {
  return table + indexes;
}

function inWords(size: Size): string {
  return `${total(size).toFixed(0)} bytes (table ${size.table.toFixed(0)}, indexes ${size.indexes.toFixed(0)})`;
}

async function sizeOf(pool: Pool, table: string): Promise<Size> {
  const { rows } = await pool.query<{ all: string; indexes: string; count: string }>(
    `SELECT pg_total_relation_size('${table}') AS all, pg_indexes_size('${table}') AS indexes,
      (SELECT count(*) FROM ${table}) AS count`,
  );
  const [row] = rows;
  if (row === undefined || Number(row.count) !== SESSIONS) throw new Error('Sessions are missing.');
  const indexes = Number(row.indexes) / SESSIONS;
  return { table: Number(row.all) / SESSIONS - indexes, indexes };
}

async function inTurns(work: (n: number) => Promise<unknown>): Promise<void> {
  for (let start = 0; start < SESSIONS; start += AT_ONCE) {
    await Promise.all(Array.from({ length: AT_ONCE }, (_, n) => work(start + n)));
  }
}

async function bothSizes(
  pool: Pool,
  table: string,
  create: (n: number) => Promise<unknown>,
  write: (n: number) => Promise<unknown>,
): Promise<Sizes> {
  await pool.query(`TRUNCATE ${table}`);
  await inTurns(create);
  const created = await sizeOf(pool, table);
  // As it goes: written and vacuumed by turns.
  await inTurns(async (n) => {
    if (n % 1000 === 0) await pool.query(`VACUUM ${table}`);
    await write(n);
  });
  return [created, await sizeOf(pool, table)];
}

function peerSizes(pool: Pool, contentsOf: (n: number) => Contents): Promise<Sizes> {
  const PgStore = connectPgSimple(session);
  const store = new PgStore({ pool, pruneSessionInterval: false });
  const ids = Array.from({ length: SESSIONS }, () => randomBytes(24).toString('base64url'));
  const set = (n: number, changes: JsonObject): Promise<void> => {
    const { userId, data } = contentsOf(n);
    const cookie = {
      originalMaxAge: TWO_WEEKS,
      expires: new Date(Date.now() + TWO_WEEKS),
      httpOnly: true,
      path: '/',
    };
    const stored = { cookie, ...(userId !== null && { userId }), ...data, ...changes };
    return new Promise((resolve, reject) => {
      store.set(ids[n] ?? '', stored, (error: unknown) => (error ? reject(error) : resolve()));
    });
  };
  return bothSizes(
    pool,
    'session',
    (n) => set(n, {}),
    (n) => set(n, { n: 2 }),
  );
}

function ourSizes(pool: Pool, store: DatabaseStore, contentsOf: (n: number) => Contents): Promise<Sizes> {
  const records: SessionRecord[] = [];
  const create = (n: number): Promise<boolean> => {
    const record = newRecord(contentsOf(n));
    records[n] = record;
    return store.create(record.id, record);
  };
  const write = async (n: number): Promise<void> => {
    const record = records[n] as SessionRecord;
    const changed = {
      ...record,
      data: { ...record.data, n: 2 },
      expiresAt: Date.now() + TWO_WEEKS,
    };
    if (!(await store.save(record.id, record.keyHash, { set: { n: 2 } }, changed))) {
      throw new Error('It was not saved.');
    }
  };
  return bothSizes(pool, 'nest_session', create, write);
}
