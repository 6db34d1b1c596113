/**
 * What clearing costs the requests that go on meanwhile: 1,000,000 expired rows among 100,000 live ones on PostgreSQL,
 * four readers that load random live sessions as fast as they can, before, during and after one sweep.
 *
 * Makes a database of its own on the server of BENCH_POSTGRES_URL, some 2 GB, and drops it again.
 */
import { createHash } from 'node:crypto';
import { NestFactory } from '@nestjs/core';
import { SessionModule, Sessions } from 'nest-sessions';
import { CreateNestSession1767225600000, DatabaseStore, SessionEntity } from 'nest-sessions/database';
import { Client } from 'pg';
import { DataSource } from 'typeorm';

const EXPIRED = 1_000_000;
const LIVE = 100_000;
const READERS = 4;
const IDLE_MS = 15_000;
const WARM_UP_MS = 3_000;

/** Rows 0, 11, 22, … are live, so that live and expired ones share their pages. */
const EVERY = (EXPIRED + LIVE) / LIVE;

/** A store that takes the time of its batches. */
class TimedStore extends DatabaseStore {
  longestBatch = 0;
  batches = 0;

  override async clearExpired(batchSize: number): Promise<number> {
    const startedAt = performance.now();
    const cleared = await super.clearExpired(batchSize);
    this.longestBatch = Math.max(this.longestBatch, performance.now() - startedAt);
    this.batches += 1;
    return cleared;
  }
}

const serverUrl = process.env['BENCH_POSTGRES_URL'] ?? 'postgres://root@127.0.0.1:5432/postgres';
const database = `nest_sessions_bench_${process.pid}`;
const url = new URL(serverUrl);
url.pathname = `/${database}`;

await onServer(`CREATE DATABASE ${database}`);
try {
  await measure();
} finally {
  await onServer(`DROP DATABASE ${database} WITH (FORCE)`);
}

async function measure(): Promise<void> {
  const readerSource = await connect(READERS);
  const sweeperSource = await connect(1);
  try {
    await fill(sweeperSource);
    const reader = new DatabaseStore(readerSource);
    const sweeper = new TimedStore(sweeperSource);
    const sessions = await sessionsOf(sweeper);

    await readUntil(reader, sleep(WARM_UP_MS));
    const before = await readUntil(reader, sleep(IDLE_MS));
    const startedAt = performance.now();
    const sweep = sessions
      .clearExpired()
      .then((cleared) => ({ cleared, took: performance.now() - startedAt }));
    const during = await readUntil(reader, sweep);
    const { cleared, took } = await sweep;
    const after = await readUntil(reader, sleep(IDLE_MS));

    const left = await readerSource.getRepository(SessionEntity).count();
    if (cleared !== EXPIRED || left !== LIVE) throw new Error(`Cleared ${cleared}, left ${left}.`);

    print([
      `${cleared} rows in ${(took / 1000).toFixed(1)} s: ${Math.round((cleared / took) * 1000)} rows/s`,
      `${sweeper.batches} batches, the longest ${sweeper.longestBatch.toFixed(1)} ms`,
      '',
      '| foreground load  |  reads/s |   p50 ms |   p99 ms |   max ms |',
      '| ---------------- | -------- | -------- | -------- | -------- |',
      row('idle before', before),
      row('during the sweep', during),
      row('idle after', after),
    ]);
  } finally {
    await sweeperSource.destroy();
    await readerSource.destroy();
  }
}

/** The service as an application has it, with the job turned off. */
async function sessionsOf(store: DatabaseStore): Promise<Sessions> {
  const module = SessionModule.forRoot({ useFactory: () => store }, { clearExpired: false });
  const app = await NestFactory.createApplicationContext(module, { logger: ['error'], abortOnError: false });
  return app.get(Sessions);
}

function connect(poolSize: number): Promise<DataSource> {
  return new DataSource({
    type: 'postgres',
    url: url.href,
    poolSize,
    entities: [SessionEntity],
    migrations: [CreateNestSession1767225600000],
    migrationsRun: true,
  }).initialize();
}

async function fill(dataSource: DataSource): Promise<void> {
  const now = Date.now();
  await dataSource.query(
    `INSERT INTO nest_session (session_key, key_hash, session_data, session_log, session_meta, version, expire_date,
                               expire_bucket, user_id, expiry, created_at, last_seen_at)
     SELECT substr(md5(i::text), 1, 22), 's1.' || md5(i::text), '{"cart":"' || repeat(md5(i::text), 30) || '"}', '', '', 1,
            expires, expires / 3600000, i % 1000, '', $1, $1
       FROM generate_series(0, ${EXPIRED + LIVE - 1}) i,
            -- expired over the last ten days, as far as they are
            LATERAL (SELECT $1::bigint + CASE WHEN i % ${EVERY} = 0 THEN 86400000 ELSE -1000 - i % 864000 * 1000::bigint END) e(expires)`,
    [now],
  );
  await dataSource.query('VACUUM ANALYZE nest_session');
  await dataSource.query('CHECKPOINT');
}

/** The milliseconds that each load took, from now until `end` is settled, and how long that was. */
async function readUntil(
  store: DatabaseStore,
  end: Promise<unknown>,
): Promise<{ times: number[]; took: number }> {
  const times: number[] = [];
  const startedAt = performance.now();
  const ended = new AbortController();
  const stop = (): void => ended.abort();
  void end.then(stop, stop);
  const read = async (): Promise<void> => {
    while (!ended.signal.aborted) {
      const index = Math.floor(Math.random() * LIVE) * EVERY;
      const id = createHash('md5').update(String(index)).digest('hex').slice(0, 22);
      const sentAt = performance.now();
      const record = await store.load(id);
      times.push(performance.now() - sentAt);
      if (!record) throw new Error(`Live session ${index} is gone.`);
    }
  };
  await Promise.all(Array.from({ length: READERS }, read));
  await end;
  return { times: times.toSorted((a, b) => a - b), took: performance.now() - startedAt };
}

function row(name: string, { times, took }: { times: number[]; took: number }): string {
  const at = (share: number): string => (times[Math.floor(share * (times.length - 1))] ?? 0).toFixed(2);
  const cells = [Math.round((times.length / took) * 1000), at(0.5), at(0.99), at(1)];
  return `| ${name.padEnd(16)} | ${cells.map((cell) => String(cell).padStart(8)).join(' | ')} |`;
}

function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

async function onServer(sql: string): Promise<void> {
  const client = new Client({ connectionString: serverUrl });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}

function print(lines: string[]): void {
  process.stdout.write(`${lines.join('\n')}\n`);
}
