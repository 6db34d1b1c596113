import { SessionRecordCorruptError } from '../../session.errors.js';
import { hasRecordFields } from '../record-check.js';
import { type RecordCodec } from '../record-codec.js';
import { type SessionRecord } from '../session-store.js';

/** `meta` as the codec's text; absent when there is none. */
type Head = Omit<SessionRecord, 'data' | 'meta'> & { meta?: string };

/** A whole record as text: a line with what is around the data, then the data. JSON never holds a raw newline. */
export function encodeRecord({ data, meta, ...rest }: SessionRecord, codec: RecordCodec): string {
  const metaText = codec.encodeMeta(meta, rest.id);
  const head: Head = { ...rest, ...(metaText !== null && { meta: metaText }) };
  return `${JSON.stringify(head)}\n${codec.encodeSnapshot(data, rest.id)}`;
}

/** @throws SessionRecordCorruptError when it is not what `encodeRecord` made */
export function decodeRecord(text: unknown, codec: RecordCodec): SessionRecord {
  const [first = '', snapshot = ''] = typeof text === 'string' ? text.split('\n', 2) : [];
  const { meta = null, ...rest } = decodeHead(first);
  return { ...rest, data: codec.decodeData(snapshot, '', rest.id), meta: codec.decodeMeta(meta, rest.id) };
}

/** The session id in a record's text. Of what is no record's text, nobody knows. */
export function idIn(text: unknown): string | undefined {
  try {
    return typeof text === 'string' ? decodeHead(text.split('\n', 1)[0] ?? '').id : undefined;
  } catch {
    return undefined;
  }
}

function decodeHead(text: string): Head {
  try {
    const head = JSON.parse(text) as Head;
    if (hasRecordFields(head) && typeof (head.meta ?? '') === 'string') return head;
  } catch {
    // Falls through: what is not JSON is as corrupt as what is the wrong JSON. Its message would quote the text.
  }
  throw new SessionRecordCorruptError(
    'A session record in the cache could not be decoded. It is treated as absent and left there for inspection.',
  );
}
