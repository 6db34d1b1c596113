import type { Cache } from 'cache-manager';
import { CacheEntries } from '../cache/cache-entries.js';
import { KeyLock } from '../key-lock.js';
import { type RecordCache } from './record-cache.js';

const OPERATION = 'use its cache';

/**
 * In a cache of cache-manager. Such a cache compares nothing, so that a step is atomic only within this process. What
 * slips through between two processes is gone after the revocation bound like everything else.
 */
export class ManagerCache implements RecordCache {
  private readonly entries: CacheEntries;
  private readonly lock = new KeyLock();

  /** @throws SessionConfigError when this is no cache of cache-manager */
  constructor(cache: Cache, prefix: string) {
    this.entries = new CacheEntries(cache, prefix);
  }

  async get(key: string): Promise<string | null> {
    return (await this.held(key))?.value ?? null;
  }

  add(key: string, value: string, ttl: number): Promise<boolean> {
    return this.lock.run(key, async () => {
      if (await this.held(key)) return false;
      await this.put(key, value, Date.now() + ttl);
      return true;
    });
  }

  replace(key: string, beginning: string, value: string): Promise<boolean> {
    return this.lock.run(key, async () => {
      const held = await this.held(key);
      if (!held?.value.startsWith(beginning)) return false;
      await this.put(key, value, held.until);
      return true;
    });
  }

  set(key: string, value: string, ttl: number): Promise<void> {
    return this.lock.run(key, () => this.put(key, value, Date.now() + ttl));
  }

  delete(key: string): Promise<void> {
    return this.lock.run(key, () => this.entries.delete(OPERATION, key));
  }

  close(): Promise<void> {
    this.entries.release();
    return Promise.resolve();
  }

  /** The cache keeps the time to live to itself, so the end of it stands in front of the value. */
  private async held(key: string): Promise<{ until: number; value: string } | null> {
    const text = await this.entries.get(OPERATION, key);
    if (typeof text !== 'string') return null;
    const end = text.indexOf(' ');
    const until = Number(text.slice(0, end));
    return until > Date.now() ? { until, value: text.slice(end + 1) } : null;
  }

  private put(key: string, value: string, until: number): Promise<void> {
    return this.entries.set(OPERATION, key, `${until} ${value}`, until - Date.now());
  }
}
