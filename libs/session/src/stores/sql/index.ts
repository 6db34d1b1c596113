/**
 * The SQL engine: PostgreSQL, MySQL, MariaDB and SQLite through the SQL client that the application has.
 *
 * @example
 * ```ts
 * import { sqlEngine } from 'nest-sessions/sql';
 * ```
 * @module nest-sessions/sql
 */
export type { EncryptionOptions } from '../sealing.js';
export type { DialectName } from './dialects.js';
export { sessionSchema } from './session-schema.js';
export type { SqlAnswer, SqlClientQuery, SqlValue } from './sql-client.js';
export { sqlEngine, type SqlEngineOptions } from './sql-engine.js';
