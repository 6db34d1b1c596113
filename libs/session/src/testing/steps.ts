import { setTimeout } from 'node:timers/promises';
import { type SessionStore } from '../stores/session-store.js';

/** The methods that others may be made of: the default `rename` is exists, create and delete. */
const METHODS = ['load', 'create', 'save', 'delete', 'touch', 'rename', 'exists'] as const;

/** How long an operation waits for the interference, which may itself wait for a lock that the operation holds. */
const PATIENCE = 100;

/** Runs an operation and, somewhere in the middle of it, an interference. Resolves with the results of both. */
type InterfereWith = (
  operation: () => Promise<boolean>,
  interference: () => Promise<boolean>,
) => Promise<[operation: boolean, interference: boolean]>;

/**
 * Runs the scenario again and again: with the interference before the operation, before each of its further steps, and
 * after it. A step is a call of one of the store's own methods.
 */
export async function interfereAtEveryStep(
  store: SessionStore,
  scenario: (interfereWith: InterfereWith) => Promise<void>,
): Promise<void> {
  for (let step = 1; await reachesStep(step, store, scenario); step++);
}

/** Interferes before this step; after the operation, and resolves with false, if it has fewer steps. */
async function reachesStep(
  step: number,
  store: SessionStore,
  scenario: (interfereWith: InterfereWith) => Promise<void>,
): Promise<boolean> {
  let taken = 0;
  await scenario(async (operation, interference) => {
    let interfering: Promise<boolean> | undefined;
    const restore = beforeEveryStep(store, async () => {
      if (++taken !== step) return;
      // What the interference does itself comes after this step.
      interfering = interference();
      await Promise.race([interfering, setTimeout(PATIENCE)]);
    });
    const result = await operation().finally(restore);
    return [result, await (interfering ?? interference())];
  });
  return taken >= step;
}

/** Shadows the methods of this one instance; what is private to its class stays in reach. */
function beforeEveryStep(store: SessionStore, wait: () => Promise<void>): () => void {
  const own = METHODS.map((name) => [name, Object.getOwnPropertyDescriptor(store, name)] as const);
  for (const name of METHODS) {
    const method = store[name].bind(store) as (...given: unknown[]) => Promise<unknown>;
    Object.defineProperty(store, name, {
      configurable: true,
      value: async (...given: unknown[]) => {
        await wait();
        return method(...given);
      },
    });
  }
  return () => {
    for (const [name, descriptor] of own) {
      if (descriptor) Object.defineProperty(store, name, descriptor);
      else Reflect.deleteProperty(store, name);
    }
  };
}
