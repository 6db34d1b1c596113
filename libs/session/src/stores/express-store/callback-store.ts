import { SessionConfigError } from '../../session.errors.js';
import { answerOf, type Callback } from './answer.js';
import { isNothingThere, toStoreError } from './store-errors.js';

/** What is used of a store that was written for express-session. */
export interface CallbackStore {
  get(sid: string, callback: (error?: unknown, session?: unknown) => void): unknown;
  /** Inserts or replaces. */
  set(sid: string, session: unknown, callback: (error?: unknown) => void): unknown;
  destroy(sid: string, callback: (error?: unknown) => void): unknown;
}

/** Under these names stores offer to delete what has expired. */
const PRUNING_METHODS = ['pruneSessions', 'prune', 'clearExpiredSessions', 'reap'] as const;

type Pruning = Partial<Record<(typeof PRUNING_METHODS)[number], (callback?: Callback) => unknown>>;

/**
 * An answer that has not come after so many milliseconds never will. Whoever asked has given up long before; this is
 * for those who wait for the same session.
 */
const PATIENCE = 30_000;

/** @throws SessionConfigError when it is no store for express-session */
export function checkCallbackStore(candidate: unknown): asserts candidate is CallbackStore {
  const store = candidate as Partial<CallbackStore> | null | undefined;
  const methods = ['get', 'set', 'destroy'] as const;
  if (methods.every((method) => typeof store?.[method] === 'function')) return;
  throw new SessionConfigError(
    'engine',
    typeof candidate === 'function'
      ? 'needs a store, and got a class or a function. Make an instance: expressStoreEngine(new TheStore(…)).'
      : 'needs a store for express-session: an object with the methods get, set and destroy.',
  );
}

/** What the store has under this sid; null or undefined when there is nothing. */
export async function getFrom(store: CallbackStore, operation: string, sid: string): Promise<unknown> {
  try {
    return await answerOf((callback) => store.get(sid, callback), store.get.length > 1, PATIENCE);
  } catch (fault) {
    if (isNothingThere(fault)) return null;
    throw toStoreError(operation, fault);
  }
}

export async function setIn(
  store: CallbackStore,
  operation: string,
  sid: string,
  session: object,
): Promise<void> {
  try {
    await answerOf((callback) => store.set(sid, session, callback), store.set.length > 2, PATIENCE);
  } catch (fault) {
    throw toStoreError(operation, fault);
  }
}

export async function destroyIn(store: CallbackStore, operation: string, sid: string): Promise<void> {
  try {
    await answerOf((callback) => store.destroy(sid, callback), store.destroy.length > 1, PATIENCE);
  } catch (fault) {
    if (!isNothingThere(fault)) throw toStoreError(operation, fault);
  }
}

/** Lets a store that can do so delete what has expired. None of them tells how much that was. */
export async function pruneIn(store: CallbackStore): Promise<void> {
  const pruning = store as Pruning;
  const name = PRUNING_METHODS.find((candidate) => typeof pruning[candidate] === 'function');
  if (name === undefined) return;
  try {
    if (pruning[name]?.length === 0) await pruning[name]();
    else await answerOf((callback) => pruning[name]?.(callback), true);
  } catch (fault) {
    throw toStoreError('clearExpired', fault);
  }
}
