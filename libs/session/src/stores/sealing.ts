import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  randomBytes,
  randomFillSync,
  timingSafeEqual,
} from 'node:crypto';
import { SessionRecordCorruptError } from '../session.errors.js';
import { checkSecrets, type Key, KeyRing, type Use } from './secrets.js';

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
    const nonce = nextNonce();
    const cipher = createCipheriv('aes-256-gcm', bytes, nonce, { authTagLength: TAG_LENGTH });
    cipher.setAAD(Buffer.from(context));
    const ciphertext = cipher.update(content);
    cipher.final();
    return Buffer.concat([salt, nonce, ciphertext, cipher.getAuthTag()]);
  },

  open(key, context, sealed) {
    const [start, end] = [SALT_LENGTH + NONCE_LENGTH, sealed.length - TAG_LENGTH];
    if (end < start) return null;
    const known = openingKeys.get(key) ?? new Map<string, Buffer>();
    const name = sealed.toString('latin1', 0, SALT_LENGTH);
    const bytes = known.get(name) ?? derivedKey(key, sealed.subarray(0, SALT_LENGTH));
    const nonce = sealed.subarray(SALT_LENGTH, start);
    const decipher = createDecipheriv('aes-256-gcm', bytes, nonce, { authTagLength: TAG_LENGTH });
    decipher.setAAD(Buffer.from(context));
    decipher.setAuthTag(sealed.subarray(end));
    const content = decipher.update(sealed.subarray(start, end));
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

/** Drawn many at a time, because a draw costs as much as the encryption. */
const nonces = Buffer.alloc(512 * NONCE_LENGTH);
let noncesUsed = nonces.length;

/** Random, and good until the next call. */
function nextNonce(): Buffer {
  if (noncesUsed === nonces.length) {
    randomFillSync(nonces);
    noncesUsed = 0;
  }
  return nonces.subarray(noncesUsed, (noncesUsed += NONCE_LENGTH));
}

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
    const end = sealed.length - MAC_LENGTH;
    if (end < 0) return null;
    const content = sealed.subarray(0, end);
    return timingSafeEqual(sealed.subarray(end), codeOf(key, context, content)) ? content : null;
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

/** Names the scheme, so that a token of one is never taken for a token of the other, nor for one of a later version. */
const SCHEME: Readonly<Record<Protection, string>> = { encrypt: 'e1', sign: 's1' };

/** Scheme and key id, with the dots behind them. */
const HEAD_LENGTH = 'e1.keyid---.'.length;

/**
 * Sealed contents as text, as a cookie holds them: `scheme.key id.sealed content`. Every bit is authenticated, and so is
 * the purpose that it was sealed for, such as the name of the cookie.
 */
export class TokenFormat {
  /** By the heads of their tokens. */
  readonly #keys: ReadonlyMap<string, Key>;

  constructor(
    private readonly ring: KeyRing,
    private readonly use: Protection,
  ) {
    this.#keys = new Map(ring.all.map((key) => [this.head(key), key]));
  }

  /** Does the text name one of our keys, as a token does? */
  isToken(text: string): boolean {
    return this.#keys.has(text.slice(0, HEAD_LENGTH));
  }

  seal(content: Buffer, purpose: string): string {
    const { newest } = this.ring;
    const sealed = seals[this.use].close(newest.bytes, this.context(newest, purpose), content);
    return this.head(newest) + sealed.toString('base64url');
  }

  open(token: string, purpose: string): Buffer | null {
    const key = this.#keys.get(token.slice(0, HEAD_LENGTH));
    if (!key) return null;
    const body = token.slice(HEAD_LENGTH);
    const sealed = Buffer.from(body, 'base64url');
    // What is no base64url is skipped, and the last character has bits to spare: one content would have several texts.
    if (sealed.toString('base64url') !== body) return null;
    return seals[this.use].open(key.bytes, this.context(key, purpose), sealed);
  }

  private head({ id }: Key): string {
    return `${SCHEME[this.use]}.${id}.`;
  }

  private context({ id }: Key, purpose: string): string {
    return `nest-sessions:cookie:${SCHEME[this.use]}:${id}:${purpose}`;
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
