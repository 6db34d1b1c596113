import quick from './jest.config.mjs';

// The workers inherit it; `test/support/test-all.ts` is where the specs ask for it.
process.env.TEST_ALL = 'true';

/** `npm run test:all`: the spec files in test/exhaustive as well, and every row of every table. */
export default { ...quick, testPathIgnorePatterns: ['/node_modules/'] };
