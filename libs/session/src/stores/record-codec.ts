import { SessionRecordCorruptError } from '../session.errors.js';
import { type EncryptionOptions, RecordCipher } from './record-cipher.js';
import { isMeta } from './record-check.js';
import { decodeData, encodeLogLine, encodeSnapshot } from './session-log.js';
import { type JsonObject, type SessionChanges, type SessionMeta } from './session-store.js';

/**
 * The texts that a store keeps of a record, encrypted where the engine is told to. The session id is needed because
 * that is what an encrypted text is bound to.
 */
export class RecordCodec {
  private readonly cipher: RecordCipher | null;

  /** @throws SessionConfigError when a secret is weak */
  constructor(encryption?: EncryptionOptions) {
    this.cipher = encryption ? new RecordCipher(encryption) : null;
  }

  encodeSnapshot(data: JsonObject, id: string): string {
    const text = encodeSnapshot(data);
    return this.cipher ? this.cipher.encrypt(text, id, 'snapshot') : text;
  }

  /** A line that ends in a newline and holds no other; `''` when the changes do not touch the data. */
  encodeLogLine(changes: SessionChanges, id: string): string {
    const line = encodeLogLine(changes);
    return this.cipher && line !== '' ? `${this.cipher.encrypt(line.trimEnd(), id, 'log')}\n` : line;
  }

  /** @throws SessionRecordCorruptError when snapshot or log is not what this codec wrote for this session */
  decodeData(snapshot: string, log: string, id: string): JsonObject {
    const { cipher } = this;
    if (!cipher) return decodeData(snapshot, log);
    const lines = log.split('\n').filter(Boolean);
    return decodeData(
      cipher.decrypt(snapshot, id, 'snapshot'),
      lines.map((line) => cipher.decrypt(line, id, 'log')).join('\n'),
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
}

/** For engines that encrypt nothing. */
export const plainCodec = new RecordCodec();
