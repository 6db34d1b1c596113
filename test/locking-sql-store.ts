import { Injectable } from '@nestjs/common';
import { applyChanges, type SessionChanges, type SessionRecord } from 'nest-sessions';
import { type PoolClient, type QueryResult } from 'pg';
import { decode, reach, SqlStore } from './sql-store.js';

@Injectable()
export class LockingSqlStore extends SqlStore {
  override save(key: string, changes: SessionChanges, record: SessionRecord): Promise<boolean> {
    return this.change('save', key, key, (stored) => changed(stored, changes, record));
  }

  override rename(
    key: string,
    newKey: string,
    changes: SessionChanges,
    record: SessionRecord,
  ): Promise<boolean> {
    return this.change('rename', key, newKey, (stored) => changed(stored, changes, record));
  }

  override touch(key: string, { version, expiresAt, lastSeenAt }: SessionRecord): Promise<boolean> {
    return this.change('touch', key, key, (stored) =>
      stored.version === version && stored.expiresAt < expiresAt
        ? { ...stored, expiresAt, lastSeenAt }
        : null,
    );
  }

  override async clearExpired(batchSize: number): Promise<number> {
    const { rowCount } = await this.run(
      'clearExpired',
      `DELETE FROM app_session WHERE key IN
        (SELECT key FROM app_session WHERE expires_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)`,
      [Date.now(), batchSize],
    );
    return rowCount ?? 0;
  }

  /** Replaces a live record by what `apply` makes of it, under a lock on its row. */
  private change(
    operation: string,
    key: string,
    newKey: string,
    apply: (stored: SessionRecord) => SessionRecord | null,
  ): Promise<boolean> {
    return reach(
      operation,
      this.transaction(async (client) => {
        const { rows }: QueryResult<{ record: string }> = await client.query(
          'SELECT record FROM app_session WHERE key = $1 AND expires_at > $2 FOR UPDATE',
          [key, Date.now()],
        );
        const next = rows[0] ? apply(decode(rows[0].record)) : null;
        if (next === null) return false;
        const { rowCount } = await client.query(
          `UPDATE app_session SET key = $2, record = $3, version = $4, expires_at = $5
           WHERE key = $1 AND ($1 = $2 OR NOT EXISTS (SELECT FROM app_session WHERE key = $2))`,
          [key, newKey, JSON.stringify(next), next.version, next.expiresAt],
        );
        return rowCount === 1;
      }),
    );
  }

  private async transaction<Result>(work: (client: PoolClient) => Promise<Result>): Promise<Result> {
    const client = await this.pool.connect();
    client.on('error', ignore);
    try {
      await client.query('BEGIN');
      const result = await work(client);
      await client.query('COMMIT');
      client.release();
      return result;
    } catch (error) {
      client.release(true); // closes the connection, which rolls back
      throw error;
    } finally {
      client.off('error', ignore);
    }
  }
}

/** A connection that breaks fails the statement as well. Without a listener it would end the process, too. */
function ignore(): void {}

function changed(stored: SessionRecord, changes: SessionChanges, record: SessionRecord): SessionRecord {
  const { userId = stored.userId, expiry = stored.expiry, meta = stored.meta } = changes;
  // Whoever wrote since the load has set the deadline; only an expiry of this request goes above that.
  const decides = stored.version === record.version || changes.expiry !== undefined;
  return {
    ...stored,
    userId,
    expiry,
    meta,
    data: applyChanges(stored.data, changes),
    lastSeenAt: record.lastSeenAt,
    expiresAt: decides ? record.expiresAt : stored.expiresAt,
    version: stored.version + 1,
  };
}
