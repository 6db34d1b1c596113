import { type Duration } from '../session.options.js';
import { parseDuration } from '../session/expiry.js';
import { MemoryStore } from '../stores/memory/memory-store.js';
import { type SessionEngine } from '../stores/session-engine.js';

/**
 * A clock for tests: it runs like the process's own, and it can be moved.
 *
 * @example
 * ```ts
 * const { clock } = testingEngine();
 * clock.advance('31m');
 * ```
 */
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
        `${JSON.stringify(duration)} is not a duration. Use a number of seconds, or a string with a unit such as "30m".`,
      );
    }
    this.#ahead += milliseconds;
  }
}

/** An engine for tests, with its clock and its store. */
export interface TestingEngine extends SessionEngine {
  /** What sessions live by: store, timeouts and cookies. */
  clock: TestClock;
  /** What keeps the sessions, for every application with this engine. */
  store: MemoryStore;
}

/**
 * An engine for tests of applications: sessions in memory, and a clock that can be moved.
 *
 * @example
 * ```ts
 * const engine = testingEngine();
 * const module = await Test.createTestingModule({ imports: [SessionModule.forRoot(engine), ShopModule] }).compile();
 * …
 * engine.clock.advance('30m'); // the visitor went for lunch
 * await browser.get('/account').expect(401);
 * ```
 */
export function testingEngine(): TestingEngine {
  const clock = new TestClock();
  const store = new MemoryStore({ now: () => clock.now() });
  return { clock, store, useFactory: () => store };
}
