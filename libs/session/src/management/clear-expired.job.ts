import { setTimeout as sleep } from 'node:timers/promises';
import { type BeforeApplicationShutdown, Logger, type OnApplicationBootstrap } from '@nestjs/common';
import { type ModuleRef } from '@nestjs/core';
// `import type` as a whole: `import { type … }` leaves an import of the package behind, and this one is optional.
import type { SchedulerRegistry } from '@nestjs/schedule';
import { SessionConfigError } from '../session.errors.js';
import { type ClearingPlan } from '../options/resolve-options.js';
import { type SessionEventListener } from '../session/session-events.js';
import { type SessionStore } from '../stores/session-store.js';
import { clearExpired, countOfExpired, failureMessage } from './clear-expired.js';

/** Under this name the job is found in the application's `SchedulerRegistry`. */
const JOB_NAME = 'nest-sessions:clear-expired';
/** So long a shutdown waits for the batch under way. */
const LONGEST_GOODBYE = 5000;
/** The first run of an interval: late enough to leave the start-up alone, early enough for a process that lives an hour. */
const FIRST_RUN_AFTER = 60_000;

/**
 * Clears expired sessions from time to time, from the start of the application until its shutdown begins.
 * Neither its timers nor its waiting keep the process alive, a failed run is logged and the next one tries again,
 * and a run that is due while one is under way is left out.
 */
export class ClearExpiredJob implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private readonly logger = new Logger(ClearExpiredJob.name);
  private readonly stopping = new AbortController();
  private readonly timers: NodeJS.Timeout[] = [];
  private running: Promise<void> | undefined;

  constructor(
    private readonly store: Pick<SessionStore, 'clearExpired'>,
    /** False: no job. */
    private readonly settings: ClearingPlan | false,
    private readonly moduleRef: ModuleRef,
    private readonly emit: SessionEventListener,
  ) {}

  /** @throws SessionConfigError when the schedule is a cron expression that is malformed, or that nothing here can run */
  async onApplicationBootstrap(): Promise<void> {
    if (this.settings === false) return;
    const settings = this.settings;
    const run = (): Promise<void> => (this.running ??= this.sweep(settings));

    const registry = await findSchedulerRegistry(this.moduleRef);
    if ('cron' in settings.schedule) await startCron(settings.schedule.cron, run, registry);
    else this.startInterval(settings.schedule.every, run, registry);
  }

  /** Stops a run after the batch it is at. */
  async beforeApplicationShutdown(): Promise<void> {
    this.stopping.abort();
    for (const timer of this.timers) clearTimeout(timer); // the registry clears its cron jobs itself
    // A store that hangs must not keep the application from ending.
    await Promise.race([this.running, sleep(LONGEST_GOODBYE, undefined, { ref: false })]);
  }

  private startInterval(every: number, run: () => Promise<void>, registry?: SchedulerRegistry): void {
    const interval = setInterval(() => void run(), every).unref();
    const firstRun = setTimeout(() => void run(), Math.min(every, FIRST_RUN_AFTER)).unref();
    this.timers.push(interval, firstRun);
    registry?.addInterval(JOB_NAME, interval);
  }

  private async sweep({ jitter, batchSize }: ClearingPlan): Promise<void> {
    const { signal } = this.stopping;
    try {
      await sleep(Math.random() * jitter, undefined, { signal, ref: false });
      const startedAt = performance.now();
      const cleared = await clearExpired(this.store, { batchSize, signal }, this.emit);
      const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
      if (cleared > 0) this.logger.log(`Cleared ${countOfExpired(cleared)} in ${seconds} s.`);
    } catch (error) {
      if (!signal.aborted) {
        this.logger.error(
          `Expired sessions could not be cleared, the next run tries again: ${failureMessage(error)}`,
        );
      }
    } finally {
      this.running = undefined;
    }
  }
}

async function startCron(
  cronTime: string,
  onTick: () => Promise<void>,
  registry: SchedulerRegistry | undefined,
): Promise<void> {
  if (!registry) {
    throw new SessionConfigError(
      'clearExpired.schedule',
      'is a cron expression, which needs @nestjs/schedule. ' +
        "Import ScheduleModule.forRoot() in the application, or give a duration such as '1d'.",
    );
  }
  try {
    const { CronJob } = await import('cron');
    registry.addCronJob(
      JOB_NAME,
      CronJob.from({ cronTime, onTick, waitForCompletion: true, unrefTimeout: true, start: true }),
    );
  } catch (cause) {
    throw new SessionConfigError('clearExpired.schedule', `cannot be scheduled: ${failureMessage(cause)}`);
  }
}

/**
 * The registry of the application's own ScheduleModule. It is an optional dependency, hence the import at the last
 * moment; and it is never imported as a module, because a second ScheduleModule runs every job of the application twice.
 */
async function findSchedulerRegistry(moduleRef: ModuleRef): Promise<SchedulerRegistry | undefined> {
  try {
    const { SchedulerRegistry } = await import('@nestjs/schedule');
    return moduleRef.get(SchedulerRegistry, { strict: false });
  } catch {
    return undefined; // not installed, or installed and not imported by the application
  }
}
