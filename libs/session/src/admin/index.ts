/**
 * A page for operators and support: who is logged in, live, and how to end it.
 *
 * @example
 * ```ts
 * import { SessionAdminModule } from 'nest-sessions/admin';
 * ```
 * @module nest-sessions/admin
 */
export { SessionAdminModule, type SessionAdminOptions } from './session-admin.module.js';
