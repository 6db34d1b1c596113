import Database from 'better-sqlite3';
import { openBetterSqlite3 } from './better-sqlite3.js';
import { describeOnFile } from './kit.js';
import { openPrismaOnBetterSqlite3, openPrismaOnLibsql } from './prisma.js';

/** Node 20 has no node:sqlite, and better-sqlite3 may not be compiled, or for another Node. */
async function errorOf(work: () => unknown): Promise<string | undefined> {
  try {
    await work();
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

const noNodeSqlite = await errorOf(() => import('node:sqlite'));
const noBetterSqlite3 = await errorOf(() => new Database(':memory:'));

describeOnFile(
  'node:sqlite',
  async (file) => (await import('./node-sqlite.js')).openNodeSqlite(file),
  noNodeSqlite,
);
describeOnFile('better-sqlite3', openBetterSqlite3, noBetterSqlite3);
describeOnFile('Prisma on better-sqlite3', openPrismaOnBetterSqlite3, noBetterSqlite3);
describeOnFile('Prisma on libSQL', openPrismaOnLibsql);
