import { availableParallelism } from 'node:os';
import quick from './jest.config.mjs';

// The workers inherit it; `test/support/test-all.ts` is where the specs ask for it.
process.env.TEST_ALL = 'true';

/** `npm run test:all`: the spec files in test/exhaustive as well, and every row of every table. */
export default {
  ...quick,
  // Whole tables leave less time to wait.
  maxWorkers: Math.min(availableParallelism() + 1, 4),
  testPathIgnorePatterns: ['/node_modules/'],
};
