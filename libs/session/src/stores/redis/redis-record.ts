import { randomUUID } from 'node:crypto';
import { SessionRecordCorruptError } from '../../session.errors.js';
import { isExpiry, type RecordCodec } from '../record-codec.js';
import { type SessionChanges, type SessionExpiry, type SessionRecord } from '../session-store.js';

/**
 * A session in Redis is a list under one key for life:
 *
 *   key hash · lines of the log, the newest first · head · snapshot
 *
 * A load is LRANGE. An ordinary save is LINSERT of one line after the key hash, which does nothing when the session is
 * gone or its key hash is another one: one atomic step, without a script.
 *
 * - head: `write id · version · createdAt · touched version · lastSeenAt · expiresAt · keptUntil`, and the user, the
 *   expiry and the meta as one text each. The last three times are as of the touched version.
 * - key hash: with `!` in front when the record is so large that its size has to be looked at by every save. Then LINSERT
 *   finds no key hash, and a script does it.
 * - line: `write id · version that was loaded · lastSeenAt · expiresAt [· keptUntil]`, what else changed as JSON, and the
 *   changes of the data.
 *
 * A load replays the lines, each of which raises the version by one. A deadline counts if the writer had loaded the
 * version right before its line, or has called `setExpiry`. A line that came twice counts once, and one that was written
 * after the deadline not at all.
 *
 * Moments are on the server's clock, base 36. A save that moves the deadline by a little does not set the time to live
 * of the key: Redis keeps it until `keptUntil`, somewhat longer than the session lives.
 */
export interface DecodedSession {
  /** Its moments are on the server's clock. */
  record: SessionRecord;
  /** Redis keeps the key at least until then. */
  keptUntil: number;
  /** The write id of the head, which every fold replaces. */
  headId: string;
  /** Characters of snapshot and log. */
  size: number;
  /** Is it time for a new snapshot? */
  longLog: boolean;
}

/** What a save writes, but for the times, as texts that nobody changes any more. */
export interface EncodedWrite {
  writeId: string;
  version: number;
  data: string;
  extras: string;
}

/** What else a line may tell: a new expiry, an encoded meta. */
interface Extras {
  e?: SessionExpiry;
  m?: string;
}

/** Dates beyond this are of no use to a session. */
export const LAST_MOMENT = Date.UTC(9999, 11, 31);

/** A log of more characters than this, and than a quarter of the snapshot, is folded. */
const SHORT_LOG = 768;
/** A log of more lines than this is folded, however short they are. */
const FEW_LINES = 64;

/** Twelve characters that no other write has. */
export function newWriteId(): string {
  return randomUUID().slice(-12);
}

/** Puts the moments of a record, which nobody else holds, on another clock. */
export function moveClock(record: SessionRecord, offset: number): SessionRecord {
  record.createdAt = Math.round(record.createdAt + offset);
  record.lastSeenAt = Math.round(record.lastSeenAt + offset);
  record.expiresAt = Math.min(Math.round(record.expiresAt + offset), LAST_MOMENT);
  return record;
}

/**
 * The head of a record that has just been created or folded.
 * @param meta as the codec has encoded it
 */
export function encodeHead(
  record: SessionRecord,
  meta: string | null,
  keptUntil: number,
  writeId: string,
): string {
  const { version } = record;
  const times = [record.lastSeenAt, record.expiresAt, keptUntil].map(encodeMoment);
  const numbers = [writeId, version, encodeMoment(record.createdAt), version, ...times].join(' ');
  return [numbers, JSON.stringify(record.userId), JSON.stringify(record.expiry), meta ?? ''].join('\n');
}

export function encodeWrite(
  changes: SessionChanges,
  { version }: SessionRecord,
  id: string,
  codec: RecordCodec,
): EncodedWrite {
  const { expiry, meta } = changes;
  let extras = '';
  if (expiry !== undefined || meta !== undefined) {
    const texts: Extras = {
      ...(expiry !== undefined && { e: expiry }),
      ...(meta !== undefined && { m: codec.encodeMeta(meta, id) ?? '' }),
    };
    extras = JSON.stringify(texts);
  }
  return { writeId: newWriteId(), version, data: codec.encodeLogLine(changes, id).trimEnd(), extras };
}

/** @param keptUntil for a line that comes with a new time to live */
export function encodeLine(
  { writeId, version, data, extras }: EncodedWrite,
  lastSeenAt: number,
  expiresAt: number,
  keptUntil?: number,
): string {
  const kept = keptUntil === undefined ? '' : ` ${encodeMoment(keptUntil)}`;
  const times = `${encodeMoment(lastSeenAt)} ${encodeMoment(expiresAt)}${kept}`;
  return `${writeId} ${version} ${times}\n${extras}\n${data}`;
}

/** Is it this write that made the head? */
export function isHeadOf(head: unknown, { writeId }: EncodedWrite): boolean {
  return typeof head === 'string' && head.startsWith(`${writeId} `);
}

export function keyHashIn([first = '']: readonly string[]): string {
  return first.startsWith('!') ? first.slice(1) : first;
}

/**
 * @param now on the server's clock
 * @returns null when the session has expired
 * @throws SessionRecordCorruptError when the elements are not what this module wrote
 */
