import { randomBytes } from 'node:crypto';
import { decodeRecord, encodeRecord } from '../cache/record-text.js';
import { type RecordCodec } from '../record-codec.js';
import { type SessionRecord } from '../session-store.js';

/**
 * The values in the cache:
 * - a lease, which reserves the place for who has asked the database and not heard yet: `l` and a random text
 * - a record: `r`, its version, the moment of writing on the writer's clock, a newline, and the record
 * - where a record has moved to, under a key of its own
 */
export function newLease(): string {
  return `l${randomBytes(12).toString('base64url')}`;
}

/** What records of this version begin with, and no others. */
export function beginningOf(version: number): string {
  return `r${version} `;
}

export function encodeCached(record: SessionRecord, codec: RecordCodec): string {
  return `${beginningOf(record.version)}${Date.now()}\n${encodeRecord(record, codec)}`;
}

/**
 * The record that is held, or null if there is none that can be relied on: it must be live, and younger than `maxAge`
 * on the clock of this process as well. Its moments are on the clock of the process that wrote it, and where clocks
 * disagree by more than that, records in the cache are of no use to one another.
 */
export function decodeCached(held: string, maxAge: number, codec: RecordCodec): SessionRecord | null {
  const [head, text] = splitOnce(held, '\n');
  if (!head.startsWith('r') || text === undefined) return null;
  const now = Date.now();
  if (!(Math.abs(now - Number(head.slice(head.indexOf(' ')))) <= maxAge)) return null;
  try {
    const record = decodeRecord(text, codec);
    return record.expiresAt > now ? record : null;
  } catch {
    // Whatever it is, the database has the original.
    return null;
  }
}

export function movedKey(key: string): string {
  return `moved:${key}`;
}

function splitOnce(text: string, separator: string): [string, string | undefined] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + separator.length)];
}
