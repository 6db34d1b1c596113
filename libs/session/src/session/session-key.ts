import { createHmac, hash, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto';
import { seals } from '../stores/sealing.js';
import { checkSecrets, KeyRing } from '../stores/secrets.js';
import { type SessionRecord } from '../stores/session-store.js';

/**
 * A session key is what the cookie holds: `<session id>.<secret>`. The id is public and leads to the record; the secret
 * opens it, and only a hash of it is kept.
 */
export interface SessionKey {
  id: string;
  secret: string;
}

/** 16 random bytes and 32 random bytes as base64url: the only shapes that the two parts can have. */
const SESSION_ID = /^[A-Za-z0-9_-]{22}$/;
const SESSION_KEY = /^[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}$/;

/** A new session id: 128 random bits, 22 characters. For logs, device lists and stores. */
export function createSessionId(): string {
  const id = randomBytes(16).toString('base64url');
  if (!isSessionId(id)) throw new Error('There were not enough random bytes for a session id.');
  return id;
}

/** A new secret: 256 random bits, 43 characters. */
export function createSecret(): string {
  const secret = randomBytes(32).toString('base64url');
  // Whatever goes wrong at the source, no secret is handed out that is easier to guess.
  if (secret.length !== 43) throw new Error('There were not enough random bytes for a session key.');
  return secret;
}

/** Could this be a session id? Anything else never reaches a store. */
export function isSessionId(text: unknown): text is string {
  return typeof text === 'string' && SESSION_ID.test(text);
}

/** Could this be a session key? Anything else never reaches a store. */
export function isSessionKey(text: unknown): text is string {
  return typeof text === 'string' && SESSION_KEY.test(text);
}

/** @param text a well-formed session key */
export function parseSessionKey(text: string): SessionKey {
  return { id: text.slice(0, 22), secret: text.slice(23) };
}

export function formatSessionKey({ id, secret }: SessionKey): string {
  return `${id}.${secret}`;
}

/** The option `pepper`: a secret for key hashes. */
export interface PepperOptions {
  /**
   * One secret or a list, the newest first: it makes new hashes, and all of them are accepted. A session with an older
   * secret gets a new hash when it is next used. At least 32 random bytes each, as text; keep them outside the store.
   */
  secrets: string | readonly string[];
  /**
   * Also accept sessions that were made without a pepper. Leave it on until those have expired.
   * @default false
   */
  allowUnpeppered?: boolean | undefined;
}

/** What a key hash is made of. The user is part of it: a record whose user was changed opens with no key. */
type Hashed = SessionKey & Pick<SessionRecord, 'userId'>;

/** Makes and checks key hashes. */
export interface KeyHasher {
  /** What a store keeps of this secret. */
  hash(key: Hashed): string;
  /** The hash under every pepper that is accepted, the newest first. */
  hashes(key: Hashed): string[];
  /**
   * Is this the hash of that secret? Compared in constant time.
   * @returns `'current'`, `'outdated'` when a former pepper made it, or null
   */
  match(keyHash: string, key: Hashed): 'current' | 'outdated' | null;
  /** Was this hash made by this application? It can be seen without the secret, and is no proof. */
  isOwn(keyHash: string): boolean;
}

/**
 * Hashes with SHA-256, or with HMAC-SHA-256 under a pepper. A leaked store opens no session, because the way back is to
 * invert the hash of 256 random bits; with a pepper, nobody who can write to the store can make a hash that fits either.
 * @param application its hashes fit no key of another one, and end in a mark of their own. It has no colon in it. `''`:
 * they have no mark
 * @throws SessionConfigError when a secret of the pepper is weak
 */
export function keyHasher(pepper?: PepperOptions, application = ''): KeyHasher {
  const hashes = (pepper ? pepperedHashes(pepper) : [plainHash]).map((each) => hashFor(application, each));
  const [newest, ...older] = hashes as [Hash, ...Hash[]];
  const mark = markOf(application);
  return {
    hash: newest,
    hashes: (key) => hashes.map((each) => each(key)),
    isOwn: (keyHash) => keyHash.slice(HASH_LENGTH) === mark,
    match(keyHash, key) {
      if (areEqual(keyHash, newest(key))) return 'current';
      return older.some((former) => areEqual(keyHash, former(key))) ? 'outdated' : null;
    },
  };
}

type Hash = (key: Hashed) => string;
type HashMessage = (message: string) => string;

/** The prefix names the scheme, so that a later one can live beside it. */
const plainHash: HashMessage = (message) => `s1.${hash('sha256', message, 'base64url')}`;

/** Of a hash, without the mark of the application. */
const HASH_LENGTH = 46;

function hashFor(application: string, hashMessage: HashMessage): Hash {
  const mark = markOf(application);
  const area = application === '' ? 'key:v1' : `application:v1:${application}`;
  return (key) => hashMessage(`nest-sessions:${area}:${messageOf(key)}`) + mark;
}

function markOf(application: string): string {
  if (application === '') return '';
  return `.${hash('sha256', `nest-sessions:application:v1:${application}`, 'base64url').slice(0, 8)}`;
}

function pepperedHashes({ secrets, allowUnpeppered = false }: PepperOptions): HashMessage[] {
  const ring = new KeyRing(checkSecrets(secrets, 'pepper.secrets'), 'pepper', 'store-key');
  const peppered = ring.all.map(({ bytes }): HashMessage => {
    return (message) => `p1.${createHmac('sha256', bytes).update(message).digest('base64url')}`;
  });
  return allowUnpeppered ? [...peppered, plainHash] : peppered;
}

/** Id and secret have one length each, so there is only one way to tell the parts from each other. */
function messageOf({ id, secret, userId }: Hashed): string {
  return `${id}.${secret}${userId === null ? '' : `.${userId}`}`;
}

function areEqual(one: string, other: string): boolean {
  const [left, right] = [Buffer.from(one), Buffer.from(other)];
  return left.length === right.length && timingSafeEqual(left, right);
}

/** A renewal, as it is sealed. */
export interface Successor {
  /** The secret that took the place of the former one. */
  secret: string;
  /** Of the renewal, in milliseconds after `createdAt`. */
  after: number;
  /** Of the session, in epoch milliseconds. */
  createdAt: number;
}

/**
 * The secret that a renewal has put in the place of another, sealed with that other one, and with the pepper if there is
 * one: within the overlap, the client that still comes with the former secret is told the new one, while the store that
 * keeps the seal learns neither. The moment is sealed as well, so that nobody who can write to the store can move it.
 */
export function sealSuccessor(
  { secret, after, createdAt }: Successor,
  former: SessionKey,
  hasher: KeyHasher,
): string {
  const [newest] = sealingKeys(former, hasher) as [Buffer];
  const content = Buffer.from(`${secret}.${after}.${createdAt}`);
  return seals.encrypt.close(newest, former.id, content).toString('base64url');
}

/** Null: this is not the secret that it was sealed with. */
export function openSuccessor(sealed: string, former: SessionKey, hasher: KeyHasher): Successor | null {
  const bytes = Buffer.from(sealed, 'base64url');
  for (const key of sealingKeys(former, hasher)) {
    const opened = seals.encrypt.open(key, former.id, bytes);
    if (opened === null) continue;
    const [secret = '', after, createdAt] = opened.toString().split('.');
    return { secret, after: Number(after), createdAt: Number(createdAt) };
  }
  return null;
}

/** No session has this id, so no store keeps such a hash. */
function sealingKeys({ secret }: SessionKey, hasher: KeyHasher): Buffer[] {
  return hasher
    .hashes({ id: 'successor', secret, userId: null })
    .map((each) => Buffer.from(hkdfSync('sha256', each, '', 'nest-sessions:successor', 32)));
}
