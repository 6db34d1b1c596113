/**
 * For so long nothing has to fail until an outage counts as over. So what fails by turns (one server of several, writes
 * to a server that can still be read, a cache that is full) makes one outage, and not a line in the log each time.
 * Milliseconds.
 */
const QUIET = 5000;
/**
 * When nothing has failed for so long, anything that works ends the outage: what failed may be asked for once a day, and
 * until then the log would keep quiet about the next outage. Milliseconds.
 */
const LONG_QUIET = 300_000;

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
    if (!this.isOn) return undefined;
    const quiet = this.failing.has(operation) ? QUIET : LONG_QUIET;
    if (performance.now() - this.failedAt < quiet) return undefined;
    const seconds = ((this.failedAt - this.beganAt) / 1000).toFixed(1);
    const summary = `${this.failures} ${this.failures === 1 ? 'call' : 'calls'} failed in ${seconds} s`;
    this.failing.clear();
    this.failures = 0;
    return summary;
  }
}
