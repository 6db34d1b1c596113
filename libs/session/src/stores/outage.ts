/**
 * For so long nothing has to fail until an outage counts as over. So what fails by turns (one server of several, writes
 * to a server that can still be read, a cache that is full) makes one outage, and not a line in the log each time.
 * Milliseconds.
 */
const QUIET = 5000;

/** Sums up what fails, so that the log has one line when an outage begins and one when it is over. */
export class Outage {
  private readonly failing = new Set<string>();
  private failures = 0;
  private beganAt = 0;
  private failedAt = 0;

  /** Has it begun, and is not over yet? */
  get isOn(): boolean {
    return this.failures > 0;
  }

  /**
   * @param took milliseconds that the failure was waited for
   * @returns does it begin with this?
   */
  failed(operation: string, took = 0): boolean {
    const now = performance.now();
    const begins = this.failures === 0;
    if (begins) this.beganAt = now - took;
    this.failedAt = now;
    this.failures += 1;
    this.failing.add(operation);
    return begins;
  }

  /** @returns how often something failed and for how long, if it is over with this: what failed works again. */
  worked(operation: string): string | undefined {
    const isOver = this.failing.has(operation) && performance.now() - this.failedAt >= QUIET;
    if (!isOver) return undefined;
    const seconds = ((this.failedAt - this.beganAt) / 1000).toFixed(1);
    const summary = `${this.failures} ${this.failures === 1 ? 'call' : 'calls'} failed in ${seconds} s`;
    this.failing.clear();
    this.failures = 0;
    return summary;
  }
}
