import { Injectable } from '@nestjs/common';
import { changedRecord, checkRecordSize, type SessionChanges, type SessionRecord } from 'nest-sessions';
import { decode, SqlStore } from './sql-store.js';

@Injectable()
export class MergingSqlStore extends SqlStore {
  override save(
    id: string,
    keyHash: string,
    changes: SessionChanges,
    record: SessionRecord,
  ): Promise<boolean> {
    // The request keeps using its objects while this one waits for the database.
    const made = structuredClone(changes);
    const seen = { ...record };
    return this.replace('save', id, (stored) => {
      if (stored.keyHash !== keyHash) return null;
      const next = changedRecord(stored, made, seen, Date.now());
      checkRecordSize(next.data, this.limits);
      return next;
    });
  }

  override async take(id: string): Promise<SessionRecord | null> {
    const { rows } = await this.run(
      'take',
      'DELETE FROM app_session WHERE id = $1 AND expires_at > $2 RETURNING record',
      [id, Date.now()],
    );
    return rows[0] === undefined ? null : decode(rows[0].record);
  }

  override touch(id: string, { version, expiresAt, lastSeenAt }: SessionRecord): Promise<boolean> {
    return this.replace('touch', id, (stored) =>
      stored.version === version && stored.expiresAt < expiresAt
        ? { ...stored, expiresAt, lastSeenAt }
        : null,
    );
  }

  override async clearExpired(batchSize: number): Promise<number> {
    const { rowCount } = await this.run(
      'clearExpired',
      `DELETE FROM app_session WHERE id IN
        (SELECT id FROM app_session WHERE expires_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)`,
      [Date.now(), batchSize],
    );
    return rowCount ?? 0;
  }

  /** Replaces a live record. If somebody else has written it since it was read, reads again and retries. */
  private async replace(
    operation: string,
    id: string,
    change: (stored: SessionRecord) => SessionRecord | null,
  ): Promise<boolean> {
    for (;;) {
      const { rows } = await this.run(
        operation,
        'SELECT record FROM app_session WHERE id = $1 AND expires_at > $2',
        [id, Date.now()],
      );
      if (rows[0] === undefined) return false;
      const before = rows[0].record;
      const stored = decode(before);
      // Without a prototype, `__proto__` is a key like any other.
      stored.data = Object.assign(Object.create(null), stored.data);
      const next = change(stored);
      if (next === null) return false;
      const { rowCount } = await this.run(
        operation,
        'UPDATE app_session SET key_hash = $3, record = $4, expires_at = $5 WHERE id = $1 AND record = $2',
        [id, before, next.keyHash, JSON.stringify(next), next.expiresAt],
      );
      if (rowCount === 1) return true;
    }
  }
}
