import { relative } from 'node:path';

const EVERY_MS = 15_000;

/**
 * Says from time to time how far the run is, where nobody sees the lines that Jest rewrites on a terminal: in a pipe, in
 * a file, on CI.
 */
export default class ProgressReporter {
  #began = 0;
  #timer;
  #files = { done: 0, all: 0 };
  #tests = 0;
  /** The spec files that are running. */
  #running = new Set();

  onRunStart({ numTotalTestSuites }) {
    this.#began = performance.now();
    this.#files = { done: 0, all: numTotalTestSuites };
    if (isLive()) return;
    this.#say();
    this.#timer = setInterval(() => this.#say(), EVERY_MS);
  }

  onTestFileStart({ path }) {
    this.#running.add(relative(process.cwd(), path));
  }

  onTestCaseResult() {
    this.#tests += 1;
  }

  onTestResult({ path }) {
    this.#running.delete(relative(process.cwd(), path));
    this.#files.done += 1;
  }

  onRunComplete() {
    clearInterval(this.#timer);
  }

  #say() {
    const seconds = Math.round((performance.now() - this.#began) / 1000);
    const running = this.#running.size === 0 ? '' : ` Running: ${[...this.#running].join(', ')}`;
    process.stderr.write(
      `[${seconds} s] ${this.#files.done} of ${this.#files.all} spec files, ${this.#tests} tests.${running}\n`,
    );
  }
}

/** Does Jest itself show what is running? */
function isLive() {
  return process.stdout.isTTY && process.env.TERM !== 'dumb' && !process.env.CI;
}
