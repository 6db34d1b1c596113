import { SessionRecordCorruptError } from '../../session.errors.js';
import { decodeData, encodeSnapshot } from '../session-log.js';
import { type SessionRecord } from '../session-store.js';

type Metadata = Omit<SessionRecord, 'data'>;

/** A whole record as text: a line with the metadata, then the data. JSON never holds a raw newline. */
export function encodeRecord({ data, ...metadata }: SessionRecord): string {
  return `${JSON.stringify(metadata)}\n${encodeSnapshot(data)}`;
}

/** @throws SessionRecordCorruptError when it is not what `encodeRecord` made */
export function decodeRecord(text: unknown): SessionRecord {
  const [metadata = '', snapshot = ''] = typeof text === 'string' ? text.split('\n', 2) : [];
  return { ...decodeMetadata(metadata), data: decodeData(snapshot, '') };
}

function decodeMetadata(text: string): Metadata {
  try {
    const metadata = JSON.parse(text) as Metadata;
    if (typeof metadata.id === 'string' && Number.isFinite(metadata.expiresAt)) return { ...metadata, meta: metadata.meta ?? {} };
  } catch {
    // Falls through: what is not JSON is as corrupt as what is the wrong JSON. Its message would quote the text.
  }
  throw new SessionRecordCorruptError(
    'A session record in the cache could not be decoded. It is treated as absent and left there for inspection.',
  );
}
