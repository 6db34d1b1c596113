import { Logger } from '@nestjs/common';
import { getDataSourceToken, TypeOrmModule } from '@nestjs/typeorm';
import { type DataSource } from 'typeorm';
import { type SessionEngine } from '../session-engine.js';
import { DatabaseStore, type DatabaseStoreOptions } from './database-store.js';
import { SessionEntity } from './session.entity.js';

/** What `databaseEngine` takes. Every member may be left out. */
export interface DatabaseEngineOptions extends DatabaseStoreOptions {
  /**
   * Name of the data source, as in `TypeOrmModule.forRoot({ name })`. On SQLite give the sessions a separate one.
   * @default the default data source
   */
  dataSource?: string;
  /**
   * A subclass of `SessionEntity`, for a table with extra columns.
   * @default SessionEntity
   */
  entity?: typeof SessionEntity;
}

/**
 * Keeps sessions in a database, through `@nestjs/typeorm`: PostgreSQL, MySQL, MariaDB or SQLite.
 *
 * If the table is missing, the start-up fails with a `SessionConfigError`.
 *
 * @example
 * ```ts
 * @Module({
 *   imports: [
 *     TypeOrmModule.forRoot({ type: 'postgres', url, autoLoadEntities: true }),
 *     SessionModule.forRoot(databaseEngine()),
 *   ],
 * })
 * export class AppModule {}
 * ```
 */
export function databaseEngine(options: DatabaseEngineOptions = {}): SessionEngine {
  const { dataSource: name, entity = SessionEntity, ...storeOptions } = options;
  return {
    imports: [TypeOrmModule.forFeature([entity], name)],
    inject: [getDataSourceToken(name)],
    useFactory: async (dataSource: DataSource) => {
      const store = new DatabaseStore(dataSource, entity, storeOptions);
      await store.checkTable();
      if (process.env['NODE_ENV'] === 'production') warnOfEndlessStatements(dataSource, entity);
      return store;
    },
  };
}

/** How the statements of an application are limited, by kind of data source. */
const statementLimits: Readonly<Record<string, string>> = {
  postgres: 'extra: { query_timeout: 5000 }',
  mysql: 'enableQueryTimeout: true, maxQueryExecutionTime: 5000',
  mariadb: 'enableQueryTimeout: true, maxQueryExecutionTime: 5000',
};

/** Our statements have a limit. Those of the application can keep all the connections of the pool from us. */
function warnOfEndlessStatements(
  { options, entityMetadatas }: DataSource,
  entity: typeof SessionEntity,
): void {
  const advice = statementLimits[options.type];
  const { query_timeout: limit } = (options.extra ?? {}) as { query_timeout?: number };
  const isLimited = limit ?? ('enableQueryTimeout' in options && options.enableQueryTimeout);
  if (advice === undefined || isLimited || entityMetadatas.every(({ target }) => target === entity)) return;
  new Logger('Sessions').warn(
    'The data source of the sessions is used by the application as well, and sets no time limit for its statements. ' +
      'If the network to the database falls silent, they keep the connections that sessions wait for. ' +
      `Set "${advice}" in the data source, or give the sessions one of their own.`,
  );
}
