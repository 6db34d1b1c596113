import { Redis } from 'ioredis';
import {
  type RedisConnection,
  type RedisLibrary,
  RedisStore,
  type RedisStoreOptions,
} from 'nest-sessions/redis';
import { type JsonObject, type SessionRecord } from 'nest-sessions';
import { openConnection } from '../../libs/session/src/stores/redis/redis-engine.js';
import { newRecord } from '../../libs/session/src/testing/store-bench.js';
import { DelegatingConnection } from './redis-connections.js';
import { testRedis } from './redis-store-bench.js';

/** A store under a prefix that nobody else has, a way to look at it from outside, and what tests do to it. */
export class RedisBench {
  readonly url: string;
  readonly prefix: string;
  raw!: Redis;
  connection!: RedisConnection;
  store!: RedisStore;

  constructor(private readonly library: RedisLibrary = 'ioredis') {
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

  /** Another store over the same connection, as another process has it. */
  open(options: RedisStoreOptions = {}): RedisStore {
    return new RedisStore(this.connection, { prefix: this.prefix, ...options });
  }

  /** The connection as a store may have it, with its commands noted and something done before each. */
  noting(before?: (command: number, name: string) => Promise<void>): DelegatingConnection {
    return new DelegatingConnection(this.connection, before ? { before } : {});
  }

  /** A store of which each command can be held up. */
  interrupted(before: (command: number, name: string) => Promise<void>): RedisStore {
    return new RedisStore(this.noting(before), { prefix: this.prefix });
  }

  keyOf(id: string): string {
    return this.prefix + id;
  }

  /** The key hash, the lines with the newest first, the head, the snapshot. */
  elements(id: string): Promise<string[]> {
    return this.raw.lrange(this.keyOf(id), 0, -1);
  }

  /** Puts these elements in the place of those that are there, with the time that is left. */
  async put(id: string, elements: string[]): Promise<void> {
    const key = this.keyOf(id);
    const left = await this.raw.pttl(key);
    const writing = this.raw
      .multi()
      .del(key)
      .rpush(key, ...elements);
    await writing.pexpire(key, left > 0 ? left : 60_000).exec();
  }

  /** Resolves with the record as it was created. */
  async create(data: JsonObject = {}, overrides: Partial<SessionRecord> = {}): Promise<SessionRecord> {
    const record = newRecord(data, overrides);
    if (await this.store.create(record.id, record)) return record;
    throw new Error('The session was not created.');
  }

  async load(id: string, store = this.store): Promise<SessionRecord> {
    const record = await store.load(id);
    if (record === null) throw new Error('The record is gone.');
    return record;
  }

  /** Resolves with the record as it was loaded. */
  async created(data: JsonObject = {}, overrides: Partial<SessionRecord> = {}): Promise<SessionRecord> {
    return this.load((await this.create(data, overrides)).id);
  }

  /** The keys of all indexes that name this session. */
  async indexesOf(id: string): Promise<string[]> {
    const indexes = await this.raw.keys(`${this.prefix}user:*`);
    const scores = await Promise.all(
      indexes.map(async (index) =>
        (await this.raw.type(index)) === 'zset' ? this.raw.zscore(index, id) : null,
      ),
    );
    return indexes.filter((_index, n) => scores[n] !== null);
  }

  /** All keys and values that there are. */
  async dump(): Promise<string> {
    const keys = (await this.raw.keys(`${this.prefix}*`)).toSorted();
    const values = await Promise.all(
      keys.map(async (key) =>
        (await this.raw.type(key)) === 'list'
          ? this.raw.lrange(key, 0, -1)
          : this.raw.zrange(key, 0, -1, 'WITHSCORES'),
      ),
    );
    return JSON.stringify(
      keys.map((key, n) => [key, values[n]]),
      null,
      1,
    );
  }
}
