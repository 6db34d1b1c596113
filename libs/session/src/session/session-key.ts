import { createHmac, hash, randomBytes } from 'node:crypto';
import { KeyRing } from '../stores/key-ring.js';
import { checkSecrets } from '../stores/secrets.js';

/** 32 random bytes as base64url: the only shape a session key can have. */
const SESSION_KEY = /^[A-Za-z0-9_-]{43}$/;

/** A new session key: the secret in the cookie. 256 random bits, 43 characters. */
export function createSessionKey(): string {
  const key = randomBytes(32).toString('base64url');
  // Whatever goes wrong at the source, no key is handed out that is easier to guess.
  if (!isSessionKey(key)) throw new Error('There were not enough random bytes for a session key.');
  return key;
}

/** A new session id: public, for logs and device lists. */
export function createSessionId(): string {
  return randomBytes(16).toString('base64url');
}

/** Could this be a session key? Whatever could not never reaches a store. */
export function isSessionKey(text: string): boolean {
  return SESSION_KEY.test(text);
}

/**
 * What a store sees of a session key. A leaked store opens no session, because the way back is to invert SHA-256 of
 * 256 random bits. The prefix inside keeps it apart from every other use of the plain hash, the one outside names the
 * scheme, so that a later one can live beside it.
 */
export function toStoreKey(sessionKey: string): string {
  return `v1-${hash('sha256', `nest-sessions:v1:${sessionKey}`, 'hex')}`;
}

export interface PepperOptions {
  /**
   * The newest first: new sessions are kept under it, those under the others are moved to it when they are next used.
   * At least 32 random bytes each, kept where the store is not.
   */
  secrets: string | readonly string[];
  /**
   * Goes on to find sessions from before there was a pepper. Leave it on until those have expired.
   * @default false
   */
  allowUnpeppered?: boolean;
}

/** How session keys become store keys. */
export interface StoreKeys {
  of(sessionKey: string): string;
  /** Where the session may be that was made with other secrets, likeliest first. */
  formerly(sessionKey: string): string[];
}

export const plainStoreKeys: StoreKeys = { of: toStoreKey, formerly: () => [] };

/**
 * Store keys that cannot be computed without a secret: whoever has the store, and guesses or intercepts a session key,
 * cannot even tell which record it belongs to, nor plant a record for a key of his own.
 * @throws SessionConfigError when a secret is weak
 */
export function pepperedStoreKeys({ secrets, allowUnpeppered = false }: PepperOptions): StoreKeys {
  const ring = new KeyRing(checkSecrets(secrets, 'pepper.secrets'), 'pepper', 'store-key');
  const [newest, ...older] = ring.all.map(({ bytes }) => (sessionKey: string): string => {
    return `v2-${createHmac('sha256', bytes).update(sessionKey).digest('hex')}`;
  });
  const former = [...older, ...(allowUnpeppered ? [toStoreKey] : [])];
  return {
    of: newest as (sessionKey: string) => string,
    formerly: (sessionKey) => former.map((storeKeyOf) => storeKeyOf(sessionKey)),
  };
}
