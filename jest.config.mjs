/** @type {import('jest').Config} */
export default {
  testEnvironment: 'node',
  testMatch: ['<rootDir>/test/**/*.spec.ts', '<rootDir>/libs/**/*.spec.ts', '<rootDir>/src/**/*.spec.ts'],
  modulePathIgnorePatterns: ['<rootDir>/dist/', '<rootDir>/libs/.*/dist/'],
  extensionsToTreatAsEsm: ['.ts'],
  workerIdleMemoryLimit: '512MB',
  testTimeout: 30_000,
  globalSetup: '<rootDir>/test/support/global-setup.mjs',
  globalTeardown: '<rootDir>/test/support/global-teardown.mjs',
  reporters: [
    'default',
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
    '^nest-sessions/testing$': '<rootDir>/libs/session/src/testing/index.ts',
    '^nest-sessions/([\\w-]+)$': '<rootDir>/libs/session/src/stores/$1/index.ts',
    '^(\\.{1,2}/.*)\\.js$': '$1',
  },
};
