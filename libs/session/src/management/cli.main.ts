import { SingleBar } from 'cli-progress';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { SessionConfigError } from '../session.errors.js';
import { VERSION } from '../version.js';
import { countOfExpired } from './clear-expired.js';
import { openApp } from './cli.app.js';
import { openDatabaseUrl } from './cli.database.js';
import { type ClearingTarget } from './cli.target.js';
import { failureMessage } from './failure-message.js';

/** What the command touches of the process it runs in. */
export interface CommandIo {
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
