/**
 * The module, the session object, the guard, the `Sessions` service, the errors, and what a store of your own needs.
 *
 * @example
 * ```ts
 * import { Session, SessionGuard, SessionModule } from 'nest-sessions';
 * ```
 * @module nest-sessions
 */
export { type AnyHeaders, type RequestLike, type RequestOrHeaders } from './http/presented-keys.js';
export {
  type ExportedSession,
  type SessionPage,
  type SessionPageOptions,
  Sessions,
  type SessionSummary,
  type UserSession,
} from './management/sessions.js';
export { type ClearingOptions } from './management/clear-expired.js';
export { type SessionEventMap, type SessionEventOf } from './observability/session-observer.js';
export { Session } from './nest/session.decorator.js';
export { RequireSession, SessionGuard, type SessionRequirement } from './nest/session.guard.js';
export * from './session.errors.js';
export { changedRecord, checkRecordSize } from './stores/record-log.js';
export {
  type Engine,
  mountSessions,
  SessionModule,
  type SessionModuleAsyncOptions,
} from './session.module.js';
export {
  type AssuranceLevel,
  type ClearExpiredOptions,
  type CookiePlace,
  type CookieRequest,
  type DeviceTraits,
  type Duration,
  type HeaderTransport,
  type LoginPolicyOptions,
  type RememberOptions,
  type RequestCookie,
  type SessionCookieOptions,
  type SessionOptions,
  type SocketOptions,
  type SessionTransport,
} from './session.options.js';
export { type FlashMessage } from './session/dictionary-methods.js';
export { type ExpiryInput } from './session/expiry.js';
export { type EndReason, type RotationReason, type SessionEvent } from './session/session-events.js';
export { type LogoutOptions, type SessionCallback, type SessionMethods } from './session/session-methods.js';
export { type SessionCookie } from './session/session-cookie.js';
export { type Limits } from './session/json-value.js';
export { type PepperOptions } from './session/session-key.js';
export { type CurrentStamp, type LoginOptions } from './session/login.js';
export { type SessionLimit } from './session/user-sessions.js';
export { type SessionData, type StorableData } from './session/session.js';
export { type AcceptedSessions } from './stores/accepted-sessions.js';
export { applyChanges } from './stores/record-log.js';
export { type EncryptionOptions } from './stores/sealing.js';
export { type EngineFactory, type SessionEngine } from './stores/session-engine.js';
export { SessionSealer } from './stores/session-sealer.js';
export {
  type JsonObject,
  type JsonValue,
  type RecordLimits,
  type RecordPage,
  type SessionChanges,
  type SessionCount,
  type SessionDevice,
  type SessionExpiry,
  type SessionMeta,
  type SessionRecord,
  type SessionRotation,
  SessionStore,
} from './stores/session-store.js';
