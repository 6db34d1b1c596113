export * from './cached-database-engine.js';
export * from './cached-database-store.js';
export type { RecordCache } from './record-cache.js';
