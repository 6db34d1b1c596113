import { SessionRecordCorruptError } from '../../session.errors.js';
import { hasRecordFields, type RecordCodec } from '../record-codec.js';
import { encodeSnapshot } from '../record-log.js';
import { type RecordLimits, type SessionExpiry, type SessionRecord } from '../session-store.js';

/**
 * A session file is lines of text. The first one, the head, was there before the file got its name; every other line is
 * an entry that some process has appended. What an entry does depends on the lines before it and on nothing else, so
 * all processes that read a file agree.
 *
 * A line is `<length> <JSON>\t<payload>`, where the length is that of everything after the space. It tells a line that
 * was cut short (the process was killed, the disk was full) from one that was spoiled.
 */

/** The record as of the last fold. The payload is the snapshot, encrypted if the engine encrypts. */
interface Head extends Omit<SessionRecord, 'data' | 'meta'> {
  format: typeof FORMAT;
  /** As text, encrypted like the payload; null when there is none. */
  meta: string | null;
  /** Characters of the data as JSON, and its keys. While there is a log: at most so many. */
  size: number;
  keys: number;
}

interface EntryBase {
  /** Unique, so that its writer finds it again. */
  tag: string;
  at: number;
}

/** The payload is a line of the log, or nothing. */
interface SaveEntry extends EntryBase {
  op: 'save';
  /** The key hash that the request was admitted with. The entry is void when the record has another one. */
  keyHash: string;
  newKeyHash?: string;
  loadedVersion: number;
  expiresAt: number;
  expiry?: SessionExpiry;
  meta?: string | null;
  /** How many keys it may add. */
  keys?: number;
  /** How many numbers it increments. */
  increments?: number;
  /** Those of the store that wrote it. The entry is void when the record could grow past them. */
  limits?: RecordLimits;
}

interface TouchEntry extends EntryBase {
  op: 'touch';
  loadedVersion: number;
  expiresAt: number;
  lastSeenAt: number;
}

interface EndEntry extends EntryBase {
  op: 'end';
  /** Void unless the session is still live, or has expired. */
  only?: 'live' | 'expired';
}

/** After a seal nothing counts any more: its writer, or else the writer of a takeover, replaces the file. */
interface SealEntry extends EntryBase {
  op: 'seal' | 'takeover';
}

type Entry = SaveEntry | TouchEntry | EndEntry | SealEntry;

/** An entry as its writer states it, before it gets its tag. */
export type NewEntry = Entry extends infer Each ? (Each extends Entry ? Omit<Each, 'tag'> : never) : never;
export type NewSave = Extract<NewEntry, { op: 'save' }>;

/**
 * What became of an entry. `sealed`: nothing, its writer has to append it to the file that replaces this one.
 * `oversized`: nothing, because the record could grow past the limits.
 */
export type Outcome = 'applied' | 'refused' | 'sealed' | 'oversized';

/** What a session file amounts to. */
export interface FileState {
  head: Head;
  snapshot: string;
  /** Lines of the log since the snapshot. */
  log: string;
  ended: boolean;
  /** The seal, if there is one, and the takeovers after it. */
  seals: SealEntry[];
  /** How many entries there are, void ones included. */
  entries: number;
  /** Characters of the file. */
  length: number;
}

/** Raised when files of this version cannot be read by the one before. */
const FORMAT = 1;

/** Tags of seals are names of files. */
const TAG = /^[0-9a-z]+$/;

/** The longest that JSON has: an increment by 0.2 makes 0.30000000000000004 of 0.1. */
const LONGEST_NUMBER = 24;

/** A file is folded when it holds more characters beside the snapshot than this (most of a block of the disk) … */
const SHORT_LOG = 3500;
/** … and than this part of the snapshot, or more entries than this. */
const LOG_SHARE = 1 / 4;
const MANY_ENTRIES = 64;

/** A file with this record and no log. */
export function encodeFile(record: SessionRecord, codec: RecordCodec): string {
  const { id, keyHash, userId, data, expiry, createdAt, lastSeenAt, expiresAt, version } = record;
  const meta = codec.encodeMeta(record.meta, id);
  const snapshot = codec.encodeSnapshot(data, id);
  const isEncrypted = !snapshot.startsWith('{');
  const size = isEncrypted ? encodeSnapshot(data).length : snapshot.length;
  const moments = { createdAt, lastSeenAt, expiresAt };
  const fields = { format: FORMAT, id, keyHash, userId, expiry, ...moments, version, meta, size } as const;
  return encodeLine({ ...fields, keys: Object.keys(data).length } satisfies Head, snapshot);
}

/** Begins a line instead of ending one, because the line before it may have been cut short. */
export function encodeEntry(entry: NewEntry, tag: string, payload: string): string {
  return `\n${encodeLine({ ...entry, tag }, payload)}`;
}

/**
 * Replays a session file. One that was copied from another session amounts to none.
 * @param tag of the entry whose outcome is wanted
 * @throws SessionRecordCorruptError when this is no session file, or one of a later format
 */
