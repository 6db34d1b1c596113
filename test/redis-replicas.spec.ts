import { Redis } from 'ioredis';
import { type RedisConnection, RedisStore } from 'nest-sessions/redis';
import { openConnection } from '../libs/session/src/stores/redis/open-connection.js';
import { newKey, newRecord } from '../libs/session/src/testing/store-bench.js';
import { DelegatingConnection } from './support/redis-connections.js';
import { redisLibraries, testRedis } from './support/redis-store-bench.js';
import { describeWithService } from './support/services.js';

/** How many WAITs of this timeout take longer, one after the other, than any connection is waited for. */
const [ENDS, TIMEOUT] = [40, 250];

/** The tests' Redis has no replica: as it is after a fail-over, until the dead server is back. */
describeWithService('redis', 'RedisStore without the replicas that it waits for', () => {
  let open: RedisConnection[] = [];
  afterEach(async () => {
    await Promise.all(open.map((connection) => connection.close()));
    open = [];
  });

  it.each(redisLibraries)(
    'carries out all ends and answers them, however many, through %s',
    async (library) => {
      const { url, prefix } = testRedis();
      const connection = await openConnection({ url, library });
      open.push(connection);
      const store = new RedisStore(connection, {
        prefix,
        waitForReplicas: { replicas: 1, timeout: TIMEOUT },
      });
      const keys = Array.from({ length: ENDS }, newKey);
      await Promise.all(keys.map((key) => store.create(key, newRecord())));

      const raw = new Redis(url);
      const answers = keys.map((key) =>
        store.delete(key).then(
          () => ({ told: 'ended', left: 1 }),
          async (error: unknown) => ({ told: String(error), left: await raw.exists(`${prefix}{${key}}`) }),
        ),
      );
      for (const { told, left } of await Promise.all(answers)) {
        expect(told).toContain('0 of 1 replica confirmed');
        // Whoever is told that it is done on the primary can rely on that from then on.
        expect(left).toBe(0);
      }
      await store.close();
      await raw.quit();
    },
  );

  it('lets no session of a cluster leave for a key that no replica has', async () => {
    const { url, prefix } = testRedis();
    const connection = await openConnection({ url });
    open.push(connection);
    const waitForReplicas = { replicas: 1, timeout: 20 };
    const store = new RedisStore(new DelegatingConnection(connection, { cluster: true }), {
      prefix,
      waitForReplicas,
    });
    const [key, next, record] = [newKey(), newKey(), newRecord({ a: 1 })];
    await store.create(key, record);
    await expect(store.rename(key, next, {}, record)).rejects.toThrow('0 of 1 replica confirmed');
    expect(await store.find(key)).toMatchObject({ data: { a: 1 } });
    expect(await store.load(next)).toBeNull();
    await store.close();
  });
});
