import { type SessionChanges, type SessionRecord, SessionStore } from 'nest-sessions';
import { changedRecord } from '../../libs/session/src/stores/record-log.js';

export type Operation = 'load' | 'create' | 'save' | 'touch' | 'take' | 'delete';

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

  async load(id: string): Promise<SessionRecord | null> {
    await this.#called('load');
    const record = this.records.get(id);
    return record && record.expiresAt > Date.now() ? structuredClone(record) : null;
  }

  async create(id: string, record: SessionRecord): Promise<boolean> {
    const copy = structuredClone(record);
    await this.#called('create');
    if (this.records.has(id)) return false;
    this.records.set(id, copy);
    return true;
  }

  async save(id: string, keyHash: string, changes: SessionChanges, record: SessionRecord): Promise<boolean> {
    const given = structuredClone({ changes, record });
    await this.#called('save');
    const stored = this.records.get(id);
    if (stored?.keyHash !== keyHash) return false;
    this.records.set(id, changedRecord(stored, given.changes, given.record, given.record.lastSeenAt));
    return true;
  }

  override async touch(id: string, record: SessionRecord): Promise<boolean> {
    await this.#called('touch');
    const stored = this.records.get(id);
    if (stored?.version !== record.version) return false;
    this.records.set(id, { ...stored, expiresAt: record.expiresAt, lastSeenAt: record.lastSeenAt });
    return true;
  }

  override async take(id: string): Promise<SessionRecord | null> {
    await this.#called('take');
    const record = this.records.get(id) ?? null;
    this.records.delete(id);
    return record;
  }

  async delete(id: string): Promise<boolean> {
    await this.#called('delete');
    return this.records.delete(id);
  }

  async #called(operation: Operation): Promise<void> {
    this.calls.push(operation);
    await this.#before.get(operation)?.();
  }
}
