import { SessionRecordCorruptError } from '../session.errors.js';
import { KeyRing } from './key-ring.js';
import { checkSecrets } from './secrets.js';
import { TokenFormat } from './token.js';

/** How an engine encrypts what it keeps. */
export interface EncryptionOptions {
  /** The newest first: it encrypts, all of them decrypt. At least 32 random bytes each. */
  secrets: string | readonly string[];
  /**
   * Goes on to read what was written before there was encryption. For as long as it takes until those sessions have
   * expired: whoever can write to the store could write plain text as well.
   * @default false
   */
  allowPlaintext?: boolean;
}

/** Which part of a record a text is. A text of one part is no text of another. */
export type RecordField = 'snapshot' | 'log' | 'meta' | 'record';

/** Encrypts the texts of a record with AES-256-GCM, each bound to its session and to what it is there. */
export class RecordCipher {
  private readonly format: TokenFormat;
  private readonly allowPlaintext: boolean;

  /** @throws SessionConfigError when a secret is weak */
  constructor({ secrets, allowPlaintext = false }: EncryptionOptions) {
    const ring = new KeyRing(checkSecrets(secrets, 'encryption.secrets'), 'encrypt', 'record');
    this.format = new TokenFormat(ring, 'encrypt');
    this.allowPlaintext = allowPlaintext;
  }

  encrypt(text: string, sessionId: string, field: RecordField): string {
    return this.format.seal(Buffer.from(text), purposeOf(sessionId, field));
  }

  /** @throws SessionRecordCorruptError when it was not encrypted with one of the secrets, for this place */
  decrypt(text: string, sessionId: string, field: RecordField): string {
    const content = this.format.open(text, purposeOf(sessionId, field));
    if (content) return content.toString();
    // Everything that is encrypted begins with the name of the scheme, and no JSON does.
    if (this.allowPlaintext && !text.startsWith('e')) return text;
    throw new SessionRecordCorruptError(
      'A session record could not be decrypted: its secret is none of `encryption.secrets`, it was moved here from ' +
        'another place, or it is plain text. It is treated as absent and left in the store for inspection.',
    );
  }
}

function purposeOf(sessionId: string, field: RecordField): string {
  return `${field}:${sessionId}`;
}
