import { SessionRecordCorruptError } from '../../session.errors.js';
import { type SessionExpiry } from '../session-store.js';

/**
 * A session file is lines of text. The first one, the head, was there before the file got its name; every other line is
 * an entry that some process has appended. What an entry amounts to depends on those before it and on nothing else, so
 * that all who read a file agree.
 *
 * A line is `<length> <JSON>\t<payload>`, the length being that of everything behind the blank. It tells a line
 * that was cut short, by the end of its writer or of the disk, from one that was spoiled.
 */

/** The record as of the last fold. Its payload is the snapshot, which is encrypted if the engine is told to. */
export interface Head {
  format: typeof FORMAT;
  /** The session's file name. Where the file has another one, it is only a signpost to this one. */
  name: string;
  /** In a signpost: the name that it stands under. */
  signpostAt?: string;
  id: string;
  userId: string | null;
  expiry: SessionExpiry;
  createdAt: number;
  lastSeenAt: number;
  expiresAt: number;
  version: number;
  /** As a text, encrypted like the payload; null when there is none. */
  meta: string | null;
}

interface EntryBase {
  /** Unique, so that its writer finds it again. */
  tag: string;
  /** End of the file name by which its writer knows the session. Void where the session has got another one. */
  of: string;
  at: number;
}

/** Its payload is a line of the log, or nothing. */
export interface SaveEntry extends EntryBase {
  op: 'save';
  loadedVersion: number;
  expiresAt: number;
  expiry?: SessionExpiry;
  userId?: string | null;
  meta?: string | null;
  /** The session's next file name. */
  moveTo?: string;
}

export interface TouchEntry extends EntryBase {
  op: 'touch';
  loadedVersion: number;
  expiresAt: number;
  lastSeenAt: number;
}

export interface EndEntry extends EntryBase {
  op: 'end';
  /** Void unless the session has expired. */
  onlyExpired?: true;
  /** Void unless the session is bound to this user. */
  onlyUser?: string;
}

/** From here on nothing counts any more: the first seal's owner puts a folded file in the place of this one. */
export interface SealEntry extends EntryBase {
  op: 'seal';
  owner: string;
}

/** In a sealed file: whoever was to replace it is gone, so this process will. */
export interface TakeoverEntry extends EntryBase {
  op: 'takeover';
  owner: string;
}

export type Entry = SaveEntry | TouchEntry | EndEntry | SealEntry | TakeoverEntry;

export interface Line<Fields> {
  fields: Fields;
  payload: string;
}

/** Raised when files of this version cannot be read by the one before. */
export const FORMAT = 1;

export function encodeHead(head: Head, snapshot: string): string {
  return encodeLine(head, snapshot);
}

/** Begins a line instead of ending one: whatever precedes it may have been cut short. */
export function encodeEntry(entry: Entry, payload: string): string {
  return `\n${encodeLine(entry, payload)}`;
}

/** @throws SessionRecordCorruptError when this is no session file, or one of a version to come */
export function decodeFile(text: string): { head: Line<Head>; entries: Line<Entry>[] } {
  const [first = '', ...rest] = text.split('\n');
  const head = decodeLine<Head>(first);
  if (head?.fields.format !== FORMAT || typeof head.fields.name !== 'string') throw corrupt();
  const entries = rest.map((line) => decodeLine<Entry>(line)).filter((entry) => entry !== null);
  return { head, entries };
}

function encodeLine(fields: object, payload: string): string {
  const body = `${JSON.stringify(fields)}\t${payload}`;
  return `${body.length} ${body}`;
}

/** Null: it was cut short, so nobody was ever told that it was written. */
function decodeLine<Fields extends object>(line: string): Line<Fields> | null {
  const [, length, body] = /^(\d*)(?: (.*))?$/s.exec(line) ?? [];
  if (length === undefined) throw corrupt();
  if (body === undefined || body.length < Number(length)) return null;
  const tab = body.indexOf('\t');
  if (body.length > Number(length) || tab === -1) throw corrupt();
  return { fields: parseFields(body.slice(0, tab)) as Fields, payload: body.slice(tab + 1) };
}

function parseFields(text: string): object {
  try {
    const fields: unknown = JSON.parse(text);
    if (typeof fields === 'object' && fields !== null) return fields;
  } catch {
    // The parser's message quotes the file, so it is not passed on.
  }
  throw corrupt();
}

export function corrupt(): SessionRecordCorruptError {
  return new SessionRecordCorruptError(
    'A session file could not be decoded. The session is treated as absent and its file left for inspection.',
  );
}
