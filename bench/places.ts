import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { createClient } from 'redis';

/** Where sessions may be kept during one run. All of it is gone afterwards. */
export interface Places {
  postgres: string;
  redis: { url: string; prefix: string };
  directory: string;
}

export type CleanUp = () => Promise<unknown>;

/** @param cleanUps is given what takes the places away again */
export async function createPlaces(cleanUps: CleanUp[]): Promise<Places> {
  await findRedis();
  cleanUps.push(clearRedis);
  const postgres = await createDatabase(cleanUps);
  await query(
    postgres,
    'CREATE TABLE by_hand (id text PRIMARY KEY, data text NOT NULL, version int NOT NULL, expires bigint NOT NULL)',
  );
  const directory = await mkdtemp(join(tmpdir(), 'nest-sessions-bench-'));
  cleanUps.push(() => rm(directory, { recursive: true, force: true }));
  return { postgres, redis: benchRedis, directory };
}

/** The URL of a database of this run's own, with the table of connect-pg-simple. */
export async function createDatabase(cleanUps: CleanUp[], suffix = ''): Promise<string> {
  const server = await findPostgres();
  const name = `nest_sessions_bench_${process.pid}${suffix && `_${suffix}`}`;
  await query(server, `CREATE DATABASE ${name}`);
  cleanUps.push(() => query(server, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`));
  const url = new URL(server);
  url.pathname = `/${name}`;
  // Nobody waits for the disk here: what is measured is the work, and it is done in a fraction of the time.
  await query(server, `ALTER DATABASE ${name} SET synchronous_commit = off`);
  const peersTable = createRequire(import.meta.url).resolve('connect-pg-simple/table.sql');
  await query(url.href, readFileSync(peersTable, 'utf8'));
  return url.href;
}

/** Keys of this run's own, in a Redis that may have others: that of BENCH_REDIS_URL, or on the standard port. */
export const benchRedis = {
  url: process.env['BENCH_REDIS_URL'] ?? 'redis://127.0.0.1:6379',
  prefix: `nest-sessions-bench-${process.pid}:`,
};

/** @throws when there is none, before anything else is begun */
export async function findRedis(): Promise<void> {
  const client = newRedisClient();
  try {
    await client.connect();
  } catch (cause) {
    throw new Error('No Redis on the standard port. Set BENCH_REDIS_URL to one.', { cause });
  }
  await client.close();
}

export async function clearRedis(): Promise<void> {
  const client = newRedisClient();
  await client.connect();
  for await (const keys of client.scanIterator({ MATCH: `${benchRedis.prefix}*`, COUNT: 1000 })) {
    if (keys.length > 0) await client.unlink(keys);
  }
  await client.close();
}

function newRedisClient() {
  const client = createClient({ url: benchRedis.url, socket: { reconnectStrategy: false } });
  return client.on('error', () => {});
}

/** BENCH_POSTGRES_URL, else what answers on the standard port. */
async function findPostgres(): Promise<string> {
  const given = process.env['BENCH_POSTGRES_URL'];
  if (given) return given;
  const candidates = [
    `postgres://${encodeURIComponent(userInfo().username)}@127.0.0.1:5432/postgres`,
    'postgres://postgres:postgres@127.0.0.1:5432/postgres',
  ];
  for (const candidate of candidates) {
    const answers = await query(candidate, 'SELECT 1').then(
      () => true,
      () => false,
    );
    if (answers) return candidate;
  }
  throw new Error(
    'No PostgreSQL on the standard port. Set BENCH_POSTGRES_URL to one where databases may be created.',
  );
}

async function query(connectionString: string, sql: string): Promise<void> {
  const client = new Client({ connectionString });
  try {
    await client.connect();
    await client.query(sql);
  } finally {
    await client.end();
  }
}
