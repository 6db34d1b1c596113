import { EventEmitter } from 'node:events';
import { SessionConfigError } from '../../session.errors.js';

/** What stands in for express-session where a store is made from it. */
export interface ExpressSession {
  (options?: unknown): never;
  /** What stores inherit from. */
  readonly Store: Omit<typeof EventEmitter, 'prototype'> & (new (options?: unknown) => never);
  // No store of which we know makes use of these.
  readonly Session: never;
  readonly Cookie: never;
  readonly MemoryStore: never;
}

// Not a class: older stores inherit by Store.call(this), which a class refuses.
function Store(this: EventEmitter): void {
  EventEmitter.call(this as never);
}
Object.setPrototypeOf(Store, EventEmitter);
Object.setPrototypeOf(Store.prototype, EventEmitter.prototype);

/**
 * Stands in for express-session with stores that are made from it, so that it need not be installed. Stores that import
 * express-session themselves need the package.
 *
 * @example
 * ```ts
 * const FileStore = createFileStore(expressSession); // from session-file-store
 * SessionModule.forRoot(expressStoreEngine(new FileStore({ path: '/var/lib/shop/sessions', retries: 0 })))
 * ```
 */
export const expressSession = Object.assign(refuse, { Store }) as unknown as ExpressSession;

function refuse(): never {
  throw new SessionConfigError(
    'engine',
    'has a store that wants to run the middleware of express-session. Install express-session and make the store from it.',
  );
}
