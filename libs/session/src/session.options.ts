import { type IncomingHttpHeaders } from 'node:http';
import { type Limits } from './session/json-value.js';
import { type CurrentStamp } from './session/login.js';
import { type PepperOptions } from './session/session-key.js';
import { type SessionLimit } from './session/user-sessions.js';
import { type AcceptedSessions } from './stores/accepted-sessions.js';

/** Seconds, or a string such as `'30m'`, `'12h'`, `'2w'`. */
export type Duration = number | string;

/** What `SessionModule.forRoot(engine, options)` takes. Every option may be left out. */
export interface SessionOptions {
  /**
   * A name that separates this application from others with the same store or secrets, so that none opens, lists or ends
   * another's sessions. Changing it ends all sessions. Default: `''`, no name.
   */
  application?: string;
  /** Name, lifetime and attributes of the cookie. */
  cookie?: SessionCookieOptions;
  /**
   * Where clients send their session key and get a new one: in the cookie, in a header, or a list of both. If a request
   * has the header, its cookie is neither read nor set. Clients that send nothing get the first of the list.
   * Default: `'cookie'`.
   *
   * @example
   * ```ts
   * transport: ['cookie', { header: 'authorization' }]
   * ```
   */
  transport?: SessionTransport | SessionTransport[];
  /**
   * End the session when the browser closes: the cookie gets no Max-Age. `setExpiry` overrides this for one session.
   * Default: false.
   */
  expireAtBrowserClose?: boolean;
  /**
   * Restart the idle clock and send the cookie with every request, even if the request does not use its session. It costs
   * a load and a touch per request. Most applications want `sliding` instead. Default: false.
   */
  saveEveryRequest?: boolean;
  /** The session ends when nobody has used it for this long. The server checks it. Default: `cookie.maxAge`. */
  idleTimeout?: Duration;
  /**
   * Does reading count as use? True: every use restarts the idle clock, with at most one touch of the store per tenth of
   * `idleTimeout`. False: the clock runs from the last save, as in Django. Default: true.
   */
  sliding?: boolean;
  /** The session ends this long after it was created, however busy it is. Default: `false`, no such limit. */
  absoluteTimeout?: Duration | false;
  /**
   * Use the timeouts of an assurance level of NIST SP 800-63B as defaults: `'aal1'` ends sessions after 30 days, `'aal2'`
   * after a day or an hour without use, `'aal3'` after 12 hours or 15 minutes without use. If you set longer ones, the
   * log names them once. Default: none.
   */
  assurance?: AssuranceLevel;
  /** The timeouts of sessions whose user asked to be remembered: `session.login(userId, { remember: true })`. */
  remember?: RememberOptions;
  /** What a login does to the data of the session. */
  login?: LoginPolicyOptions;
  /**
   * Replace the session key when it is this old, at least two minutes, without ending the session. The old key works for
   * up to a minute more, so parallel requests lose nothing. For engines that keep sessions on the server. Default: never.
   */
  renewAfter?: Duration | false;
  /**
   * What to do if a replaced key comes back after that minute, because two clients may have the cookie: `'report'` an
   * event, or also `'revoke'` the session. Default: `'report'`.
   */
  onReuse?: 'report' | 'revoke';
  /**
   * End sessions whose credential is no longer good, as Django does after a password change. It is called at every load of
   * a session with a user, and its result is compared with the `stamp` of the `login`. Default: none.
   *
   * @example
   * ```ts
   * currentStamp: async (userId) => (await users.findOneBy({ id: userId }))?.passwordHash ?? null,
   * ```
   */
  currentStamp?: CurrentStamp;
  /**
   * A secret for key hashes, so that somebody who can write to the store cannot make a record that opens. For engines that
   * keep sessions on the server. Default: none; nobody can invert plain key hashes either.
   */
  pepper?: PepperOptions;
  /**
   * How many sessions a user may have, and which one ends when a login makes one too many. Needs an engine that lists a
   * user's sessions. Default: `false`, no limit.
   *
   * @example
   * ```ts
   * sessionsPerUser: { max: 3, policy: 'evict-oldest' }
   * ```
   */
  sessionsPerUser?: SessionLimit | false;
  /**
   * Record with each login where it came from, for the list of a user's sessions: the address, shortened to its network
   * (`192.0.2.0`), and the first 256 characters of the user agent. `true` records both. Default: `false`, neither.
   */
  device?: boolean | Partial<DeviceTraits>;
  /** The job that clears expired sessions, or `false` for none. Default: once a day. */
  clearExpired?: false | ClearExpiredOptions;
  /**
   * `'lazy'` reads the store for handlers that take the session, and for `SessionGuard`. `'eager'` reads it before every
   * handler and middleware, for middleware that reads `req.session` itself (passport, connect-flash). Default: `'lazy'`.
   */
  loading?: 'lazy' | 'eager';
  /** Paths without a session, as path-to-regexp patterns: `['/health', '/assets/*path']`. Default: none. */
  exclude?: string[];
  /** How much a session may hold. Default: 65,536 characters, 1,000 keys of 128 characters, 32 levels. */
  limits?: Partial<Limits>;
  /**
   * Take over the sessions of another library when their visitors come: `acceptExpressSession(…)` or
   * `acceptFastifySession(…)`. For engines that keep sessions on the server. Default: none.
   */
  accept?: AcceptedSessions;
  /** Time limit of one store call, at most 24 days; after it the visitor gets a 503. Default: 5 seconds. */
  storeTimeout?: Duration;
  /** What gateways and GraphQL subscriptions see of a session, and how they end with it. */
  sockets?: SocketOptions;
}

