import { SessionRecordCorruptError } from '../session.errors.js';
import { type JsonObject, type JsonValue, type SessionChanges } from './session-store.js';

/**
 * How our stores keep data: a **snapshot** (the data as of the last fold) and a **log** (the changes since, one JSON
 * line each). A save that knows the current version replaces the snapshot; any other appends a line. A load replays
 * the log. So concurrent writers need neither locks nor retries, and a large session is not rewritten for a small change.
 */

/** One line of the log. Short names, because every save of a large session writes them. */
interface LogLine {
  c?: 1;
  s?: JsonObject;
  r?: string[];
  i?: { [key: string]: number };
  p?: { [key: string]: JsonValue[] };
}

/** Below this many characters a snapshot is rewritten by every save: cheaper than keeping a log. */
const SMALL_SNAPSHOT = 2048;
/** A log is folded into the snapshot when it is longer than this and than a quarter of the snapshot. */
const SHORT_LOG = 512;

export function encodeSnapshot(data: JsonObject): string {
  return JSON.stringify(data);
}

/** The log line for these changes; `''` when they do not touch the data. JSON never holds a raw newline. */
export function encodeLogLine(changes: SessionChanges): string {
  const line: LogLine = {
    ...(changes.clear && { c: 1 }),
    ...(changes.set && { s: changes.set }),
    ...(changes.unset && { r: changes.unset }),
    ...(changes.increment && { i: changes.increment }),
    ...(changes.push && { p: changes.push }),
  };
  return Object.keys(line).length === 0 ? '' : `${JSON.stringify(line)}\n`;
}

/**
 * The data that a snapshot and a log amount to.
 * @throws SessionRecordCorruptError when either is not what this module wrote
 */
export function decodeData(snapshot: string, log: string): JsonObject {
  try {
    let data = asObject(JSON.parse(snapshot));
    for (const text of log.split('\n')) {
      if (text !== '') data = applyChanges(data, fromLine(JSON.parse(text) as LogLine));
    }
    return data;
  } catch (cause) {
    // The parser's own message quotes the data, so it is not passed on.
    throw new SessionRecordCorruptError(
      'A session record could not be decoded. It is treated as absent and left in the store for inspection.',
      { cause: cause instanceof SessionRecordCorruptError ? cause : undefined },
    );
  }
}

/** A new object: `data` with `changes` applied. This is what "applying" means for every store. */
export function applyChanges(data: JsonObject, changes: SessionChanges): JsonObject {
  const result = changes.clear ? bare({}) : bare(data);
  for (const key of changes.unset ?? []) delete result[key];
  for (const [key, value] of Object.entries(changes.set ?? {})) result[key] = value;
  for (const [key, by] of Object.entries(changes.increment ?? {})) {
    const current = result[key];
    result[key] = typeof current === 'number' ? current + by : by;
  }
  for (const [key, items] of Object.entries(changes.push ?? {})) {
    const current = result[key];
    result[key] = Array.isArray(current) ? [...current, ...items] : [...items];
  }
  return result;
}

/** Do these changes touch the data, and not only the metadata? */
export function changesData(changes: SessionChanges): boolean {
  return Boolean(changes.clear ?? changes.set ?? changes.unset ?? changes.increment ?? changes.push);
}

/** Should a save write the whole snapshot (true), or only append to the log (false)? */
export function shouldFold(snapshotLength: number, logLength: number): boolean {
  return snapshotLength < SMALL_SNAPSHOT || logLength > Math.max(SHORT_LOG, snapshotLength / 4);
}

function fromLine(line: LogLine): SessionChanges {
  asObject(line);
  return {
    ...(line.c && { clear: true }),
    ...(line.s && { set: line.s }),
    ...(line.r && { unset: line.r }),
    ...(line.i && { increment: line.i }),
    ...(line.p && { push: line.p }),
  };
}

function asObject(value: unknown): JsonObject {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new SessionRecordCorruptError('A session record holds something other than an object.');
  }
  return bare(value as JsonObject);
}

/** A shallow copy without prototype. */
function bare(data: JsonObject): JsonObject {
  return Object.assign(Object.create(null) as JsonObject, data);
}
