import { type Scenario } from './interleaving-race.js';
import { raceInEveryOrder } from './interleaving-races.js';
import { type OpenTrack, type RaceTrack } from './interleaving-stores.js';
import { describeWithService, type ServiceName } from './services.js';
import { testsAll } from './test-all.js';

type RaceAll = (scenarios: readonly Scenario[]) => Promise<string[]>;

/** A suite on a real store. It says at the end how many orders were run. */
export function describeOnTrack(name: string, track: RaceTrack, suite: (race: RaceAll) => void): void {
  const requests = testsAll ? 'two and of three requests' : 'two requests';
  describeOn(track.service, `S117: every order of the steps of ${requests}, on ${name}`, () => {
    let open: OpenTrack;
    let sum = 0;

    beforeAll(async () => {
      open = await track.open();
    });
    afterAll(async () => {
      process.stderr.write(`S117, ${name}: ${sum} orders were run.\n`);
      await open.close();
    });

    suite(async (scenarios) => {
      const { orders, faults } = await raceInEveryOrder(open, scenarios, track);
      sum += orders;
      return faults;
    });
  });
}

function describeOn(service: ServiceName | undefined, name: string, suite: () => void): void {
  if (service) describeWithService(service, name, suite);
  else describe(name, suite);
}
