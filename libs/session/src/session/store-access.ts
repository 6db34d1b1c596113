import { SessionStoreUnavailableError } from '../session.errors.js';
import { type SessionStore } from '../stores/session-store.js';

type StoreOperation = 'load' | 'create' | 'save' | 'touch' | 'rename' | 'delete';

/**
 * The store as a session sees it: the same operations, each with a time limit.
 * @throws SessionStoreUnavailableError when the limit passes; the store's late answer is ignored
 */
export type StoreAccess = Pick<SessionStore, Exclude<StoreOperation, 'load'> | 'remembersMoves'> & {
  load: SessionStore['find'];
};

export function limitStore(store: SessionStore, timeLimit: number): StoreAccess {
  return {
    remembersMoves: store.remembersMoves,
    load: (key) => within(timeLimit, 'load', store.find(key)),
    create: (key, record) => within(timeLimit, 'create', store.create(key, record)),
    save: (key, changes, record) => within(timeLimit, 'save', store.save(key, changes, record)),
    touch: (key, record) => within(timeLimit, 'touch', store.touch(key, record)),
    rename: (key, newKey, changes, record) =>
      within(timeLimit, 'rename', store.rename(key, newKey, changes, record)),
    delete: (key, id) => within(timeLimit, 'delete', store.delete(key, id)),
  };
}

/** Errors of calls that ran into the limit. To whoever asked, they are like any other failure of the store. */
const timeouts = new WeakSet<object>();

/** Did a call of the store fail because the limit had passed? */
export function isTimeout(error: unknown): boolean {
  return typeof error === 'object' && error !== null && timeouts.has(error);
}

export async function within<Result>(
  timeLimit: number,
  operation: StoreOperation | 'exists' | 'listByUser' | 'deleteByUser' | 'deleteById',
  answer: Promise<Result>,
): Promise<Result> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      const error = new SessionStoreUnavailableError(
        operation,
        `it did not answer within ${timeLimit} ms. Look after the store, or raise the option "storeTimeout".`,
      );
      timeouts.add(error);
      reject(error);
    }, timeLimit);
  });
  try {
    return await Promise.race([answer, timeout]);
  } finally {
    clearTimeout(timer);
  }
}
