import { randomUUID } from 'node:crypto';
import { type RecordCodec } from '../record-codec.js';
import { shouldFold } from '../session-log.js';
import { type SessionChanges, type SessionRecord } from '../session-store.js';
import { encodeMetaLine, encodeUser } from './redis-value.js';

/** Dates beyond this are of no use to a session. */
const LAST_MOMENT = Date.UTC(9999, 11, 31);

/** How many sessions with a long log are remembered between their load and their save. */
const REMEMBERED_LOGS = 10_000;

/** An entry of the user index lasts twice as long as its session has to live, so that few touches have to renew it. */
const SHORTEST_ENTRY = 60_000;

/** What saves and renames write: see `writing` in redis-scripts.ts. */
export class WrittenValues {
  /** Store keys of loaded records whose log wants folding. A hint: what is forgotten is folded after the next load. */
  private readonly longLogs = new Set<string>();

  constructor(private readonly codec: RecordCodec) {}

  rememberLongLog(key: string): void {
    if (this.longLogs.size >= REMEMBERED_LOGS) this.longLogs.clear();
    this.longLogs.add(key);
  }

  /** All but the first, where the epochs are, and the last, when the session was bound. */
  of(key: string, changes: SessionChanges, record: SessionRecord): (string | number)[] {
    const { id } = record;
    const line = this.codec.encodeLogLine(changes, id);
    const snapshot = line === '' ? '' : this.codec.encodeSnapshot(record.data, id);
    return [
      record.version,
      newWriteId(),
      fromNow(record.expiresAt),
      changes.expiry === undefined ? '' : JSON.stringify(changes.expiry),
      changes.userId === undefined ? '' : encodeUser(changes.userId),
      changes.meta === undefined ? '' : encodeMetaLine(changes.meta, id, this.codec),
      entryTime(record),
      line !== '' && this.folds(key, snapshot, line) ? snapshot : '',
      line,
    ];
  }

  private folds(key: string, snapshot: string, line: string): boolean {
    return this.longLogs.delete(key) || shouldFold(snapshot.length, line.length);
  }
}

/** Milliseconds from now, for Redis to add to its own clock. */
export function fromNow(moment: number): number {
  return Math.round(Math.min(moment, LAST_MOMENT) - Date.now());
}

/** For how long the index of a user has to know this session, in milliseconds. */
export function entryTime({ expiresAt }: SessionRecord): number {
  return Math.max(SHORTEST_ENTRY, 2 * fromNow(expiresAt));
}

/** Twelve characters that no other write has. */
export function newWriteId(): string {
  return randomUUID().slice(-12);
}
