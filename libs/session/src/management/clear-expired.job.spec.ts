import { jest } from '@jest/globals';
import { Logger, Module, type DynamicModule } from '@nestjs/common';
import { ModuleRef } from '@nestjs/core';
import { ScheduleModule, SchedulerRegistry } from '@nestjs/schedule';
import { Test, type TestingModule } from '@nestjs/testing';
import { SessionConfigError } from '../session.errors.js';
import { type SessionEvent } from '../session/session-events.js';
import { SessionStore } from '../stores/session-store.js';
import { type ClearingPlan } from '../options/resolve-options.js';
import { ClearExpiredJob } from './clear-expired.job.js';

const NAME = 'nest-sessions:clear-expired';
const events: SessionEvent[] = [];
const YEARLY = '0 0 1 1 *';

/** A store whose batches say when they begin and, if told so, wait until they are let go. */
class StoreWithBarrier extends SessionStore {
  readonly batches: number[] = [];
  outcome: () => number = () => 0;
  underWay = 0;
  mostUnderWay = 0;
  private letGo: Promise<void> = Promise.resolve();
  private began: () => void = () => undefined;

  /** Resolves when the next batch has begun. */
  nextBatch(): Promise<void> {
    return new Promise((resolve) => (this.began = resolve));
  }

  hold(): () => void {
    let release: (() => void) | undefined;
    this.letGo = new Promise((resolve) => (release = resolve));
    return () => release?.();
  }

  override async clearExpired(batchSize: number): Promise<number> {
    this.batches.push(batchSize);
    this.underWay += 1;
    this.mostUnderWay = Math.max(this.mostUnderWay, this.underWay);
    this.began();
    await this.letGo;
    this.underWay -= 1;
    return this.outcome();
  }

  load = () => Promise.resolve(null);
  create = () => Promise.resolve(true);
  save = () => Promise.resolve(true);
  delete = () => Promise.resolve(true);
}

function settings(overrides: Partial<ClearingPlan> = {}): ClearingPlan {
  return { schedule: { every: 86_400_000 }, jitter: 0, batchSize: 10, ...overrides };
}

/** An application that has the job in a module of its own, as users' applications do. */
async function appWith(
  store: SessionStore,
  clearExpired: ClearingPlan | false,
  imports: DynamicModule[] = [],
): Promise<TestingModule> {
  @Module({
    providers: [
      {
        provide: ClearExpiredJob,
        inject: [ModuleRef],
        useFactory: (moduleRef: ModuleRef) =>
          new ClearExpiredJob(store, clearExpired, moduleRef, (event) => events.push(event)),
      },
    ],
  })
  class SessionsModule {}

  const app = await Test.createTestingModule({ imports: [SessionsModule, ...imports] }).compile();
  return app.init();
}

/** The cron job is due. */
const tick = (app: TestingModule | undefined) => app?.get(SchedulerRegistry).getCronJob(NAME).fireOnTick();

const scheduleModule = () => [ScheduleModule.forRoot()];

/** Timers that keep this process alive. */
const timersAlive = (): number =>
  process.getActiveResourcesInfo().filter((resource) => resource === 'Timeout').length;

