import { platforms } from '../support/app.js';
import { type EngineUnderTest, QUICK_ENGINES } from '../support/engines.js';
import { describeWithService } from '../support/services.js';
import { rowsOf } from '../support/test-all.js';
import { EngineRow } from './engine-row.js';
import { describeGate } from './gate.suite.js';
import { describeRaces } from './races.suite.js';
import { describeTutorials } from './tutorials.suite.js';
import { describeVisits } from './visits.suite.js';

/** All that can be said of an engine by requests, for every engine of a table on both platforms. */
export function describeEngines(engines: Record<string, EngineUnderTest>): void {
  for (const [name, engine] of rowsOf(engines, QUICK_ENGINES)) {
    // The innermost of these decides; each skips, or fails on CI, by itself.
    const guarded = engine.services.reduce<(title: string, suite: () => void) => void>(
      (describeSuite, service) => (title, suite) =>
        describeWithService(service, title, () => describeSuite(title, suite)),
      describe,
    );
    guarded(name, () => {
      describe.each(platforms)('on %s', (platform) => {
        const row = new EngineRow(platform, engine);
        beforeAll(() => row.open());
        afterAll(() => row.close());

        describeVisits(row, () => {
          describeTutorials(row);
          describeRaces(row);
          describeGate(row);
        });
      });
    });
  }
}
