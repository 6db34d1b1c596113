import { availableParallelism } from 'node:os';

/** What takes long or much. `npm run test:all` runs it, and so does naming a file in it: `npm test -- test/exhaustive/x.spec.ts`. */
const EXHAUSTIVE = 'test/exhaustive/';
const isNamed = process.argv.some((argument) => argument.includes(EXHAUSTIVE));

/** @type {import('jest').Config} */
export default {
  testEnvironment: 'node',
  testMatch: ['<rootDir>/test/**/*.spec.ts', '<rootDir>/libs/**/*.spec.ts', '<rootDir>/src/**/*.spec.ts'],
  testPathIgnorePatterns: ['/node_modules/', ...(isNamed ? [] : [`<rootDir>/${EXHAUSTIVE}`])],
  modulePathIgnorePatterns: ['<rootDir>/dist/', '<rootDir>/libs/.*/dist/'],
  extensionsToTreatAsEsm: ['.ts'],
  // More than there are cores, as half of the time is spent waiting for servers that fail or are silent; more than four
  // would ask too much of one PostgreSQL.
  maxWorkers: Math.min(availableParallelism() + 2, 4),
  workerIdleMemoryLimit: '512MB',
  // Far more than any test takes, so that a machine that is slow or busy passes as well.
  testTimeout: 120_000,
  testSequencer: '<rootDir>/test/support/longest-first.mjs',
  globalSetup: '<rootDir>/test/support/global-setup.mjs',
  globalTeardown: '<rootDir>/test/support/global-teardown.mjs',
  reporters: [
    'default',
    '<rootDir>/test/support/progress-reporter.mjs',
    '<rootDir>/test/support/skipped-services-reporter.mjs',
    '<rootDir>/test/support/log-search-reporter.mjs',
  ],
  setupFilesAfterEnv: ['<rootDir>/test/support/log-capture.ts'],
  transform: {
    '^.+\\.ts$': [
      '@swc/jest',
      {
        swcrc: false,
        module: { type: 'es6' },
        sourceMaps: 'inline',
        jsc: {
          target: 'es2023',
          parser: { syntax: 'typescript', decorators: true },
          keepClassNames: true,
          transform: { legacyDecorator: true, decoratorMetadata: true, useDefineForClassFields: false },
        },
      },
    ],
  },
  moduleNameMapper: {
    '^nest-sessions$': '<rootDir>/libs/session/src/index.ts',
    '^nest-sessions/terminus$': '<rootDir>/libs/session/src/observability/session.health.ts',
    '^nest-sessions/admin$': '<rootDir>/libs/session/src/admin/index.ts',
    '^nest-sessions/testing$': '<rootDir>/libs/session/src/testing/index.ts',
    '^nest-sessions/([\\w-]+)$': '<rootDir>/libs/session/src/stores/$1/index.ts',
    '^(\\.{1,2}/.*)\\.js$': '$1',
  },
};
