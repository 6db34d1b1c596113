/**
 * The memory engine, for development and tests.
 *
 * @example
 * ```ts
 * import { memoryEngine } from 'nest-sessions/memory';
 * ```
 * @module nest-sessions/memory
 */
export { memoryEngine, type MemoryEngineOptions } from './memory-engine.js';
export { MemoryStore, type MemoryStoreOptions } from './memory-store.js';
