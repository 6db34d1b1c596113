import { type SessionChanges, type SessionRecord, SessionStore } from 'nest-sessions';
import { applyChanges } from '../../libs/session/src/stores/record-log.js';

export type Operation = 'load' | 'create' | 'save' | 'touch' | 'rename' | 'delete';

/** A store call that is held back until the spec lets it go. */
export interface Held {
  /** Resolves when the call has arrived. */
  reached: Promise<void>;
  release: () => void;
}

export interface Barrier {
  passed: Promise<void>;
  open: () => void;
}

export function barrier(): Barrier {
  const gate = { open: (): void => {} };
  const passed = new Promise<void>((resolve) => (gate.open = resolve));
  return { passed, open: () => gate.open() };
}

/** An in-process store that remembers what it was asked, and that can be held back, made to fail, or to hang. */
export class RecordingStore extends SessionStore {
  /** The operations so far, in order. */
  calls: Operation[] = [];
  readonly records = new Map<string, SessionRecord>();
  readonly #before = new Map<Operation, () => Promise<void>>();

  /** The calls that change something. */
  get writes(): Operation[] {
    return this.calls.filter((operation) => operation !== 'load');
  }

  /** Holds back the next call of one of these operations. */
  hold(...operations: Operation[]): Held {
    const reached = barrier();
    const released = barrier();
    for (const operation of operations) {
      this.#before.set(operation, () => {
        for (const held of operations) this.#before.delete(held);
        reached.open();
        return released.passed;
      });
    }
    return { reached: reached.passed, release: released.open };
  }

  fail(operation: Operation, error: Error): void {
    this.#before.set(operation, () => Promise.reject(error));
  }

  hang(operation: Operation): void {
    this.#before.set(operation, () => new Promise(() => {}));
  }

  /** Everything works again. */
  heal(): void {
    this.#before.clear();
  }

  /** Forgets calls and records. */
  reset(): void {
    this.heal();
    this.calls = [];
    this.records.clear();
  }

  async load(key: string): Promise<SessionRecord | null> {
    await this.#called('load');
    const record = this.records.get(key);
    return record && record.expiresAt > Date.now() ? structuredClone(record) : null;
  }

  async create(key: string, record: SessionRecord): Promise<boolean> {
    await this.#called('create');
    if (this.records.has(key)) return false;
    this.records.set(key, structuredClone(record));
    return true;
  }

  async save(key: string, changes: SessionChanges, record: SessionRecord): Promise<boolean> {
    await this.#called('save');
    return this.#write(key, key, changes, record);
  }

  override async touch(key: string, record: SessionRecord): Promise<boolean> {
    await this.#called('touch');
    const stored = this.records.get(key);
    if (stored?.version !== record.version) return false;
    this.records.set(key, { ...stored, expiresAt: record.expiresAt, lastSeenAt: record.lastSeenAt });
    return true;
  }

  override async rename(
    key: string,
    newKey: string,
    changes: SessionChanges,
    record: SessionRecord,
  ): Promise<boolean> {
    await this.#called('rename');
    return this.#write(key, newKey, changes, record);
  }

  async delete(key: string): Promise<boolean> {
    await this.#called('delete');
    return this.records.delete(key);
  }

  #write(key: string, newKey: string, changes: SessionChanges, record: SessionRecord): boolean {
    const stored = this.records.get(key);
    if (!stored) return false;
    this.records.delete(key);
    const data = applyChanges(stored.data, structuredClone(changes));
    this.records.set(newKey, { ...structuredClone(record), data, version: stored.version + 1 });
    return true;
  }

  async #called(operation: Operation): Promise<void> {
    this.calls.push(operation);
    await this.#before.get(operation)?.();
  }
}
