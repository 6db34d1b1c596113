import { readFileSync } from 'node:fs';
import { PassThrough } from 'node:stream';
import { runInNewContext } from 'node:vm';
import { CreateNestSession1767225600000, SessionEntity } from 'nest-sessions/database';
import { type DialectName, sessionSchema } from 'nest-sessions/sql';
import { type DataSource } from 'typeorm';
import { main } from '../libs/session/src/management/cli.main.js';
import { testDataSource, type TestDataSource } from './support/data-source.js';
import { type DatabaseKind, describeOnEveryDatabase } from './support/services.js';

async function run(...args: string[]): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const { signal } = new AbortController();
  const exitCode = await main(args, { stdout, stderr, env: {}, signal });
  return { exitCode, stdout: String(stdout.read() ?? ''), stderr: String(stderr.read() ?? '') };
}

const dialectOf: Record<DatabaseKind, DialectName> = {
  postgres: 'postgres',
  mysql: 'mysql',
  sqljs: 'sqlite',
};

/** What a table is made of, but for the names of its indexes. */
const descriptions: Record<DatabaseKind, (table: string) => string[]> = {
  postgres: (table) => [
    `SELECT c.column_name, c.data_type, c.character_maximum_length, c.is_nullable, c.collation_name,
       c.ordinal_position, c.column_default, a.attcompression
     FROM information_schema.columns c JOIN pg_attribute a
       ON a.attrelid = '${table}'::regclass AND a.attname = c.column_name
     WHERE c.table_schema = current_schema() AND c.table_name = '${table}' ORDER BY c.ordinal_position`,
    `SELECT reloptions FROM pg_class WHERE oid = '${table}'::regclass`,
    `SELECT indkey::text, indisunique, indisprimary FROM pg_index WHERE indrelid = '${table}'::regclass ORDER BY 1`,
  ],
  mysql: (table) => [
    `SELECT column_name AS name, ordinal_position AS place, column_type AS type, is_nullable AS nullable,
       character_set_name AS charset, collation_name AS collation, column_default AS preset
     FROM information_schema.columns
     WHERE table_schema = DATABASE() AND table_name = '${table}' ORDER BY ordinal_position`,
    `SELECT column_name AS name, seq_in_index AS place, non_unique AS many FROM information_schema.statistics
     WHERE table_schema = DATABASE() AND table_name = '${table}' ORDER BY 1, 2`,
  ],
  sqljs: (table) => [
    `SELECT cid, name, type, "notnull", dflt_value, pk FROM pragma_table_info('${table}')`,
    `SELECT info.name, list."unique", list.origin FROM pragma_index_list('${table}') list
     JOIN pragma_index_info(list.name) info ORDER BY 1`,
  ],
};

async function describeTable(dataSource: DataSource, kind: DatabaseKind, table: string): Promise<unknown[]> {
  const parts: unknown[] = [];
  for (const sql of descriptions[kind](table)) parts.push(await dataSource.query(sql));
  return parts;
}

describeOnEveryDatabase('the printed schema', (kind) => {
  let database: TestDataSource;
  beforeAll(async () => {
    database = await testDataSource(kind, [SessionEntity], {
      synchronize: false,
      migrations: [CreateNestSession1767225600000],
    });
  });
  afterAll(() => database.dispose());

  it('is the table that the migration of the database engine makes', async () => {
    const { dataSource } = database;
    await dataSource.runMigrations();
    const { stdout, exitCode } = await run('schema', '--dialect', dialectOf[kind], '--table', 'printed');
    expect(exitCode).toBe(0);
    for (const statement of stdout.split(/;\n(?=CREATE|DO|$)/))
      if (statement !== '') await dataSource.query(statement);
    const [migrated, printed] = [
      await describeTable(dataSource, kind, 'nest_session'),
      await describeTable(dataSource, kind, 'printed'),
    ];
    expect(migrated[0]).toHaveLength(12);
    expect(printed).toEqual(migrated);
  });

  it('takes dollar signs in the name of the table', async () => {
    const { dataSource } = database;
    for (const statement of sessionSchema(dialectOf[kind], 'a$$b').split(/;\n(?=CREATE|DO|$)/))
      if (statement !== '') await dataSource.query(statement);
    const [columns] = await describeTable(dataSource, kind, 'a$$b').catch(() => [null]);
    expect(columns === null || (columns as unknown[]).length === 12).toBe(true);
  });
});

