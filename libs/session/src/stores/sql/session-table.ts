import { SessionRecordCorruptError } from '../../session.errors.js';
import { corruptRecord, hasRecordFields, isExpiry, type RecordCodec } from '../record-codec.js';
import { type SessionExpiry, type SessionRecord } from '../session-store.js';

/** The columns that every session table has, by what they hold. */
export const sessionColumns = [
  'sessionId',
  'expireDate',
  'createdAt',
  'lastSeenAt',
  'version',
  'expireBucket',
  'keyHash',
  'userId',
  'expiry',
  'sessionMeta',
  'sessionLog',
  'sessionData',
] as const;

export type SessionColumn = (typeof sessionColumns)[number];

/** How the columns are called, unless an application with TypeORM names them otherwise. */
export const columnNames: Readonly<Record<SessionColumn, string>> = {
  sessionId: 'session_key',
  expireDate: 'expire_date',
  createdAt: 'created_at',
  lastSeenAt: 'last_seen_at',
  version: 'version',
  expireBucket: 'expire_bucket',
  keyHash: 'key_hash',
  userId: 'user_id',
  expiry: 'expiry',
  sessionMeta: 'session_meta',
  sessionLog: 'session_log',
  sessionData: 'session_data',
};

/** A session table, in names as they stand in SQL: quoted. */
export interface SessionTable {
  /** With its schema. */
  readonly name: string;
  readonly columns: Readonly<Record<SessionColumn, string>>;
  /** Columns of the application's own. */
  readonly extraColumns: readonly string[];
}

/** What a load selects. Numbers come as the driver likes: as numbers, strings or bigints. */
export interface SessionRow {
  id: string;
  key_hash: string;
  data: string;
  log: string;
  meta: string;
  row_version: unknown;
  expires_at: unknown;
  owner: string | null;
  own_expiry: string;
  created: unknown;
  last_seen: unknown;
  store_now: unknown;
}

/** @param now the database's clock */
export function selectedColumns({ columns }: SessionTable, now: string): string {
  return `${columns.sessionId} AS id, ${columns.keyHash} AS key_hash, ${columns.sessionData} AS data,
    ${columns.sessionLog} AS log, ${columns.sessionMeta} AS meta, ${columns.version} AS row_version,
    ${columns.expireDate} AS expires_at, ${columns.userId} AS owner, ${columns.expiry} AS own_expiry,
    ${columns.createdAt} AS created, ${columns.lastSeenAt} AS last_seen, ${now} AS store_now`;
}

/**
 * @param now when the row arrived; one moment for all rows of a list, so that their order is that of the database
 * @throws SessionRecordCorruptError when the row cannot be decoded
 */
export function toRecord(row: SessionRow, codec: RecordCodec, now: number): SessionRecord {
  // The row's moments are on the database's clock, the record's on this process's.
  const offset = now - Number(row.store_now);
  const record = {
    id: row.id,
    keyHash: row.key_hash,
    userId: row.owner,
    data: codec.decodeData(row.data, row.log, row.id),
    expiry: decodeExpiry(row.own_expiry),
    createdAt: Number(row.created) + offset,
    lastSeenAt: Number(row.last_seen) + offset,
    expiresAt: Number(row.expires_at) + offset,
    version: Number(row.row_version),
    meta: codec.decodeMeta(row.meta, row.id),
  };
  if (hasRecordFields(record)) return record;
  throw corruptRecord();
}

/** Empty for null: in PostgreSQL, a row without a NULL is eight bytes shorter. */
export function encodeExpiry(expiry: SessionExpiry): string {
  return expiry === null ? '' : JSON.stringify(expiry);
}

function decodeExpiry(text: string): SessionExpiry {
  try {
    const expiry: unknown = text === '' ? null : JSON.parse(text);
    if (isExpiry(expiry)) return expiry;
  } catch {
    // Falls through: what is not JSON is as corrupt as what is the wrong JSON.
  }
  throw new SessionRecordCorruptError(
    'The expiry of a session record could not be decoded. The record is treated as absent and left for inspection.',
  );
}
