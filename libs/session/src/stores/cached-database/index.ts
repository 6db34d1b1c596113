/**
 * The database engine with Redis or another cache in front.
 *
 * @example
 * ```ts
 * import { cachedDatabaseEngine } from 'nest-sessions/cached-database';
 * ```
 * @module nest-sessions/cached-database
 */
export * from './cached-database-engine.js';
export * from './cached-database-store.js';
export type { RecordCache } from './record-cache.js';
