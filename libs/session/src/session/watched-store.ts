import { isTimeout } from './store-access.js';

export type StoreOutcome = 'ok' | 'error' | 'timeout';

/** Is told of every call of the store how it went, and how long it took, in milliseconds. */
export type StoreObserver = (operation: string, outcome: StoreOutcome, duration: number) => void;

type Operation = (...parameters: unknown[]) => Promise<unknown>;

/**
 * The same operations of a store, with somebody who looks on; with nobody, the very same object.
 * @param access an object of this program, so that the names of its operations are known and few
 */
export function watchStore<Access extends object>(access: Access, observe?: StoreObserver): Access {
  if (!observe) return access;
  const watched = Object.entries(access).map(([name, member]: [string, unknown]) => [
    name,
    typeof member === 'function' ? watch(nameOf(name), member as Operation, observe) : member,
  ]);
  return Object.fromEntries(watched) as Access;
}

function watch(name: string, operation: Operation, observe: StoreObserver): Operation {
  return async (...parameters) => {
    const startedAt = performance.now();
    let outcome: StoreOutcome = 'ok';
    try {
      return await operation(...parameters);
    } catch (error) {
      outcome = isTimeout(error) ? 'timeout' : 'error';
      throw error;
    } finally {
      observe(name, outcome, performance.now() - startedAt);
    }
  };
}

/** `find` is a load, too, by somebody who wants to know where a record has gone. */
function nameOf(operation: string): string {
  return operation === 'find' ? 'load' : operation;
}