/** The option `cookie`: name, lifetime and attributes of the session cookie. Every member may be left out. */
export interface SessionCookieOptions {
  /** Default: `sessionid`. */
  name?: string;
  /** How long the browser keeps the cookie, at most 400 days, as browsers allow. Default: two weeks. */
  maxAge?: Duration;
  /** Default: none, so the cookie stays with the host that set it. */
  domain?: string;
  /** Default: `/`. */
  path?: string;
  /**
   * Domains and paths that the cookie used to have. A logout removes the cookie there too. Members that you leave out are
   * as above. Default: none.
   *
   * @example
   * ```ts
   * cookie: { domain: 'example.com', former: [{ domain: undefined }, { path: '/shop' }] }
   * ```
   */
  former?: CookiePlace[];
  /**
   * Send the cookie over TLS only. `'auto'`: always in production (`NODE_ENV`), elsewhere for requests that came over TLS,
   * directly or through a trusted proxy. Default: `'auto'`.
   */
  secure?: boolean | 'auto';
  /** Hide the cookie from scripts. Default: true. */
  httpOnly?: boolean;
  /**
   * `false` omits the attribute. `'auto'` is `'none'` for a `Secure` cookie and `'lax'` otherwise, as in express-session.
   * Default: `'lax'`.
   */
  sameSite?: 'lax' | 'strict' | 'none' | 'auto' | false;
  /** One cookie jar per top-level site (CHIPS). Needs `secure: true`. Default: false. */
  partitioned?: boolean;
  /** Which cookies Chromium evicts first. Default: no attribute. */
  priority?: 'low' | 'medium' | 'high';
  /**
   * Attributes that depend on the request. They replace the ones above when the cookie is set or removed. It is called
   * once per request, and only then. It must return the same for a login and a logout, or browsers ignore the removal.
   * Default: none.
   *
   * @throws if it throws, the client gets a 500
   *
   * @example
   * ```ts
   * cookie: { forRequest: ({ hostname }) => ({ domain: hostname.endsWith('.example.org') ? 'example.org' : 'example.com' }) }
   * ```
   */
  forRequest?(request: CookieRequest): RequestCookie;
}

