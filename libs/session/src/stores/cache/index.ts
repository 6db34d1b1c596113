export * from './cache-engine.js';
export * from './cache-store.js';
