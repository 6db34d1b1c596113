import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';

/**
 * The session key that a renewal has put in the place of another, sealed with that other one: during the overlap, the
 * client that still comes with the old key is told the new one, while the store that keeps the seal learns neither.
 */
const ALGORITHM = 'aes-256-gcm';
const NONCE = 12;
const TAG = 16;

export function sealSuccessor(successor: string, formerKey: string): string {
  const nonce = randomBytes(NONCE);
  const cipher = createCipheriv(ALGORITHM, sealingKey(formerKey), nonce);
  const sealed = Buffer.concat([cipher.update(successor, 'utf8'), cipher.final()]);
  return Buffer.concat([nonce, sealed, cipher.getAuthTag()]).toString('base64url');
}

/** Null: this is not the key that it was sealed with. */
export function openSuccessor(sealed: string, formerKey: string): string | null {
  const bytes = Buffer.from(sealed, 'base64url');
  if (bytes.length < NONCE + TAG) return null;
  const decipher = createDecipheriv(ALGORITHM, sealingKey(formerKey), bytes.subarray(0, NONCE), {
    authTagLength: TAG,
  });
  decipher.setAuthTag(bytes.subarray(-TAG));
  try {
    return decipher.update(bytes.subarray(NONCE, -TAG), undefined, 'utf8') + decipher.final('utf8');
  } catch {
    return null;
  }
}

function sealingKey(formerKey: string): Buffer {
  return Buffer.from(hkdfSync('sha256', formerKey, '', 'nest-sessions:successor', 32));
}
