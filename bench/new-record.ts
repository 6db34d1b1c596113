import { randomBytes } from 'node:crypto';
import { type SessionRecord } from 'nest-sessions';

/** Milliseconds. */
export const TWO_WEEKS = 14 * 24 * 60 * 60 * 1000;

/** A record of two weeks that has just begun, for benches that call a store without an application. */
export function newRecord(contents: Pick<SessionRecord, 'userId' | 'data'>): SessionRecord {
  const now = Date.now();
  return {
    id: randomBytes(16).toString('base64url'),
    keyHash: `s1.${randomBytes(32).toString('base64url')}`,
    ...contents,
    expiry: null,
    createdAt: now,
    lastSeenAt: now,
    expiresAt: now + TWO_WEEKS,
    version: 1,
    meta: {},
  };
}
