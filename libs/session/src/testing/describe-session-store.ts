import { concurrencyCases, limitCases } from './cases/concurrency.cases.js';
import { endingCases } from './cases/ending.cases.js';
import { faultCases } from './cases/fault.cases.js';
import { listingCases } from './cases/listing.cases.js';
import { recordCases } from './cases/record.cases.js';
import { rotationCases } from './cases/rotation.cases.js';
import { saveCases, touchCases } from './cases/save.cases.js';
import { clearingCases, clockCases, expiryCases } from './cases/time.cases.js';
import { userCases } from './cases/user.cases.js';
import { type Cases, type DefineTest, StoreBench } from './store-bench.js';
import { everyCapability, type StoreCapabilities, type StoreUnderTest } from './store-under-test.js';

/** The functions of a test framework. Default: the globals of Jest, Vitest, Mocha and their like. */
export interface TestFramework {
  /** `describe` of the framework. */
  describe: (name: string, suite: () => void) => unknown;
  /** `it` of the framework. */
  it: DefineTest;
  /** Runs its function after all tests of the suite: `afterAll` of Jest, `after` of `node:test`. */
  after: (hook: () => Promise<void>) => unknown;
}

/** What `describeSessionStore` takes besides the store. Every member may be left out. */
export interface DescribeSessionStoreOptions extends Partial<TestFramework> {
  /** What the store lacks is declared false; everything else is demanded. */
  capabilities?: Partial<StoreCapabilities>;
}

const subjects: Readonly<Record<string, Cases>> = {
  records: recordCases,
  save: saveCases,
  rotation: rotationCases,
  touch: touchCases,
  'ended stays ended': endingCases,
  concurrency: concurrencyCases,
  limits: limitCases,
  expiry: expiryCases,
  clocks: clockCases,
  clearExpired: clearingCases,
  users: userCases,
  'all sessions': listingCases,
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
      // Some frameworks report a suite without tests as a mistake.
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
      "Pass them: describeSessionStore(name, makeStore, { describe, it, after }), as from 'node:test'.",
  );
}
