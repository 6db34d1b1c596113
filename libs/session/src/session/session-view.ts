import { type JsonValue } from '../stores/session-store.js';
import { type Session } from './session.js';

type View = Record<string, unknown>;

/** Names that a template finds besides the data. */
const METADATA = new Set(['id', 'userId', 'createdAt', 'lastSeenAt', 'expiresAt']);

/**
 * The session as templates see it: data and a little metadata, read-only, missing keys undefined. Nothing is asked of
 * the session before the template looks.
 * @param current the session at the time of the look, or undefined when there is none any more
 */
export function createSessionView(current: () => Session | undefined): Readonly<View> {
  return new Proxy(Object.create(null) as View, new ViewTraps(current));
}

/** A class, because every request makes a view and few templates look. */
class ViewTraps implements ProxyHandler<View> {
  constructor(private readonly current: () => Session | undefined) {}

  get(_target: View, name: string | symbol): unknown {
    const current = this.current();
    if (typeof name === 'symbol' || !current) return undefined;
    // Whatever the application declares its data to be: a template asks for any name.
    const session = current as Session<Record<string, JsonValue>>;
    return session.has(name)
      ? session.get(name)
      : METADATA.has(name)
        ? Reflect.get(session, name)
        : undefined;
  }

  has(target: View, name: string | symbol): boolean {
    return this.get(target, name) !== undefined;
  }

  ownKeys(): string[] {
    return this.current()?.keys() ?? [];
  }

  getOwnPropertyDescriptor(target: View, name: string | symbol): PropertyDescriptor | undefined {
    const value = this.get(target, name);
    return value === undefined ? undefined : { value, enumerable: true, configurable: true, writable: false };
  }

  set(): boolean {
    return false;
  }

  deleteProperty(): boolean {
    return false;
  }

  defineProperty(): boolean {
    return false;
  }
}
