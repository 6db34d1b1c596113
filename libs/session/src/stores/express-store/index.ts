export { type CallbackStore, expressSession, type ExpressSession } from './callback-store.js';
export {
  ExpressStore,
  expressStoreEngine,
  type ExpressStoreEngineFactory,
  type ExpressStoreOptions,
} from './express-store.js';
