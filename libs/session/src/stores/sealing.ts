import { createCipheriv, createDecipheriv, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { SessionRecordCorruptError } from '../session.errors.js';
import { checkSecrets, KeyRing, type Use } from './secrets.js';

export type Protection = Exclude<Use, 'pepper'>;

/** Protects a content under a key and binds it to a context, which has to be the same when it is opened. */
export interface Seal {
  close(key: Buffer, context: string, content: Buffer): Buffer;
  /** The content, or null when it was not closed like that. */
  open(key: Buffer, context: string, sealed: Buffer): Buffer | null;
}

const SALT_LENGTH = 12;
const NONCE_LENGTH = 12;
const TAG_LENGTH = 16;
const MAC_LENGTH = 32;

/** So many contents are closed under one derived key. That two of them have the same nonce has a chance of 2^-57. */
export const CONTENTS_PER_KEY = 2 ** 20;
/** So many derived keys are remembered of each key, for opening. */
const REMEMBERED = 1000;

/**
 * AES-256-GCM: salt, nonce, ciphertext, tag. Contents are closed under a key that is derived from the salt. Each process
 * makes its own, and another one after a number of contents, so with random nonces of 96 bits none is used twice.
 */
const encryption: Seal = {
  close(key, context, content) {
    const { salt, bytes } = closingKey(key);
    const nonce = randomBytes(NONCE_LENGTH);
    const cipher = createCipheriv('aes-256-gcm', bytes, nonce, { authTagLength: TAG_LENGTH });
    cipher.setAAD(Buffer.from(context));
    return Buffer.concat([salt, nonce, cipher.update(content), cipher.final(), cipher.getAuthTag()]);
  },

  open(key, context, sealed) {
    if (sealed.length < SALT_LENGTH + NONCE_LENGTH + TAG_LENGTH) return null;
    const [salt, afterSalt] = split(sealed, SALT_LENGTH);
    const [nonce, afterNonce] = split(afterSalt, NONCE_LENGTH);
    const [ciphertext, tag] = split(afterNonce, afterNonce.length - TAG_LENGTH);
    const known = openingKeys.get(key) ?? new Map<string, Buffer>();
    const name = salt.toString('latin1');
    const bytes = known.get(name) ?? derivedKey(key, salt);
    const decipher = createDecipheriv('aes-256-gcm', bytes, nonce, { authTagLength: TAG_LENGTH });
    decipher.setAAD(Buffer.from(context));
    decipher.setAuthTag(tag);
    const content = decipher.update(ciphertext);
    try {
      decipher.final();
    } catch {
      return null;
    }
    // Only now: made-up salts must not push out those that are in use.
    if (!known.has(name)) {
      if (known.size >= REMEMBERED) known.clear();
      openingKeys.set(key, known.set(name, bytes));
    }
    return content;
  },
};

interface ClosingKey {
  salt: Buffer;
  bytes: Buffer;
  contents: number;
}

const closingKeys = new WeakMap<Buffer, ClosingKey>();
const openingKeys = new WeakMap<Buffer, Map<string, Buffer>>();

function closingKey(key: Buffer): ClosingKey {
  let present = closingKeys.get(key);
  if (present === undefined || present.contents >= CONTENTS_PER_KEY) {
    const salt = randomBytes(SALT_LENGTH);
    present = { salt, bytes: derivedKey(key, salt), contents: 0 };
    closingKeys.set(key, present);
  }
  present.contents += 1;
  return present;
}

/** HMAC-SHA256: the content, which anybody can read, and its code. */
const signature: Seal = {
  close(key, context, content) {
    return Buffer.concat([content, codeOf(key, context, content)]);
  },

  open(key, context, sealed) {
    if (sealed.length < MAC_LENGTH) return null;
    const [content, code] = split(sealed, sealed.length - MAC_LENGTH);
    return timingSafeEqual(code, codeOf(key, context, content)) ? content : null;
  },
};

export const seals: Readonly<Record<Protection, Seal>> = { encrypt: encryption, sign: signature };

function derivedKey(key: Buffer, salt: Buffer): Buffer {
  return createHmac('sha256', key).update(salt).digest();
}

/** A context holds no NUL, so there is only one way to tell it from the content. */
function codeOf(key: Buffer, context: string, content: Buffer): Buffer {
  return createHmac('sha256', key).update(`${context}\0`).update(content).digest();
}

function split(buffer: Buffer, at: number): [Buffer, Buffer] {
  return [buffer.subarray(0, at), buffer.subarray(at)];
}

/** Names the scheme, so that a token of one is never taken for a token of the other, nor for one of a later version. */
const SCHEME: Readonly<Record<Protection, string>> = { encrypt: 'e1', sign: 's1' };

const SHAPE = /^(e1|s1)\.([A-Za-z0-9_-]{8})\.([A-Za-z0-9_-]{44,})$/;

/**
 * Sealed contents as text, as a cookie holds them: `scheme.key id.sealed content`. Every bit is authenticated, and so is
 * the purpose that it was sealed for, such as the name of the cookie.
 */
export class TokenFormat {
  constructor(
    private readonly ring: KeyRing,
    private readonly use: Protection,
  ) {}

  /** Does the text look like a token, and name one of our keys? */
  isToken(text: string): boolean {
    const [, scheme, keyId = ''] = SHAPE.exec(text) ?? [];
    return scheme === SCHEME[this.use] && this.ring.find(keyId) !== undefined;
  }

  seal(content: Buffer, purpose: string): string {
    const { id, bytes } = this.ring.newest;
    const sealed = seals[this.use].close(bytes, this.context(id, purpose), content);
    return `${SCHEME[this.use]}.${id}.${sealed.toString('base64url')}`;
  }

  open(token: string, purpose: string): Buffer | null {
    const [, scheme, keyId = '', body = ''] = SHAPE.exec(token) ?? [];
    const key = this.ring.find(keyId);
    if (scheme !== SCHEME[this.use] || !key) return null;
    const sealed = Buffer.from(body, 'base64url');
    // The last character has bits to spare, by which one content would have several texts.
    if (sealed.toString('base64url') !== body) return null;
    return seals[this.use].open(key.bytes, this.context(keyId, purpose), sealed);
  }

  private context(keyId: string, purpose: string): string {
    return `nest-sessions:cookie:${SCHEME[this.use]}:${keyId}:${purpose}`;
  }
}

/** How an engine encrypts sessions. */
export interface EncryptionOptions {
  /** One secret or a list, the newest first: the first encrypts, all decrypt. At least 32 random bytes each, as text. */
  secrets: string | readonly string[];
  /**
   * Also read sessions from before the encryption. Switch it off when they have expired, because anybody who can write to
   * the store could write plain text as well.
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
