import type { Cache } from 'cache-manager';
import { SessionConfigError, SessionStoreUnavailableError } from '../../session.errors.js';

type Keyv = Cache['stores'][number];

/** A `Cacheable`, which may stand where a Keyv is expected. */
interface Layered {
  primary?: Keyv;
  secondary?: Keyv;
}

/**
 * Text entries in a cache of cache-manager, with errors that are errors.
 *
 * The cache itself cannot be asked: its `get` turns every failure into a miss, and so does a Keyv unless told
 * otherwise. So this goes to the Keyv behind it, and to the last one where there are several: a store in front of a
 * shared one is in the memory of each process, where nobody else's logout reaches it.
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

  async get(operation: string, name: string): Promise<unknown> {
    const faultsBefore = this.faults;
    const value = await this.ask(operation, () => this.keyv.get<unknown>(this.prefix + name));
    if (value === undefined) this.assertNoFault(operation, faultsBefore);
    return value;
  }

  /** @param ttl milliseconds */
  async set(operation: string, name: string, text: string, ttl: number): Promise<void> {
    const faultsBefore = this.faults;
    // Zero would mean: for ever.
    const lifetime = Math.max(1, Math.ceil(ttl));
    const stored = await this.ask(operation, () => this.keyv.set(this.prefix + name, text, lifetime));
    this.assertNoFault(operation, faultsBefore);
    if (!stored) throw unavailable(operation, new Error('the cache did not store the entry'));
  }

  async delete(operation: string, name: string): Promise<void> {
    const faultsBefore = this.faults;
    await this.ask(operation, () => this.keyv.delete(this.prefix + name));
    this.assertNoFault(operation, faultsBefore);
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

  private async ask<Answer>(operation: string, call: () => Promise<Answer>): Promise<Answer> {
    try {
      return await call();
    } catch (cause) {
      throw unavailable(operation, cause);
    }
  }

  /**
   * Adapters that answer "absent" or "done" when their server is away still report an error on the side. It may have
   * been about somebody else's entry, but then the server has failed all the same.
   */
  private assertNoFault(operation: string, faultsBefore: number): void {
    if (this.faults !== faultsBefore) throw unavailable(operation, this.lastFault);
  }
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
    'needs a cache of cache-manager 6 or later, which has "stores" of Keyv, and the token resolves to something else. ' +
      'Give the token under which CacheModule of @nestjs/cache-manager provides the cache: CACHE_MANAGER.',
  );
}

function unavailable(operation: string, fault: unknown): SessionStoreUnavailableError {
  // Only the message: clients hang the command with its arguments on their errors.
  const message = fault instanceof Error || isErrorLike(fault) ? fault.message : String(fault);
  return new SessionStoreUnavailableError(
    operation,
    `the cache did not carry it out (${message.replaceAll(/v\d+-[0-9a-f]{64}/g, '…')}). Check that it is up and can be reached.`,
    { cause: new Error(message.replaceAll(/v\d+-[0-9a-f]{64}/g, '…')) },
  );
}

function isErrorLike(fault: unknown): fault is { message: string } {
  return (
    typeof fault === 'object' && fault !== null && 'message' in fault && typeof fault.message === 'string'
  );
}
