/**
 * The file engine: a directory, for the processes of one machine.
 *
 * @example
 * ```ts
 * import { fileEngine } from 'nest-sessions/file';
 * ```
 * @module nest-sessions/file
 */
export * from './file-engine.js';
export * from './file-store.js';
