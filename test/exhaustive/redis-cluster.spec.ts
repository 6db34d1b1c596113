import { setTimeout } from 'node:timers/promises';
import { Cluster } from 'ioredis';
import { type RedisStore } from 'nest-sessions/redis';
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

  describe.each(redisLibraries)('with visitors, through %s', (library) => {
    let store: RedisStore;
    let ids: string[];
    const keyOf = (id: string): string => `visitors-${library}:${id}`;
    beforeEach(async () => {
      refusals.length = 0;
      store = await openRedisStore({ cluster: cluster.urls, library, prefix: `visitors-${library}:` });
      const records = Array.from({ length: 30 }, () => newRecord({ n: 0 }));
      await Promise.all(records.map((record) => store.create(record.id, record)));
      ids = records.map(({ id }) => id);
    });
    afterEach(() => store.close());

    const refusals: unknown[] = [];
    /** How many of these sessions could not be loaded or saved. */
    const refused = async (some: readonly string[]): Promise<number> => {
      const visits = some.map(async (id) => {
        const record = await store.load(id);
        return record && save(store, record, { increment: { n: 1 } });
      });
      const outcomes = await Promise.allSettled(visits);
      refusals.push(...outcomes.flatMap((one) => (one.status === 'rejected' ? [one.reason] : [])));
      return outcomes.filter((one) => one.status === 'rejected' || one.value !== true).length;
    };

    it('refuses nobody when all connections break', async () => {
      let count = 0;
      for (let time = 0; time < 5; time++) {
        count += await refused(ids);
        const [more] = await Promise.all([refused(ids), cluster.killConnections()]);
        count += more + (await refused(ids));
      }
      expect([count, refusals]).toEqual([0, []]);
      const records = await Promise.all(ids.map((id) => store.load(id)));
      expect(new Set(records.map((record) => record?.data['n']))).toEqual(new Set([15]));
    });

    it('refuses nobody when a primary becomes a replica', async () => {
      const [id = ''] = ids;
      const former = await cluster.primaryOf(keyOf(id));
      expect(await refused(ids)).toBe(0);
      await cluster.replace(former, keyOf(id));
      expect([await refused(ids), await refused(ids)]).toEqual([0, 0]);
    });

    it('refuses the share of a primary that is silent, and no more', async () => {
      const primaries = await Promise.all(ids.map((id) => cluster.primaryOf(keyOf(id))));
      const [victim = 0] = primaries;
      const [its, others] = [true, false].map((on) =>
        ids.filter((_, place) => (primaries[place] === victim) === on),
      ) as [string[], string[]];
      const other = primaries.find((port) => port !== victim) ?? 0;
      const before = await cluster.connectionsOf(other);
      await cluster.setNodeTimeout(600_000);
      cluster.freeze(victim);
      let ofOthers = 0;
      const waiting: Promise<number>[] = [];
      // The silent connection is given up after 3.5 seconds, and so is the next.
      for (const end = performance.now() + 9000; performance.now() < end; await setTimeout(100)) {
        waiting.push(refused(its));
        ofOthers += await refused(others);
      }
      cluster.thaw(victim);
      await cluster.setNodeTimeout();
      const ofIts = (await Promise.all(waiting)).reduce((sum, number) => sum + number, 0);
      expect(ofOthers).toBe(0);
      // The connection to the others is still the same.
      const after = await cluster.connectionsOf(other);
      expect(before.filter((id) => after.includes(id))).not.toEqual([]);
      expect(ofIts).toBeGreaterThan(its.length);
      while ((await refused(its)) > 0);
    });
  });

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
