import { Installation } from './support/installation.js';

const nest = ['@nestjs/common', '@nestjs/core', '@nestjs/platform-express', 'reflect-metadata', 'rxjs'];

/** An application of this module definition, as a program of its own. */
const program = (imports: string, definition: string): string => `
  import 'reflect-metadata';
  import { NestFactory } from '@nestjs/core';
  import { SessionModule } from 'nest-sessions';
  ${imports}
  class AppModule {}
  const app = await NestFactory.create({ module: AppModule, imports: [${definition}] }, { logger: ['error'] });
  await app.listen(0);
  await app.close();
  console.log('started');
`;

const MEMORY = "import { memoryEngine } from 'nest-sessions/memory';";

describe('what is wrong at the start is told in a few lines', () => {
  let installation: Installation;
  let withoutTypeOrm: Installation;
  beforeAll(() => {
    installation = new Installation([...nest, '@nestjs/typeorm', 'typeorm', 'sql.js']);
    withoutTypeOrm = new Installation(nest);
  });
  afterAll(() => {
    installation.remove();
    withoutTypeOrm.remove();
  });

  it.each([
    [
      'a wrong option',
      program(MEMORY, "SessionModule.forRoot(memoryEngine(), { cookie: { maxAge: 'soon' }, limit: 1 })"),
      'SessionConfigError: Session option "cookie.maxAge" is wrong: must be a number of seconds',
    ],
    [
      'a wrong option from a factory',
      program(
        MEMORY,
        "SessionModule.forRootAsync({ engine: memoryEngine(), useFactory: () => ({ idleTimeout: 'soon' }) })",
      ),
      'SessionConfigError: Session option "idleTimeout" is wrong: must be a number of seconds',
    ],
    [
      'an option that takes a package which is not installed',
      program(MEMORY, "SessionModule.forRoot(memoryEngine(), { clearExpired: { schedule: '0 4 * * *' } })"),
      'SessionConfigError: Session option "clearExpired.schedule" is a cron expression, which needs @nestjs/schedule',
    ],
    [
      'a table that is missing',
      program(
        `import { TypeOrmModule } from '@nestjs/typeorm';
         import { databaseEngine } from 'nest-sessions/database';`,
        "TypeOrmModule.forRoot({ type: 'sqljs', autoLoadEntities: true }), SessionModule.forRoot(databaseEngine())",
      ),
      'SessionConfigError: Session option "engine" needs the table "nest_session" with all its columns, but part of ' +
        'it is missing (no such table: nest_session). Run its migration, CreateNestSession1767225600000 of',
    ],
    [
      'an engine function that is not called',
      program(MEMORY, 'SessionModule.forRoot(memoryEngine)'),
      'SessionConfigError: Session option "engine" has made no session store',
    ],
    [
      'a secret whose environment variable is not set',
      program(MEMORY, "SessionModule.forRoot(memoryEngine(), { pepper: { secrets: ''.split(',') } })"),
      'SessionConfigError: Session option "pepper.secrets[0]" is empty. Is the environment variable set',
    ],
    [
      'a directory that is missing',
      program(
        "import { fileEngine } from 'nest-sessions/file';",
        "SessionModule.forRoot(fileEngine({ directory: '/nowhere/sessions' }))",
      ),
      'SessionConfigError: Session option "directory" is "/nowhere/sessions", which does not exist',
    ],
  ])('%s', async (_, text, message) => {
    const { stderr } = await failureOf(installation.run(text));
    expect(stderr).toContain(message);
    expectFewLines(stderr);
  });

  it('the packages of the default engine are missing', async () => {
    const { stderr } = await failureOf(withoutTypeOrm.run(program('', 'SessionModule.forRoot()')));
    expect(stderr).toContain(
      'SessionConfigError: Session option "engine" is missing, and the default engine needs packages that are not installed.',
    );
    expectFewLines(stderr);
  });

  it.each([
    ['{}', 'ioredis or redis, which is not installed. Run npm install ioredis.'],
    ["{ library: 'redis' }", 'redis, which is not installed. Run npm install redis.'],
  ])('the package of the Redis engine is missing, with the options %s', async (options, message) => {
    const imports = "import { redisEngine } from 'nest-sessions/redis';";
    const { stderr } = await failureOf(
      withoutTypeOrm.run(
        program(imports, `SessionModule.forRoot(redisEngine({ url: 'redis://127.0.0.1:1', ...${options} }))`),
      ),
    );
    expect(stderr).toContain(`SessionConfigError: Session option "engine" needs the package ${message}`);
    expectFewLines(stderr);
  });
});

it('the SQL engine, and its table by command, need no TypeORM', async () => {
  const installation = new Installation([...nest, 'sql.js']);
  try {
    const output = await installation.run(`
      import { execFileSync } from 'node:child_process';
      import { createRequire } from 'node:module';
      import { dirname, join } from 'node:path';
      import initSqlJs from 'sql.js';
      import { sqlEngine } from 'nest-sessions/sql';
      const require = createRequire(import.meta.url);
      try { require.resolve('typeorm'); console.log('TypeORM is there.'); } catch {}
      const command = join(dirname(require.resolve('nest-sessions/package.json')), 'dist/management/cli.js');
      const schema = execFileSync(process.execPath, [command, 'schema', '--dialect', 'sqlite'], { encoding: 'utf8' });
      const database = new (await initSqlJs()).Database();
      database.exec(schema);
      const query = (sql, values, returns) => {
        const statement = database.prepare(sql, values);
        const rows = [];
        while (statement.step()) rows.push(statement.getAsObject());
        statement.free();
        return returns === 'rows' ? rows : database.getRowsModified();
      };
      ${program('', "SessionModule.forRoot(sqlEngine({ dialect: 'sqlite', query }))")}`);
    expect(output).toBe('started\n');
  } finally {
    installation.remove();
  }
});

async function failureOf(run: Promise<string>): Promise<{ stderr: string }> {
  const outcome: unknown = await run.catch((error: unknown) => error);
  expect(outcome).toHaveProperty('stderr');
  return outcome as { stderr: string };
}

/** The message and where the application led to it, besides what Node puts around an error that nobody catches. */
function expectFewLines(stderr: string): void {
  const lines = stderr.split('\n').filter((line) => line.trim() !== '');
  expect(lines.filter((line) => /^\s+at /.test(line)).length).toBeLessThanOrEqual(1);
  expect(lines.length).toBeLessThanOrEqual(10);
}
