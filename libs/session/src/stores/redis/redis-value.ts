import { SessionRecordCorruptError } from '../../session.errors.js';
import { decodeData, shouldFold } from '../session-log.js';
import { type SessionExpiry, type SessionRecord } from '../session-store.js';
import { type Reply } from './script-runner.js';

/** What lives under a key: see redis-scripts.ts. */
export type StoredValue =
  | { kind: 'session'; record: SessionRecord; longLog: boolean }
  | { kind: 'pending'; from: string }
  | { kind: 'moved'; to: string; value: string; ttl: number };

const HEADER_LENGTH = 74;

/** The session id, the user and the expiry, a line each. */
export function encodeMetadata({
  id,
  userId,
  expiry,
}: Pick<SessionRecord, 'id' | 'userId' | 'expiry'>): string {
  return `${JSON.stringify(id)}\n${encodeUser(userId)}\n${JSON.stringify(expiry)}\n`;
}

export function encodeUser(userId: string | null): string {
  return JSON.stringify(userId);
}

/**
 * @param reply of the load script
 * @throws SessionRecordCorruptError when the value is none of ours
 */
export function decodeValue([status, value, ttl, storeNow]: Reply): StoredValue | null {
  if (status === 0 || typeof value !== 'string') return null;
  const kind = value.slice(0, 1);
  if (kind === 'S') return decodeSession(value, Number(ttl), Number(storeNow));
  const lineEnd = value.indexOf('\n');
  if (lineEnd !== -1 && kind === 'P') return { kind: 'pending', from: value.slice(1, lineEnd) };
  if (lineEnd !== -1 && kind === 'M') {
    return { kind: 'moved', to: value.slice(1, lineEnd), value: value.slice(lineEnd + 1), ttl: Number(ttl) };
  }
  throw corrupt();
}

function decodeSession(value: string, ttl: number, storeNow: number): StoredValue {
  const idEnd = value.indexOf('\n', HEADER_LENGTH);
  const userEnd = value.indexOf('\n', idEnd + 1);
  const expiryEnd = value.indexOf('\n', userEnd + 1);
  const snapshotEnd = value.indexOf('\n', expiryEnd + 1);
  const [version, lastSeenAt, createdAt] = [value.slice(1, 11), value.slice(23, 38), value.slice(38, 53)].map(
    Number,
  );
  // A key without a time to live would be a session without an end.
  const whole = idEnd > 0 && userEnd > idEnd && expiryEnd > userEnd && snapshotEnd > expiryEnd && ttl >= 0;
  if (!whole || !isMoment(version) || !isMoment(lastSeenAt) || !isMoment(createdAt)) throw corrupt();

  const id = decodeJson(value.slice(HEADER_LENGTH, idEnd));
  const userId = decodeJson(value.slice(idEnd + 1, userEnd));
  const expiry = decodeJson(value.slice(userEnd + 1, expiryEnd));
  if (typeof id !== 'string' || !isStringOrNull(userId) || !isExpiry(expiry)) throw corrupt();
  const snapshot = value.slice(expiryEnd + 1, snapshotEnd);
  const log = value.slice(snapshotEnd + 1);
  // The stored moments are on the server's clock, the record's on this process's.
  const now = Date.now();
  const offset = now - storeNow;
  return {
    kind: 'session',
    longLog: log !== '' && shouldFold(snapshot.length, log.length),
    record: {
      id,
      userId,
      data: decodeData(snapshot, log),
      expiry,
      createdAt: createdAt + offset,
      lastSeenAt: lastSeenAt + offset,
      expiresAt: now + ttl,
      version,
      meta: {},
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

function isExpiry(value: unknown): value is SessionExpiry {
  return isStringOrNull(value) || typeof value === 'number';
}

function corrupt(): SessionRecordCorruptError {
  return new SessionRecordCorruptError(
    'A session record in Redis could not be decoded. It is treated as absent and left for inspection.',
  );
}
