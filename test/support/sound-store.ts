import {
  type SessionChanges,
  type SessionRecord,
  SessionRecordCorruptError,
  SessionStore,
  SessionStoreUnavailableError,
} from 'nest-sessions';
import { changedRecord, checkRecordSize, decodeData } from '../../libs/session/src/stores/record-log.js';

/** Four methods, in memory. It writes records whole. */
export class SmallestStore extends SessionStore {
  protected readonly records = new Map<string, string>();

  constructor(private readonly clock: () => number = Date.now) {
    super();
  }

  override now(): number {
    return this.clock();
  }

  async load(id: string): Promise<SessionRecord | null> {
    return this.read(id);
  }

  async create(id: string, record: SessionRecord): Promise<boolean> {
    if (this.read(id)) return false;
    this.records.set(id, JSON.stringify(record));
    return true;
  }

  async save(id: string, keyHash: string, _changes: SessionChanges, record: SessionRecord): Promise<boolean> {
    if (this.read(id)?.keyHash !== keyHash) return false;
    this.write(record);
    return true;
  }

  async delete(id: string): Promise<boolean> {
    return this.records.delete(id);
  }

  /** The live record, for those who do not treat it right. */
  protected read(id: string): SessionRecord | null {
    const record = JSON.parse(this.records.get(id) ?? 'null') as SessionRecord | null;
    if (!record || record.expiresAt <= this.now()) return null;
    return { ...record, data: decodeData(JSON.stringify(record.data), '') };
  }

  protected write(record: SessionRecord): void {
    this.records.set(record.id, JSON.stringify({ ...record, version: record.version + 1 }));
  }
}

/** A store that is in order, for defects to be put into. Its records can be spoilt, and it can be cut off. */
export class SoundStore extends SmallestStore {
  /** Session ids. */
  private readonly corrupt = new Set<string>();
  down = false;

  async spoil(id: string): Promise<void> {
    this.corrupt.add(id);
  }

  override async load(id: string): Promise<SessionRecord | null> {
    this.reach('load');
    const record = this.read(id);
    if (record && this.corrupt.has(id)) throw new SessionRecordCorruptError('It is corrupt.');
    return record;
  }

  override async create(id: string, record: SessionRecord): Promise<boolean> {
    this.reach('create');
    return super.create(id, record);
  }

  override async save(
    id: string,
    keyHash: string,
    changes: SessionChanges,
    record: SessionRecord,
  ): Promise<boolean> {
    this.reach('save');
    const current = this.read(id);
    if (current?.keyHash !== keyHash) return false;
    const next = changedRecord(current, changes, record, this.now());
    checkRecordSize(next.data, this.limits);
    this.write({ ...next, version: current.version });
    return true;
  }

  override async delete(id: string): Promise<boolean> {
    this.reach('delete');
    this.corrupt.delete(id);
    return super.delete(id);
  }

  override async take(id: string): Promise<SessionRecord | null> {
    this.reach('take');
    const record = this.read(id);
    this.records.delete(id);
    return record;
  }

  override async touch(id: string, { version, expiresAt, lastSeenAt }: SessionRecord): Promise<boolean> {
    this.reach('touch');
    const current = this.read(id);
    if (current?.version !== version || current.expiresAt >= expiresAt) return false;
    this.write({ ...current, expiresAt, lastSeenAt });
    return true;
  }

  override async listByUser(userId: string): Promise<SessionRecord[]> {
    this.reach('listByUser');
    return this.ofUser(userId).filter(({ id }) => !this.corrupt.has(id));
  }

  override async deleteByUser(userId: string, exceptIds: readonly string[] = []): Promise<number> {
    this.reach('deleteByUser');
    const ending = this.ofUser(userId).filter(({ id }) => !exceptIds.includes(id));
    return ending.filter(({ id }) => this.records.delete(id)).length;
  }

  override async clearExpired(batchSize: number): Promise<number> {
    this.reach('clearExpired');
    const expired = [...this.records.keys()].filter((id) => !this.read(id)).slice(0, batchSize);
    return expired.filter((id) => this.records.delete(id)).length;
  }

  protected reach(operation: string): void {
    if (this.down) throw new SessionStoreUnavailableError(operation, 'it is down. Mend it.');
  }

  private ofUser(userId: string): SessionRecord[] {
    return [...this.records.keys()].flatMap((id) => this.read(id) ?? []).filter((r) => r.userId === userId);
  }
}
