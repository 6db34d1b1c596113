export * from './create-session-table.migration.js';
export * from './database-engine.js';
export * from './database-store.js';
export * from './session.entity.js';
