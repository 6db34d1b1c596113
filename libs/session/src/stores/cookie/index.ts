/**
 * The cookie engine: the session in the cookie itself, encrypted or signed.
 *
 * @example
 * ```ts
 * import { cookieEngine } from 'nest-sessions/cookie';
 * ```
 * @module nest-sessions/cookie
 */
export * from './cookie-engine.js';
export * from './cookie-sealer.js';
export * from './revocation-records.js';
export * from './revocation-store.js';
