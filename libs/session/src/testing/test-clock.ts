import { type Duration } from '../session.options.js';
import { parseDuration } from '../session/expiry.js';

/** A clock for tests: it runs like the process's own, and it can be moved. */
export class TestClock {
  #ahead = 0;

  /** Epoch milliseconds. */
  now(): number {
    return Date.now() + this.#ahead;
  }

  /**
   * Lets time pass at once.
   * @param duration seconds, or a duration such as `'30m'`
   * @throws TypeError when it is none
   */
  advance(duration: Duration): void {
    const milliseconds = parseDuration(duration);
    if (milliseconds === undefined) {
      throw new TypeError(
        `${JSON.stringify(duration)} is no duration. Use a number of seconds, or a string with a unit such as "30m".`,
      );
    }
    this.#ahead += milliseconds;
  }
}
