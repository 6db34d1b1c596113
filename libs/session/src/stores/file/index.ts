export * from './file-engine.js';
export * from './file-store.js';
