/** How many sessions with a long log are remembered between their load and their save. */
const REMEMBERED = 10_000;

/** Store keys of loaded records whose log wants folding. A hint: what is forgotten is folded after the next load. */
export class LongLogs {
  private readonly keys = new Set<string>();

  remember(key: string): void {
    if (this.keys.size >= REMEMBERED) this.keys.clear();
    this.keys.add(key);
  }

  /** True once for each that is remembered. */
  take(key: string): boolean {
    return this.keys.delete(key);
  }
}
