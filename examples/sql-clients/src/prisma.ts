import { PrismaBetterSqlite3 } from '@prisma/adapter-better-sqlite3';
import { PrismaLibSql } from '@prisma/adapter-libsql';
import { PrismaMariaDb } from '@prisma/adapter-mariadb';
import { PrismaPg } from '@prisma/adapter-pg';
import { type SqlClientQuery } from 'nest-sessions/sql';
import { PrismaClient as MysqlClient } from './generated/mysql/client.js';
import { PrismaClient as PostgresqlClient } from './generated/postgresql/client.js';
import { PrismaClient as SqliteClient } from './generated/sqlite/client.js';
import { type SqlClient } from './sql-client.js';

const queryOf =
  (prisma: PostgresqlClient | MysqlClient | SqliteClient): SqlClientQuery =>
  (sql, values, returns) =>
    returns === 'rows'
      ? prisma.$queryRawUnsafe<object[]>(sql, ...values)
      : prisma.$executeRawUnsafe(sql, ...values);

export function openPrismaOnPostgresql(url: string): SqlClient {
  const prisma = new PostgresqlClient({
    adapter: new PrismaPg({ connectionString: url, query_timeout: 4000, connectionTimeoutMillis: 4000 }),
  });
  return { options: { dialect: 'postgres', query: queryOf(prisma) }, close: () => prisma.$disconnect() };
}

export function openPrismaOnMysql(url: string): SqlClient {
  const address = new URL(url);
  // What has waited for a connection for so long fails. By default it waits for ten seconds, and sessions for four.
  address.searchParams.set('acquireTimeout', '3000');
  const prisma = new MysqlClient({ adapter: new PrismaMariaDb(address.href) });
  return { options: { dialect: 'mysql', query: queryOf(prisma) }, close: () => prisma.$disconnect() };
}

export function openPrismaOnBetterSqlite3(file: string): SqlClient {
  const prisma = new SqliteClient({ adapter: new PrismaBetterSqlite3({ url: `file:${file}` }) });
  return { options: { dialect: 'sqlite', query: queryOf(prisma) }, close: () => prisma.$disconnect() };
}

export function openPrismaOnLibsql(file: string): SqlClient {
  const prisma = new SqliteClient({ adapter: new PrismaLibSql({ url: `file:${file}` }) });
  return { options: { dialect: 'sqlite', query: queryOf(prisma) }, close: () => prisma.$disconnect() };
}
