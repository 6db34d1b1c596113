import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { searchLogs } from './log-search.mjs';

const LOGS_VARIABLE = 'NEST_SESSIONS_TEST_LOGS';
const MOST_SHOWN = 20;

/** Tests of tests: what they have told is a mistake that has to be noticed. */
const DELIBERATE = new Set(['describeSessionStore sees errors that tell a key']);

/**
 * Fails a run in which anything was logged that holds a session key or a store key. `log-capture.ts` writes down, in the
 * workers, what was said and which keys there were.
 */
export default class LogSearchReporter {
  #directory;
  #error;

  onRunStart() {
    this.#error = undefined;
    this.#directory = mkdtempSync(join(tmpdir(), 'nest-sessions-logs-'));
    process.env[LOGS_VARIABLE] = this.#directory;
  }

  onRunComplete() {
    const entries = this.#lines('log')
      .map((line) => JSON.parse(line))
      .filter(({ test }) => !DELIBERATE.has(test));
    const leaks = searchLogs(entries, this.#lines('secrets'));
    rmSync(this.#directory, { recursive: true, force: true });
    if (leaks.length === 0) return;
    const shown = leaks.slice(0, MOST_SHOWN).map(describe).join('\n');
    process.stderr.write(
      `LEAKED, ${leaks.length} times: secrets of sessions in what was logged.\n${shown}\n`,
    );
    this.#error = new Error('Secrets of sessions were logged.');
  }

  /** What Jest asks a reporter for in order to fail the run. */
  getLastError() {
    return this.#error;
  }

  #lines(kind) {
    return readdirSync(this.#directory)
      .filter((name) => name.endsWith(`.${kind}`))
      .flatMap((name) => readFileSync(join(this.#directory, name), 'utf8').split('\n'))
      .filter((line) => line !== '');
  }
}

function describe({ entry: { source, spec, test }, what, line }) {
  return `  ${relative(process.cwd(), spec)}: ${test || 'outside of a test'}\n    ${source} holds ${what}: ${line}`;
}
