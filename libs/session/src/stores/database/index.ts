/**
 * The database engine: PostgreSQL, MySQL, MariaDB and SQLite through TypeORM.
 *
 * @example
 * ```ts
 * import { databaseEngine } from 'nest-sessions/database';
 * ```
 * @module nest-sessions/database
 */
export * from './create-session-table.migration.js';
export * from './database-engine.js';
export { DatabaseStore, type DatabaseStoreOptions } from './database-store.js';
export * from './session.entity.js';
export type { EncryptionOptions } from '../sealing.js';
export { RecordCodec } from '../record-codec.js';
