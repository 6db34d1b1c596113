import { SessionLimitError, SessionRecordCorruptError } from '../session.errors.js';
import {
  type JsonObject,
  type JsonValue,
  type RecordLimits,
  type SessionChanges,
  type SessionRecord,
} from './session-store.js';

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
/** A log of more lines than this is folded, however short they are. */
const FEW_LINES = 64;

class Itself {
  constructor(object: object) {
    // oxlint-disable-next-line no-constructor-return -- so that a private member can be put onto it
    return object;
  }
}

/**
 * Remembers of data that were decoded here how long their text is at most. On the data themselves, where nobody sees it:
 * a WeakMap grows by every load until the next collection, and makes that slow.
 */
class Measured extends Itself {
  #atMost: number;

  private constructor(data: JsonObject, atMost: number) {
    super(data);
    this.#atMost = atMost;
  }

  static of(data: JsonObject, atMost: number): JsonObject {
    return new Measured(data, atMost) as unknown as JsonObject;
  }

  static longestTextOf(data: JsonObject): number | undefined {
    return #atMost in data ? (data as unknown as Measured).#atMost : undefined;
  }
}

/** At most so many characters is the JSON text of these data, as they were loaded. Infinity: it is not known. */
export function longestText(data: JsonObject): number {
  return Measured.longestTextOf(data) ?? (Object.keys(data).length === 0 ? '{}'.length : Infinity);
}

export function encodeSnapshot(data: JsonObject): string {
  return JSON.stringify(data);
}

/** The log line for these changes, with its newline; `''` when they do not touch the data. JSON holds no raw newline. */
export function encodeLogLine(changes: SessionChanges): string {
  if (!changesData(changes)) return '';
  const line: LogLine = {};
  if (changes.clear) line.c = 1;
  if (changes.set) line.s = changes.set;
  if (changes.unset) line.r = changes.unset;
  if (changes.increment) line.i = changes.increment;
  if (changes.push) line.p = changes.push;
  return `${JSON.stringify(line)}\n`;
}

/**
 * The data that a snapshot and a log amount to.
 * @param log its lines, or all of them as one text
 * @throws SessionRecordCorruptError when either is not what this module wrote
 */
export function decodeData(snapshot: string, log: string | readonly string[]): JsonObject {
  try {
    const data = asObject(JSON.parse(snapshot));
    let longest = snapshot.length;
    if (log.length > 0) {
      for (const text of typeof log === 'string' ? log.split('\n') : log) {
        longest += text.length + 1;
        if (text !== '') applyChanges(data, fromLine(JSON.parse(text)));
      }
    }
    return Measured.of(data, longest);
  } catch (cause) {
    // The parser's own message quotes the data, so it is not passed on.
    throw new SessionRecordCorruptError(
      'A session record could not be decoded. It is treated as absent and left in the store for inspection.',
      { cause: cause instanceof SessionRecordCorruptError ? cause : undefined },
    );
  }
}

/**
 * Applies `changes` to `data`, in place: the cost is that of the changes, not of the data. This is what "applying" means
 * for every store.
 * @param data an object without prototype that nobody else holds
 * @returns the same object
 *
 * @example
 * ```ts
 * const data = applyChanges(current.data, changes);
 * ```
 */
export function applyChanges(data: JsonObject, changes: SessionChanges): JsonObject {
  if (changes.clear) for (const key of Object.keys(data)) delete data[key];
  for (const key of changes.unset ?? []) delete data[key];
  for (const key in changes.set) data[key] = changes.set[key] as JsonValue;
  for (const key in changes.increment) {
    const [current, by] = [data[key], changes.increment[key] as number];
    data[key] = typeof current === 'number' ? current + by : by;
  }
  for (const key in changes.push) {
    const [current, items] = [data[key], changes.push[key] as JsonValue[]];
    if (Array.isArray(current)) for (const item of items) current.push(item);
    else data[key] = [...items];
  }
  return data;
}

/** Do these changes touch the data, and not only the metadata? */
export function changesData(changes: SessionChanges): boolean {
  return Boolean(changes.clear ?? changes.set ?? changes.unset ?? changes.increment ?? changes.push);
}

/** Should a save write the whole snapshot (true), or only append to the log (false)? Lengths are in characters. */
export function shouldFold(snapshotLength: number, logLength: number, logLines = 0): boolean {
  return (
    snapshotLength < SMALL_SNAPSHOT ||
    logLength > Math.max(SHORT_LOG, snapshotLength / 4) ||
    logLines > FEW_LINES
  );
}

/**
 * The record as it is in the store after a save.
 * @param current as it is there now; its data are changed in place
 * @param record as the request sees it that made these changes
 * @param now epoch milliseconds
 *
 * @example
 * ```ts
 * // In `save` of a store that reads, changes and writes in one step:
 * const next = changedRecord(current, changes, record, Date.now());
 * ```
 */
export function changedRecord(
  current: SessionRecord,
  changes: SessionChanges,
  record: SessionRecord,
  now: number,
): SessionRecord {
  applyChanges(current.data, changes);
  const { meta = current.meta } = changes;
  return { ...current, meta, ...changedMetadata(current, changes, record, now) };
}

/** What a save changes beside data and meta. */
export function changedMetadata(
  current: Pick<SessionRecord, 'version' | 'keyHash' | 'expiry' | 'expiresAt'>,
  changes: SessionChanges,
  record: SessionRecord,
  now: number,
) {
  const { expiry = current.expiry, keyHash = current.keyHash } = changes;
  // A save since the load has set the deadline; only a `setExpiry` of this request goes above that.
  const decides = current.version === record.version || changes.expiry !== undefined;
  const expiresAt = decides ? record.expiresAt : current.expiresAt;
  return { keyHash, expiry, expiresAt, lastSeenAt: now, version: current.version + 1 };
}

/**
 * Refuses data that are larger than a record may be.
 * @param size characters of `data` as JSON, where they are known
 * @throws SessionLimitError
 *
 * @example
 * ```ts
 * checkRecordSize(next.data, this.limits); // in `save` of a store, before it writes
 * ```
 */
export function checkRecordSize(data: JsonObject, limits: Readonly<RecordLimits>, size?: number): void {
  if (limits.keys !== Infinity) {
    const keys = Object.keys(data).length;
    if (keys > limits.keys) throw new SessionLimitError('keys', limits.keys, keys);
  }
  if (limits.size !== Infinity) {
    const characters = size ?? encodeSnapshot(data).length;
    if (characters > limits.size) throw new SessionLimitError('size', limits.size, characters);
  }
}

function fromLine(given: unknown): SessionChanges {
  if (!isObject(given)) throw new SessionRecordCorruptError('A line of a session log is not an object.');
  const line: LogLine = given;
  // Not by spreading: a load does it for every line of a log.
  const changes: SessionChanges = {};
  if (line.c) changes.clear = true;
  if (line.s) changes.set = line.s;
  if (line.r) changes.unset = line.r;
  if (line.i) changes.increment = line.i;
  if (line.p) changes.push = line.p;
  return changes;
}

/** A shallow copy without prototype. */
function asObject(value: unknown): JsonObject {
  if (!isObject(value)) {
    throw new SessionRecordCorruptError('A session record holds something other than an object.');
  }
  const copy = Object.create(null) as JsonObject;
  // Not by `Object.assign`, which every load would feel.
  for (const key of Object.keys(value)) copy[key] = value[key] as JsonValue;
  return copy;
}

/** Neither null nor an array. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
