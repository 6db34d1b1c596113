import { mkdtemp, readdir, readFile, rm, stat, utimes } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { DataSource } from 'typeorm';
import { SessionEntity } from 'nest-sessions/database';
import { main } from '../libs/session/src/management/cli.main.js';
import { openDatabase } from '../libs/session/src/stores/database/database-url.js';
import { testDatabase, type TestDatabase } from './support/data-source.js';
import { type DatabaseKind, describeWithService } from './support/services.js';

const APP = 'test/clear-expired-command.app.ts';

interface Outcome {
  exitCode: number;
  stdout: string;
  stderr: string;
}

interface Surroundings {
  env?: NodeJS.ProcessEnv;
  signal?: AbortSignal;
  onTerminal?: boolean;
}

async function run(args: string[], surroundings: Surroundings = {}): Promise<Outcome> {
  const { env = {}, signal = new AbortController().signal, onTerminal = false } = surroundings;
  const stdout = new PassThrough();
  const stderr = Object.assign(new PassThrough(), { isTTY: onTerminal, columns: 80 });
  const exitCode = await main(args, { stdout, stderr, env, signal });
  return { exitCode, stdout: String(stdout.read() ?? ''), stderr: String(stderr.read() ?? '') };
}

/** So many expired and live sessions. */
async function fill(dataSource: DataSource, expired: number, live: number): Promise<void> {
  const now = Date.now();
  const rows = Array.from({ length: expired + live }, (_, index) => {
    const expireDate = index < expired ? now - 3_600_000 : now + 3_600_000;
    return {
      sessionId: `id-${index}`,
      keyHash: 'none',
      sessionData: '{}',
      sessionLog: '',
      sessionMeta: '',
      version: 1,
      expireDate,
      expireBucket: Math.floor(expireDate / 3_600_000),
      userId: null,
      expiry: '',
      createdAt: now,
      lastSeenAt: now,
    };
  });
  await dataSource.getRepository(SessionEntity).insert(rows);
}

describe('nest-sessions', () => {
  it('--help names the command', async () => {
    await expect(run(['--help'])).resolves.toMatchObject({
      exitCode: 0,
      stdout: expect.stringContaining('clear-expired'),
    });
  });

  it('--version is the version of the package', async () => {
    const { version } = JSON.parse(await readFile('libs/session/package.json', 'utf8')) as {
      version: string;
    };
    await expect(run(['--version'])).resolves.toMatchObject({ exitCode: 0, stdout: `${version}\n` });
  });

  it.each([
    ['an unknown command', ['clear-everything'], /unknown command/],
    ['no command', [], /Usage: nest-sessions/],
    [
      'a batch size that is no number',
      ['clear-expired', '--batch-size', 'many'],
      /--batch-size.*whole number/,
    ],
    ['a limit of nothing', ['clear-expired', '--limit', '0'], /--limit.*whole number/],
    ['two targets', ['clear-expired', '--app', APP, '--database-url', 'sqlite:x'], /cannot be used with/],
    ['no target', ['clear-expired'], /"--database-url" is missing.*DATABASE_URL.*--app/],
    ['an unknown kind of database', ['clear-expired', '--database-url', 'mongodb://db'], /postgres:, mysql:/],
    ['a missing file', ['clear-expired', '--database-url', 'sqlite:no.db'], /no\.db, which does not exist/],
    ['a missing app', ['clear-expired', '--app', 'no.js'], /names no\.js, which does not exist/],
    ['an app of many modules', ['clear-expired', '--app', APP], /AppModule.*Say which/],
    [
      'a module that is not there',
      ['clear-expired', '--app', `${APP}#Nope`],
      /#Nope, but .* exports AppModule/,
    ],
    [
      'an app without sessions',
      ['clear-expired', '--app', `${APP}#AppWithoutSessions`],
      /import SessionModule/,
    ],
    [
      'an engine that cannot',
      ['clear-expired', '--app', `${APP}#CookieAppModule`],
      /CookieStore cannot clear/,
    ],
  ])('refuses %s', async (_, args, sentence) => {
    const { exitCode, stdout, stderr } = await run(args);
    expect(stderr).toMatch(sentence);
    expect(exitCode).not.toBe(0);
    expect(stdout).toBe('');
  });

  it('says in one line, without the password, that the database is out of reach', async () => {
    const url = 'postgres://shop:hunter2@127.0.0.1:1/shop';
    const { exitCode, stderr } = await run(['clear-expired', '--database-url', url]);
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(/^nest-sessions: .*ECONNREFUSED.*\n$/);
    expect(stderr).not.toContain('hunter2');
  });
});

