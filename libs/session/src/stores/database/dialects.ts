import { type DataSource } from 'typeorm';
import { type Dialect } from './dialect.js';
import { mysqlDialect } from './mysql.dialect.js';
import { postgresDialect } from './postgres.dialect.js';
import { sqliteDialect } from './sqlite.dialect.js';

const dialects: Readonly<Record<string, Dialect>> = {
  postgres: postgresDialect,
  mysql: mysqlDialect,
  mariadb: mysqlDialect,
  sqljs: sqliteDialect,
  'better-sqlite3': sqliteDialect,
};

/** The dialect of a data source, undefined for a database that the store does not know. */
export function dialectOf(dataSource: DataSource): Dialect | undefined {
  return dialects[dataSource.options.type];
}
