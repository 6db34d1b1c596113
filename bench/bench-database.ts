import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { userInfo } from 'node:os';
import { Client } from 'pg';

export interface BenchDatabase {
  url: string;
  drop(): Promise<void>;
}

/** A database of this run's own, with the table that connect-pg-simple wants. Ours is made by its contestant. */
export async function createBenchDatabase(): Promise<BenchDatabase> {
  const server = await findServer();
  const name = `nest_sessions_bench_${process.pid}`;
  await query(server, `CREATE DATABASE ${name}`);
  const url = new URL(server);
  url.pathname = `/${name}`;
  const drop = (): Promise<void> => query(server, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
  try {
    // Nobody waits for the disk here: what is measured is the work, and it is done in a fraction of the time.
    await query(server, `ALTER DATABASE ${name} SET synchronous_commit = off`);
    const table = createRequire(import.meta.url).resolve('connect-pg-simple/table.sql');
    await query(url.href, readFileSync(table, 'utf8'));
  } catch (error) {
    await drop();
    throw error;
  }
  return { url: url.href, drop };
}

/** BENCH_POSTGRES_URL, else what answers on the standard port. */
async function findServer(): Promise<string> {
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