/** One place for session keys: the cookie or a header. */
export type SessionTransport = 'cookie' | HeaderTransport;

/** Session keys in a header, for clients that keep no cookies. */
export interface HeaderTransport {
  /**
   * `'authorization'`: requests say `Authorization: Bearer <session key>`, and a new key comes in the response header
   * `Session-Key`. Any other name, such as `'x-session-key'`: the key alone, in requests and in responses.
   */
  header: string;
}

/** What `cookie.forRequest` gets: the request of Express or Fastify, of which these members are typed. */
export interface CookieRequest {
  /** With names in lower case, as in Node. */
  headers: IncomingHttpHeaders;
  /** Without the port. Behind trusted proxies, the host that the visitor asked for. */
  hostname: string;
  /** `'http'` or `'https'`, as trusted proxies report it. */
  protocol: string;
  /** Path and query, as they were sent. */
  originalUrl: string;
  /** The address of the visitor. */
  ip?: string | undefined;
}

/** What `cookie.forRequest` returns: the attributes that differ for this request. */
export interface RequestCookie extends Omit<
  SessionCookieOptions,
  'name' | 'maxAge' | 'former' | 'forRequest' | 'domain'
> {
  /** As in `cookie.domain`. Undefined: the host alone. */
  domain?: string | undefined;
}

/** Where a browser keeps a cookie. */
export interface CookiePlace {
  /** As in `cookie.domain`. Undefined: the host alone. */
  domain?: string | undefined;
  /** As in `cookie.path`. */
  path?: string | undefined;
}

/** The authenticator assurance levels of NIST SP 800-63B. */
export type AssuranceLevel = 'aal1' | 'aal2' | 'aal3';

/** The option `remember`: the timeouts of sessions whose user asked to be remembered. */
export interface RememberOptions {
  /** Default: `'30d'`, which is also how long the browser keeps the cookie. */
  idleTimeout?: Duration;
  /** Counted from the login. Default: `'90d'`. */
  absoluteTimeout?: Duration | false;
}

/** The option `login`: what a login does to the data of the session. */
export interface LoginPolicyOptions {
  /** Keys that only count if a user set them: a login does not carry them over from an anonymous session. Default: none. */
  neverKeep?: string[];
  /**
   * Keys that hold secrets of the session: a login does not carry them over, and `cycleKey` removes them.
   * Default: `['csrfSecret', 'csrfToken', '_csrf']`.
   */
  secrets?: string[];
}

/** What is recorded of where a user logged in from. */
export interface DeviceTraits {
  /** The address, shortened to its network: `192.0.2.0`, `2001:db8:1::`. */
  ip: boolean;
  /** The first 256 characters of the header `User-Agent`. */
  userAgent: boolean;
}

/** The option `sockets`: sessions in gateways, and in GraphQL over sockets. Every member may be left out. */
export interface SocketOptions {
  /**
   * How old the session that a message sees may be, and how late a socket may learn of the end. The store is asked at
   * most this often for each socket, however many messages come. 0: every message asks. Default: `'1s'`.
   */
  staleness?: Duration;
  /**
   * The code, from 3000 to 4999, that closes a WebSocket when its session ends. socket.io sends it in an event `exception`
   * before it disconnects. Default: 4401.
   */
  closeCode?: number;
  /** The reason sent with it, at most 123 bytes. Default: `'The session has ended.'`. */
  closeReason?: string;
}

/** The option `clearExpired`: the job that clears expired sessions. */
export interface ClearExpiredOptions {
  /**
   * An interval of at most 24 days, or a cron expression (`'0 4 * * *'`), which needs `ScheduleModule.forRoot()`.
   * Default: `'1d'`.
   */
  schedule?: Duration;
  /** Each run waits a random time up to this, so that replicas take turns. Default: `'10m'`. */
  jitter?: Duration;
  /** How many records one statement deletes. Default: 1000. */
  batchSize?: number;
}
