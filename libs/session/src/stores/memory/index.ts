export { memoryEngine, type MemoryEngineOptions } from './memory-engine.js';
export { MemoryStore, type MemoryStoreOptions } from './memory-store.js';
