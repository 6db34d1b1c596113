export { expressSession, type ExpressSession } from './express-session.js';
export { ExpressStore, type ExpressStoreOptions } from './express-store.js';
export { expressStoreEngine, type ExpressStoreEngineFactory } from './express-store-engine.js';
export { type CallbackStore } from './callback-store.js';
