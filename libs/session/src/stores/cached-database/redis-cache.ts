import { createHash } from 'node:crypto';
import { openConnection } from '../redis/redis-engine.js';
import { type RedisConnection } from '../redis/redis-connection.js';
import { type ClientGiven, type ClientWanted } from '../redis/redis-options.js';
import { type RedisScript } from '../redis/redis-scripts.js';
import { type RecordCache } from './record-cache.js';

const get = script(`return redis.call('GET', KEYS[1])`);
const add = script(`return redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2])`);
const replace = script(`
  if redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) ~= ARGV[1] then return false end
  return redis.call('SET', KEYS[1], ARGV[2], 'PX', redis.call('PTTL', KEYS[1]))`);
const set = script(`return redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])`);
const remove = script(`return redis.call('DEL', KEYS[1])`);

/**
 * In Redis, where all processes share it. Each operation is one script on one key, so it works in a Cluster too.
 * Connects by itself, and again when that failed: the database does without it meanwhile.
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
    return (await this.run(get, key)) as string | null;
  }

  async add(key: string, value: string, ttl: number): Promise<boolean> {
    return (await this.run(add, key, value, whole(ttl))) !== null;
  }

  async replace(key: string, beginning: string, value: string): Promise<boolean> {
    return (await this.run(replace, key, beginning, value)) !== null;
  }

  async set(key: string, value: string, ttl: number): Promise<void> {
    await this.run(set, key, value, whole(ttl));
  }

  async delete(key: string): Promise<void> {
    await this.run(remove, key);
  }

  async close(): Promise<void> {
    this.closed = true;
    await this.connection?.close();
  }

  private async run(operation: RedisScript, key: string, ...values: string[]): Promise<unknown> {
    const connection = this.connection ?? (await this.connect());
    // Otherwise some clients keep it until they are connected again, and nobody wants it by then.
    if (!connection.ready) throw new Error('its Redis client is not connected');
    return connection.run(operation, [this.prefix + key], values);
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

function script(text: string): RedisScript {
  return { text, hash: createHash('sha1').update(text).digest('hex') };
}

function whole(milliseconds: number): string {
  return String(Math.max(1, Math.floor(milliseconds)));
}
