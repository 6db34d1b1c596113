import { Redis } from 'ioredis';
import { type RedisConnection, RedisStore } from 'nest-sessions/redis';
import { openConnection } from '../libs/session/src/stores/redis/redis-engine.js';
import { newKeyHash, newRecord, save } from '../libs/session/src/testing/store-bench.js';
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
      const records = Array.from({ length: ENDS }, () => newRecord());
      await Promise.all(records.map((record) => store.create(record.id, record)));

      const raw = new Redis(url);
      const answers = records.map(({ id }) =>
        store.delete(id).then(
          () => ({ told: 'ended', left: 1 }),
          async (error: unknown) => ({ told: String(error), left: await raw.exists(prefix + id) }),
        ),
      );
      for (const { told, left } of await Promise.all(answers)) {
        expect(told).toContain('0 of 1 replica confirmed');
        // What is told to be done on the primary is done there from then on.
        expect(left).toBe(0);
      }
      await store.close();
      await raw.quit();
    },
  );

  it('says of a rotation and of the end of all sessions of a user that no replica has them', async () => {
    const { url, prefix } = testRedis();
    const connection = await openConnection({ url });
    open.push(connection);
    const waitForReplicas = { replicas: 1, timeout: 20 };
    const [waiting, plain] = [
      new RedisStore(connection, { prefix, waitForReplicas }),
      new RedisStore(connection, { prefix }),
    ];
    const record = newRecord({ a: 1 }, { userId: 'Ann' });
    const { id } = record;
    await expect(waiting.create(id, record)).rejects.toThrow('0 of 1 replica confirmed');
    expect(await plain.load(id)).toBeNull();
    await plain.create(id, record);

    const keyHash = newKeyHash();
    await expect(save(waiting, record, { keyHash })).rejects.toThrow('0 of 1 replica confirmed');
    const loaded = await plain.load(id);
    expect(loaded?.keyHash).toBe(keyHash);
    expect(loaded && (await save(waiting, loaded, { set: { b: 2 } }))).toBe(true);

    await expect(waiting.deleteByUser('Ann')).rejects.toThrow('0 of 1 replica confirmed');
    expect(await plain.load(id)).toBeNull();
    await waiting.close();
  });
});
