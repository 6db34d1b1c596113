/**
 * The engine over any store that was written for express-session, and what moves its sessions in.
 *
 * @example
 * ```ts
 * import { expressStoreEngine } from 'nest-sessions/express-store';
 * ```
 * @module nest-sessions/express-store
 */
export {
  acceptExpressSession,
  type AcceptExpressSessionOptions,
  acceptFastifySession,
  type AcceptFastifySessionOptions,
} from './accept-sessions.js';
export { type CallbackStore, expressSession, type ExpressSession } from './callback-store.js';
export { ExpressStore, expressStoreEngine, type ExpressStoreOptions } from './express-store.js';
