import { MemoryStore } from '../stores/memory/memory-store.js';
import { type SessionEngine } from '../stores/session-engine.js';
import { TestClock } from './test-clock.js';

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
