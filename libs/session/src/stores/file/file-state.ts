import { decodeData, encodeSnapshot } from '../session-log.js';
import { type SessionRecord } from '../session-store.js';
import {
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

/** What became of an entry. `sealed`: nothing, and its writer has to append it to the file that replaces this one. */
export type Outcome = 'applied' | 'refused' | 'sealed';

/** What a session file amounts to. */
export interface FileState {
  head: Head;
  snapshot: string;
  /** Lines of the log since the snapshot. */
  log: string;
  ended: boolean;
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
  const state: FileState = {
    head: { ...head.meta },
    snapshot: head.payload,
    log: '',
    ended: false,
    seals: [],
    applied: 0,
    size: text.length,
  };
  let outcome: Outcome | undefined;
  for (const entry of entries) {
    const result = apply(state, entry);
    if (result === 'applied') state.applied += 1;
    if (entry.meta.tag === tag) outcome = result;
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

/** @throws SessionRecordCorruptError */
export function toRecord({ head, snapshot, log }: FileState): SessionRecord {
  const { id, userId, expiry, createdAt, lastSeenAt, expiresAt, version } = head;
  const data = decodeData(snapshot, log);
  return { id, userId, data, expiry, createdAt, lastSeenAt, expiresAt, version, meta: {} };
}

/** A file that amounts to the same, without a log. */
export function encodeFolded(state: FileState): string {
  return encodeHead(state.head, encodeSnapshot(decodeData(state.snapshot, state.log)));
}

export function encodeNew(name: string, record: SessionRecord): string {
  const { id, userId, data, expiry, createdAt, lastSeenAt, expiresAt } = record;
  const metadata = { id, userId, expiry, createdAt, lastSeenAt, expiresAt, version: 1 };
  return encodeHead({ format: FORMAT, name, ...metadata }, encodeSnapshot(data));
}

/** What stays under the old name of a session: enough to find the session, and nothing of its data. */
export function encodeSignpost({ head }: FileState, at: number): string {
  const { name, id } = head;
  const nothing = { userId: null, expiry: null, createdAt: at, lastSeenAt: at, expiresAt: at, version: 1 };
  return encodeHead({ format: FORMAT, name, id, ...nothing }, '{}');
}

function apply(state: FileState, { meta: entry, payload }: Line<Entry>): Outcome {
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
  if (entry.moveTo !== undefined) head.name = entry.moveTo;
  state.log += payload === '' ? '' : `${payload}\n`;
  head.lastSeenAt = entry.at;
  head.version += 1;
}
