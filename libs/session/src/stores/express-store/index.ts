/**
 * The engine over any store that was written for express-session.
 *
 * @example
 * ```ts
 * import { expressStoreEngine } from 'nest-sessions/express-store';
 * ```
 * @module nest-sessions/express-store
 */
export { type CallbackStore, expressSession, type ExpressSession } from './callback-store.js';
export {
  ExpressStore,
  expressStoreEngine,
  type ExpressStoreEngineFactory,
  type ExpressStoreOptions,
} from './express-store.js';
