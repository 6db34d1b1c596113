import { Deadlines, SilenceError } from '../deadlines.js';
import { Outage } from '../outage.js';
import { type RecordCache } from './record-cache.js';

export interface CacheLog {
  warn(message: string): void;
  log(message: string): void;
}

export interface GuardedCacheOptions {
  /** Milliseconds that one operation may take, and a tenth more. */
  cacheTimeout: number;
  /** Milliseconds after which no record that is in the cache now is in it any more. */
  revocationBound: number;
}

/** While something fails, it is tried once in so many milliseconds. */
const TRIED_EVERY = 1000;

/** To fill is apart, because a cache that is full refuses it and does everything else. */
type Work = 'answer' | 'fill';

const messages: Readonly<Record<Work, [fails: string, works: string]>> = {
  answer: ['does not answer', 'answers again'],
  fill: ['takes nothing in', 'takes entries in again'],
};

/**
 * A cache that may fail: no operation rejects or takes long. The log gets one line when it begins to fail, and one when it
 * has not failed for a while.
 */
export class GuardedCache {
  /** What fails now, and when it is tried again on the clock of `performance`. */
  private readonly failing = new Map<Work, number>();
  /** How often that has changed. */
  private turns = 0;
  /** What began the outage. */
  private cause: Work = 'answer';
  private readonly outage = new Outage();
  private readonly deadlines: Deadlines;
  /** Until then the cache may hold what this process could not take out of it. */
  private distrustedUntil = 0;

  constructor(
    private readonly cache: RecordCache,
    private readonly options: GuardedCacheOptions,
    private readonly logger: CacheLog,
  ) {
    this.deadlines = new Deadlines(options.cacheTimeout / 10);
  }

  /** Null: nothing is held. Undefined: that is not known. */
  async get(key: string): Promise<string | null | undefined> {
    const held = await this.attempt('answer', key, () => this.cache.get(key));
    return performance.now() < this.distrustedUntil ? undefined : held;
  }

  async add(key: string, value: string, ttl: number): Promise<boolean> {
    return (await this.attempt('fill', key, () => this.cache.add(key, value, ttl))) ?? false;
  }

  async replace(key: string, beginning: string, value: string, ttl: number): Promise<boolean> {
    return (await this.attempt('fill', key, () => this.cache.replace(key, beginning, value, ttl))) ?? false;
  }

  /** Puts a mark in the place of what is held; where there is no room for it, at least what is held goes. */
  async mark(key: string, mark: string, ttl: number): Promise<void> {
    const done = await this.attempt('answer', key, async () => {
      await this.cache.set(key, mark, ttl).catch(() => this.cache.delete(key));
      return true;
    });
    if (!done) this.distrustedUntil = performance.now() + this.options.revocationBound;
  }

  async close(): Promise<void> {
    await this.cache.close?.();
  }

  /** Undefined: it failed, or was not even tried. */
  private async attempt<Answer>(
    work: Work,
    key: string,
    operation: () => Promise<Answer>,
  ): Promise<Answer | undefined> {
    const now = performance.now();
    if (this.rests('answer', now) || this.rests(work, now)) return undefined;
    // One try at a time: the others need not wait for its time-out.
    if (this.failing.has(work)) this.failing.set(work, now + TRIED_EVERY);
    const { turns } = this;
    try {
      const { cacheTimeout } = this.options;
      const problem = `no answer within ${cacheTimeout} ms`;
      const answer = await this.deadlines.before(now + cacheTimeout, operation(), problem);
      // What began before the last turn tells nothing about the time after it.
      if (turns === this.turns) this.worked(work);
      return answer;
    } catch (error) {
      const failed = error instanceof SilenceError ? 'answer' : work;
      // A cache that refuses to be filled may still do the rest, or not answer at all.
      if (failed === 'fill') await this.attempt('answer', key, () => this.cache.get(key));
      if (turns === this.turns) this.failed(failed, error, performance.now() - now);
      return undefined;
    }
  }

  private rests(work: Work, now: number): boolean {
    return now < (this.failing.get(work) ?? 0);
  }

  private failed(work: Work, error: unknown, took: number): void {
    if (!this.failing.has(work)) this.turns += 1;
    this.failing.set(work, performance.now() + TRIED_EVERY);
    if (!this.outage.failed(work, took)) return;
    this.cause = work;
    const { message } = (error ?? {}) as { message?: unknown };
    this.logger.warn(
      `The cache of the sessions ${messages[work][0]} (${String(message ?? error)}). Sessions come from the database ` +
        'instead: nothing is lost, but the database has more to do. Check the cache.',
    );
  }

  private worked(work: Work): void {
    if (this.failing.delete(work)) this.turns += 1;
    const over = this.failing.size === 0 ? this.outage.worked(work) : undefined;
    if (over !== undefined) this.logger.log(`The cache of the sessions ${messages[this.cause][1]}: ${over}.`);
  }
}
