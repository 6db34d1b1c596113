import { EventEmitter } from 'node:events';
import { isPromise } from 'node:util/types';
import { SessionConfigError } from '../../session.errors.js';
import { corruptRecord } from '../record-codec.js';
import { toUnavailable } from '../whole-record-store.js';

type Callback = (error?: unknown, answer?: unknown) => void;

/** What is used of a store that was written for express-session. */
export interface CallbackStore {
  /** Hands the session under this id to the callback, or null or undefined when there is none. */
  get(sid: string, callback: (error?: unknown, session?: unknown) => void): unknown;
  /** Inserts or replaces. */
  set(sid: string, session: unknown, callback: (error?: unknown) => void): unknown;
  /** Deletes the session under this id. That there is none is no error. */
  destroy(sid: string, callback: (error?: unknown) => void): unknown;
}

/** Under these names stores offer to delete what has expired. */
const PRUNING_METHODS = ['pruneSessions', 'prune', 'clearExpiredSessions', 'reap'] as const;

type ClearingMethod = (typeof PRUNING_METHODS)[number] | 'list';
type Clearing = Partial<Record<ClearingMethod, (callback?: Callback) => unknown>>;

/**
 * Milliseconds after which an answer counts as lost. The request has given up long before; this is for those that wait
 * for the same session.
 */
const PATIENCE = 30_000;

/** The calls of such a store, as promises that reject with errors of ours. */
export class StoreCalls {
  /** @throws SessionConfigError when it is no store for express-session */
  constructor(private readonly store: CallbackStore) {
    checkCallbackStore(store);
  }

  /** What the store has under this sid; null or undefined when there is nothing. */
  async get(operation: string, sid: string): Promise<unknown> {
    const { store } = this;
    try {
      return await answerOf((callback) => store.get(sid, callback), store.get.length > 1, PATIENCE);
    } catch (fault) {
      if (isNothingThere(fault)) return null;
      throw toStoreError(operation, fault);
    }
  }

  async set(operation: string, sid: string, session: object): Promise<void> {
    const { store } = this;
    try {
      await answerOf((callback) => store.set(sid, session, callback), store.set.length > 2, PATIENCE);
    } catch (fault) {
      throw toStoreError(operation, fault);
    }
  }

  async destroy(operation: string, sid: string): Promise<void> {
    const { store } = this;
    try {
      await answerOf((callback) => store.destroy(sid, callback), store.destroy.length > 1, PATIENCE);
    } catch (fault) {
      if (!isNothingThere(fault)) throw toStoreError(operation, fault);
    }
  }

  /** How the store deletes what has expired, or at least lists what it has; undefined: not at all when it is asked. */
  get clearingMethod(): ClearingMethod | undefined {
    const store = this.store as Clearing;
    return ([...PRUNING_METHODS, 'list'] as const).find((name) => typeof store[name] === 'function');
  }

  /** Calls that method. No pruning method tells how much it has deleted. */
  async clear(name: ClearingMethod): Promise<unknown> {
    const store = this.store as Clearing;
    try {
      if (store[name]?.length === 0) return await store[name]();
      return await answerOf((callback) => store[name]?.(callback), true);
    } catch (fault) {
      throw toStoreError('clearExpired', fault);
    }
  }
}

/** @throws SessionConfigError when it is no store for express-session */
export function checkCallbackStore(
  candidate: unknown,
  option = 'engine',
): asserts candidate is CallbackStore {
  const store = candidate as Partial<CallbackStore> | null | undefined;
  const methods = ['get', 'set', 'destroy'] as const;
  if (methods.every((method) => typeof store?.[method] === 'function')) return;
  throw new SessionConfigError(
    option,
    typeof candidate === 'function'
      ? 'needs a store, but got a class or a function. Create an instance: new TheStore(…).'
      : 'needs a store for express-session: an object with the methods get, set and destroy.',
  );
}

/**
 * The answer to a call, by its callback or by a promise. The first one counts, and the callback never throws: some stores
 * catch that and call it once more.
 * @param takesCallback whether the method has a parameter for it. If it has, what its promise resolves with means
 * nothing: an async method may return before its answer is there
 * @param patience milliseconds until the answer counts as lost
 */
function answerOf(
  call: (callback: Callback) => unknown,
  takesCallback: boolean,
  patience?: number,
): Promise<unknown> {
  return new Promise<unknown>((resolve, reject) => {
    let timer: NodeJS.Timeout | undefined;
    const settle: Callback = (error, answer) => {
      clearTimeout(timer);
      if (error) reject(error);
      else resolve(answer);
    };
    const fail = (error: unknown): void => settle(error ?? new Error('it failed without an error'));
    if (patience !== undefined) {
      const lost = new Error(`there was no answer within ${patience / 1000} s`);
      timer = setTimeout(() => settle(lost), patience);
      timer.unref();
    }
    try {
      const returned = call((error, answer) => settle(error, answer));
      if (isPromise(returned)) returned.then((answer) => takesCallback || settle(null, answer), fail);
    } catch (error) {
      fail(error);
    }
  });
}

/** How stores on files say that there is no such session. From a socket, it says that there is no server. */
function isNothingThere(fault: unknown): boolean {
  const { code, syscall } = (fault ?? {}) as { code?: unknown; syscall?: unknown };
  return code === 'ENOENT' && syscall !== 'connect';
}

/** Nobody knows what all these stores mean by their errors, so that only the complaint of a parser is no outage. */
function toStoreError(operation: string, fault: unknown): Error {
  const { name } = (fault ?? {}) as { name?: unknown };
  if (name !== 'SyntaxError') return toUnavailable(operation, 'express-session store', fault);
  // Without a cause, because a parser quotes what it could not read.
  return corruptRecord();
}

/** What stands in for express-session where a store is made from it. */
export interface ExpressSession {
  (options?: unknown): never;
  /** What stores inherit from. */
  readonly Store: Omit<typeof EventEmitter, 'prototype'> & (new (options?: unknown) => never);
  /** No store that we know of uses it, and it is not there. */
  readonly Session: never;
  /** No store that we know of uses it, and it is not there. */
  readonly Cookie: never;
  /** No store that we know of uses it, and it is not there. */
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
 * const store = new FileStore({ path: '/var/lib/shop/sessions', retries: 0, reapInterval: -1, logFn: () => {} });
 * SessionModule.forRoot(expressStoreEngine(store));
 * ```
 */
export const expressSession = Object.assign(refuse, { Store }) as unknown as ExpressSession;

function refuse(): never {
  throw new SessionConfigError(
    'engine',
    'has a store that runs the middleware of express-session. Install express-session and create the store from it.',
  );
}
