import { Redis } from 'ioredis';
import {
  type RedisConnection,
  type RedisLibrary,
  RedisStore,
  type RedisStoreOptions,
} from 'nest-sessions/redis';
import { type JsonObject, type SessionRecord } from 'nest-sessions';
import { openConnection } from '../../libs/session/src/stores/redis/open-connection.js';
import { newKey, newRecord } from '../../libs/session/src/testing/store-bench.js';
import { DelegatingConnection } from './redis-connections.js';
import { testRedis } from './redis-store-bench.js';

/** On one server a script reaches all keys of a session and its user; in a cluster it does not. */
export type Topology = 'one server' | 'as in a cluster';

/** A store under a prefix that nobody else has, a way to look at it from outside, and what tests do to it. */
export class RedisBench {
  readonly url: string;
  readonly prefix: string;
  raw!: Redis;
  connection!: RedisConnection;
  store!: RedisStore;

  constructor(
    private readonly library: RedisLibrary = 'ioredis',
    private readonly topology: Topology = 'one server',
  ) {
    const { url, prefix } = testRedis();
    this.url = url;
    this.prefix = prefix;
  }

  /** To be called where a suite is described: opens it before the tests, closes it after them. */
  use(): this {
    beforeAll(async () => {
      this.raw = new Redis(this.url);
      const { url, library } = this;
      this.connection = await openConnection({ url, library });
      this.store = this.open();
    });
    afterAll(async () => {
      await this.connection.close();
      await this.raw.quit();
    });
    return this;
  }

  /** Another store over the same connection. */
  open(options: RedisStoreOptions = {}): RedisStore {
    return new RedisStore(this.counting(), { prefix: this.prefix, ...options });
  }

  /** The connection as a store may have it, with its commands counted and something done before each. */
  counting(before?: (command: number) => Promise<void>): DelegatingConnection {
    const cluster = this.topology === 'as in a cluster';
    return new DelegatingConnection(this.connection, { cluster, ...(before && { before }) });
  }

  /** A store of which each command can be held up. */
  interrupted(before: (command: number) => Promise<void>): RedisStore {
    return new RedisStore(this.counting(before), { prefix: this.prefix });
  }

  redisKey(key: string): string {
    return `${this.prefix}{${key}}`;
  }

  value(key: string): Promise<string | null> {
    return this.raw.get(this.redisKey(key));
  }

  async create(data: JsonObject = {}, overrides: Partial<SessionRecord> = {}): Promise<string> {
    const key = newKey();
    if (await this.store.create(key, newRecord(data, overrides))) return key;
    throw new Error('The session was not created.');
  }

  async load(key: string, store = this.store): Promise<SessionRecord> {
    const record = await store.load(key);
    if (record === null) throw new Error('The record is gone.');
    return record;
  }

  /** The keys of all indexes that name this session. */
  async indexesOf(key: string): Promise<string[]> {
    const indexes = await this.raw.keys(`${this.prefix}user:*`);
    const scores = await Promise.all(
      indexes.map(async (index) =>
        (await this.raw.type(index)) === 'zset' ? this.raw.zscore(index, key) : null,
      ),
    );
    return indexes.filter((_index, n) => scores[n] !== null);
  }

  /** All keys and values that there are. */
  async dump(): Promise<string> {
    const keys = (await this.raw.keys(`${this.prefix}*`)).toSorted();
    const values = await Promise.all(
      keys.map(async (key) => {
        const type = await this.raw.type(key);
        if (type === 'string') return this.raw.get(key);
        return type === 'zset' ? this.raw.zrange(key, 0, -1, 'WITHSCORES') : this.raw.hgetall(key);
      }),
    );
    return JSON.stringify(
      keys.map((key, n) => [key, values[n]]),
      null,
      1,
    );
  }
}
