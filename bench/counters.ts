import { createHook } from 'node:async_hooks';

/** What one request costs its process. */
export interface Cost {
  /** Microseconds of CPU time, all threads together, garbage collection and the kernel's work included. */
  cpu: number;
  /** Statements and commands that were sent to a store. */
  sql: number;
  redis: number;
  /** Made in JavaScript, by whatever code. */
  promises: number;
  timers: number;
  /** Allocated on the heap of V8. */
  bytes: number;
}

/**
 * - `cpu`: its time, and what it sends to stores
 * - `objects`: promises and timers, which slows it down several times
 * - `bytes`: needs `--expose-gc`, and a young generation so large that nothing is collected while it counts
 */
export type Kind = 'cpu' | 'objects' | 'bytes';

const counted = { sql: 0, redis: 0, promises: 0, timers: 0 };

const hook = createHook({
  init(_id, type) {
    if (type === 'PROMISE') counted.promises += 1;
    if (type === 'Timeout') counted.timers += 1;
  },
});

/** Counts in this process from now on, until the returned function is called. */
export function startCounting(kind: Kind): () => Cost {
  Object.assign(counted, { sql: 0, redis: 0, promises: 0, timers: 0 });
  if (kind === 'bytes') globalThis.gc?.();
  if (kind === 'objects') hook.enable();
  const cpu = process.cpuUsage();
  const bytes = process.memoryUsage().heapUsed;
  return () => {
    const { user, system } = process.cpuUsage(cpu);
    hook.disable();
    return { ...counted, cpu: user + system, bytes: process.memoryUsage().heapUsed - bytes };
  };
}

/** Counts the calls of a method that everything passes which a client sends. */
export function countCalls<Client extends object>(
  kind: 'sql' | 'redis',
  client: Client,
  method: string & keyof Client,
): void {
  const prototype = ownerOf(client, method);
  const original = Reflect.get(prototype, method) as (...given: unknown[]) => unknown;
  Reflect.set(prototype, method, function counted_(this: unknown, ...given: unknown[]) {
    counted[kind] += 1;
    return Reflect.apply(original, this, given);
  });
}

/** Some clients make a class of their own for each instance, and only the class above it is shared. */
function ownerOf(start: object, method: string): object {
  let owner = start;
  while (!Object.hasOwn(owner, method)) {
    const above = Object.getPrototypeOf(owner) as object | null;
    if (above === null) throw new Error(`There is no ${method}.`);
    owner = above;
  }
  return owner;
}
