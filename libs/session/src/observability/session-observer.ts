import { type Logger, type OnApplicationShutdown, type OnModuleInit } from '@nestjs/common';
import { type ModuleRef } from '@nestjs/core';
// `import type` as a whole: `import { type … }` leaves an import of the package behind, and this one is optional.
import type { EventEmitter2 } from '@nestjs/event-emitter';
import { SessionStoreUnavailableError } from '../session.errors.js';
import { type SessionEvent, type SessionEventListener } from '../session/session-events.js';
import { type StoreObserver } from '../session/store-guard.js';
import { Outage } from '../stores/outage.js';
import { openMetrics, type SessionMetrics } from './session-metrics.js';

/**
 * How sessions are seen from outside: hands every event to the log, to the metrics and to the application's
 * `EventEmitter2`, each as far as it is there. What a listener does wrong is logged and harms neither the request nor the
 * other listeners.
 */
export class SessionObserver implements OnModuleInit, OnApplicationShutdown {
  /** When this process last finished a sweep, by `performance.now()`; else when it started, if it is going to sweep. */
  sweptAt: number | undefined;
  private readonly listeners: SessionEventListener[] = [];
  private readonly outage = new Outage();
  private metrics: SessionMetrics | undefined;

  private constructor(
    private readonly moduleRef: ModuleRef,
    private readonly logger: Logger,
  ) {}

  /** @param sweeping does the application clear expired sessions regularly? */
  static async open(moduleRef: ModuleRef, logger: Logger, sweeping: boolean): Promise<SessionObserver> {
    const observer = new SessionObserver(moduleRef, logger);
    if (sweeping) observer.sweptAt = performance.now();
    observer.metrics = await openMetrics(() => observer.sweptAt);
    observer.listeners.push(observer.logEvent);
    if (observer.metrics) observer.listeners.push(observer.metrics.countEvent);
    return observer;
  }

  /** Watches the calls of the store. Of an outage the log tells when it begins and when it is over. */
  readonly observeStore: StoreObserver = (operation, outcome, duration, error) => {
    this.metrics?.observeStore(operation, outcome, duration);
    if (outcome === 'ok') {
      const over = this.outage.worked(operation);
      if (over !== undefined) this.logger.log(`The session store serves again: ${over}.`);
    } else if (error instanceof SessionStoreUnavailableError && this.outage.failed(operation, duration)) {
      this.logger.error(
        `The session store does not serve, and requests that need it get a 503: ${error.message} ` +
          'Further failures are only counted, until it serves again.',
      );
    }
  };

  readonly emit: SessionEventListener = (event) => {
    if (event.type === 'cleared') this.sweptAt = performance.now();
    for (const listener of this.listeners) {
      try {
        listener(event);
      } catch (error) {
        this.reportFailure(error);
      }
    }
  };

  /** The events that somebody should look into. The others are too many for a log that nobody asked for. */
  private readonly logEvent: SessionEventListener = (event) => {
    if (event.type === 'corrupt') this.logger.error(event.error.message);
    // In an outage of the store one line has told of all that fails.
    if (event.type === 'touch-failed' && !this.outage.isOn) {
      this.logger.warn(
        `The idle clock of session ${event.sessionId} could not be restarted: ${event.problem}`,
      );
    }
    if (event.type === 'write-after-end') {
      this.logger.warn(
        `Session ${event.sessionId} ended while a request was changing it; the changes were dropped.`,
      );
    }
  };

  /** The emitter cannot be had before: it is only found when all providers exist. */
  async onModuleInit(): Promise<void> {
    const emitter = await findApplicationEmitter(this.moduleRef);
    if (emitter) this.listeners.push(emitThrough(emitter, (error) => this.reportFailure(error)));
  }

  onApplicationShutdown(): void {
    this.metrics?.close();
  }

  private reportFailure(error: unknown): void {
    const stack = error instanceof Error ? error.stack : undefined;
    this.logger.error(`A listener of session events failed: ${String(error)}`, stack);
  }
}

/** The events of one type: `SessionEventOf<'ended'>`. */
export type SessionEventOf<Type extends SessionEvent['type']> = Extract<SessionEvent, { type: Type }>;

/**
 * What the application's `EventEmitter2` emits: the payload of every event by its name.
 *
 * @example
 * ```ts
 * @OnEvent('session.ended')
 * onEnded(event: SessionEventMap['session.ended']) { … } // or SessionEventOf<'ended'>
 * ```
 */
export type SessionEventMap = {
  [Type in SessionEvent['type'] as `session.${Type}`]: SessionEventOf<Type>;
};

type ListenerFn = (...values: unknown[]) => unknown;

/**
 * The emitter of the application's own EventEmitterModule. It is an optional dependency, hence the import at the last
 * moment; and it is never imported as a module, because the application's listeners would not hear a second emitter.
 */
async function findApplicationEmitter(moduleRef: ModuleRef): Promise<EventEmitter2 | undefined> {
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
function emitThrough(emitter: EventEmitter2, onError: (error: unknown) => void): SessionEventListener {
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
