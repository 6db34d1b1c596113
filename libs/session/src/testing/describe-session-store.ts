import { byIdCases } from './cases/by-id.cases.js';
import { clearingCases } from './cases/clearing.cases.js';
import { clockCases } from './cases/clock.cases.js';
import { concurrencyCases } from './cases/concurrency.cases.js';
import { createAndLoadCases } from './cases/create-and-load.cases.js';
import { endCases } from './cases/end.cases.js';
import { expiryCases } from './cases/expiry.cases.js';
import { faultCases } from './cases/fault.cases.js';
import { findCases } from './cases/find.cases.js';
import { metaCases } from './cases/meta.cases.js';
import { renameCases } from './cases/rename.cases.js';
import { saveCases } from './cases/save.cases.js';
import { touchCases } from './cases/touch.cases.js';
import { userCases } from './cases/user.cases.js';
import { valueCases } from './cases/value.cases.js';
import { type Cases, type DefineTest, StoreBench } from './store-bench.js';
import { everyCapability, type StoreCapabilities, type StoreUnderTest } from './store-under-test.js';

/** The functions of a test framework. Default: the globals of Jest, Vitest, Mocha and their like. */
export interface TestFramework {
  describe: (name: string, suite: () => void) => unknown;
  it: DefineTest;
  /** Runs its function after all tests of the suite: `afterAll` of Jest, `after` of `node:test`. */
  after: (hook: () => Promise<void>) => unknown;
}

export interface DescribeSessionStoreOptions extends Partial<TestFramework> {
  /** Declare false what the store lacks; everything else is demanded. */
  capabilities?: Partial<StoreCapabilities>;
}

const subjects: Readonly<Record<string, Cases>> = {
  'create and load': createAndLoadCases,
  values: valueCases,
  save: saveCases,
  touch: touchCases,
  rename: renameCases,
  find: findCases,
  meta: metaCases,
  'ended stays ended': endCases,
  concurrency: concurrencyCases,
  expiry: expiryCases,
  clocks: clockCases,
  clearExpired: clearingCases,
  users: userCases,
  deleteById: byIdCases,
  faults: faultCases,
};

/**
 * The conformance kit: describes what every session store has to do, as tests of this one. Slow stores may want a
 * longer time limit per test than the framework's default; ten seconds are plenty.
 *
 * @param makeStore called once, at the first test
 *
 * @example
 * ```ts
 * describeSessionStore('MyStore', async () => ({ store: new MyStore(), dispose: async () => {} }), {
 *   capabilities: { severalProcesses: false, corruptRecords: false, outages: false },
 * });
 * ```
 *
 * @example With node:test
 * ```ts
 * import { after, describe, it } from 'node:test';
 * describeSessionStore('MyStore', makeStore, { describe, it, after });
 * ```
 */
export function describeSessionStore(
  name: string,
  makeStore: () => Promise<StoreUnderTest>,
  { capabilities, ...framework }: DescribeSessionStoreOptions = {},
): void {
  const { describe, it, after } = frameworkOf(framework);
  const bench = new StoreBench(makeStore, { ...everyCapability, ...capabilities });
  describe(name, () => {
    after(() => bench.dispose());
    for (const [subject, cases] of Object.entries(subjects)) {
      const tests: Parameters<DefineTest>[] = [];
      cases((...test) => tests.push(test), bench);
      // Some frameworks take a suite without tests for a mistake.
      if (tests.length > 0) describe(subject, () => tests.forEach(([title, test]) => it(title, test)));
    }
  });
}

function frameworkOf(given: Partial<TestFramework>): TestFramework {
  const globals = globalThis as Partial<TestFramework & { afterAll: TestFramework['after'] }>;
  const describe = given.describe ?? globals.describe;
  const it = given.it ?? globals.it;
  const after = given.after ?? globals.afterAll ?? globals.after;
  if (describe && it && after) return { describe, it, after };
  throw new TypeError(
    'describeSessionStore found no test framework: there are no global describe, it and afterAll. ' +
      "Hand them over: describeSessionStore(name, makeStore, { describe, it, after }), as from 'node:test'.",
  );
}
