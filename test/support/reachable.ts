import { types } from 'node:util';

/** Something that can be reached, and how. */
export interface Reached {
  value: unknown;
  path: string;
}

/**
 * Everything that can be reached from a value by looking at it, however deep: own properties with all symbols and hidden
 * ones, getters, prototypes, entries of maps and sets. What only code can reach, such as private fields and variables of
 * functions, is not among it.
 */
export function reachableFrom(root: unknown): Reached[] {
  const reached: Reached[] = [{ value: root, path: '' }];
  const seen = new Set<unknown>(reached.map(({ value }) => value));
  for (const { value: parent, path } of reached) {
    for (const [step, value] of childrenOf(parent)) {
      if (seen.has(value)) continue;
      seen.add(value);
      reached.push({ value, path: `${path}${step}` });
    }
  }
  return reached;
}

function* childrenOf(parent: unknown): Generator<[step: string, value: unknown]> {
  if ((typeof parent !== 'object' && typeof parent !== 'function') || parent === null) return;
  if (types.isMap(parent) || types.isSet(parent)) {
    for (const [key, value] of parent.entries()) {
      yield ['.key', key];
      yield [`.get(${String(key)})`, value];
    }
  }
  if (ArrayBuffer.isView(parent)) return;
  yield ['.prototype', Object.getPrototypeOf(parent)];
  for (const name of Reflect.ownKeys(parent)) {
    const value = valueOf(parent, name);
    if (typeof name === 'string') yield ['.name', name];
    yield [`.${String(name)}`, value];
  }
}

function valueOf(parent: object, name: PropertyKey): unknown {
  try {
    return Reflect.get(parent, name) as unknown;
  } catch {
    // A getter that works for instances only.
    return undefined;
  }
}
