import type { Cache } from 'cache-manager';
import { SessionConfigError } from '../../session.errors.js';
import { toUnavailable } from '../whole-record-store.js';

type Keyv = Cache['stores'][number];

/** A `Cacheable`, which may stand where a Keyv is expected. */
interface Layered {
  primary?: Keyv;
  secondary?: Keyv;
}

/**
 * Text entries in a cache of cache-manager, with errors that are errors.
 *
 * The cache itself cannot be asked, because its `get` turns every failure into a miss. So does a Keyv, unless it is told
 * otherwise. So this asks the Keyv behind the cache, and where there are several, the last one: a store in front of a
 * shared one is in the memory of each process, where the logout of another process does not reach it.
 */
export class CacheEntries {
  private readonly keyv: Keyv;
  private faults = 0;
  private lastFault: unknown;
  private readonly countFault = (fault: unknown): void => {
    this.faults += 1;
    this.lastFault = fault;
  };

  /** @throws SessionConfigError when this is no cache of cache-manager */
  constructor(
    cache: Cache,
    private readonly prefix: string,
  ) {
    this.keyv = strict(sharedKeyv(cache));
    this.keyv.on('error', this.countFault);
  }

  async get(operation: string, name: string): Promise<string | null> {
    const value = await this.ask(operation, () => this.keyv.get<unknown>(this.prefix + name));
    if (value === undefined) return null;
    // Whatever else is there is not ours, and cannot be read as if it were.
    return typeof value === 'string' ? value : '';
  }

  /** @param ttl milliseconds */
  async set(operation: string, name: string, text: string, ttl: number): Promise<void> {
    // Zero would mean: for ever.
    const lifetime = Math.max(1, Math.ceil(ttl));
    const stored = await this.ask(operation, () => this.keyv.set(this.prefix + name, text, lifetime));
    if (!stored) throw toUnavailable(operation, 'cache', new Error('it did not store the entry'));
  }

  /** False: there was none, if the cache can tell. */
  delete(operation: string, name: string): Promise<boolean> {
    return this.ask(operation, () => this.keyv.delete(this.prefix + name));
  }

  /**
   * Deletes expired entries of a cache that keeps them in a Map, which forgets nothing by itself.
   * @returns how many of those that `counts` says count
   */
  async clearExpired(limit: number, counts: (name: string) => boolean): Promise<number> {
    const { store } = this.keyv;
    if (!(store instanceof Map)) return 0;
    let cleared = 0;
    for (const [storedName, stored] of store as Map<string, unknown>) {
      if (cleared >= limit) break;
      const [, name] = storedName.split(this.prefix, 2);
      if (name === undefined || !(await this.isExpired(stored))) continue;
      if (store.delete(storedName) && counts(name)) cleared += 1;
    }
    return cleared;
  }

  /** Lets go of the cache, and leaves it open. */
  release(): void {
    this.keyv.off('error', this.countFault);
  }

  private async isExpired(stored: unknown): Promise<boolean> {
    const entry = typeof stored === 'string' ? await this.keyv.deserializeData(stored) : stored;
    const { expires } = entry as { expires?: unknown };
    return typeof expires === 'number' && expires <= Date.now();
  }

  /**
   * Adapters that answer "absent" or "done" while their server is away still report an error on the side. It may have
   * been about an entry of somebody else, but then the server has failed all the same.
   */
  private async ask<Answer>(operation: string, call: () => Promise<Answer>): Promise<Answer> {
    const faultsBefore = this.faults;
    let answer: Answer;
    try {
      answer = await call();
    } catch (fault) {
      throw toUnavailable(operation, 'cache', fault);
    }
    if (this.faults === faultsBefore || isFound(answer)) return answer;
    throw toUnavailable(operation, 'cache', this.lastFault);
  }
}

/** An entry was found: a fault reported at the same time was about something else. */
function isFound(answer: unknown): boolean {
  return answer !== undefined && typeof answer !== 'boolean';
}

/** The same Keyv, with the same settings, hooks and listeners, except that it throws; the application's own does not change. */
function strict(keyv: Keyv): Keyv {
  const twin = Object.create(keyv) as Keyv;
  twin.opts = { ...keyv.opts };
  twin.throwOnErrors = true;
  return twin;
}

function sharedKeyv(cache: Partial<Cache> | undefined): Keyv {
  const last = cache?.stores?.at(-1) as (Keyv & Layered) | undefined;
  const keyv = last?.secondary ?? last?.primary ?? last;
  if (keyv !== undefined && 'opts' in keyv) return keyv;
  throw new SessionConfigError(
    'engine',
    'needs a cache of cache-manager 6 or later, with "stores" of Keyv, but the token resolves to something else. ' +
      'Give the token of a cache that CacheModule of @nestjs/cache-manager provides: CACHE_MANAGER.',
  );
}
