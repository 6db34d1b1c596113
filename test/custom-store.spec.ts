import { readFileSync } from 'node:fs';
import { describeSessionStore, type StoreUnderTest } from 'nest-sessions/testing';
import { Pool } from 'pg';
import { LockingSqlStore } from './locking-sql-store.js';
import { SqlStore } from './sql-store.js';
import { testDatabase } from './support/data-source.js';
import { describeWithService } from './support/services.js';
import { byThisClock } from './support/store-kit.js';
import { startTcpProxy } from './support/tcp-proxy.js';

const page = readFileSync('docs/engines/custom.md', 'utf8');
const [, schema = ''] = /^```sql\n(.*?)^```$/ms.exec(page) ?? [];

it.each(['sql-store', 'locking-sql-store'])('The %s of the docs is the one that is tested', (name) => {
  expect(page).toContain(`\`\`\`ts\n${readFileSync(`test/${name}.ts`, 'utf8')}\`\`\`\n`);
});

async function underTest(Store: new (pool: Pool) => SqlStore): Promise<StoreUnderTest> {
  const { options, dispose } = await testDatabase('postgres');
  const { url, extra } = options as { url: string; extra: { options: string } };
  const direct = new Pool({ connectionString: url, ...extra });
  await direct.query(schema);

  const proxied = new URL(url);
  const proxy = await startTcpProxy(proxied.hostname, Number(proxied.port || 5432));
  proxied.hostname = '127.0.0.1';
  proxied.port = String(proxy.port);
  const pool = new Pool({ connectionString: proxied.href, ...extra });
  pool.on('error', () => {});
  return {
    store: new Store(pool),
    sibling: () => new Store(direct),
    async corrupt(key) {
      await direct.query(`UPDATE app_session SET record = '{"id":' WHERE key = $1`, [key]);
    },
    cut: async () => proxy.cut(),
    mend: async () => proxy.mend(),
    ...byThisClock(async () => {
      await Promise.all([pool.end(), direct.end()]);
      await proxy.close();
      await dispose();
    }),
  };
}

/** What the table of the example has no columns for. */
const lacks = { findsRenamed: false, byUser: false, ownClock: false };

describeWithService('postgres', 'A store of your own', () => {
  describeSessionStore('from four methods conforms', () => underTest(SqlStore), {
    capabilities: { ...lacks, atomicChanges: false, clearsExpired: false },
  });

  describeSessionStore('that locks its rows conforms', () => underTest(LockingSqlStore), {
    capabilities: lacks,
  });
});
