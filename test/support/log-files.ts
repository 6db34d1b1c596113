import { openSync, writeSync } from 'node:fs';
import { join } from 'node:path';

/** Names the directory of this run, for the workers. */
export const LOGS_VARIABLE = 'NEST_SESSIONS_TEST_LOGS';

export interface LogEntry {
  /** What said it: `Logger.warn`, `console.log`, `stdout`, `error`, `event`. */
  source: string;
  spec: string;
  test: string;
  text: string;
}

export interface LogFiles {
  log(entry: LogEntry): void;
  secret(secret: string): void;
}

interface OpenFiles {
  directory: string;
  log: number;
  secrets: number;
}

const OPEN = Symbol.for('nest-sessions:log-files');

/** The files of this process, opened once for all of its spec files, and written at once, because workers are killed. */
export function logFiles(directory: string): LogFiles {
  const files = openFiles(directory);
  return {
    log: (entry) => void writeSync(files.log, `${JSON.stringify(entry)}\n`),
    secret: (secret) => void writeSync(files.secrets, `${secret}\n`),
  };
}

function openFiles(directory: string): OpenFiles {
  // Modules of Node are the only things that spec files have in common.
  const shared = process.getBuiltinModule('node:fs') as { [OPEN]?: OpenFiles };
  if (shared[OPEN]?.directory === directory) return shared[OPEN];
  const open = (kind: string): number => openSync(join(directory, `${process.pid}.${kind}`), 'a', 0o600);
  return (shared[OPEN] = { directory, log: open('log'), secrets: open('secrets') });
}
