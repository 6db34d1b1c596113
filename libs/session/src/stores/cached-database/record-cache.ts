import { createHash } from 'node:crypto';
import type { Cache } from 'cache-manager';
import { LRUCache } from 'lru-cache';
import { CacheEntries } from '../cache/cache-entries.js';
import { KeyLock } from '../key-lock.js';
import { type Command, type RedisConnection } from '../redis/redis-connection.js';
import { openConnection } from '../redis/redis-engine.js';
import { type ClientGiven, type ClientWanted } from '../redis/redis-options.js';

/**
 * What a cache in front of the database has to do: five operations on texts, each one atomic step on one key.
 * Times to live are milliseconds. An operation that could not be carried out rejects.
 */
export interface RecordCache {
  /** The value under this key, or null. */
  get(key: string): Promise<string | null>;

  /** Sets the value if nothing is held under the key. True: it is set. */
  add(key: string, value: string, ttl: number): Promise<boolean>;

  /**
   * Replaces the value if the one that is held begins so. The new one lives for `ttl`, but no longer than the old one
   * would have. True: it is replaced.
   */
  replace(key: string, beginning: string, value: string, ttl: number): Promise<boolean>;

  /** Sets the value, whatever is held under the key. */
  set(key: string, value: string, ttl: number): Promise<void>;

  /** Removes what is held under the key, if there is something. */
  delete(key: string): Promise<void>;

  /** Called when the application shuts down. Releases what the cache opened itself. */
  close?(): Promise<void>;
}

/** In the memory of this process. When it is full, the entry that was not used for the longest time makes room. */
export class ProcessCache implements RecordCache {
  private readonly entries: LRUCache<string, string>;

  constructor(maxEntries: number) {
    // By default time stands still in it while no timer runs.
    this.entries = new LRUCache({ max: maxEntries, ttlResolution: 0 });
  }

  async get(key: string): Promise<string | null> {
    return this.entries.get(key) ?? null;
  }

  async add(key: string, value: string, ttl: number): Promise<boolean> {
    if (this.entries.get(key) !== undefined) return false;
    this.entries.set(key, value, { ttl });
    return true;
  }

  async replace(key: string, beginning: string, value: string, ttl: number): Promise<boolean> {
    if (!this.entries.get(key)?.startsWith(beginning)) return false;
    // Zero would mean: for ever.
    const left = Math.max(1, this.entries.getRemainingTTL(key));
    this.entries.set(key, value, { ttl: Math.min(ttl, left) });
    return true;
  }

  async set(key: string, value: string, ttl: number): Promise<void> {
    this.entries.set(key, value, { ttl });
  }

  async delete(key: string): Promise<void> {
    this.entries.delete(key);
  }
}

const OPERATION = 'use its cache';

/**
 * In a cache of cache-manager. Such a cache compares nothing, so a step is atomic only within this process. A stale
 * record that slips through between two processes is gone after the revocation bound.
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

  replace(key: string, beginning: string, value: string, ttl: number): Promise<boolean> {
    return this.lock.run(key, async () => {
      const held = await this.held(key);
      if (!held?.value.startsWith(beginning)) return false;
      await this.put(key, value, Math.min(held.until, Date.now() + ttl));
      return true;
    });
  }

  set(key: string, value: string, ttl: number): Promise<void> {
    return this.lock.run(key, () => this.put(key, value, Date.now() + ttl));
  }

  async delete(key: string): Promise<void> {
    await this.lock.run(key, () => this.entries.delete(OPERATION, key));
  }

  close(): Promise<void> {
    this.entries.release();
    return Promise.resolve();
  }

  /** Such a cache does not tell the time to live of an entry, so the end of it stands in front of the value. */
  private async held(key: string): Promise<{ until: number; value: string } | null> {
    const text = (await this.entries.get(OPERATION, key)) ?? '';
    const end = text.indexOf(' ');
    const until = Number(text.slice(0, end));
    return until > Date.now() ? { until, value: text.slice(end + 1) } : null;
  }

  private put(key: string, value: string, until: number): Promise<void> {
    return this.entries.set(OPERATION, key, `${until} ${value}`, until - Date.now());
  }
}

const replaceText = `
if redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) ~= ARGV[1] then return 0 end
local ttl = math.max(1, math.min(redis.call('PTTL', KEYS[1]), tonumber(ARGV[3])))
redis.call('SET', KEYS[1], ARGV[2], 'PX', ttl)
return 1`;
const replaceScript = { text: replaceText, hash: createHash('sha1').update(replaceText).digest('hex') };

/**
 * In Redis, where all processes share it. Each operation is one command or script on one key, so it works in a Cluster
 * too. Connects by itself, and again when that failed; until then the database does without it.
 */
export class RedisCache implements RecordCache {
  private connecting: Promise<RedisConnection> | undefined;
  private connection: RedisConnection | undefined;
  private closed = false;

  constructor(
    private readonly where: ClientGiven | ClientWanted,
    private readonly prefix: string,
  ) {
    this.connect().catch(() => {}); // the first operation meets the same error
  }

  async get(key: string): Promise<string | null> {
    return (await this.send('get', key)) as string | null;
  }

  async add(key: string, value: string, ttl: number): Promise<boolean> {
    return (await this.send('set', key, value, 'NX', 'PX', whole(ttl))) !== null;
  }

  async replace(key: string, beginning: string, value: string, ttl: number): Promise<boolean> {
    const connection = await this.connected();
    const replaced = await connection.run(replaceScript, [this.prefix + key], [beginning, value, whole(ttl)]);
    return replaced === 1;
  }

  async set(key: string, value: string, ttl: number): Promise<void> {
    await this.send('set', key, value, 'PX', whole(ttl));
  }

  async delete(key: string): Promise<void> {
    await this.send('del', key);
  }

  async close(): Promise<void> {
    this.closed = true;
    await this.connection?.close();
  }

  private async send(name: string, key: string, ...parameters: string[]): Promise<unknown> {
    const command: Command = [name, this.prefix + key, ...parameters];
    return (await this.connected()).send(command);
  }

  private async connected(): Promise<RedisConnection> {
    const connection = this.connection ?? (await this.connect());
    // Otherwise some clients keep a command until they are connected again, when nobody waits for it any more.
    if (!connection.ready()) throw new Error('its Redis client is not connected');
    return connection;
  }

  private connect(): Promise<RedisConnection> {
    this.connecting ??= this.open().catch((error: unknown) => {
      this.connecting = undefined;
      throw error;
    });
    return this.connecting;
  }

  private async open(): Promise<RedisConnection> {
    this.connection = await openConnection(this.where);
    if (this.closed) await this.connection.close();
    return this.connection;
  }
}

function whole(milliseconds: number): string {
  return String(Math.max(1, Math.floor(milliseconds)));
}
