export * from './create-session-table.migration.js';
export * from './database-engine.js';
export { DatabaseStore, type DatabaseStoreOptions } from './database-store.js';
export * from './session.entity.js';
export type { EncryptionOptions } from '../sealing.js';
export { RecordCodec } from '../record-codec.js';
