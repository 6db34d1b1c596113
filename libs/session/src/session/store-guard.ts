import { SessionStoreUnavailableError } from '../session.errors.js';
import { Deadlines } from '../stores/deadlines.js';
import {
  type RecordPage,
  type SessionChanges,
  type SessionCount,
  type SessionRecord,
  type SessionStore,
} from '../stores/session-store.js';

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

/** Limits how long an answer of the store is waited for, and measures it. The limit may be up to a tenth late. */
export class TimeLimit {
  private readonly deadlines: Deadlines;

  /** @param limit milliseconds */
  constructor(
    private readonly limit: number,
    private readonly observe?: StoreObserver,
  ) {
    this.deadlines = new Deadlines(limit / 10);
  }

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
      const startedAt = performance.now();
      const observe = (outcome: StoreOutcome, error?: unknown): void =>
        this.observe?.(operation, outcome, performance.now() - startedAt, error);
      const deadline = this.deadlines.set(startedAt + this.limit, () => {
        const error = new SessionStoreUnavailableError(
          operation,
          `it did not answer within ${this.limit} ms. Check the store, or raise the option "storeTimeout".`,
        );
        observe('timeout', error);
        reject(error);
      });
      answer.then(
        (given) => {
          if (this.deadlines.done(deadline)) observe('ok');
          try {
            resolve(use ? use(given) : (given as unknown as Result));
          } catch (error) {
            // oxlint-disable-next-line typescript/prefer-promise-reject-errors -- it is handed on as it came
            reject(error);
          }
        },
        (error: unknown) => {
          if (this.deadlines.done(deadline)) observe(tookTooLong(error) ? 'timeout' : 'error', error);
          // oxlint-disable-next-line typescript/prefer-promise-reject-errors -- as above
          reject(error);
        },
      );
    });
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

  count(): Promise<SessionCount> {
    return this.#timeLimit.run('count', this.#store.count());
  }

  list(after: string | null, limit: number): Promise<RecordPage> {
    return this.#timeLimit.run('list', this.#store.list(after, limit));
  }
}
