import { type RecordCache } from './record-cache.js';

interface Entry {
  value: string;
  /** On the clock of `performance`, which nobody sets. */
  until: number;
}

/** In the memory of this process. When it is full, the entry that was not used for longest makes room. */
export class ProcessCache implements RecordCache {
  private readonly entries = new Map<string, Entry>();

  constructor(private readonly maxEntries: number) {}

  get(key: string): Promise<string | null> {
    return Promise.resolve(this.live(key)?.value ?? null);
  }

  add(key: string, value: string, ttl: number): Promise<boolean> {
    if (this.live(key)) return Promise.resolve(false);
    this.put(key, { value, until: performance.now() + ttl });
    return Promise.resolve(true);
  }

  replace(key: string, beginning: string, value: string): Promise<boolean> {
    const held = this.live(key);
    if (!held?.value.startsWith(beginning)) return Promise.resolve(false);
    this.put(key, { ...held, value });
    return Promise.resolve(true);
  }

  set(key: string, value: string, ttl: number): Promise<void> {
    this.put(key, { value, until: performance.now() + ttl });
    return Promise.resolve();
  }

  delete(key: string): Promise<void> {
    this.entries.delete(key);
    return Promise.resolve();
  }

  private live(key: string): Entry | undefined {
    const entry = this.entries.get(key);
    if (entry === undefined) return undefined;
    this.entries.delete(key);
    if (entry.until <= performance.now()) return undefined;
    // To the end of the order of insertion, which is the order of use.
    this.entries.set(key, entry);
    return entry;
  }

  private put(key: string, entry: Entry): void {
    this.entries.delete(key);
    this.entries.set(key, entry);
    if (this.entries.size <= this.maxEntries) return;
    const [oldest] = this.entries.keys();
    if (oldest !== undefined) this.entries.delete(oldest);
  }
}
