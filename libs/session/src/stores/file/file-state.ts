import { type RecordCodec } from '../record-codec.js';
import { type SessionRecord } from '../session-store.js';
import { hasRecordFields } from '../record-check.js';
import {
  corrupt,
  decodeFile,
  encodeHead,
  type Entry,
  FORMAT,
  type Head,
  type Line,
  type SaveEntry,
  type SealEntry,
  type TakeoverEntry,
} from './file-format.js';

/** So long it is told where a session was moved to: longer than any request that may not know it yet. */
const MOVE_TOLD_FOR = 120_000;

/** What became of an entry. `sealed`: nothing, and its writer has to append it to the file that replaces this one. */
export type Outcome = 'applied' | 'refused' | 'sealed';

/** What a session file amounts to. */
export interface FileState {
  head: Head;
  snapshot: string;
  /** Lines of the log since the snapshot. */
  log: string;
  ended: boolean;
  /** The file names that the session has left, each with the moment until which it is told where to. */
  left: Map<string, number>;
  /** The seal, if there is one, and the takeovers after it. */
  seals: (SealEntry | TakeoverEntry)[];
  /** How many entries have had an effect. */
  applied: number;
  /** Of the whole file, in characters. */
  size: number;
}

/**
 * Replays a session file.
 * @param tag of the entry whose outcome is wanted
 * @throws SessionRecordCorruptError
 */
export function replay(text: string, tag?: string): { state: FileState; outcome: Outcome | undefined } {
  const { head, entries } = decodeFile(text);
  const { signpostAt, expiresAt } = head.fields;
  const state: FileState = {
    head: { ...head.fields },
    snapshot: head.payload,
    log: '',
    ended: false,
    left: new Map(signpostAt === undefined ? [] : [[signpostAt, expiresAt]]),
    seals: [],
    applied: 0,
    size: text.length,
  };
  let outcome: Outcome | undefined;
  for (const entry of entries) {
    const result = apply(state, entry);
    if (result === 'applied') state.applied += 1;
    if (entry.fields.tag === tag) outcome = result;
  }
  return { state, outcome };
}

/** How an entry names the session that it is meant for: short, and no other of the session's file names ends like it. */
export function addressOf(name: string): string {
  return name.slice(-16);
}

/** Is there, under this name and at this moment, a session? */
export function isLive({ head, ended }: FileState, name: string): boolean {
  return !ended && head.name === name && head.expiresAt > Date.now();
}

/** The file name that the session has moved to from this one; null when it has not, or too long ago. */
export function movedFrom({ head, left }: FileState, name: string): string | null {
  return (left.get(name) ?? 0) > Date.now() ? head.name : null;
}

/** @throws SessionRecordCorruptError */
export function toRecord({ head, snapshot, log }: FileState, codec: RecordCodec): SessionRecord {
  if (!hasRecordFields(head) || typeof (head.meta ?? '') !== 'string') throw corrupt();
  const { id, userId, expiry, createdAt, lastSeenAt, expiresAt, version } = head;
  const data = codec.decodeData(snapshot, log, id);
  const meta = codec.decodeMeta(head.meta, id);
  return { id, userId, data, expiry, createdAt, lastSeenAt, expiresAt, version, meta };
}

/** A file that amounts to the same, without a log, and encrypted with the newest secret. */
export function encodeFolded(state: FileState, codec: RecordCodec): string {
  const { data, meta, id } = toRecord(state, codec);
  return encodeHead({ ...state.head, meta: codec.encodeMeta(meta, id) }, codec.encodeSnapshot(data, id));
}

export function encodeNew(name: string, record: SessionRecord, codec: RecordCodec): string {
  const { id, userId, data, expiry, createdAt, lastSeenAt, expiresAt } = record;
  const meta = codec.encodeMeta(record.meta, id);
  const metadata = { id, userId, expiry, createdAt, lastSeenAt, expiresAt, version: 1, meta };
  return encodeHead({ format: FORMAT, name, ...metadata }, codec.encodeSnapshot(data, id));
}

/** What stays under the old name of a session: enough to find the session, and nothing of its data. */
export function encodeSignpost({ head, left }: FileState, signpostAt: string): string {
  const { name, id } = head;
  const expiresAt = left.get(signpostAt) ?? Date.now();
  const moments = { createdAt: expiresAt, lastSeenAt: expiresAt, expiresAt };
  const nothing = { userId: null, expiry: null, version: 1, meta: null };
  return encodeHead({ format: FORMAT, name, signpostAt, id, ...moments, ...nothing }, '{}');
}

function apply(state: FileState, { fields: entry, payload }: Line<Entry>): Outcome {
  const { head } = state;
  if (state.ended || entry.of !== addressOf(head.name)) return 'refused';
  if (state.seals.length > 0) {
    if (entry.op !== 'takeover') return 'sealed';
    state.seals.push(entry);
    return 'applied';
  }
  switch (entry.op) {
    case 'save':
      if (head.expiresAt <= entry.at) return 'refused';
      applySave(state, entry, payload);
      return 'applied';
    case 'touch':
      if (head.expiresAt <= entry.at || head.version !== entry.loadedVersion) return 'refused';
      if (head.expiresAt >= entry.expiresAt) return 'refused';
      head.expiresAt = entry.expiresAt;
      head.lastSeenAt = Math.max(head.lastSeenAt, entry.lastSeenAt);
      return 'applied';
    case 'end':
      if (entry.onlyExpired && head.expiresAt > entry.at) return 'refused';
      if (entry.onlyUser !== undefined && entry.onlyUser !== head.userId) return 'refused';
      state.ended = true;
      return 'applied';
    case 'seal':
      state.seals.push(entry);
      return 'applied';
    default: // a takeover of a file that nobody has sealed
      return 'refused';
  }
}

function applySave(state: FileState, entry: SaveEntry, payload: string): void {
  const { head } = state;
  // Whoever wrote since the load has set the deadline; only a `setExpiry` of this request goes above that.
  if (entry.expiry !== undefined || entry.loadedVersion === head.version) head.expiresAt = entry.expiresAt;
  if (entry.expiry !== undefined) head.expiry = entry.expiry;
  if (entry.userId !== undefined) head.userId = entry.userId;
  if (entry.meta !== undefined) head.meta = entry.meta;
  if (entry.moveTo !== undefined) {
    if (typeof entry.moveTo !== 'string') throw corrupt();
    state.left.set(head.name, entry.at + MOVE_TOLD_FOR);
    head.name = entry.moveTo;
  }
  state.log += payload === '' ? '' : `${payload}\n`;
  head.lastSeenAt = entry.at;
  head.version += 1;
}
