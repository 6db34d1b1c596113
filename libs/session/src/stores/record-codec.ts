import { SessionRecordCorruptError } from '../session.errors.js';
import { decodeData, encodeLogLine, encodeSnapshot, isObject } from './record-log.js';
import { type EncryptionOptions, RecordCipher } from './sealing.js';
import {
  type JsonObject,
  type SessionChanges,
  type SessionExpiry,
  type SessionMeta,
  type SessionRecord,
} from './session-store.js';

/** A record with its data and metadata as texts: how it is kept where records are written whole. */
export type EncodedRecord = Omit<SessionRecord, 'data' | 'meta'> & { data: string; meta: string | null };

/**
 * The texts that a store keeps of a record, encrypted where the engine is told to. The session id is needed because
 * that is what an encrypted text is bound to.
 *
 * @example
 * ```ts
 * const { sessionData } = row;
 * new RecordCodec({ secrets }).decodeData(sessionData, row.sessionLog, row.sessionId);
 * ```
 */
export class RecordCodec {
  private readonly cipher: RecordCipher | null;

  /** @throws SessionConfigError when a secret is weak */
  constructor(encryption?: EncryptionOptions) {
    this.cipher = encryption ? new RecordCipher(encryption) : null;
  }

  /** The data as one text. */
  encodeSnapshot(data: JsonObject, id: string): string {
    const text = encodeSnapshot(data);
    return this.cipher ? this.cipher.encrypt(text, id, 'snapshot') : text;
  }

  /** A line that ends in a newline and holds no other; `''` when the changes do not touch the data. */
  encodeLogLine(changes: SessionChanges, id: string): string {
    const line = encodeLogLine(changes);
    return this.cipher && line !== '' ? `${this.cipher.encrypt(line.trimEnd(), id, 'log')}\n` : line;
  }

  /**
   * @param log its lines, or all of them as one text
   * @throws SessionRecordCorruptError when snapshot or log is not what this codec wrote for this session
   */
  decodeData(snapshot: string, log: string | readonly string[], id: string): JsonObject {
    const { cipher } = this;
    if (!cipher) return decodeData(snapshot, log);
    const lines = typeof log === 'string' ? log.split('\n').filter(Boolean) : log;
    return decodeData(
      cipher.decrypt(snapshot, id, 'snapshot'),
      lines.map((line) => cipher.decrypt(line, id, 'log')),
    );
  }

  /** Null for an empty one, which is what most sessions have. */
  encodeMeta(meta: SessionMeta, id: string): string | null {
    if (Object.keys(meta).length === 0) return null;
    const text = JSON.stringify(meta);
    return this.cipher ? this.cipher.encrypt(text, id, 'meta') : text;
  }

  /** @throws SessionRecordCorruptError */
  decodeMeta(text: string | null, id: string): SessionMeta {
    if (text === null || text === '') return {};
    const plain = this.cipher ? this.cipher.decrypt(text, id, 'meta') : text;
    try {
      const meta: unknown = JSON.parse(plain);
      if (isMeta(meta)) return meta;
    } catch {
      // Falls through: what is not JSON is as corrupt as what is the wrong JSON. Its message would quote the text.
    }
    throw new SessionRecordCorruptError(
      'The metadata of a session record could not be decoded. The record is treated as absent and left for inspection.',
    );
  }

  /** A whole record, with data and metadata as texts. */
  encode(record: SessionRecord): EncodedRecord {
    const { id, data, meta } = record;
    return { ...record, data: this.encodeSnapshot(data, id), meta: this.encodeMeta(meta, id) };
  }

  /** @throws SessionRecordCorruptError when data or metadata are not what this codec wrote for this session */
  decode(record: EncodedRecord): SessionRecord {
    const { id, data, meta } = record;
    return { ...record, data: this.decodeData(data, '', id), meta: this.decodeMeta(meta, id) };
  }
}

/** For engines that encrypt nothing. */
export const plainCodec = new RecordCodec();

/** An encoded record as one text: a line with everything around the data, then the data. JSON holds no raw newline. */
export function toRecordText(record: EncodedRecord): string {
  return `${JSON.stringify({ ...record, data: undefined })}\n${record.data}`;
}

/** @throws SessionRecordCorruptError when it is not what `toRecordText` made */
export function fromRecordText(text: string): EncodedRecord {
  const end = text.indexOf('\n');
  try {
    const record = JSON.parse(text.slice(0, end)) as { data?: string };
    record.data = text.slice(end + 1);
    if (end > 0 && isEncodedRecord(record)) return record;
  } catch {
    // Falls through, without the parser's message, which quotes the text.
  }
  throw corruptRecord();
}

export function isEncodedRecord(value: object): value is EncodedRecord {
  const { data, meta } = value as Partial<EncodedRecord>;
  return hasRecordFields(value) && typeof data === 'string' && (meta === null || typeof meta === 'string');
}

export function corruptRecord(): SessionRecordCorruptError {
  return new SessionRecordCorruptError(
    'A session record could not be decoded. It is treated as absent and left in the store for inspection.',
  );
}

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
  const { id, keyHash, userId, expiry, createdAt, lastSeenAt, expiresAt, version } =
    value as Partial<SessionRecord>;
  return (
    typeof id === 'string' &&
    typeof keyHash === 'string' &&
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
  const { remembered, moved, stamp, device = {}, rotation } = value;
  return (
    (remembered === undefined || remembered === true) &&
    (moved === undefined || moved === true) &&
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
    isMissingOrText(value['formerHash']) &&
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
