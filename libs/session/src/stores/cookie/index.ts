export * from './cookie-engine.js';
export * from './cookie-store.js';
export * from './revocation-records.js';
export * from './revocation-store.js';
