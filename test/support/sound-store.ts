import {
  changedRecord,
  checkRecordSize,
  type RecordPage,
  type SessionChanges,
  type SessionCount,
  type SessionRecord,
  SessionRecordCorruptError,
  SessionStore,
  SessionStoreUnavailableError,
} from 'nest-sessions';

/** Four methods, in memory. It writes records whole. */
export class SmallestStore extends SessionStore {
  protected readonly records = new Map<string, SessionRecord>();

  constructor(private readonly clock: () => number = () => Date.now()) {
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
    this.write(record);
    return true;
  }

  async save(id: string, keyHash: string, _changes: SessionChanges, record: SessionRecord): Promise<boolean> {
    if (this.read(id)?.keyHash !== keyHash) return false;
    this.write({ ...record, version: record.version + 1 });
    return true;
  }

  async delete(id: string): Promise<boolean> {
    return this.records.delete(id);
  }

  /** A copy of the live record. */
  protected read(id: string): SessionRecord | null {
    const kept = this.records.get(id);
    return kept && this.isLive(kept) ? copyOf(kept) : null;
  }

  protected write(record: SessionRecord): void {
    this.records.set(record.id, copyOf(record));
  }

  protected isLive({ expiresAt }: SessionRecord): boolean {
    return expiresAt > this.now();
  }
}

/** A store that is in order, for defects to be put into. Its records can be spoilt, and it can be cut off. */
export class SoundStore extends SmallestStore {
  /** Session ids. */
  readonly corrupt = new Set<string>();
  down = false;

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
    this.write(next);
    return true;
  }

  override async delete(id: string): Promise<boolean> {
    this.reach('delete');
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
    const live = this.ofUser(userId).filter((record) => this.isLive(record) && !this.corrupt.has(record.id));
    return live.map(copyOf);
  }

  override async deleteByUser(userId: string, exceptIds: readonly string[] = []): Promise<number> {
    this.reach('deleteByUser');
    const ending = this.ofUser(userId).filter(({ id }) => !exceptIds.includes(id));
    for (const { id } of ending) this.records.delete(id);
    return ending.filter((record) => this.isLive(record)).length;
  }

  override async count(): Promise<SessionCount> {
    this.reach('count');
    const live = [...this.records.values()].filter((record) => this.isLive(record));
    return { live: live.length, loggedIn: live.filter(({ userId }) => userId !== null).length };
  }

  override async list(after: string | null, limit: number): Promise<RecordPage> {
    this.reach('list');
    const rest = [...this.records.values()]
      .filter((record) => this.isLive(record) && record.id > (after ?? ''))
      .toSorted((one, other) => (one.id < other.id ? -1 : 1));
    const page = rest.slice(0, limit);
    return {
      records: page.filter(({ id }) => !this.corrupt.has(id)).map(copyOf),
      next: rest.length > limit ? (page.at(-1)?.id ?? null) : null,
    };
  }

  override async clearExpired(batchSize: number): Promise<number> {
    this.reach('clearExpired');
    const expired = [...this.records.values()].filter((record) => !this.isLive(record)).slice(0, batchSize);
    for (const { id } of expired) this.records.delete(id);
    return expired.length;
  }

  protected reach(operation: string): void {
    if (this.down) throw new SessionStoreUnavailableError(operation, 'it is down. Mend it.');
  }

  protected ofUser(userId: string): SessionRecord[] {
    return [...this.records.values()].filter((record) => record.userId === userId);
  }
}

function copyOf(record: SessionRecord): SessionRecord {
  const copy = structuredClone(record);
  return { ...copy, data: Object.assign(Object.create(null) as SessionRecord['data'], copy.data) };
}
