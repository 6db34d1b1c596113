import { applyChanges } from './session-log.js';
import { type SessionChanges, type SessionRecord } from './session-store.js';

/**
 * The record as it is in the store after a save.
 * @param current as it is there now
 * @param record as the request sees it that made these changes
 * @param now epoch milliseconds
 */
export function changedRecord(
  current: SessionRecord,
  changes: SessionChanges,
  record: SessionRecord,
  now: number,
): SessionRecord {
  const { userId = current.userId, expiry = current.expiry, meta = current.meta } = changes;
  // Whoever wrote since the load has set the deadline; only a `setExpiry` of this request goes above that.
  const decides = current.version === record.version || changes.expiry !== undefined;
  return {
    ...current,
    data: applyChanges(current.data, changes),
    userId,
    expiry,
    meta,
    expiresAt: decides ? record.expiresAt : current.expiresAt,
    lastSeenAt: now,
    version: current.version + 1,
  };
}
