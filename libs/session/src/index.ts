export { Sessions } from './management/sessions.js';
export { type ClearingOptions } from './management/clear-expired.js';
export { RequireSession, type SessionRequirement } from './nest/require-session.decorator.js';
export { Session } from './nest/session.decorator.js';
export { SessionGuard } from './nest/session.guard.js';
export * from './session.errors.js';
export {
  type Engine,
  mountSessions,
  SessionModule,
  type SessionModuleAsyncOptions,
} from './session.module.js';
export {
  type ClearExpiredOptions,
  type Duration,
  type SessionCookieOptions,
  type SessionOptions,
} from './session.options.js';
export { type FlashMessage } from './session/dictionary-api.js';
export { type ExpiryInput } from './session/expiry.js';
export { type SessionData } from './session/session.js';
export { applyChanges } from './stores/session-log.js';
export { type SessionEngine } from './stores/session-engine.js';
export {
  type JsonObject,
  type JsonValue,
  type SessionChanges,
  type SessionExpiry,
  type SessionRecord,
  SessionStore,
} from './stores/session-store.js';