describe('ClearExpiredJob', () => {
  const log = jest.spyOn(Logger.prototype, 'log').mockImplementation(() => undefined);
  const error = jest.spyOn(Logger.prototype, 'error').mockImplementation(() => undefined);
  let store: StoreWithBarrier;
  let app: TestingModule | undefined;

  beforeEach(() => {
    events.length = 0;
    log.mockClear();
    error.mockClear();
    store = new StoreWithBarrier();
  });
  afterEach(() => app?.close());

  describe.each([
    ['without ScheduleModule', () => []],
    ['with ScheduleModule', scheduleModule],
  ])('on an interval, %s', (_, imports) => {
    it('sweeps again and again with its batch size, until the shutdown', async () => {
      app = await appWith(store, settings({ schedule: { every: 5 }, batchSize: 7 }), imports());
      await store.nextBatch();
      await store.nextBatch();
      await app.close();
      const sweeps = store.batches.length;
      expect(new Set(store.batches)).toEqual(new Set([7]));
      await new Promise((resolve) => setTimeout(resolve, 30));
      expect(store.batches).toHaveLength(sweeps);
    });

    it('does not keep the process alive', async () => {
      const before = timersAlive();
      app = await appWith(store, settings({ jitter: 60_000 }), imports());
      expect(timersAlive()).toBe(before);
    });

    it('runs a minute after the start, for processes that do not live a whole interval', async () => {
      jest.useFakeTimers({ doNotFake: ['nextTick', 'setImmediate', 'queueMicrotask', 'performance'] });
      try {
        app = await appWith(store, settings(), imports());
        jest.advanceTimersByTime(59_999);
        expect(store.batches).toHaveLength(0);
        const batch = store.nextBatch();
        jest.advanceTimersByTime(1);
        await batch;
        await app.close();
        expect(jest.getTimerCount()).toBe(0);
      } finally {
        jest.useRealTimers();
      }
    });
  });

  it('is to be found in the SchedulerRegistry', async () => {
    app = await appWith(store, settings(), scheduleModule());
    expect(app.get(SchedulerRegistry).doesExist('interval', NAME)).toBe(true);
  });

  describe('on a cron expression', () => {
    it('sweeps when it is due', async () => {
      app = await appWith(store, settings({ schedule: { cron: '* * * * * *' } }), scheduleModule());
      await store.nextBatch();
      expect(store.batches).toEqual([10]);
    });

    it('is a job in the SchedulerRegistry that keeps no process alive and is gone after the shutdown', async () => {
      const before = timersAlive();
      app = await appWith(store, settings({ schedule: { cron: YEARLY } }), scheduleModule());
      const registry = app.get(SchedulerRegistry);
      expect(timersAlive()).toBe(before);
      await registry.getCronJob(NAME).fireOnTick();
      expect(store.batches).toEqual([10]);
      await app.close();
      expect(registry.doesExist('cron', NAME)).toBe(false);
    });

    it('refuses to start without ScheduleModule, and says what to do', async () => {
      const start = appWith(store, settings({ schedule: { cron: YEARLY } }));
      await expect(start).rejects.toBeInstanceOf(SessionConfigError);
      await expect(start).rejects.toThrow(/"clearExpired.schedule".*ScheduleModule\.forRoot\(\).*duration/);
    });

    it('refuses to start with a malformed expression', async () => {
      const start = appWith(store, settings({ schedule: { cron: 'now and then' } }), scheduleModule());
      await expect(start).rejects.toBeInstanceOf(SessionConfigError);
      await expect(start).rejects.toThrow(/"clearExpired.schedule" cannot be scheduled/);
    });
  });

  it('does nothing when it is off', async () => {
    app = await appWith(store, false, scheduleModule());
    const registry = app.get(SchedulerRegistry);
    expect([...registry.getIntervals(), ...registry.getCronJobs().keys()]).toEqual([]);
  });

  it('leaves out a run that is due while one is under way', async () => {
    const release = store.hold();
    app = await appWith(store, settings({ schedule: { cron: YEARLY } }), scheduleModule());
    const job = app.get(SchedulerRegistry).getCronJob(NAME);
    const began = store.nextBatch();
    const ticks = Promise.all([job.fireOnTick(), job.fireOnTick()]);
    await began;
    const late = job.fireOnTick();
    release();
    await Promise.all([ticks, late]);
    expect(store.batches).toEqual([10]);
    expect(store.mostUnderWay).toBe(1);

    await job.fireOnTick();
    expect(store.batches).toEqual([10, 10]);
  });

  describe('during the shutdown', () => {
    it('finishes the batch it is at, waits for it, and starts no other', async () => {
      store.outcome = () => 10; // a full batch: there is more
      const release = store.hold();
      app = await appWith(store, settings({ schedule: { every: 5 } }));
      await store.nextBatch();
      let closed = false;
      const closing = app.close().then(() => (closed = true));
      await new Promise((resolve) => setImmediate(resolve));
      expect(closed).toBe(false);
      release();
      await closing;
      expect(store.batches).toEqual([10]);
      expect(store.underWay).toBe(0);
      expect(error).not.toHaveBeenCalled();
    });

    it('does not sit the jitter out', async () => {
      app = await appWith(store, settings({ schedule: { cron: YEARLY }, jitter: 60_000 }), scheduleModule());
      const run = tick(app);
      await app.close();
      await run;
      expect(store.batches).toEqual([]);
    });
  });

  it('S98: emits one event for a run that finished, also when nothing was expired, and none for one that failed', async () => {
    app = await appWith(store, settings({ schedule: { cron: YEARLY } }), scheduleModule());
    store.outcome = () => 3;
    await tick(app);
    store.outcome = () => 0;
    await tick(app);
    store.outcome = () => {
      throw new Error('down');
    };
    await tick(app);
    expect(events).toEqual([
      { type: 'cleared', count: 3, duration: expect.any(Number) },
      { type: 'cleared', count: 0, duration: expect.any(Number) },
    ]);
  });

  it('waits a random part of the jitter', async () => {
    const random = jest.spyOn(Math, 'random').mockReturnValue(0.5);
    try {
      const jittery = settings({ schedule: { cron: YEARLY }, jitter: 100 });
      app = await appWith(store, jittery, scheduleModule());
      const startedAt = performance.now();
      await tick(app);
      expect(performance.now() - startedAt).toBeGreaterThanOrEqual(49);
      expect(store.batches).toEqual([10]);
    } finally {
      random.mockRestore();
    }
  });

  describe('what it logs', () => {
    beforeEach(async () => {
      app = await appWith(store, settings({ schedule: { cron: YEARLY } }), scheduleModule());
      log.mockClear();
    });

    it.each([
      [3, /^Cleared 3 expired sessions in \d+\.\d s\.$/],
      [1, /^Cleared 1 expired session in \d+\.\d s\.$/],
    ])('one line with the count: %d', async (count, line) => {
      store.outcome = () => count;
      await tick(app);
      expect(log.mock.calls).toEqual([[expect.stringMatching(line)]]);
    });

    it('nothing when there was nothing to clear', async () => {
      await tick(app);
      expect(log).not.toHaveBeenCalled();
    });

    it('one line without secrets when a run fails, and the next run tries again', async () => {
      store.outcome = () => {
        throw new Error('cannot reach postgres://shop:hunter2@db/shop');
      };
      await tick(app);
      expect(error.mock.calls.map(([line]) => line)).toEqual([
        'Expired sessions could not be cleared, the next run tries again: cannot reach postgres://***@db/shop',
      ]);
      store.outcome = () => 1;
      await tick(app);
      expect(log).toHaveBeenCalledTimes(1);
    });
  });
});
