import { type RecordCache } from './record-cache.js';

export interface CacheLog {
  warn(message: string): void;
  log(message: string): void;
}

export interface GuardedCacheOptions {
  /** Milliseconds that one operation may take. */
  cacheTimeout: number;
  /** Milliseconds after which nothing that was in the cache is left of it. */
  revocationBound: number;
}

/** While the cache does not answer, it is tried once in so many milliseconds. */
const TRIED_EVERY = 1000;

/**
 * A cache that may fail: no operation rejects or takes long, and the log says when it went and when it came back.
 */
export class GuardedCache {
  private away = false;
  /** How often it went and came back. */
  private turns = 0;
  private triedAgainAt = 0;
  /** Until then the cache may hold what this process could not take out of it. */
  private distrustedUntil = 0;

  constructor(
    private readonly cache: RecordCache,
    private readonly options: GuardedCacheOptions,
    private readonly logger: CacheLog,
  ) {}

  /** Null: nothing is held. Undefined: nobody knows. */
  async get(key: string): Promise<string | null | undefined> {
    const held = await this.attempt(() => this.cache.get(key));
    return performance.now() < this.distrustedUntil ? undefined : held;
  }

  async add(key: string, value: string, ttl: number): Promise<boolean> {
    return (await this.attempt(() => this.cache.add(key, value, ttl))) ?? false;
  }

  async replace(key: string, beginning: string, value: string): Promise<boolean> {
    return (await this.attempt(() => this.cache.replace(key, beginning, value))) ?? false;
  }

  async set(key: string, value: string, ttl: number): Promise<void> {
    await this.attempt(() => this.cache.set(key, value, ttl));
  }

  async delete(key: string): Promise<void> {
    const deleted = await this.attempt(async () => {
      await this.cache.delete(key);
      return true;
    });
    if (!deleted) this.distrustedUntil = performance.now() + this.options.revocationBound;
  }

  async close(): Promise<void> {
    await this.cache.close?.();
  }

  /** Undefined: it failed, or was not even tried. */
  private async attempt<Answer>(operation: () => Promise<Answer>): Promise<Answer | undefined> {
    if (this.away && performance.now() < this.triedAgainAt) return undefined;
    // One try at a time: the others need not wait for its time-out.
    this.triedAgainAt = performance.now() + TRIED_EVERY;
    const { turns } = this;
    try {
      const answer = await this.inTime(operation);
      if (turns === this.turns && this.away) this.turn(false);
      return answer;
    } catch (error) {
      if (turns === this.turns && !this.away) this.turn(true, messageOf(error));
      return undefined;
    }
  }

  /** What began before the last turn has nothing to say about it: it is the same outage. */
  private turn(away: boolean, reason = ''): void {
    this.away = away;
    this.turns += 1;
    if (away) {
      this.logger.warn(
        `The cache of the sessions does not answer (${reason}). Sessions come from the database until it does: ` +
          'nothing is lost, but the database has more to do. Look after the cache.',
      );
    } else {
      this.logger.log('The cache of the sessions answers again.');
    }
  }

  private async inTime<Answer>(operation: () => Promise<Answer>): Promise<Answer> {
    const { cacheTimeout } = this.options;
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(new Error(`no answer within ${cacheTimeout} ms`)), cacheTimeout);
    });
    try {
      return await Promise.race([operation(), timeout]);
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Without keys, which some clients quote. */
function messageOf(error: unknown): string {
  const { message } = (error ?? {}) as { message?: unknown };
  return String(message ?? error).replaceAll(/v\d-[0-9a-f]{64}/g, '…');
}
