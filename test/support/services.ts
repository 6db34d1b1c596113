/** What specs can ask for. SQLite (sql.js) runs inside the process and is always there. */
export type ServiceName = 'postgres' | 'mysql' | 'redis';

export type DatabaseServer = Exclude<ServiceName, 'redis'>;

export type DatabaseKind = DatabaseServer | 'sqljs';

export const databaseKinds: readonly DatabaseKind[] = ['postgres', 'mysql', 'sqljs'];

/** The URL of this run's own database on the service, or undefined when there is no such service here. */
export function serviceUrl(service: ServiceName): string | undefined {
  return process.env[`NEST_SESSIONS_TEST_${service.toUpperCase()}_URL`];
}

/**
 * `describe` for suites that need a real service. Without the service they are skipped and named at the end of
 * the run; where `CI=true` they fail instead.
 *
 * @example
 * ```ts
 * describeWithService('postgres', 'a save', () => {
 *   let database: TestDataSource;
 *   beforeAll(async () => { database = await testDataSource('postgres', [SessionEntity]); });
 *   afterAll(() => database.dispose());
 *   it('keeps both writes', …);
 * });
 * ```
 */
export function describeWithService(service: ServiceName, name: string, suite: () => void): void {
  if (serviceUrl(service) !== undefined) {
    describe(name, suite);
  } else if (process.env['CI'] === 'true') {
    describe(name, () => {
      it(`has ${service}`, () => {
        throw new Error(
          `No ${service} server was found, and with CI=true that is a failure. ` +
            `Start one (docker compose up -d --wait), or set TEST_${service.toUpperCase()}_URL.`,
        );
      });
    });
  } else {
    // The reporter finds the skipped suites by this ending.
    describe.skip(`${name} [no ${service}]`, suite);
  }
}

/**
 * `describe` for suites that need a browser; they get the path of its executable. Without one they are skipped and
 * named at the end of the run, where `CI=true` as well.
 */
export function describeWithChromium(name: string, suite: (executablePath: string) => void): void {
  const executablePath = process.env['NEST_SESSIONS_TEST_CHROMIUM'];
  if (executablePath !== undefined) describe(name, () => suite(executablePath));
  else describe.skip(`${name} [no chromium]`, () => suite(''));
}

/** The same suite on every database: PostgreSQL, MySQL or MariaDB, and SQLite. */
export function describeOnEveryDatabase(name: string, suite: (kind: DatabaseKind) => void): void {
  for (const kind of databaseKinds) {
    const title = `${name} (${kind})`;
    if (kind === 'sqljs') describe(title, () => suite(kind));
    else describeWithService(kind, title, () => suite(kind));
  }
}