export function decodeSession(
  elements: readonly string[],
  id: string,
  codec: RecordCodec,
  now: number,
): DecodedSession | null {
  const snapshot = elements.at(-1);
  if (elements.length < 3 || snapshot === undefined) throw corrupt();
  const head = decodeHead(elements.at(-2) ?? '');
  let { version, expiry, meta, lastSeenAt, expiresAt, keptUntil } = head;
  const writeIds = new Set<string>();
  const log: string[] = [];
  let logSize = 0;

  for (let index = elements.length - 3; index > 0; index--) {
    const line = decodeLine(elements[index] ?? '');
    const isNews = ++version > head.touchedVersion;
    logSize += elements[index]?.length ?? 0;
    if (writeIds.has(line.writeId)) continue;
    writeIds.add(line.writeId);
    if (isNews) {
      if (line.lastSeenAt >= expiresAt) return null;
      if (line.expiry !== undefined || line.version === version - 1) expiresAt = line.expiresAt;
      keptUntil = line.expiry === undefined ? Math.max(keptUntil, line.keptUntil) : line.keptUntil;
      lastSeenAt = line.lastSeenAt;
    }
    if (line.expiry !== undefined) expiry = line.expiry;
    meta = line.meta ?? meta;
    if (line.data !== '') log.push(line.data);
  }

  if (expiresAt <= now) return null;
  return {
    size: snapshot.length + logSize,
    longLog: logSize > Math.max(SHORT_LOG, snapshot.length / 4) || elements.length - 3 > FEW_LINES,
    keptUntil,
    headId: head.writeId,
    record: {
      id,
      keyHash: keyHashIn(elements),
      userId: head.userId,
      data: codec.decodeData(snapshot, log, id),
      expiry,
      createdAt: head.createdAt,
      lastSeenAt,
      expiresAt,
      version,
      meta: codec.decodeMeta(meta, id),
    },
  };
}

function decodeHead(head: string) {
  const lines = head.split('\n');
  const [numbers = '', user = '', expiry = '', meta = ''] = lines;
  const words = numbers.split(' ');
  if (lines.length !== 4 || words.length !== 7) throw corrupt();
  const [writeId = '', version, createdAt, touchedVersion, lastSeenAt, expiresAt, keptUntil] = words;
  const userId = decodeJson(user);
  if (userId !== null && typeof userId !== 'string') throw corrupt();
  return {
    writeId,
    version: decodeNumber(version),
    createdAt: decodeMoment(createdAt),
    touchedVersion: decodeNumber(touchedVersion),
    lastSeenAt: decodeMoment(lastSeenAt),
    expiresAt: decodeMoment(expiresAt),
    keptUntil: decodeMoment(keptUntil),
    userId,
    expiry: decodeExpiry(decodeJson(expiry)),
    meta,
  };
}

/** By slices, because a load does it for every line. */
function decodeLine(line: string) {
  const idEnd = line.indexOf(' ');
  const versionEnd = line.indexOf(' ', idEnd + 1);
  const seenEnd = line.indexOf(' ', versionEnd + 1);
  const numbersEnd = line.indexOf('\n', seenEnd + 1);
  const extrasEnd = line.indexOf('\n', numbersEnd + 1);
  if (idEnd < 0 || versionEnd < 0 || seenEnd < 0 || numbersEnd < 0 || extrasEnd < 0) throw corrupt();
  const space = line.indexOf(' ', seenEnd + 1);
  const hasKept = space > 0 && space < numbersEnd;
  const { e, m } =
    extrasEnd === numbersEnd + 1 ? NO_EXTRAS : decodeExtras(line.slice(numbersEnd + 1, extrasEnd));
  return {
    writeId: line.slice(0, idEnd),
    version: decodeNumber(line.slice(idEnd + 1, versionEnd)),
    lastSeenAt: decodeMoment(line, versionEnd + 1, seenEnd),
    expiresAt: decodeMoment(line, seenEnd + 1, hasKept ? space : numbersEnd),
    keptUntil: hasKept ? decodeMoment(line, space + 1, numbersEnd) : 0,
    expiry: e === undefined ? undefined : decodeExpiry(e),
    meta: m,
    data: line.slice(extrasEnd + 1),
  };
}

const NO_EXTRAS: Extras = {};

function decodeExtras(text: string): Extras {
  const extras = decodeJson(text);
  if (typeof extras !== 'object' || extras === null) throw corrupt();
  const { m } = extras as { m?: unknown };
  if (m !== undefined && typeof m !== 'string') throw corrupt();
  return extras;
}

function decodeExpiry(expiry: unknown): SessionExpiry {
  if (!isExpiry(expiry)) throw corrupt();
  return expiry;
}

function decodeJson(text: string): unknown {
  if (text === 'null') return null;
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw corrupt();
  }
}

export function encodeMoment(moment: number): string {
  return Math.round(moment).toString(36);
}

/** Digit by digit, because a load does it several times for every line, and each text would be garbage. */
function decodeMoment(text = '', start = 0, end = text.length): number {
  const isNegative = text.charCodeAt(start) === MINUS;
  const first = isNegative ? start + 1 : start;
  let moment = 0;
  for (let index = first; index < end; index++) {
    const code = text.charCodeAt(index);
    if (code >= ZERO && code < ZERO + 10) moment = moment * 36 + code - ZERO;
    else if (code >= LETTER_A && code < LETTER_A + 26) moment = moment * 36 + code - LETTER_A + 10;
    else throw corrupt();
  }
  // The room above is for what is kept longer than it lives. A moment that no Date can hold is none.
  if (first >= end || moment > 2 * LAST_MOMENT) throw corrupt();
  return isNegative ? -moment : moment;
}

const [MINUS, ZERO, LETTER_A] = [45, 48, 97];

function decodeNumber(text = ''): number {
  return wholeNumber(Number(text));
}

function wholeNumber(value: number): number {
  if (!Number.isSafeInteger(value)) throw corrupt();
  return value;
}

function corrupt(): SessionRecordCorruptError {
  return new SessionRecordCorruptError(
    'A session record in Redis could not be decoded. It is treated as absent and left for inspection.',
  );
}
