/**
 * The cache engine: any cache of `@nestjs/cache-manager`.
 *
 * @example
 * ```ts
 * import { cacheEngine } from 'nest-sessions/cache';
 * ```
 * @module nest-sessions/cache
 */
export * from './cache-store.js';
