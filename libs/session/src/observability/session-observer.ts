import { type Logger, type OnApplicationShutdown, type OnModuleInit } from '@nestjs/common';
import { type ModuleRef } from '@nestjs/core';
import { type SessionEventListener } from '../session/session-events.js';
import { type StoreObserver } from '../session/store-guard.js';
import { emitThrough, findApplicationEmitter } from './application-emitter.js';
import { logEvents } from './event-log.js';
import { openMetrics, type SessionMetrics } from './session-metrics.js';

/**
 * How sessions are seen from outside: hands every event to the log, to the metrics and to the application's
 * `EventEmitter2`, each as far as it is there. What a listener does wrong is logged and harms neither the request nor the
 * other listeners.
 */
export class SessionObserver implements OnModuleInit, OnApplicationShutdown {
  private readonly listeners: SessionEventListener[];

  constructor(
    private readonly moduleRef: ModuleRef,
    private readonly logger: Logger,
    private readonly metrics: SessionMetrics | undefined,
  ) {
    this.listeners = [logEvents(logger), ...(metrics ? [metrics.countEvent] : [])];
  }

  /** @param sweeping does the application clear expired sessions regularly? */
  static async open(moduleRef: ModuleRef, logger: Logger, sweeping: boolean): Promise<SessionObserver> {
    return new SessionObserver(moduleRef, logger, await openMetrics(sweeping));
  }

  /** What watches the calls of the store; undefined when nobody would read it, so that watching costs nothing. */
  get observeStore(): StoreObserver | undefined {
    return this.metrics?.observeStore;
  }

  readonly emit: SessionEventListener = (event) => {
    for (const listener of this.listeners) {
      try {
        listener(event);
      } catch (error) {
        this.reportFailure(error);
      }
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