describe.each(['postgres', 'mysql'] as const)('clear-expired on a server', (kind) => {
  describeWithService(kind, kind, () => {
    let database: TestDatabase;
    let url: string;
    let dataSource: DataSource;

    beforeAll(async () => {
      database = await testDatabase(kind);
      url = urlOf(kind, database);
      dataSource = new DataSource({ ...database.options, entities: [SessionEntity], synchronize: true });
      await dataSource.initialize();
    });
    beforeEach(() => dataSource.getRepository(SessionEntity).clear());
    afterAll(async () => {
      await dataSource.destroy();
      await database.dispose();
    });

    const left = (): Promise<number> => dataSource.getRepository(SessionEntity).count();

    it('clears what has expired, leaves what has not, and prints the count', async () => {
      await fill(dataSource, 25, 5);
      await expect(run(['clear-expired', '--database-url', url, '--batch-size', '10'])).resolves.toEqual({
        exitCode: 0,
        stdout: 'Cleared 25 expired sessions.\n',
        stderr: '',
      });
      expect(await left()).toBe(5);
    });

    it('takes the database from DATABASE_URL', async () => {
      await fill(dataSource, 3, 0);
      const { stdout } = await run(['clear-expired'], { env: { DATABASE_URL: url } });
      expect(stdout).toBe('Cleared 3 expired sessions.\n');
    });

    it('stops at the limit', async () => {
      await fill(dataSource, 25, 0);
      const { stdout } = await run(['clear-expired', '--database-url', url, '--limit', '7']);
      expect(stdout).toBe('Cleared 7 expired sessions.\n');
      expect(await left()).toBe(18);
      const one = await run(['clear-expired', '--database-url', url, '--limit', '1']);
      expect(one.stdout).toBe('Cleared 1 expired session.\n');
    });

    it('names a table that is not there', async () => {
      const { exitCode, stderr } = await run([
        'clear-expired',
        '--database-url',
        url,
        '--table',
        'elsewhere',
      ]);
      expect(exitCode).toBe(1);
      expect(stderr).toMatch(/^nest-sessions: .*elsewhere.*\n$/);
    });

    it('clears another table', async () => {
      await fill(dataSource, 4, 0);
      const { driver } = dataSource;
      await dataSource.query(
        `ALTER TABLE ${driver.escape('nest_session')} RENAME TO ${driver.escape('visits')}`,
      );
      try {
        const { stdout } = await run(['clear-expired', '--database-url', url, '--table', 'visits']);
        expect(stdout).toBe('Cleared 4 expired sessions.\n');
      } finally {
        await dataSource.query(
          `ALTER TABLE ${driver.escape('visits')} RENAME TO ${driver.escape('nest_session')}`,
        );
      }
    });

    it('shows its progress on a terminal', async () => {
      await fill(dataSource, 25, 0);
      const { stdout, stderr } = await run(['clear-expired', '--database-url', url], { onTerminal: true });
      expect(stderr).toContain('Clearing expired sessions');
      expect(stdout).toBe('Cleared 25 expired sessions.\n');
    });

    it('stops after the batch under way when interrupted, and still says how much it did', async () => {
      await fill(dataSource, 25, 0);
      const interrupt = new AbortController();
      const command = run(['clear-expired', '--database-url', url, '--batch-size', '10'], {
        signal: interrupt.signal,
      });
      while ((await left()) === 25) await new Promise((resolve) => setImmediate(resolve));
      interrupt.abort();
      const { exitCode, stdout, stderr } = await command;
      expect({ exitCode, stdout }).toEqual({
        exitCode: 130,
        stdout: `Cleared ${25 - (await left())} expired sessions.\n`,
      });
      expect(stderr).toMatch(/interrupted/);
    });
  });
});

