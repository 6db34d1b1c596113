import { SessionStoreUnavailableError } from '../session.errors.js';
import { type SessionChanges, type SessionRecord, type SessionStore } from '../stores/session-store.js';

export type StoreOutcome = 'ok' | 'error' | 'timeout';

/** Is told of every call of the store how it went, how long it took, in milliseconds, and why it failed. */
export type StoreObserver = (
  operation: string,
  outcome: StoreOutcome,
  duration: number,
  error?: unknown,
) => void;

/** What is made of an answer. */
export type Use<Answer, Result> = (answer: Answer) => Result | Promise<Result>;

/** A call that has not been answered yet. */
interface Pending {
  operation: string;
  startedAt: number;
  refuse: (error: unknown) => void;
}

/**
 * Limits how long an answer of the store is waited for, and measures it. One sweep serves all calls, so a call costs
 * neither a timer nor a race; its limit may be up to a tenth late.
 */
export class TimeLimit {
  /** In the order in which they came, which is the one in which they run out of time. */
  private readonly pending = new Set<Pending>();
  private sweep: NodeJS.Timeout | undefined;

  /** @param limit milliseconds */
  constructor(
    private readonly limit: number,
    private readonly observe?: StoreObserver,
  ) {}

  /**
   * The store's answer, or an error when the limit has passed; a late answer is ignored.
   * @param use makes something else of the answer. By another promise it would cost every request more
   * @throws SessionStoreUnavailableError
   */
  run<Answer, Result = Answer>(
    operation: string,
    answer: Promise<Answer>,
    use?: Use<Answer, Result>,
  ): Promise<Result> {
    return new Promise((resolve, reject) => {
      const call: Pending = { operation, startedAt: performance.now(), refuse: reject };
      this.pending.add(call);
      this.sweep ??= setInterval(() => this.refuseLate(), this.limit / 10).unref();
      answer.then(
        (given) => {
          this.settle(call, 'ok');
          try {
            resolve(use ? use(given) : (given as unknown as Result));
          } catch (error) {
            // oxlint-disable-next-line typescript/prefer-promise-reject-errors -- it is handed on as it came
            reject(error);
          }
        },
        (error: unknown) => {
          this.settle(call, tookTooLong(error) ? 'timeout' : 'error', error);
          // oxlint-disable-next-line typescript/prefer-promise-reject-errors -- as above
          reject(error);
        },
      );
    });
  }

  private settle(call: Pending, outcome: StoreOutcome, error?: unknown): void {
    if (!this.pending.delete(call)) return;
    this.observe?.(call.operation, outcome, performance.now() - call.startedAt, error);
  }

  private refuseLate(): void {
    const before = performance.now() - this.limit;
    for (const call of this.pending) {
      if (call.startedAt > before) return;
      const error = new SessionStoreUnavailableError(
        call.operation,
        `it did not answer within ${this.limit} ms. Check the store, or raise the option "storeTimeout".`,
      );
      this.settle(call, 'timeout', error);
      call.refuse(error);
    }
    if (this.pending.size > 0) return;
    clearInterval(this.sweep);
    this.sweep = undefined;
  }
}

/** A store may have a limit of its own, a little before this one. */
function tookTooLong(error: unknown): boolean {
  const cause = error instanceof SessionStoreUnavailableError ? error.cause : undefined;
  return cause instanceof Error && cause.name === 'TimeoutError';
}

/** The store as the rest of the library sees it: the same operations, each limited and measured. */
export class StoreGuard {
  readonly #store: SessionStore;
  readonly #timeLimit: TimeLimit;

  constructor(
    store: SessionStore,
    { timeLimit, observe }: { timeLimit: number; observe?: StoreObserver | undefined },
  ) {
    this.#store = store;
    this.#timeLimit = new TimeLimit(timeLimit, observe);
  }

  load<Result = SessionRecord | null>(id: string, use?: Use<SessionRecord | null, Result>): Promise<Result> {
    return this.#timeLimit.run('load', this.#store.load(id), use);
  }

  create(id: string, record: SessionRecord): Promise<boolean> {
    return this.#timeLimit.run('create', this.#store.create(id, record));
  }

  save<Result = boolean>(
    id: string,
    keyHash: string,
    changes: SessionChanges,
    record: SessionRecord,
    use?: Use<boolean, Result>,
  ): Promise<Result> {
    return this.#timeLimit.run('save', this.#store.save(id, keyHash, changes, record), use);
  }

  touch(id: string, record: SessionRecord): Promise<boolean> {
    return this.#timeLimit.run('touch', this.#store.touch(id, record));
  }

  take(id: string): Promise<SessionRecord | null> {
    return this.#timeLimit.run('take', this.#store.take(id));
  }

  delete(id: string): Promise<boolean> {
    return this.#timeLimit.run('delete', this.#store.delete(id));
  }

  listByUser(userId: string): Promise<SessionRecord[]> {
    return this.#timeLimit.run('listByUser', this.#store.listByUser(userId));
  }

  deleteByUser(userId: string, exceptIds?: readonly string[]): Promise<number> {
    return this.#timeLimit.run('deleteByUser', this.#store.deleteByUser(userId, exceptIds));
  }
}
