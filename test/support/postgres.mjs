import { readdirSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { findBinary, startServer } from './local-server.mjs';

const PACKAGED_VERSIONS = '/usr/lib/postgresql';

/** @type {import('./service-discovery.mjs').Service} */
export const postgres = {
  name: 'postgres',
  label: 'PostgreSQL',
  urlVariable: 'TEST_POSTGRES_URL',
  standardUrls: [
    'postgres://postgres:postgres@127.0.0.1:5432/postgres',
    `postgres://${encodeURIComponent(userInfo().username)}@127.0.0.1:5432/postgres`,
  ],

  ping: (url) => query(url, 'SELECT 1'),

  isInstalled: () => binaries().every(Boolean),

  async startLocally() {
    const [initdb, server] = binaries();
    if (!initdb || !server) return undefined;
    return startServer({
      osUser: 'postgres',
      prepare: (directory) => [
        initdb,
        ['-D', directory, '-A', 'trust', '-U', 'postgres', '-E', 'UTF8', '--locale=C', '--no-sync'],
      ],
      serve: (directory, port) => [server, ['-D', directory, '-p', String(port), ...settings()]],
      stopSignal: 'SIGINT',
      urlOf: (port) => `postgres://postgres@127.0.0.1:${port}/postgres`,
      ping: this.ping,
    });
  },

  async createDatabase(url, name) {
    await query(url, `CREATE DATABASE "${name}" TEMPLATE template0`);
    const created = new URL(url);
    created.pathname = `/${name}`;
    return created.href;
  },

  dropDatabase: (url, name) => query(url, `DROP DATABASE IF EXISTS "${name}" WITH (FORCE)`),
};

function binaries() {
  return ['initdb', 'postgres'].map((name) => findBinary([name], packagedDirectories()));
}

async function query(connectionString, sql) {
  const client = new Client({ connectionString, connectionTimeoutMillis: 3000 });
  // An idle connection that the server closes must not end the test run.
  client.on('error', () => {});
  try {
    await client.connect();
    await client.query(sql);
  } finally {
    await client.end();
  }
}

/** Durability is of no use to a database that is deleted a minute later, and costs most of the time. */
function settings() {
  const values = {
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    fsync: 'off',
    synchronous_commit: 'off',
    full_page_writes: 'off',
  };
  return Object.entries(values).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
}

/** Debian keeps the server binaries out of PATH, one directory per version; the newest comes first. */
function packagedDirectories() {
  try {
    const versions = readdirSync(PACKAGED_VERSIONS).toSorted((a, b) => Number(b) - Number(a));
    return versions.map((version) => join(PACKAGED_VERSIONS, version, 'bin'));
  } catch {
    return [];
  }
}
