import { type Operations } from './messages.js';

/** Of this process, since they were last reset. */
export const operations: Operations = { SQL: 0, Redis: 0 };

export function resetOperations(): void {
  operations.SQL = 0;
  operations.Redis = 0;
}

/** Counts the calls of a method that everything passes which a client sends. */
export function countCalls<Client extends object>(
  kind: keyof Operations,
  client: Client,
  method: string & keyof Client,
): void {
  const prototype = ownerOf(client, method);
  const original = Reflect.get(prototype, method) as (...given: unknown[]) => unknown;
  Reflect.set(prototype, method, function counted(this: unknown, ...given: unknown[]) {
    operations[kind] += 1;
    return Reflect.apply(original, this, given);
  });
}

/** For the classes of some clients are made anew for each of them, and only the one above is shared. */
function ownerOf(start: object, method: string): object {
  let owner = start;
  while (!Object.hasOwn(owner, method)) {
    const above = Object.getPrototypeOf(owner) as object | null;
    if (above === null) throw new Error(`There is no ${method}.`);
    owner = above;
  }
  return owner;
}
