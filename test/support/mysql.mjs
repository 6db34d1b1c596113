import { createConnection } from 'mysql2/promise';
import { findBinary, startServer } from './local-server.mjs';

const SYSTEM_DIRECTORIES = ['/usr/sbin', '/usr/local/sbin'];

/** @type {import('./service-discovery.mjs').Service} */
export const mysql = {
  name: 'mysql',
  label: 'MySQL or MariaDB',
  urlVariable: 'TEST_MYSQL_URL',
  standardUrls: ['mysql://root:root@127.0.0.1:3306', 'mysql://root@127.0.0.1:3306'],

  async ping(url) {
    await query(url, 'SELECT 1');
  },

  isInstalled: () => binaries().every(Boolean),

  async startLocally() {
    const [installDb, server] = binaries();
    if (!installDb || !server) return undefined;
    return startServer({
      osUser: 'mysql',
      prepare: (directory) => [
        installDb,
        [
          '--no-defaults',
          `--datadir=${directory}`,
          '--auth-root-authentication-method=normal',
          '--skip-test-db',
        ],
      ],
      serve: (directory, port) => [
        server,
        [
          '--no-defaults',
          `--datadir=${directory}`,
          `--port=${port}`,
          '--bind-address=127.0.0.1',
          `--socket=${directory}/server.sock`,
          '--innodb-flush-log-at-trx-commit=0',
        ],
      ],
      stopSignal: 'SIGKILL',
      urlOf: (port) => `mysql://root@127.0.0.1:${port}`,
      ping: this.ping,
    });
  },

  async createDatabase(url, name) {
    await query(url, `CREATE DATABASE \`${name}\` CHARACTER SET utf8mb4`);
    const created = new URL(url);
    created.pathname = `/${name}`;
    return created.href;
  },

  async dropDatabase(url, name) {
    // The specs make theirs under this run's name with something appended.
    const databases = await query(
      url,
      `SELECT schema_name AS name FROM information_schema.schemata WHERE LEFT(schema_name, ${name.length}) = '${name}'`,
    );
    for (const database of databases) await query(url, `DROP DATABASE IF EXISTS \`${database.name}\``);
  },
};

function binaries() {
  return [
    ['mariadb-install-db', 'mysql_install_db'],
    ['mariadbd', 'mysqld'],
  ].map((names) => findBinary(names, SYSTEM_DIRECTORIES));
}

async function query(uri, sql) {
  const connection = await createConnection({ uri, connectTimeout: 3000 });
  try {
    const [rows] = await connection.query(sql);
    return rows;
  } finally {
    await connection.end();
  }
}
