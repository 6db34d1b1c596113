import { MemoryStore } from 'nest-sessions/memory';
import { storeFaults } from './support/interleaving-faults.js';
import { type KindName } from './support/interleaving-kinds.js';
import { raceInEveryOrder, type Results } from './support/interleaving-races.js';
import { allScenarios, scenariosByRequirement } from './support/interleaving-scenarios.js';
import { Site } from './support/interleaving-site.js';
import { SteppedStore } from './support/interleaving-store.js';
import { byCommands, onCluster, type RaceTrack, raceTracks, shared } from './support/interleaving-stores.js';
import { describeOnTrack } from './support/interleaving-suite.js';
import { describeWithRedisCluster } from './support/redis-cluster.js';
import { testsAll } from './support/test-all.js';

/** Some take minutes, so that the limit of other tests will not do for machines with other work to do. */
const TIME_LIMIT = 3_600_000;

function describeEveryScenario(name: string, track: RaceTrack): void {
  describeOnTrack(name, track, (race) => {
    it.each(scenariosByRequirement())(
      '%s',
      async (_requirement, scenarios) => {
        expect(await race(scenarios)).toEqual([]);
      },
      TIME_LIMIT,
    );
  });
}

for (const [name, track] of Object.entries(raceTracks)) describeEveryScenario(name, track);

if (testsAll) {
  describeWithRedisCluster('on a cluster', (cluster) => {
    describeEveryScenario('Redis Cluster', onCluster(cluster));
  });
}

describeOnTrack('Redis, by its commands', byCommands, (race) => {
  it(
    'S34, S36, S112: two requests keep to all rules between any two commands',
    async () => {
      expect(await race(allScenarios())).toEqual([]);
    },
    TIME_LIMIT,
  );
});

describe('S36: a logout with a key that another request has just replaced', () => {
  it('ends nothing, because the key opens nothing', async () => {
    const site = await Site.over(new MemoryStore());
    const { key } = await site.send(null, (session) => session.login('ada'));
    const rotation = await site.send(key, (session) => session.cycleKey());
    const { cookie } = await site.send(key, (session) => session.logout());
    expect(cookie).toBe('');
    expect(await site.look(rotation.key ?? '')).toMatchObject({ userId: 'ada' });
  });
});

/** On a session of a user in this process, whose store may have a fault. */
async function raceHere(
  requests: readonly KindName[],
  Store = SteppedStore,
  swapsLoads = false,
): Promise<Results> {
  const site = await Site.over(new Store(new MemoryStore()));
  const track = shared(site, () => Promise.resolve());
  return raceInEveryOrder(track, [{ owner: 'user', requests }], { atOnce: 1, swapsLoads });
}

describe('the races themselves', () => {
  it.each([
    { requests: ['write a', 'write b'], all: 6, withoutSwaps: 4 },
    { requests: ['write a', 'write a'], all: 3, withoutSwaps: 3 },
    { requests: ['write a', 'write b', 'count'], all: 90, withoutSwaps: 36 },
    { requests: ['write a', 'write a', 'write b'], all: 45, withoutSwaps: 25 },
    { requests: ['read', 'write a', 'touch'], all: 30, withoutSwaps: 12 },
  ] as const)('run $requests in $all orders', async ({ requests, all, withoutSwaps }) => {
    expect(await raceHere(requests)).toEqual({ orders: all, faults: [] });
    expect((await raceHere(requests, SteppedStore, true)).orders).toBe(withoutSwaps);
  });

  it.each(storeFaults)('find the fault of a store that $name', async ({ Store, requests, asWhat }) => {
    const { faults } = await raceHere(requests, Store);
    expect(faults).toContainEqual(expect.stringContaining(asWhat));
  });
});
