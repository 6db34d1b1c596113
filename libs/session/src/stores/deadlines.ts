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
