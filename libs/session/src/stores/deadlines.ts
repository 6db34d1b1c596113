/** Nothing came in time. Drivers and clients have no common error for it. */
export class SilenceError extends Error {
  override name = 'TimeoutError';
}

interface Deadline {
  /** On the clock of `performance`. */
  at: number;
  missed: () => void;
}

/** Deadlines of work that is under way. One timer looks after all of them, so that work costs none of its own. */
export class Deadlines {
  private readonly open = new Set<Deadline>();
  private timer: NodeJS.Timeout | undefined;

  /** @param lookEvery milliseconds; a deadline may be missed by so much before it is noticed */
  constructor(private readonly lookEvery: number) {}

  /** @param missed is called once, soon after `at`, unless the work is `done` before */
  set(at: number, missed: () => void): Deadline {
    const deadline = { at, missed };
    this.open.add(deadline);
    this.timer ??= setInterval(() => this.look(), this.lookEvery).unref();
    return deadline;
  }

  /** False: it was missed, or the work was done before. */
  done(deadline: Deadline): boolean {
    return this.open.delete(deadline);
  }

  /**
   * What the work comes to, or an error soon after the moment `at`.
   * @param settled is called ahead of that, with the error if there is one
   * @throws SilenceError
   */
  before<Result>(
    at: number,
    work: Promise<Result>,
    problem: string,
    settled?: (error?: unknown) => void,
  ): Promise<Result> {
    return new Promise((resolve, reject) => {
      const fail = (error: unknown): void => {
        settled?.(error);
        // oxlint-disable-next-line typescript/prefer-promise-reject-errors -- it is handed on as it came
        reject(error);
      };
      const deadline = this.set(at, () => fail(new SilenceError(problem)));
      work.then(
        (result) => {
          if (!this.done(deadline)) return;
          settled?.();
          resolve(result);
        },
        (error: unknown) => {
          if (this.done(deadline)) fail(error);
        },
      );
    });
  }

  private look(): void {
    const now = performance.now();
    for (const deadline of this.open) {
      if (deadline.at > now) continue;
      this.open.delete(deadline);
      deadline.missed();
    }
    if (this.open.size > 0) return;
    clearInterval(this.timer);
    this.timer = undefined;
  }
}
