export * from './create-session-table.migration.js';
export * from './database-engine.js';
export * from './database-store.js';
export * from './session.entity.js';
export type { EncryptionOptions } from '../record-cipher.js';
export { RecordCodec } from '../record-codec.js';
