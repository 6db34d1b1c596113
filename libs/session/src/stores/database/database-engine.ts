import { getDataSourceToken, TypeOrmModule } from '@nestjs/typeorm';
import { type DataSource } from 'typeorm';
import { type SessionEngine } from '../session-engine.js';
import { DatabaseStore, type DatabaseStoreOptions } from './database-store.js';
import { SessionEntity } from './session.entity.js';

/** What `databaseEngine` takes. Every member may be left out. */
export interface DatabaseEngineOptions extends DatabaseStoreOptions {
  /**
   * Name of the data source, as given to `TypeOrmModule.forRoot({ name })`. SQLite wants one for the sessions alone.
   * @default the default data source
   */
  dataSource?: string;
  /**
   * A subclass of `SessionEntity`, for a table with columns of your own.
   * @default SessionEntity
   */
  entity?: typeof SessionEntity;
}

/**
 * Sessions in a database, through `@nestjs/typeorm`: PostgreSQL, MySQL, MariaDB or SQLite.
 *
 * The start-up fails with a `SessionConfigError` when the table is missing.
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
      return store;
    },
  };
}
