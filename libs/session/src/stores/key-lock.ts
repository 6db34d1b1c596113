/** Runs the work on one key one at a time, in the order in which it arrives. Holds within this process only. */
export class KeyLock {
  private readonly last = new Map<string, Promise<unknown>>();

  run<Result>(key: string, work: () => Promise<Result>): Promise<Result> {
    const before = this.last.get(key);
    const result = before ? before.then(work) : work();
    const over = result
      .catch(() => {})
      .finally(() => {
        if (this.last.get(key) === over) this.last.delete(key);
      });
    this.last.set(key, over);
    return result;
  }
}
