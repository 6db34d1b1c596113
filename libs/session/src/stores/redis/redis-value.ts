import { SessionRecordCorruptError } from '../../session.errors.js';
import { type RecordCodec } from '../record-codec.js';
import { isExpiry } from '../record-check.js';
import { shouldFold } from '../session-log.js';
import { type SessionMeta, type SessionRecord } from '../session-store.js';
import { HEADER_LENGTH } from './redis-scripts.js';
import { type Reply } from './script-runner.js';

/** What lives under a key: see redis-scripts.ts. */
export type StoredValue =
  | StoredSession
  | { kind: 'pending'; from: string }
  | { kind: 'moved'; to: string; value: string; ttl: number };

export interface StoredSession {
  kind: 'session';
  record: SessionRecord;
  /** When it was bound to its user, by the clock that the user's epoch is on; 0 without a user. */
  bound: number;
  longLog: boolean;
}

/** The session id, the user, the expiry and the meta, a line each. */
export function encodeLines({ id, userId, expiry, meta }: SessionRecord, codec: RecordCodec): string {
  return `${JSON.stringify(id)}\n${encodeUser(userId)}\n${JSON.stringify(expiry)}\n${encodeMetaLine(meta, id, codec)}`;
}

export function encodeMetaLine(meta: SessionMeta, id: string, codec: RecordCodec): string {
  return `${codec.encodeMeta(meta, id) ?? ''}\n`;
}

export function encodeUser(userId: string | null): string {
  return JSON.stringify(userId);
}

/**
 * @param reply of the load script
 * @throws SessionRecordCorruptError when the value is none of ours
 */
export function decodeValue([status, value, ttl, storeNow]: Reply, codec: RecordCodec): StoredValue | null {
  if (status === 0 || typeof value !== 'string') return null;
  const kind = value.slice(0, 1);
  if (kind === 'S') return decodeSession(value, Number(ttl), Number(storeNow), codec);
  const lineEnd = value.indexOf('\n');
  if (lineEnd !== -1 && kind === 'P') return { kind: 'pending', from: value.slice(1, lineEnd) };
  const idEnd = value.indexOf('\n', lineEnd + 1);
  if (lineEnd !== -1 && idEnd !== -1 && kind === 'M') {
    return { kind: 'moved', to: value.slice(1, lineEnd), value: value.slice(idEnd + 1), ttl: Number(ttl) };
  }
  throw corrupt();
}

function decodeSession(value: string, ttl: number, storeNow: number, codec: RecordCodec): StoredSession {
  const idEnd = value.indexOf('\n', HEADER_LENGTH);
  const userEnd = value.indexOf('\n', idEnd + 1);
  const expiryEnd = value.indexOf('\n', userEnd + 1);
  const metaEnd = value.indexOf('\n', expiryEnd + 1);
  const snapshotEnd = value.indexOf('\n', metaEnd + 1);
  const [version, lastSeenAt, createdAt, bound] = [
    value.slice(1, 11),
    value.slice(23, 38),
    value.slice(38, 53),
    value.slice(68, 83),
  ].map(Number);
  // A key without a time to live would be a session without an end.
  const whole = idEnd > 0 && userEnd > idEnd && expiryEnd > userEnd && metaEnd > expiryEnd;
  if (!whole || snapshotEnd < metaEnd || ttl < 0) throw corrupt();
  if (!isMoment(version) || !isMoment(lastSeenAt) || !isMoment(createdAt) || !isMoment(bound))
    throw corrupt();

  const id = decodeJson(value.slice(HEADER_LENGTH, idEnd));
  const userId = decodeJson(value.slice(idEnd + 1, userEnd));
  const expiry = decodeJson(value.slice(userEnd + 1, expiryEnd));
  if (typeof id !== 'string' || !isStringOrNull(userId) || !isExpiry(expiry)) throw corrupt();
  // One with a user that was never bound to it would be one that the user's epoch cannot end.
  if (userId !== null && bound === 0) throw corrupt();
  const snapshot = value.slice(metaEnd + 1, snapshotEnd);
  const log = value.slice(snapshotEnd + 1);
  // The stored moments are on the server's clock, the record's on this process's.
  const now = Date.now();
  const offset = now - storeNow;
  return {
    kind: 'session',
    bound,
    longLog: log !== '' && shouldFold(snapshot.length, log.length),
    record: {
      id,
      userId,
      data: codec.decodeData(snapshot, log, id),
      expiry,
      createdAt: createdAt + offset,
      lastSeenAt: lastSeenAt + offset,
      expiresAt: now + ttl,
      version,
      meta: codec.decodeMeta(value.slice(expiryEnd + 1, metaEnd), id),
    },
  };
}

function decodeJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw corrupt();
  }
}

function isMoment(value: number | undefined): value is number {
  return Number.isSafeInteger(value);
}

function isStringOrNull(value: unknown): value is string | null {
  return value === null || typeof value === 'string';
}

function corrupt(): SessionRecordCorruptError {
  return new SessionRecordCorruptError(
    'A session record in Redis could not be decoded. It is treated as absent and left for inspection.',
  );
}
