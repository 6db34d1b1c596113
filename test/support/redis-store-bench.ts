import { randomBytes } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { openConnection } from '../../libs/session/src/stores/redis/redis-engine.js';
import {
  type RedisEngineOptions,
  type RedisLibrary,
  RedisStore,
  type RedisStoreOptions,
} from 'nest-sessions/redis';
import { type StoreUnderTest } from 'nest-sessions/testing';
import { newRecord } from '../../libs/session/src/testing/store-bench.js';
import { ageRedis } from './elapse.js';
import { serviceUrl } from './services.js';
import { startTcpProxy } from './tcp-proxy.js';

export const redisLibraries: readonly RedisLibrary[] = ['ioredis', 'redis'];

/** This run's Redis, and a prefix in it that nobody else has. Its keys are removed when the run is over. */
export function testRedis(): { url: string; prefix: string } {
  const url = new URL(serviceUrl('redis') ?? 'redis://none');
  const run = url.hash.slice(1);
  url.hash = '';
  return { url: url.href, prefix: `${run}:${randomBytes(4).toString('hex')}:` };
}

/** The store of these options, as the engine makes it. */
export async function openRedisStore(options: RedisEngineOptions): Promise<RedisStore> {
  return new RedisStore(await openConnection(options), options);
}

/** A store on the run's Redis behind a wire that can be cut, for the conformance kit. */
export async function redisStoreUnderTest(
  library: RedisLibrary,
  options: RedisStoreOptions = {},
): Promise<StoreUnderTest> {
  const { url, prefix } = testRedis();
  const { hostname, port } = new URL(url);
  const proxy = await startTcpProxy(hostname, Number(port || 6379));
  const raw = new Redis(url);
  const store = await openRedisStore({ ...options, url: `redis://127.0.0.1:${proxy.port}`, library, prefix });
  const sibling = await openRedisStore({ ...options, url, library, prefix });
  return {
    store,
    sibling: () => sibling,
    corrupt: async (id) => void (await raw.lset(prefix + id, -1, 'not ours')),
    elapse: (ms) => ageRedis({ url, prefix }, ms / 1000),
    cut: async () => proxy.cut(),
    mend: async () => {
      proxy.mend();
      await untilServing(store);
    },
    dispose: async () => {
      await Promise.all([store.close(), sibling.close(), proxy.close()]);
      await raw.quit();
    },
  };
}

/** Waits until the client has found its way back. */
export async function untilServing(store: RedisStore): Promise<void> {
  for (const deadline = Date.now() + 100_000; ;) {
    try {
      const record = newRecord();
      await store.create(record.id, record);
      await store.delete(record.id);
      return;
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await setTimeout(25);
    }
  }
}
