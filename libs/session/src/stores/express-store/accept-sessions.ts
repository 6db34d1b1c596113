import { createHmac, getHashes, hkdfSync, timingSafeEqual } from 'node:crypto';
import { SessionConfigError } from '../../session.errors.js';
import { type AcceptedContent, AcceptedSessions } from '../accepted-sessions.js';
import { isObject } from '../record-log.js';
import { type JsonObject, type JsonValue } from '../session-store.js';
import { type CallbackStore, checkCallbackStore, StoreCalls } from './callback-store.js';

/** Signs cookies. */
type Secret = string | Buffer;

/** What both libraries have. */
interface AcceptOptions<Data> {
  /** The library's option of this name. Of a list, cookies that any of them has signed are accepted. */
  secret: string | Buffer | readonly (string | Buffer)[] | undefined;
  /** The store that the sessions are in. It stays the application's, which closes it. */
  store: CallbackStore;
  /** Where the cookie was set, which is where it is removed. */
  cookie?: {
    /** Default: `/`. */
    path?: string | undefined;
    /** Default: none, which is the host alone. */
    domain?: string | undefined;
  };
  /**
   * Tells from the data of a session who is logged in; null or undefined: nobody. The new session is that user's: it is
   * listed and revoked with the others. Default: nobody, and what the data say of a user stays data.
   */
  userId?: (data: Data) => string | number | null | undefined;
  /**
   * Tells from the data of a user's session the stamp that it was opened with, to be compared with what the option
   * `currentStamp` says: a session with another one, or with null or undefined, is ended and not moved. Default: a session
   * that has not been moved yet survives a new password.
   */
  stamp?: (data: Data) => string | null | undefined;
}

/** What `acceptExpressSession` takes: the options that express-session had. */
export interface AcceptExpressSessionOptions<Data = JsonObject> extends AcceptOptions<Data> {
  /** Of the cookie. Default: `connect.sid`. */
  name?: string;
}

/** What `acceptFastifySession` takes: the options that @fastify/session had. */
export interface AcceptFastifySessionOptions<Data = JsonObject> extends AcceptOptions<Data> {
  /** Default: `sessionId`. */
  cookieName?: string;
  /** Default: none. */
  cookiePrefix?: string;
  /** Of the signature, as `node:crypto` calls it. Default: `sha256`. */
  algorithm?: string;
}

/**
 * Accepts the sessions of express-session: a visitor who comes with its cookie gets a session here with the same data, and
 * the old one ends. For the option `accept`, while you move to this library with users who are logged in.
 *
 * @throws SessionConfigError when there is no secret, or no store
 *
 * @example
 * ```ts
 * SessionModule.forRoot(databaseEngine(), {
 *   accept: acceptExpressSession({
 *     secret: process.env.OLD_SESSION_SECRET,
 *     store: new RedisStore({ client }),
 *     userId: (data: { passport?: { user: string } }) => data.passport?.user,
 *   }),
 * });
 * ```
 */
export function acceptExpressSession<Data = JsonObject>({
  name = 'connect.sid',
  ...options
}: AcceptExpressSessionOptions<Data>): AcceptedSessions {
  return new SignedSessions(options, { name, prefix: 's:', algorithm: 'sha256', own: OF_STORES });
}

/**
 * Accepts the sessions of @fastify/session, as `acceptExpressSession` does those of express-session.
 *
 * @throws SessionConfigError when there is no secret, no store, or no such algorithm
 *
 * @example
 * ```ts
 * SessionModule.forRoot(redisEngine({ url }), {
 *   accept: acceptFastifySession({
 *     secret: process.env.OLD_SESSION_SECRET,
 *     store: new RedisStore({ client }),
 *     userId: (data: { user?: { id: number } }) => data.user?.id,
 *   }),
 * });
 * ```
 */
export function acceptFastifySession<Data = JsonObject>({
  cookieName = 'sessionId',
  cookiePrefix = '',
  algorithm = 'sha256',
  ...options
}: AcceptFastifySessionOptions<Data>): AcceptedSessions {
  if (!getHashes().includes(algorithm)) {
    throw new SessionConfigError(
      'accept.algorithm',
      'is not a hash that this Node knows. Give the one of @fastify/session, or leave it out.',
    );
  }
  const own = [...OF_STORES, 'sessionId', 'encryptedSessionId'];
  return new SignedSessions(options, { name: cookieName, prefix: cookiePrefix, algorithm, own });
}

/** What stores keep for themselves beside the data. */
const OF_STORES = ['__lastAccess'];

