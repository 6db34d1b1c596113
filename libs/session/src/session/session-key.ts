import { hash, randomBytes } from 'node:crypto';

/** 32 random bytes as base64url: the only shape a session key can have. */
const SESSION_KEY = /^[A-Za-z0-9_-]{43}$/;

/** A new session key: the secret in the cookie. 256 random bits, 43 characters. */
export function createSessionKey(): string {
  return randomBytes(32).toString('base64url');
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