describeWithService('postgres', 'clear-expired --app', () => {
  it('clears with the engine and the connections of the application', async () => {
    const database = await testDatabase('postgres');
    const dataSource = new DataSource({ ...database.options, entities: [SessionEntity], synchronize: true });
    await dataSource.initialize();
    process.env['CLEAR_EXPIRED_APP_DATABASE'] = urlOf('postgres', database);
    try {
      await fill(dataSource, 12, 3);
      await expect(run(['clear-expired', '--app', `${APP}#AppModule`, '--batch-size', '5'])).resolves.toEqual(
        {
          exitCode: 0,
          stdout: 'Cleared 12 expired sessions.\n',
          stderr: '',
        },
      );
      expect(await dataSource.getRepository(SessionEntity).count()).toBe(3);
    } finally {
      delete process.env['CLEAR_EXPIRED_APP_DATABASE'];
      await dataSource.destroy();
      await database.dispose();
    }
  });
});

describe('clear-expired on an SQLite file', () => {
  let directory: string;
  let file: string;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'nest-sessions-'));
    file = join(directory, 'sessions.db');
    await onFile(async (dataSource) => {
      await dataSource.synchronize();
      await fill(dataSource, 25, 5);
    });
  });
  afterEach(() => rm(directory, { recursive: true }));

  async function onFile<T>(work: (dataSource: DataSource) => Promise<T>): Promise<T> {
    const dataSource = new DataSource({
      type: 'sqljs',
      location: file,
      autoSave: true,
      entities: [SessionEntity],
    });
    await dataSource.initialize();
    try {
      return await work(dataSource);
    } finally {
      await dataSource.destroy();
    }
  }
  const left = (): Promise<number> => onFile((dataSource) => dataSource.getRepository(SessionEntity).count());

  it('clears what has expired and leaves no other file behind', async () => {
    await expect(run(['clear-expired', '--database-url', `sqlite:${file}`])).resolves.toEqual({
      exitCode: 0,
      stdout: 'Cleared 25 expired sessions.\n',
      stderr: '',
    });
    expect(await left()).toBe(5);
    expect(await readdir(directory)).toEqual(['sessions.db']);
  });

  it('does not touch the file when there is nothing to clear', async () => {
    await run(['clear-expired', '--database-url', `sqlite://${file}`]);
    const before = await stat(file);
    const { stdout } = await run(['clear-expired', '--database-url', `sqlite://${file}`]);
    expect(stdout).toBe('Cleared 0 expired sessions.\n');
    expect((await stat(file)).mtimeMs).toBe(before.mtimeMs);
  });

  it('fails rather than overwrite what the application has written since', async () => {
    const { store, close } = await openDatabase(`sqlite:${file}`);
    await store.clearExpired(1000);
    await utimes(file, new Date(), new Date(Date.now() + 5000));
    await expect(close()).rejects.toThrow(/another process has changed/);
    expect(await left()).toBe(30);
  });
});

function urlOf(kind: DatabaseKind, { options }: TestDatabase): string {
  if (!('url' in options) || options.url === undefined) throw new Error(`No URL for ${kind}`);
  const url = new URL(options.url);
  const { options: sessionOptions } = (options.extra ?? {}) as { options?: string };
  if (sessionOptions !== undefined) url.searchParams.set('options', sessionOptions);
  return url.href.replaceAll('+', '%20');
}
