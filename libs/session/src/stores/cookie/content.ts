import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { SessionRecordCorruptError } from '../../session.errors.js';
import { decodeData, encodeSnapshot, isObject } from '../record-log.js';
import { type SessionExpiry, type SessionMeta, type SessionRecord } from '../session-store.js';

/** What a record holds besides its data, without the names of its members: a cookie has no room for them. */
type Members = [
  id: string,
  userId: string | null,
  createdAt: number,
  lastSeenAt: number,
  expiresAt: number,
  expiry: SessionExpiry,
  version: number,
  meta?: SessionMeta,
];

/** The first byte of a content says what follows. */
const PLAIN = 0;
const DEFLATED = 1;

/** Below this many bytes compression gains nothing worth its time. */
const SMALL = 512;
/** Whatever fits into a cookie is hardly longer than this when inflated, and what is longer is not inflated. */
const LARGEST = 65_536;

/** Contents are padded to a multiple of this many bytes, so that their length tells little. */
const BLOCK = 128;

export interface ContentForm {
  compress: boolean;
  pad: boolean;
}

/** The members in one line and the data in another: JSON holds no raw newline. */
export function encodeContent(record: SessionRecord, { compress, pad }: ContentForm): Buffer {
  const { id, userId, createdAt, lastSeenAt, expiresAt, expiry, version, data, meta } = record;
  const members: Members = [id, userId, createdAt, lastSeenAt, expiresAt, expiry, version];
  if (Object.keys(meta).length > 0) members.push(meta);
  const text = `${JSON.stringify(members)}\n${encodeSnapshot(data)}`;
  if (compress) {
    const length = Buffer.byteLength(text);
    const deflated = length > SMALL && length <= LARGEST ? deflateRawSync(text) : undefined;
    // What follows the end of a deflated content is not looked at.
    if (deflated && deflated.length < length) return contentOf(DEFLATED, deflated, pad);
  }
  // JSON may end in blanks.
  return contentOf(PLAIN, text, pad);
}

function contentOf(form: number, body: Buffer | string, pad: boolean): Buffer {
  const length = 1 + Buffer.byteLength(body);
  const content = Buffer.allocUnsafe(pad ? Math.ceil(length / BLOCK) * BLOCK : length);
  content[0] = form;
  if (typeof body === 'string') content.write(body, 1);
  else content.set(body, 1);
  return content.fill(' ', length);
}

/** @throws SessionRecordCorruptError when this is no content of ours, or inflates to more than a session */
export function decodeContent(content: Buffer): SessionRecord {
  try {
    const text = textOf(content);
    const end = text.indexOf('\n');
    const [id, userId, createdAt, lastSeenAt, expiresAt, expiry, version, meta = {}] = JSON.parse(
      text.slice(0, end),
    ) as Members;
    if (typeof id !== 'string' || typeof expiresAt !== 'number' || !isObject(meta)) throw notOurs();
    return {
      id,
      // The seal proves the token, so there is no secret to be hashed.
      keyHash: '',
      userId,
      createdAt,
      lastSeenAt,
      expiresAt,
      expiry,
      version,
      meta,
      data: decodeData(text.slice(end + 1), ''),
    };
  } catch {
    // The causes quote the data, so they are not passed on.
    throw notOurs();
  }
}

function textOf(content: Buffer): string {
  const body = content.subarray(1);
  if (content[0] === PLAIN) return body.toString();
  if (content[0] === DEFLATED) return inflateRawSync(body, { maxOutputLength: LARGEST }).toString();
  throw notOurs();
}

function notOurs(): SessionRecordCorruptError {
  return new SessionRecordCorruptError(
    'A session cookie was sealed with one of the secrets, but this version does not know its content. It is treated as ' +
      'absent. Use the secrets for nothing else.',
  );
}
