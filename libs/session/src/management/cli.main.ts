import { SingleBar } from 'cli-progress';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { SessionConfigError } from '../session.errors.js';
import { VERSION } from '../version.js';
import { countOfExpired, type ClearingOptions, clearExpired, failureMessage } from './clear-expired.js';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type * as NestCore from '@nestjs/core';
import { SESSIONS } from '../session.tokens.js';
import { type DialectName, dialects } from '../stores/sql/dialects.js';
import { ormSchema, type OrmName } from '../stores/sql/orm-schema.js';
import { sessionSchema, TABLE_NAME } from '../stores/sql/session-schema.js';

/** What the command touches of the process it runs in. */
interface CommandIo {
  stdout: NodeJS.WritableStream;
  stderr: NodeJS.WritableStream;
  env: NodeJS.ProcessEnv;
  /** Aborted by Ctrl-C: stop after the batch under way. */
  signal: AbortSignal;
}

interface ClearExpiredArguments {
  databaseUrl?: string;
  table?: string;
  app?: string;
  batchSize?: number;
  limit?: number;
}

interface SchemaArguments {
  dialect: DialectName;
  orm?: OrmName;
  table: string;
}

const FAILED = 1;
/** What shells report for a command that Ctrl-C stopped. */
const INTERRUPTED = 130;

/**
 * The `nest-sessions` command. Never throws and never ends the process.
 * @param args what stands behind the name of the command
 * @returns the exit code: 0 done, 1 failed, 130 interrupted
 */
export async function main(args: string[], io: CommandIo): Promise<number> {
  let exitCode = 0;
  const program = new Command('nest-sessions')
    .description('Looks after the sessions of a NestJS application.')
    .version(VERSION)
    .configureOutput({ writeOut: (text) => io.stdout.write(text), writeErr: (text) => io.stderr.write(text) })
    .exitOverride();

  program
    .command('clear-expired')
    .description('Deletes expired sessions in small batches, while the application runs.')
    .addOption(
      new Option('--database-url <url>', 'postgres://…, mysql://…, or sqlite:<file>; default: $DATABASE_URL'),
    )
    .option('--table <name>', 'table of the sessions in that database (default: "nest_session")')
    .addOption(
      new Option(
        '--app <file[#export]>',
        'compiled file of the application module, to clear with its own engine and connections',
      ).conflicts(['databaseUrl', 'table']),
    )
    .option('--batch-size <records>', 'records per statement (default: 1000)', wholeNumber)
    .option('--limit <records>', 'clear at most so many (default: all)', wholeNumber)
    .action(async (given: ClearExpiredArguments) => {
      exitCode = await clearExpiredCommand(given, io);
    });

  program
    .command('schema')
    .description('Prints the table of the sessions with its indexes, for a migration of yours.')
    .addOption(
      new Option('--dialect <dialect>', 'of the database; mysql is MariaDB as well')
        .choices(Object.keys(dialects))
        .makeOptionMandatory(),
    )
    .addOption(
      new Option('--orm <orm>', 'as a model of Prisma or a table of Drizzle (default: as SQL)').choices([
        'prisma',
        'drizzle',
      ]),
    )
    .option('--table <name>', 'what the table is called', TABLE_NAME)
    .action(({ dialect, orm, table }: SchemaArguments) => {
      io.stdout.write(orm === undefined ? sessionSchema(dialect, table) : ormSchema(orm, dialect, table));
    });

  try {
    await program.parseAsync(args, { from: 'user' });
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode; // it has already said what was wrong
    io.stderr.write(`nest-sessions: ${failureMessage(error)}\n`);
    return FAILED;
  }
}

async function clearExpiredCommand(given: ClearExpiredArguments, io: CommandIo): Promise<number> {
  const target = await openTarget(given, io.env);
  let cleared = 0;
  const progress = new SingleBar({
    stream: io.stderr,
    format: 'Clearing expired sessions: {value} so far ({duration_formatted})',
    clearOnComplete: true,
    gracefulExit: false,
  });
  progress.start(0, 0); // draws nothing unless on a terminal
  try {
    await target.clearExpired({
      ...(given.batchSize !== undefined && { batchSize: given.batchSize }),
      ...(given.limit !== undefined && { limit: given.limit }),
      signal: io.signal,
      onProgress: (total) => progress.update((cleared = total)),
    });
  } catch (error) {
    if (!io.signal.aborted) throw error;
  } finally {
    progress.stop();
    await target.close();
  }
  io.stdout.write(`Cleared ${countOfExpired(cleared)}.\n`);
  if (!io.signal.aborted) return 0;
  io.stderr.write('nest-sessions: interrupted; the rest is left for the next run.\n');
  return INTERRUPTED;
}

