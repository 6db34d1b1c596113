import { isTimeout, type StoreAccess, type StoreOperation } from './store-access.js';

export type StoreOutcome = 'ok' | 'error' | 'timeout';

/** Is told of every call of the store how it went, and how long it took, in milliseconds. */
export type StoreObserver = (operation: StoreOperation, outcome: StoreOutcome, duration: number) => void;

/** The same store, with somebody who looks on. */
export function watchStore(store: StoreAccess, observe: StoreObserver): StoreAccess {
  const watch = async <Result>(operation: StoreOperation, call: () => Promise<Result>): Promise<Result> => {
    const startedAt = performance.now();
    let outcome: StoreOutcome = 'ok';
    try {
      return await call();
    } catch (error) {
      outcome = isTimeout(error) ? 'timeout' : 'error';
      throw error;
    } finally {
      observe(operation, outcome, performance.now() - startedAt);
    }
  };
  return {
    ...store,
    load: (key) => watch('load', () => store.load(key)),
    create: (key, record) => watch('create', () => store.create(key, record)),
    save: (key, changes, record) => watch('save', () => store.save(key, changes, record)),
    touch: (key, record) => watch('touch', () => store.touch(key, record)),
    rename: (key, newKey, changes, record) =>
      watch('rename', () => store.rename(key, newKey, changes, record)),
    delete: (key, id) => watch('delete', () => store.delete(key, id)),
  };
}
