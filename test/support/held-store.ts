import { AsyncLocalStorage } from 'node:async_hooks';
import { type SessionRecord, type SessionStore } from 'nest-sessions';
import { type Held, type Operation, barrier } from './recording-store.js';

/** What the store of an engine itself calls while it carries an operation out is not asked of it. */
const inside = new AsyncLocalStorage<true>();

export interface HeldOperation extends Held {
  /** Resolves when the store has answered. */
  done: Promise<void>;
}

/** The store of a running application, of whatever engine: remembers what it was asked, and can be held back. */
export class HeldStore {
  /** The operations so far, in order. */
  calls: Operation[] = [];
  #created = '';
  readonly #next = new Map<Operation, (carryOut: () => Promise<unknown>) => Promise<unknown>>();

  /** @param store null: of the cookie engine, which has none, so that nothing is ever asked */
  constructor(private readonly store: SessionStore | null) {
    if (!store) return;
    for (const name of ['load', 'create', 'save', 'touch', 'take', 'delete'] as const) {
      const method = store[name].bind(store) as (...given: unknown[]) => Promise<unknown>;
      Object.defineProperty(store, name, {
        value: (...given: unknown[]) =>
          inside.getStore() ? method(...given) : this.#asked(name, given, () => method(...given)),
      });
    }
  }

  /** The calls that change something. */
  get writes(): Operation[] {
    return this.calls.filter((operation) => operation !== 'load');
  }

  /** Holds back the next call of this operation. */
  hold(operation: Operation): HeldOperation {
    const [reached, released, done] = [barrier(), barrier(), barrier()];
    this.#next.set(operation, async (carryOut) => {
      this.#next.delete(operation);
      reached.open();
      await released.passed;
      return carryOut().finally(done.open);
    });
    return { reached: reached.passed, release: released.open, done: done.passed };
  }

  /** The data of the session that was created last. */
  async lastCreated(): Promise<SessionRecord['data'] | undefined> {
    const record = await inside.run(true, async () => this.store?.load(this.#created));
    return record ? { ...record.data } : undefined;
  }

  reset(): void {
    this.#next.clear();
    this.calls = [];
  }

  #asked(operation: Operation, given: unknown[], carryOut: () => Promise<unknown>): Promise<unknown> {
    this.calls.push(operation);
    if (operation === 'create') this.#created = given[0] as string;
    const unasked = (): Promise<unknown> => inside.run(true, carryOut);
    return this.#next.get(operation)?.(unasked) ?? unasked();
  }
}
