import { SessionRecordCorruptError } from '../../session.errors.js';
import { isExpiry } from '../record-check.js';
import { type RecordCodec } from '../record-codec.js';
import { type SessionExpiry, type SessionRecord } from '../session-store.js';

/** What a load selects. Numbers come as the driver likes: as numbers, strings or bigints. */
export interface LoadedRow {
  data: string;
  log: string;
  loaded_version: unknown;
  expires_at: unknown;
  public_id: string;
  owner: string | null;
  own_expiry: string | null;
  meta: string | null;
  created: unknown;
  last_seen: unknown;
  store_now: unknown;
}

/** What is selected of a row by the key that it was under before its last rename. */
export interface MovedRow {
  moved_to: string;
}

/**
 * @param now when the row arrived; one moment for all rows of a list, so that their order is that of the database
 * @throws SessionRecordCorruptError when the row cannot be decoded
 */
export function toRecord(row: LoadedRow, codec: RecordCodec, now: number): SessionRecord {
  // The row's moments are on the database's clock, the record's on this process's.
  const offset = now - Number(row.store_now);
  return {
    id: row.public_id,
    userId: row.owner,
    data: codec.decodeData(row.data, row.log, row.public_id),
    expiry: decodeExpiry(row.own_expiry),
    createdAt: Number(row.created) + offset,
    lastSeenAt: Number(row.last_seen) + offset,
    expiresAt: Number(row.expires_at) + offset,
    version: Number(row.loaded_version),
    meta: codec.decodeMeta(row.meta, row.public_id),
  };
}

export function encodeExpiry(expiry: SessionExpiry): string | null {
  return expiry === null ? null : JSON.stringify(expiry);
}

function decodeExpiry(text: string | null): SessionExpiry {
  try {
    const expiry: unknown = text === null ? null : JSON.parse(text);
    if (isExpiry(expiry)) return expiry;
  } catch {
    // Falls through: what is not JSON is as corrupt as what is the wrong JSON.
  }
  throw new SessionRecordCorruptError(
    'The expiry of a session record could not be decoded. The record is treated as absent and left for inspection.',
  );
}
