import { Cluster } from 'ioredis';
import { describeSessionStore } from 'nest-sessions/testing';
import { newKey, newRecord } from '../../libs/session/src/testing/store-bench.js';
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
          corrupt: async (key) => void (await raw.set(`${options.prefix}{${key}}`, 'not ours', 'EX', 60)),
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
        Array.from({ length: 60 }, () => store.create(newKey(), newRecord())),
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

      const key = `${prefix}{${traffic.visits[0]?.key}}`;
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
      for (const dead of traffic.deadKeys) expect(await store.load(dead)).toBeNull();
      const lasting = traffic.visits.filter(
        ({ ended, createdAt }) => !ended && (createdAt < atRisk || createdAt > died),
      );
      expect(lasting.length).toBeGreaterThan(0);
      for (const visit of lasting) {
        const kept = Number((await store.load(visit.key))?.data['n'] ?? 0);
        const safe = visit.acknowledged.filter((at) => at < atRisk || at > died).length;
        expect(kept).toBeGreaterThanOrEqual(safe);
        expect(kept).toBeLessThanOrEqual(visit.attempts);
        expect(visit.createdAt > whole || visit.acknowledged.some((at) => at > whole)).toBe(true);
        const listed = await store.listByUser(visit.userId);
        expect(listed.filter(({ id }) => !traffic.unsure.has(id))).toHaveLength(1);
        expect(await store.deleteByUser(visit.userId)).toBe(listed.length);
        expect(await store.load(visit.key)).toBeNull();
      }
      await store.close();
    },
  );
});
