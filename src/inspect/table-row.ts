import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { Session } from 'nest-sessions';
import { SessionEntity } from 'nest-sessions/database';
import { type Repository } from 'typeorm';
import { formatMoment } from '../format.js';
import { type StoredPart, StoredSession } from './stored-session.js';

/** The row of the session in the table, column by column. */
@Injectable()
export class TableRow extends StoredSession {
  constructor(@InjectRepository(SessionEntity) private readonly rows: Repository<SessionEntity>) {
    super();
  }

  async partsOf({ id }: Session): Promise<StoredPart[] | null> {
    // The session id is public and opens nothing, so it is what one looks a session up by.
    const row = await this.rows.findOneBy({ sessionId: id });
    return row && columnsOf(row);
  }
}

function columnsOf(row: SessionEntity): StoredPart[] {
  return [
    { name: 'session_key', value: row.sessionId, meaning: 'the session id, for logs and lists of devices' },
    { name: 'key_hash', value: row.keyHash, meaning: 'a hash of the secret in the cookie' },
    {
      name: 'user_id',
      value: row.userId ?? 'NULL',
      meaning: 'the user that login() started the session for',
    },
    { name: 'session_data', value: row.sessionData, meaning: 'the snapshot' },
    {
      name: 'session_log',
      value: row.sessionLog || "''",
      meaning: 'changes since the snapshot: of requests that ran at the same time, or of a large session',
    },
    {
      name: 'session_meta',
      value: row.sessionMeta || "''",
      meaning: 'what logins and rotations have left: from where, whether to remember',
    },
    { name: 'version', value: String(row.version), meaning: 'one more with every write of data' },
    { name: 'expiry', value: row.expiry || "''", meaning: 'what setExpiry() was called with' },
    { name: 'expire_date', value: at(row.expireDate), meaning: 'when the session ends unless it is used' },
    { name: 'created_at', value: at(row.createdAt), meaning: '' },
    { name: 'last_seen_at', value: at(row.lastSeenAt), meaning: 'the last write or touch' },
  ];
}

function at(milliseconds: number): string {
  return `${milliseconds} (${formatMoment(new Date(milliseconds))})`;
}