/** In what the libraries differ. */
interface Format {
  /** Of the cookie. */
  name: string;
  /** Before the signed text. */
  prefix: string;
  algorithm: string;
  /** Keys beside `cookie` that are no data of the application. */
  own: readonly string[];
}

/** Sessions whose cookie holds `<prefix><sid>.<HMAC of the sid>`, in a store for express-session. */
class SignedSessions extends AcceptedSessions {
  readonly cookie: AcceptedSessions['cookie'];
  readonly tellsStamps: boolean;
  // Private at run time, too: no inspection shows a secret or leads to the store.
  readonly #format: Format;
  readonly #secrets: readonly Secret[];
  readonly #key: ArrayBuffer;
  readonly #calls: StoreCalls;
  readonly #userIdOf: (data: JsonObject) => unknown;
  readonly #stampOf: ((data: JsonObject) => string | null | undefined) | undefined;

  constructor(
    { secret, store, cookie: { path = '/', domain } = {}, userId, stamp }: AcceptOptions<never>,
    format: Format,
  ) {
    super();
    checkCallbackStore(store, 'accept.store');
    this.#secrets = checkSecrets(secret);
    this.#format = format;
    this.#calls = new StoreCalls(store);
    this.#userIdOf = (userId as ((data: JsonObject) => unknown) | undefined) ?? (() => null);
    this.#stampOf = stamp as ((data: JsonObject) => string | null | undefined) | undefined;
    this.tellsStamps = stamp !== undefined;
    this.cookie = { name: format.name, path, ...(domain !== undefined && { domain }) };
    // Another key than the one that signs, because an application may let others choose what it signs.
    this.#key = hkdfSync('sha256', this.#secrets[0] as Secret, '', 'nest-sessions:accept:v1', 32);
  }

  open(cookie: string): string | null {
    const { prefix } = this.#format;
    const text = decode(cookie);
    const dot = text.lastIndexOf('.');
    if (!text.startsWith(prefix) || dot <= prefix.length) return null;
    const sid = text.slice(prefix.length, dot);
    const signature = Buffer.from(text.slice(dot + 1));
    return this.#secrets.some((secret) => areEqual(signature, this.#sign(sid, secret))) ? sid : null;
  }

  derive(sid: string, purpose: string): Buffer {
    return createHmac('sha256', Buffer.from(this.#key)).update(`${purpose}:${sid}`).digest();
  }

  async read(sid: string): Promise<AcceptedContent | null> {
    const session = await this.#calls.get('read an old session', sid);
    if (typeof session !== 'object' || session === null) return null;
    // As text, because a store in memory may hand out an object with methods, and one that others have as well.
    const { cookie, ...data } = JSON.parse(JSON.stringify(session)) as Record<string, JsonValue>;
    if (!isObject(cookie) || hasExpired(cookie)) return null;
    for (const name of this.#format.own) delete data[name];
    return {
      data: Object.assign(Object.create(null) as JsonObject, data),
      userId: this.#userIdOf(data),
      ...(this.#stampOf && { stamp: this.#stampOf(data) ?? null }),
    };
  }

  destroy(sid: string): Promise<void> {
    return this.#calls.destroy('end an old session', sid);
  }

  #sign(sid: string, secret: Secret): Buffer {
    const signature = createHmac(this.#format.algorithm, secret).update(sid).digest('base64');
    return Buffer.from(signature.replace(/=+$/, ''));
  }
}

/** As short as it was: this is no place to refuse a secret that cookies are signed with already. */
function checkSecrets(secret: Secret | readonly Secret[] | undefined): readonly Secret[] {
  const secrets = typeof secret === 'string' || Buffer.isBuffer(secret) ? [secret] : secret;
  if (Array.isArray(secrets) && secrets.length > 0 && secrets.every(isSecret)) return [...secrets];
  throw new SessionConfigError(
    'accept.secret',
    'is missing or empty. Give the secret that signed the old cookies, or the list of them.',
  );
}

function isSecret(each: unknown): boolean {
  return (typeof each === 'string' || Buffer.isBuffer(each)) && each.length > 0;
}

/** Cookies are set encoded. What is not to be decoded has no good signature either. */
function decode(cookie: string): string {
  try {
    return decodeURIComponent(cookie);
  } catch {
    return '';
  }
}

function areEqual(one: Buffer, other: Buffer): boolean {
  return one.length === other.length && timingSafeEqual(one, other);
}

/** Not every store looks at it. A session that ends with the browser has no deadline of its own. */
function hasExpired(cookie: JsonObject): boolean {
  // Stores that write the cookie without its `toJSON` have the other name.
  const expires = cookie['expires'] ?? cookie['_expires'] ?? null;
  return expires !== null && !(new Date(expires as string | number).getTime() > Date.now());
}
