import { Cluster } from 'ioredis';
import { describeSessionStore } from 'nest-sessions/testing';
import { newRecord, save } from '../../libs/session/src/testing/store-bench.js';
import { openRedisStore, redisLibraries } from '../support/redis-store-bench.js';
import { RedisTraffic } from '../support/redis-traffic.js';
import { describeWithRedisCluster } from '../support/redis-cluster.js';

describeWithRedisCluster('RedisStore on a cluster', (cluster) => {
  for (const library of redisLibraries) {
    describeSessionStore(
      `conforms through ${library}`,
      async () => {
        const options = { cluster: cluster.urls, library, prefix: `${library}:` };
        const [store, sibling] = [await openRedisStore(options), await openRedisStore(options)];
        const raw = new Cluster(cluster.urls);
        return {
          store,
          sibling: () => sibling,
          corrupt: async (id) => void (await raw.lset(options.prefix + id, -1, 'not ours')),
          dispose: async () => {
            await Promise.all([store.close(), sibling.close()]);
            await raw.quit();
          },
        };
      },
      { capabilities: { clearsExpired: false, outages: false } },
    );
  }

  it.each(redisLibraries)(
    'refuses nothing of the first burst after the start, through %s',
    async (library) => {
      const store = await openRedisStore({ cluster: cluster.urls, library, prefix: `burst-${library}:` });
      const created = await Promise.all(
        Array.from({ length: 60 }, () => newRecord()).map((record) => store.create(record.id, record)),
      );
      expect(new Set(created)).toEqual(new Set([true]));
      await store.close();
    },
  );

  it.each(redisLibraries)(
    'loses and revives nothing when a primary dies under traffic, through %s',
    async (library) => {
      const prefix = `failover-${library}:`;
      const waitForReplicas = { replicas: 1, timeout: 500 };
      const store = await openRedisStore({ cluster: cluster.urls, library, prefix, waitForReplicas });
      const traffic = new RedisTraffic(store);
      traffic.start(30);
      await traffic.goesOn();

      const key = `${prefix}${traffic.visits[0]?.id}`;
      const victim = await cluster.primaryOf(key);
      // What the primary acknowledges from here on until it dies may be lost: replication is asynchronous.
      const atRisk = performance.now();
      await cluster.replicated(victim);
      await cluster.kill(victim);
      const died = performance.now();
      await cluster.untilReplaced(victim, key);
      await traffic.goesOn();
      await cluster.restart(victim);
      const whole = performance.now();
      await traffic.goesOn();
      await traffic.stop();

      expect(traffic.complaints).toEqual([]);
      expect(traffic.unavailable).toBeGreaterThan(0);
      for (const ended of traffic.endedIds) expect(await store.load(ended)).toBeNull();
      expect(traffic.rotations.length).toBeGreaterThan(0);
      for (const { visit, former } of traffic.rotations) {
        const record = await store.load(visit.id);
        if (record === null) continue;
        expect(record.keyHash).not.toBe(former);
        expect(await store.save(visit.id, former, { set: { former: true } }, record)).toBe(false);
        expect(record.data).not.toHaveProperty('former');
      }
      const lasting = traffic.visits.filter(
        ({ ended, createdAt }) => !ended && (createdAt < atRisk || createdAt > died),
      );
      expect(lasting.length).toBeGreaterThan(0);
      for (const visit of lasting) {
        const record = await store.load(visit.id);
        const kept = Number(record?.data['n'] ?? 0);
        const safe = visit.acknowledged.filter((at) => at < atRisk || at > died).length;
        expect(kept).toBeGreaterThanOrEqual(safe);
        expect(kept).toBeLessThanOrEqual(visit.attempts);
        expect(visit.createdAt > whole || visit.acknowledged.some((at) => at > whole)).toBe(true);
        const listed = await store.listByUser(visit.userId);
        expect(listed.filter(({ id }) => !traffic.unsure.has(id))).toHaveLength(1);
        expect(await store.deleteByUser(visit.userId)).toBe(listed.length);
        expect(await store.load(visit.id)).toBeNull();
        expect(record && (await save(store, record, { set: { late: 1 } }))).toBe(false);
      }
      await store.close();
    },
  );
});
