/**
 * Helpers for the tests of your application, and the conformance kit for a store of your own.
 *
 * @example
 * ```ts
 * import { describeSessionStore, loggedInCookie, testingEngine } from 'nest-sessions/testing';
 * ```
 * @module nest-sessions/testing
 */
export {
  describeSessionStore,
  type DescribeSessionStoreOptions,
  type TestFramework,
} from './describe-session-store.js';
export { loggedInCookie, loggedInHeader } from './logged-in-cookie.js';
export { type StoreCapabilities, type StoreUnderTest } from './store-under-test.js';
export { TestClock, testingEngine, type TestingEngine } from './testing-engine.js';