export function replay(text: string, id: string, tag?: string): [FileState, Outcome?] {
  const [first = '', ...rest] = text.split('\n');
  const [head, snapshot] = (decodeLine(first) ?? []) as [Head?, string?];
  if (head?.format !== FORMAT || snapshot === undefined) throw corrupt();
  const ended = head.id !== id;
  const state: FileState = { head, snapshot, log: '', ended, seals: [], entries: 0, length: text.length };
  let outcome: Outcome | undefined;
  for (const line of rest) {
    const [entry, payload = ''] = (decodeLine(line) ?? []) as [Entry?, string?];
    if (entry === undefined) continue;
    const result = apply(state, entry, payload);
    state.entries += 1;
    if (entry.tag === tag) outcome = result;
  }
  return outcome ? [state, outcome] : [state];
}

/** Changes the state if the entry counts. */
function apply(state: FileState, entry: Entry, payload: string): Outcome {
  const { head, seals } = state;
  if (state.ended) return 'refused';
  if (seals.length > 0 && entry.op !== 'takeover') return 'sealed';
  const hasExpired = head.expiresAt <= entry.at;
  switch (entry.op) {
    case 'save':
      return applySave(state, entry, payload);
    case 'touch':
      if (hasExpired || head.version !== entry.loadedVersion) return 'refused';
      if (head.expiresAt >= entry.expiresAt) return 'refused';
      head.expiresAt = entry.expiresAt;
      head.lastSeenAt = Math.max(head.lastSeenAt, entry.lastSeenAt);
      return 'applied';
    case 'end':
      if (entry.only === (hasExpired ? 'live' : 'expired')) return 'refused';
      state.ended = true;
      return 'applied';
    case 'seal':
    case 'takeover':
      if (entry.op === 'takeover' && seals.length === 0) return 'refused';
      if (!TAG.test(entry.tag)) throw corrupt();
      seals.push(entry);
      return 'applied';
    default:
      throw corrupt();
  }
}

/** What would become of this save, were it the next entry? Applies it if it counts. */
export function applySave(state: FileState, entry: NewSave, payload: string): Outcome {
  const { head } = state;
  if (state.ended || head.expiresAt <= entry.at || head.keyHash !== entry.keyHash) return 'refused';
  if (payload !== '') {
    const size = head.size + payload.length + (entry.increments ?? 0) * LONGEST_NUMBER;
    const keys = head.keys + (entry.keys ?? 0);
    const { limits } = entry;
    // JSON has no Infinity: it is read as null.
    if (size > (limits?.size ?? Infinity) || keys > (limits?.keys ?? Infinity)) return 'oversized';
    state.log += `${payload}\n`;
    Object.assign(head, { size, keys });
  }
  // A save since the load has set the deadline; only a `setExpiry` of this request goes above that.
  if (entry.expiry !== undefined || entry.loadedVersion === head.version) head.expiresAt = entry.expiresAt;
  if (entry.expiry !== undefined) head.expiry = entry.expiry;
  if (entry.newKeyHash !== undefined) head.keyHash = entry.newKeyHash;
  if (entry.meta !== undefined) head.meta = entry.meta;
  head.lastSeenAt = entry.at;
  head.version += 1;
  return 'applied';
}

export function isLive({ head, ended }: FileState): boolean {
  return !ended && head.expiresAt > Date.now();
}

/** @throws SessionRecordCorruptError */
export function toRecord({ head, snapshot, log }: FileState, codec: RecordCodec): SessionRecord {
  if (!hasRecordFields(head) || typeof (head.meta ?? '') !== 'string') throw corrupt();
  const { id, keyHash, userId, expiry, createdAt, lastSeenAt, expiresAt, version } = head;
  const data = codec.decodeData(snapshot, log, id);
  const meta = codec.decodeMeta(head.meta, id);
  return { id, keyHash, userId, data, expiry, createdAt, lastSeenAt, expiresAt, version, meta };
}

export function wantsFolding({ length, snapshot, entries }: FileState): boolean {
  return (
    entries > MANY_ENTRIES || length - snapshot.length > Math.max(SHORT_LOG, snapshot.length * LOG_SHARE)
  );
}

function encodeLine(fields: object, payload: string): string {
  const body = `${JSON.stringify(fields)}\t${payload}`;
  return `${body.length} ${body}`;
}

/** Null: it was cut short, so nobody was ever told that it was written. */
function decodeLine(line: string): [fields: object, payload: string] | null {
  const [, length, body = ''] = /^(\d*)(?: (.*))?$/s.exec(line) ?? [];
  if (length === undefined) throw corrupt();
  if (body === '' || body.length < Number(length)) return null;
  const tab = body.indexOf('\t');
  try {
    const fields: unknown = JSON.parse(body.slice(0, tab));
    const isWhole = typeof fields === 'object' && fields !== null && body.length === Number(length);
    if (isWhole && tab !== -1) return [fields, body.slice(tab + 1)];
  } catch {
    // The parser's message quotes the file, so it is not passed on.
  }
  throw corrupt();
}

function corrupt(): SessionRecordCorruptError {
  return new SessionRecordCorruptError(
    'A session file could not be decoded. The session is treated as absent and its file left for inspection.',
  );
}