async function openTarget(given: ClearExpiredArguments, env: NodeJS.ProcessEnv): Promise<ClearingTarget> {
  if (given.app !== undefined) return openApp(given.app);
  const url = given.databaseUrl ?? env['DATABASE_URL'];
  if (url) return openDatabaseUrl(url, given.table);
  throw new SessionConfigError(
    '--database-url',
    'is missing. Give it, or set DATABASE_URL, or name the module of your application with --app.',
  );
}

function wholeNumber(text: string): number {
  if (!/^[1-9]\d*$/.test(text)) throw new InvalidArgumentError('Give a whole number of at least 1.');
  return Number(text);
}

/** Something whose expired sessions can be cleared, to be closed afterwards. */
interface ClearingTarget {
  clearExpired(options: ClearingOptions): Promise<number>;
  close(): Promise<void>;
}

type AppModule = Parameters<typeof NestCore.NestFactory.createApplicationContext>[0];
type Exports = Record<string, AppModule | undefined>;

/**
 * The sessions of an application, with the engine, the connections and the configuration it has itself.
 * @param target `dist/app.module.js`, with `#AppModule` when the file exports more than one class
 */
async function openApp(target: string): Promise<ClearingTarget> {
  const [path = '', exportName] = target.split('#');
  const file = resolve(path);
  if (!existsSync(file)) throw problem(`names ${path}, which does not exist. Build the application first.`);
  const appModule = pickModule(path, await importFile(path, file), exportName);

  // The application's own Nest: with another copy of it nothing could be injected.
  const nestFile = createRequire(file).resolve('@nestjs/core');
  const { NestFactory }: typeof NestCore = await import(pathToFileURL(nestFile).href);
  const app = await NestFactory.createApplicationContext(appModule, {
    logger: ['error', 'fatal'],
    abortOnError: false,
  });
  try {
    const sessions = app.get<Pick<ClearingTarget, 'clearExpired'>>(SESSIONS, { strict: false });
    return { clearExpired: (options) => sessions.clearExpired(options), close: () => app.close() };
  } catch (cause) {
    await app.close();
    throw problem('names a module that does not import SessionModule.', cause);
  }
}

async function importFile(path: string, file: string): Promise<Exports> {
  try {
    return await import(pathToFileURL(file).href);
  } catch (cause) {
    const why = failureMessage(cause);
    throw problem(
      `names ${path}, which could not be loaded: ${why}. Give the compiled JavaScript file.`,
      cause,
    );
  }
}

/** The export of that name; without a name the default export, or the only class there is. */
function pickModule(path: string, exported: Exports, name?: string): AppModule {
  const classes = Object.keys(exported).filter((key) => typeof exported[key] === 'function');
  const picked = name ?? (classes.includes('default') ? 'default' : classes[0]);
  if (picked === undefined) throw problem(`names ${path}, which exports no class.`);
  if (!exported[picked])
    throw problem(`names ${path}#${picked}, but that file exports ${classes.join(', ')}.`);
  if (name === undefined && picked !== 'default' && classes.length > 1) {
    throw problem(`names ${path}, which exports ${classes.join(', ')}. Say which, as in ${path}#${picked}.`);
  }
  return exported[picked];
}

function problem(sentence: string, cause?: unknown): SessionConfigError {
  return new SessionConfigError('--app', sentence, cause === undefined ? undefined : { cause });
}

/** The sessions in a database, reached without the application. TypeORM is loaded only now: it is an optional peer. */
async function openDatabaseUrl(url: string, table?: string): Promise<ClearingTarget> {
  const { openDatabase } = await import('../stores/database/database-url.js').catch(explainMissingPackage);
  const database = await openDatabase(url, table);
  return {
    clearExpired: (options) => clearExpired(database.store, options),
    close: () => database.close(),
  };
}

function explainMissingPackage(cause: Error & { code?: string }): never {
  if (cause.code !== 'ERR_MODULE_NOT_FOUND') throw cause;
  throw new SessionConfigError(
    '--database-url',
    'needs the package typeorm, which was not found. Run the command in the directory of your application, ' +
      'where typeorm and the driver of your database are installed.',
    { cause },
  );
}
