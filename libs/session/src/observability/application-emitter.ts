import { type ModuleRef } from '@nestjs/core';
// `import type` as a whole: `import { type … }` leaves an import of the package behind, and this one is optional.
import type { EventEmitter2 } from '@nestjs/event-emitter';
import { type SessionEventListener } from '../session/session-events.js';

type ListenerFn = (...values: unknown[]) => unknown;

/**
 * The emitter of the application's own EventEmitterModule. It is an optional dependency, hence the import at the last
 * moment; and it is never imported as a module, for the application's listeners would not hear a second emitter.
 */
export async function findApplicationEmitter(moduleRef: ModuleRef): Promise<EventEmitter2 | undefined> {
  try {
    const { EventEmitter2 } = await import('@nestjs/event-emitter');
    return moduleRef.get(EventEmitter2, { strict: false });
  } catch {
    return undefined; // not installed, or installed and not imported by the application
  }
}

/**
 * Hands every event as `session.<type>` to each listener of the emitter.
 *
 * Not by `emit`, after which a listener that throws keeps the event from the others, and one that rejects brings the
 * process down: both for the sake of a request that did nothing wrong.
 * @param onError is told what a listener threw or rejected with
 */
export function emitThrough(emitter: EventEmitter2, onError: (error: unknown) => void): SessionEventListener {
  const call = async (listener: ListenerFn, ...values: unknown[]): Promise<void> => {
    try {
      await listener.apply(emitter, values);
    } catch (error) {
      onError(error);
    }
  };
  return (event) => {
    const name = `session.${event.type}`;
    // Of copies: a listener for one time takes itself off the list when it is called.
    for (const listener of emitter.listenersAny().slice()) void call(listener, name, event);
    for (const listener of emitter.listeners(name).slice()) void call(listener, event);
  };
}
