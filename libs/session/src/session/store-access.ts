import { SessionStoreUnavailableError } from '../session.errors.js';
import { type SessionStore } from '../stores/session-store.js';

type StoreOperation = 'load' | 'create' | 'save' | 'touch' | 'rename' | 'delete';

/**
 * The store as a session sees it: the same operations, each with a time limit.
 * @throws SessionStoreUnavailableError when the limit passes; the store's late answer is ignored
 */
export type StoreAccess = Pick<SessionStore, StoreOperation>;

export function limitStore(store: SessionStore, timeLimit: number): StoreAccess {
  return {
    load: (key) => within(timeLimit, 'load', store.load(key)),
    create: (key, record) => within(timeLimit, 'create', store.create(key, record)),
    save: (key, changes, record) => within(timeLimit, 'save', store.save(key, changes, record)),
    touch: (key, record) => within(timeLimit, 'touch', store.touch(key, record)),
    rename: (key, newKey, changes, record) =>
      within(timeLimit, 'rename', store.rename(key, newKey, changes, record)),
    delete: (key, id) => within(timeLimit, 'delete', store.delete(key, id)),
  };
}

export async function within<Result>(
  timeLimit: number,
  operation: StoreOperation,
  answer: Promise<Result>,
): Promise<Result> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      reject(
        new SessionStoreUnavailableError(
          operation,
          `it did not answer within ${timeLimit} ms. Look after the store, or raise the option "storeTimeout".`,
        ),
      );
    }, timeLimit);
  });
  try {
    return await Promise.race([answer, timeout]);
  } finally {
    clearTimeout(timer);
  }
}
