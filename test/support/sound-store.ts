import {
  type SessionChanges,
  type SessionRecord,
  SessionRecordCorruptError,
  type SessionStore,
  SessionStoreUnavailableError,
} from 'nest-sessions';
import { MemoryStore } from 'nest-sessions/memory';

/** A store that is in order, for defects to be put into. Its records can be spoilt, and it can be cut off. */
export class SoundStore extends MemoryStore {
  /** Session ids. */
  readonly corrupt = new Set<string>();
  down = false;

  async spoil(key: string): Promise<void> {
    this.corrupt.add((await super.load(key))?.id ?? '');
  }

  override async load(key: string): Promise<SessionRecord | null> {
    this.reach('load');
    const record = await super.load(key);
    if (record && this.corrupt.has(record.id)) throw new SessionRecordCorruptError('It is corrupt.');
    return record;
  }

  override async create(key: string, record: SessionRecord): Promise<boolean> {
    this.reach('create');
    return super.create(key, record);
  }

  override async save(key: string, changes: SessionChanges, record: SessionRecord): Promise<boolean> {
    this.reach('save');
    return super.save(key, changes, record);
  }

  override async delete(key: string, id?: string): Promise<boolean> {
    this.reach('delete');
    return super.delete(key, id);
  }

  override async touch(key: string, record: SessionRecord): Promise<boolean> {
    this.reach('touch');
    return super.touch(key, record);
  }

  override async rename(...given: Parameters<SessionStore['rename']>): Promise<boolean> {
    this.reach('rename');
    return super.rename(...given);
  }

  override async clearExpired(batchSize: number): Promise<number> {
    this.reach('clearExpired');
    return super.clearExpired(batchSize);
  }

  override async listByUser(userId: string): Promise<SessionRecord[]> {
    this.reach('listByUser');
    return (await super.listByUser(userId)).filter(({ id }) => !this.corrupt.has(id));
  }

  override async deleteByUser(userId: string, exceptIds?: readonly string[]): Promise<number> {
    this.reach('deleteByUser');
    return super.deleteByUser(userId, exceptIds);
  }

  override async deleteById(id: string, userId?: string): Promise<boolean> {
    this.reach('deleteById');
    return super.deleteById(id, userId);
  }

  /** As the record lies there, for those who do not treat it right. */
  protected peek(key: string): Promise<SessionRecord | null> {
    return super.load(key);
  }

  protected async replace(key: string, record: SessionRecord): Promise<void> {
    await super.delete(key);
    await super.create(key, { ...record, version: record.version + 1 });
  }

  private reach(operation: string): void {
    if (this.down) throw new SessionStoreUnavailableError(operation, 'it is down. Mend it.');
  }
}