describe('nest-sessions schema', () => {
  it('prints SQL, which is also what sessionSchema() returns', async () => {
    const { stdout } = await run('schema', '--dialect', 'sqlite');
    expect(stdout).toBe(sessionSchema('sqlite'));
    expect(stdout).toMatch(
      /^CREATE TABLE "nest_session" \(\n {2}"session_key" varchar\(40\) NOT NULL PRIMARY KEY,\n/,
    );
  });

  it('prints it for another table, with its schema', async () => {
    const { stdout } = await run('schema', '--dialect', 'postgres', '--table', 'auth.sessions');
    expect(stdout).toContain('CREATE TABLE "auth"."sessions" (');
    expect(stdout).toContain('CREATE INDEX "sessions_user_id_idx" ON "auth"."sessions" ("user_id");');
    const sqlite = await run('schema', '--dialect', 'sqlite', '--table', 'aux.sessions');
    expect(sqlite.stdout).toContain('CREATE INDEX "aux"."sessions_user_id_idx" ON "sessions" ("user_id");');
  });

  it.each([
    ['no dialect', ['schema'], /--dialect <dialect>' not specified/],
    [
      'another dialect',
      ['schema', '--dialect', 'oracle'],
      /--dialect.*Allowed choices are postgres, mysql, sqlite/,
    ],
    [
      'another tool',
      ['schema', '--dialect', 'mysql', '--orm', 'bookshelf'],
      /--orm.*choices are prisma, drizzle/,
    ],
    ['a wrong option', ['schema', '--dialect', 'mysql', '--limit', '1'], /unknown option '--limit'/],
    [
      'a wrong table',
      ['schema', '--dialect', 'mysql', '--table', 'a;b'],
      /"table" has to be the name of a table/,
    ],
    [
      'a table that would end a block',
      ['schema', '--dialect', 'postgres', '--table', 'a$nest_sessions$b'],
      /and not "\$nest_sessions\$"/,
    ],
    [
      'a schema for a tool',
      ['schema', '--dialect', 'postgres', '--orm', 'prisma', '--table', 'auth.sessions'],
      /"--table" names a schema/,
    ],
  ])('refuses %s', async (_, args, sentence) => {
    const { exitCode, stdout, stderr } = await run(...args);
    expect(stderr).toMatch(sentence);
    expect(exitCode).not.toBe(0);
    expect(stdout).toBe('');
  });
});

/** What Drizzle knows of a table. */
interface DrizzleConfig {
  name: string;
  columns: { name: string; notNull: boolean; primary: boolean; getSQLType(): string }[];
  indexes: { config: { name: string; columns: { name: string }[] } }[];
}

describe.each([
  ['postgres', 'pg'],
  ['mysql', 'mysql'],
  ['sqlite', 'sqlite'],
] as const)('for Drizzle on %s', (dialect, module) => {
  it('the table has the columns and indexes of the SQL', async () => {
    const { stdout } = await run(
      'schema',
      '--dialect',
      dialect,
      '--orm',
      'drizzle',
      '--table',
      'app_session',
    );
    const core = (await import(`drizzle-orm/${module}-core`)) as object & {
      getTableConfig(table: unknown): DrizzleConfig;
    };
    const [, names = ''] = /^import \{ (.*) \} from 'drizzle-orm\/\w+-core';/.exec(stdout) ?? [];
    for (const name of names.split(', ')) expect(core).toHaveProperty(name);
    const code = stdout.replace(/^import.*/, '').replace('export const appSession =', '');
    const { name, columns, indexes } = core.getTableConfig(runInNewContext(code, { ...core }));
    expect(name).toBe('app_session');

    const sql = sessionSchema(dialect, 'app_session');
    const expected = [
      ...sql.matchAll(/^ {2}["`](\w+)["`] (\w+(?:\(\d+\))?)[^\n]*?(NOT NULL|NULL)( PRIMARY KEY)?,?$/gm),
    ];
    expect(expected).toHaveLength(12);
    // SQLite goes by affinity: there is one kind of text and one of integer.
    const typeOf = (type = ''): string =>
      dialect === 'sqlite' ? type.replace(/^(varchar.*)$/, 'text').replace('bigint', 'integer') : type;
    expect(
      columns.map((column) => [column.name, column.getSQLType(), column.notNull, column.primary]),
    ).toEqual(
      expected.map(([, column, type, nullable, key]) => [
        column,
        typeOf(type),
        nullable === 'NOT NULL',
        key !== undefined,
      ]),
    );
    expect(indexes.map(({ config }) => [config.name, config.columns.map((column) => column.name)])).toEqual([
      ['app_session_expire_bucket_idx', ['expire_bucket']],
      ['app_session_user_id_idx', ['user_id']],
    ]);
  });
});

it.each([
  ['postgres', '@db.Text', '@db.VarChar(40)'],
  ['mysql', '@db.MediumText', '@db.VarChar(40)'],
  ['sqlite', '', ''],
])('for Prisma on %s, the model has the columns and indexes of the SQL', async (dialect, text, key) => {
  const { stdout } = await run('schema', '--dialect', dialect, '--orm', 'prisma');
  const lines = stdout.split('\n').map((line) => line.trim().replace(/ +/g, ' '));
  expect(lines).toContain('model NestSession {');
  expect(lines).toContain(`sessionKey String @id @map("session_key") ${key}`.trim());
  expect(lines).toContain(`sessionData String @map("session_data") ${text}`.trim());
  expect(lines).toContain('expireDate BigInt @map("expire_date")');
  expect(lines).toContain('version Int');
  expect(lines.filter((line) => line.startsWith('userId String? @map("user_id")'))).toHaveLength(1);
  expect(lines).toContain('@@index([expireBucket], map: "nest_session_expire_bucket_idx")');
  expect(lines).toContain('@@index([userId], map: "nest_session_user_id_idx")');
  expect(lines).toContain('@@map("nest_session")');
  expect(lines.filter((line) => / (String|Int|BigInt)\??( |$)/.test(line))).toHaveLength(12);
});

it.each([
  ['drizzle', /```ts\n(import \{ bigint.*?)```/s],
  ['prisma', /```prisma\n(.*?)```/s],
])('docs/engines/sql.md shows what is printed for %s', async (orm, block) => {
  const { stdout } = await run('schema', '--dialect', 'postgres', '--orm', orm);
  const [, shown] = block.exec(readFileSync('docs/engines/sql.md', 'utf8')) ?? [];
  expect(shown).toBe(stdout);
});
