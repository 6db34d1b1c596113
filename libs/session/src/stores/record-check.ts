import { type SessionExpiry, type SessionMeta, type SessionRecord } from './session-store.js';

/**
 * What a store reads back may be anything. These say whether it is what a record has around its data, so that a session
 * never has to do with a deadline that is no moment.
 */

/** Seconds; more than the thousand years that an expiry can be. */
const LONGEST_EXPIRY = 4e10;
/** The last moment that a Date can hold, which is also more than any two are apart. */
const LAST_MOMENT = 8.64e15;

export function isExpiry(value: unknown): value is SessionExpiry {
  if (typeof value === 'string') return !Number.isNaN(Date.parse(value));
  return value === null || (typeof value === 'number' && Math.abs(value) <= LONGEST_EXPIRY);
}

export function hasRecordFields(value: object): value is Omit<SessionRecord, 'data' | 'meta'> {
  const { id, userId, expiry, createdAt, lastSeenAt, expiresAt, version } = value as Partial<SessionRecord>;
  return (
    typeof id === 'string' &&
    (userId === null || typeof userId === 'string') &&
    isExpiry(expiry) &&
    isMoment(createdAt) &&
    isMoment(lastSeenAt) &&
    isMoment(expiresAt) &&
    Number.isSafeInteger(version)
  );
}

export function isMeta(value: unknown): value is SessionMeta {
  if (!isObject(value)) return false;
  const { authenticatedAfter, remembered, stamp, device = {}, rotation } = value;
  return (
    isMissingOrMoment(authenticatedAfter) &&
    (remembered === undefined || remembered === true) &&
    isMissingOrText(stamp) &&
    isObject(device) &&
    isMissingOrText(device['ip']) &&
    isMissingOrText(device['userAgent']) &&
    (rotation === undefined || isRotation(rotation))
  );
}

function isRotation(value: unknown): boolean {
  return (
    isObject(value) &&
    isMoment(value['after']) &&
    isMissingOrText(value['successor']) &&
    isMissingOrMoment(value['usedAfter'])
  );
}

function isMoment(value: unknown): boolean {
  return typeof value === 'number' && Math.abs(value) <= LAST_MOMENT;
}

function isMissingOrMoment(value: unknown): boolean {
  return value === undefined || isMoment(value);
}

function isMissingOrText(value: unknown): boolean {
  return value === undefined || typeof value === 'string';
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
