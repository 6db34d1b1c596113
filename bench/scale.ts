/**
 * What a load and a save cost among many sessions: the same requests in a table of 10,000 sessions and in one of
 * BENCH_ROWS (10,000,000), in turns, one at a time.
 *
 * On the PostgreSQL of BENCH_POSTGRES_URL, in databases of its own, of some 5 GB, which are dropped at the end.
 */
import { createHash } from 'node:crypto';
import { type SessionRecord } from 'nest-sessions';
import { CreateNestSession1767225600000, DatabaseStore, SessionEntity } from 'nest-sessions/database';
import { DataSource } from 'typeorm';
import { numberFrom } from './number-from.js';
import { type CleanUp, createDatabase } from './places.js';

const FEW = 10_000;
const MANY = numberFrom('BENCH_ROWS', 10_000_000);
const ROUNDS = numberFrom('BENCH_ROUNDS', 20);
const REQUESTS = numberFrom('BENCH_REQUESTS', 200);

interface Table {
  store: DatabaseStore;
  rows: number;
  loads: number[];
  saves: number[];
}

const cleanUps: CleanUp[] = [];
try {
  await measure();
} finally {
  for (const cleanUp of cleanUps.toReversed()) await cleanUp();
}

async function measure(): Promise<void> {
  const [few, many] = [await tableOf(FEW), await tableOf(MANY)];
  for (let round = -2; round < ROUNDS; round++) {
    for (const table of round % 2 === 0 ? [few, many] : [many, few]) await visit(table, round < 0);
  }
  for (const use of ['loads', 'saves'] as const) {
    const [small, large] = [median(few[use]), median(many[use])];
    console.log(
      `${use}: ${FEW} rows ${small.toFixed(0)} µs, ${MANY} rows ${large.toFixed(0)} µs, ratio ${(large / small).toFixed(2)}`,
    );
  }
}

async function tableOf(rows: number): Promise<Table> {
  const dataSource = new DataSource({
    type: 'postgres',
    url: await createDatabase(cleanUps, String(rows)),
    poolSize: 1,
    entities: [SessionEntity],
    migrations: [CreateNestSession1767225600000],
    migrationsRun: true,
  });
  await dataSource.initialize();
  cleanUps.push(() => dataSource.destroy());
  await dataSource.query(
    `INSERT INTO nest_session (session_key, key_hash, session_data, session_log, session_meta, version, expire_date,
                               expire_bucket, user_id, expiry, created_at, last_seen_at)
     SELECT substr(md5(i::text), 1, 22), 's1.' || md5(i::text), '{"cart":"' || md5(i::text) || '","turn":0}', '', '', 1,
            expires, expires / 3600000, i / 3, '', $1, $1
       FROM generate_series(0, ${rows - 1}) i, LATERAL (SELECT $1::bigint + 86400000 + i % 1209600 * 1000::bigint) e(expires)`,
    [Date.now()],
  );
  await dataSource.query('VACUUM ANALYZE nest_session');
  return { store: new DatabaseStore(dataSource), rows, loads: [], saves: [] };
}

async function visit({ store, rows, loads, saves }: Table, warmUp: boolean): Promise<void> {
  for (let n = 0; n < REQUESTS; n++) {
    const index = Math.floor(Math.random() * rows);
    const id = createHash('md5').update(String(index)).digest('hex').slice(0, 22);
    const begun = performance.now();
    const record = (await store.load(id)) as SessionRecord;
    const loaded = performance.now();
    const saved = await store.save(
      id,
      record.keyHash,
      { set: { turn: n } },
      { ...record, data: { ...record.data, turn: n } },
    );
    if (!saved) throw new Error(`Session ${index} is gone.`);
    if (warmUp) continue;
    loads.push(1000 * (loaded - begun));
    saves.push(1000 * (performance.now() - loaded));
  }
}

function median(times: readonly number[]): number {
  return times.toSorted((a, b) => a - b)[Math.floor(times.length / 2)] ?? 0;
}
