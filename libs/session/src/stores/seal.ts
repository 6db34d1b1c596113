import { createCipheriv, createDecipheriv, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { type Use } from './key-ring.js';

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

/**
 * AES-256-GCM: salt, nonce, ciphertext, tag. Every content has a key of its own, made from the salt. That makes a nonce
 * of 192 bits out of the 96 that GCM has, and with so many no number of cookies makes a repetition likely.
 */
const encryption: Seal = {
  close(key, context, content) {
    const random = randomBytes(SALT_LENGTH + NONCE_LENGTH);
    const [salt, nonce] = split(random, SALT_LENGTH);
    const cipher = createCipheriv('aes-256-gcm', contentKey(key, salt), nonce, { authTagLength: TAG_LENGTH });
    cipher.setAAD(Buffer.from(context));
    return Buffer.concat([random, cipher.update(content), cipher.final(), cipher.getAuthTag()]);
  },

  open(key, context, sealed) {
    if (sealed.length < SALT_LENGTH + NONCE_LENGTH + TAG_LENGTH) return null;
    const [salt, afterSalt] = split(sealed, SALT_LENGTH);
    const [nonce, afterNonce] = split(afterSalt, NONCE_LENGTH);
    const [ciphertext, tag] = split(afterNonce, afterNonce.length - TAG_LENGTH);
    const decipher = createDecipheriv('aes-256-gcm', contentKey(key, salt), nonce, {
      authTagLength: TAG_LENGTH,
    });
    decipher.setAAD(Buffer.from(context));
    decipher.setAuthTag(tag);
    const content = decipher.update(ciphertext);
    try {
      decipher.final();
    } catch {
      return null;
    }
    return content;
  },
};

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

function contentKey(key: Buffer, salt: Buffer): Buffer {
  return createHmac('sha256', key).update(salt).digest();
}

/** A context holds no NUL, so there is only one way to tell it from the content. */
function codeOf(key: Buffer, context: string, content: Buffer): Buffer {
  return createHmac('sha256', key).update(`${context}\0`).update(content).digest();
}

function split(buffer: Buffer, at: number): [Buffer, Buffer] {
  return [buffer.subarray(0, at), buffer.subarray(at)];
}
