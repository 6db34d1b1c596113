export * from './cookie-engine.js';
export * from './cookie-sealer.js';
export * from './revocation-records.js';
export * from './revocation-store.js';
