import { type KeyRing } from './key-ring.js';
import { type Protection, seals } from './seal.js';

/** Names the scheme, so that a token of one is never taken for a token of the other, nor for one of a later version. */
const SCHEME: Readonly<Record<Protection, string>> = { encrypt: 'e1', sign: 's1' };

const SHAPE = /^(e1|s1)\.([A-Za-z0-9_-]{8})\.([A-Za-z0-9_-]{44,})$/;

/**
 * A sealed content as text, such as stands in the cookie: `scheme.key id.sealed content`. Every bit of it is authenticated, and so is the purpose
 * that it was sealed for, such as the name of the cookie.
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
