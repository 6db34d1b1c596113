import { describeOrder, inEveryOrder } from './interleaving.js';
import { type Scenario, startRace } from './interleaving-race.js';
import { judge } from './interleaving-rules.js';
import { type OpenTrack, type RaceTrack } from './interleaving-stores.js';

export interface Results {
  orders: number;
  /** What went wrong, and in which order. */
  faults: string[];
}

/** More than these help nobody. */
const ENOUGH_FAULTS = 10;

/** Runs the requests of these scenarios in every order of their steps. */
export async function raceInEveryOrder(
  track: OpenTrack,
  scenarios: readonly Scenario[],
  { atOnce, swapsLoads, runs = () => true }: Pick<RaceTrack, 'atOnce' | 'swapsLoads' | 'runs'>,
): Promise<Results> {
  const results: Results = { orders: 0, faults: [] };
  const waiting = scenarios.filter(runs);
  const runNext = async (): Promise<void> => {
    for (let scenario = waiting.shift(); scenario; scenario = waiting.shift()) {
      await run(track, scenario, swapsLoads, results);
      if (results.faults.length >= ENOUGH_FAULTS) return;
    }
  };
  await Promise.all(Array.from({ length: atOnce }, runNext));
  return results;
}

async function run(
  track: OpenTrack,
  scenario: Scenario,
  swapsLoads: boolean,
  results: Results,
): Promise<void> {
  const { site, leave } = await track.enter();
  try {
    const orders = await inEveryOrder({
      start: () => startRace(site, scenario),
      async finished(race, order) {
        for (const fault of results.faults.length < ENOUGH_FAULTS ? await judge(race) : []) {
          results.faults.push(`${fault} (session of a ${scenario.owner}; ${describeOrder(order)})`);
        }
      },
      swapsLoads,
    });
    results.orders += orders;
  } finally {
    await leave();
  }
}
