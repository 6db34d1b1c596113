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
   * A name that keeps this application apart from others that have the same secrets or the same store: none of them opens,
   * lists or ends sessions of another. To change it ends all sessions. Default: `''`, no name.
   */
  application?: string;
  /** Name, lifetime and attributes of the cookie. */
  cookie?: SessionCookieOptions;
  /**
   * Where clients bring their session key, and get a new one: in the cookie, in a header, or either, as a list. A request
   * that has the header does without the cookie, which is then neither read nor set. The first of the list is for
   * clients that bring nothing. Default: `'cookie'`.
   *
   * @example
   * ```ts
   * transport: ['cookie', { header: 'authorization' }]
   * ```
   */
  transport?: SessionTransport | SessionTransport[];
  /**
   * Let the session end with the browser: the cookie gets no Max-Age. A session that calls `setExpiry` overrules this.
   * Default: false.
   */
  expireAtBrowserClose?: boolean;
  /**
   * Renew the deadline and the cookie of a live session with every request, whether the request uses it or not. It costs
   * a load and a touch per request. Most applications want `sliding` instead. Default: false.
   */
  saveEveryRequest?: boolean;
  /** The session ends when nobody has used it for this long. Judged on the server. Default: `cookie.maxAge`. */
  idleTimeout?: Duration;
  /**
   * Does reading count as use? True: the idle clock restarts with every use, by touches of the store throttled to a
   * tenth of `idleTimeout`. False: it runs from the last save, as in Django. Default: true.
   */
  sliding?: boolean;
  /** The session ends this long after it was created, however busy it is. Default: `false`, no such limit. */
  absoluteTimeout?: Duration | false;
  /**
   * The timeouts of an assurance level of NIST SP 800-63B take the place of the defaults above: `'aal1'` ends sessions
   * after 30 days, `'aal2'` after a day or an hour without use, `'aal3'` after 12 hours or 15 minutes without use. Longer
   * ones that are given all the same are named in the log, once. Default: none.
   */
  assurance?: AssuranceLevel;
  /** The timeouts of sessions whose user wished to be remembered: `session.login(userId, { remember: true })`. */
  remember?: RememberOptions;
  /** What a login does to the data of the session. */
  login?: LoginPolicyOptions;
  /**
   * Replaces the session key when it is this old, without ending the session. Requests that still carry the old key are
   * served for up to a minute, so parallel ones lose nothing. For engines that keep sessions on the server. Default: never.
   */
  renewAfter?: Duration | false;
  /**
   * What to do when a key that a renewal replaced comes back after that minute, so that two clients may have the cookie:
   * `'report'` an event, or `'revoke'` the session as well. Default: `'report'`.
   */
  onReuse?: 'report' | 'revoke';
  /**
   * Ends sessions whose credential is no longer good, as Django does after a change of the password. Asked with every
   * load of a session that has a user; what it returns is compared with the `stamp` that `login` was given.
   *
   * @example
   * ```ts
   * currentStamp: async (userId) => (await users.findOneBy({ id: userId }))?.passwordHash ?? null,
   * ```
   */
  currentStamp?: CurrentStamp;
  /**
   * A secret that key hashes are made with, so that nobody who can write to the store can make one that opens. For
   * engines that keep sessions on the server. Default: none; key hashes are plain, which cannot be inverted either.
   */
  pepper?: PepperOptions;
  /**
   * How many sessions a user may have at once, and which one ends when a login makes one too many. Needs an engine that
   * lists a user's sessions. Default: `false`, no limit.
   */
  sessionsPerUser?: SessionLimit | false;
  /**
   * Keep with a login what the list of a user's sessions can tell them apart by: the address, shortened to its network
   * (`192.0.2.0`), and the user agent, its first 256 characters. `true` is both. Default: `false`, neither.
   */
  device?: boolean | Partial<DeviceTraits>;
  /** Regular clearing of expired sessions, or `false` for none. */
  clearExpired?: false | ClearExpiredOptions;
  /**
   * `'lazy'`: the store is read for handlers that take the session, and by guards. `'eager'`: before every handler and
   * middleware, for middleware that reads `req.session` itself (passport, connect-flash). Default: `'lazy'`.
   */
  loading?: 'lazy' | 'eager';
  /** Paths without a session, as path-to-regexp patterns: `['/health', '/assets/*path']`. Default: none. */
  exclude?: string[];
  /** What a session may hold at most. */
  limits?: Partial<Limits>;
  /**
   * Sessions of another library to move in, for as long as visitors come with its cookies: `acceptExpressSession(…)` or
   * `acceptFastifySession(…)`. For engines that keep sessions on the server. Default: none.
   */
  accept?: AcceptedSessions;
  /** Time limit of one call of the store; past it the visitor gets a 503. Default: 5 seconds. */
  storeTimeout?: Duration;
  /** What gateways and GraphQL subscriptions see of a session, and how they end with it. */
  sockets?: SocketOptions;
}

/** The option `cookie`: name, lifetime and attributes of the session cookie. Every member may be left out. */
export interface SessionCookieOptions {
  /** Default: `sessionid`. */
  name?: string;
  /** How long the browser keeps the cookie. At most 400 days, which is what browsers allow. Default: two weeks. */
  maxAge?: Duration;
  /** Default: none, so that the cookie stays with the host that set it. */
  domain?: string;
  /** Default: `/`. */
  path?: string;
  /**
   * Domains and paths that the cookie had before, when this application was configured in another way. A logout removes
   * the cookie there as well. A member that is left out is as above. Default: none.
   *
   * @example
   * ```ts
   * cookie: { domain: 'example.com', former: [{ domain: undefined }, { path: '/shop' }] }
   * ```
   */
  former?: CookiePlace[];
  /**
   * Send the cookie over TLS only. `'auto'`: yes in production (`NODE_ENV`), and elsewhere for requests that came over
   * TLS, directly or through a trusted proxy. Default: `'auto'`.
   */
  secure?: boolean | 'auto';
  /** Keep the cookie from scripts. Default: true. */
  httpOnly?: boolean;
  /**
   * `false` leaves the attribute out. `'auto'`: `'none'` for a cookie that is `Secure`, else `'lax'`, as in
   * express-session. Default: `'lax'`.
   */
  sameSite?: 'lax' | 'strict' | 'none' | 'auto' | false;
  /** One cookie jar per top-level site (CHIPS). Needs `secure: true`. Default: false. */
  partitioned?: boolean;
  /** Which cookies Chromium evicts first. Default: the attribute is left out. */
  priority?: 'low' | 'medium' | 'high';
  /**
   * Attributes that depend on the request. What it returns takes the place of the ones above, for the cookie that is set
   * and for its removal alike. It is called once in a request, and only when the cookie is set or removed. It must return
   * the same for a login and a logout, or browsers ignore the removal. Default: none.
   *
   * @throws what it throws withholds the response, with a 500
   *
   * @example
   * ```ts
   * cookie: { forRequest: ({ hostname }) => ({ domain: hostname.endsWith('.example.org') ? 'example.org' : 'example.com' }) }
   * ```
   */
  forRequest?(request: CookieRequest): RequestCookie;
}

/** One place for session keys: the cookie, or a header. */
export type SessionTransport = 'cookie' | HeaderTransport;

/** Session keys in a header, for clients that keep no cookies. */
export interface HeaderTransport {
  /**
   * `'authorization'`: requests say `Authorization: Bearer <session key>`, and a new key comes in the response header
   * `Session-Key`. Any other name, such as `'x-session-key'`: the key alone, in requests and in responses.
   */
  header: string;
}

/** What `cookie.forRequest` is given: the request of Express or of Fastify, which have this in common. */
export interface CookieRequest {
  /** As Node has them: names in lower case. */
  headers: IncomingHttpHeaders;
  /** Without the port. Behind proxies that the application trusts, the one that the visitor asked for. */
  hostname: string;
  /** `'http'` or `'https'`, as far as trusted proxies tell. */
  protocol: string;
  /** Path and query, as they were sent. */
  originalUrl: string;
  /** The address of the visitor. */
  ip?: string | undefined;
}

/** What `cookie.forRequest` returns: the attributes that this request has of its own. */
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
  /** Keys that mean something only when they were set for a user: a login does not carry them over from a visitor. */
  neverKeep?: string[];
  /**
   * Keys that hold secrets of the session: not carried over by a login, and removed by `cycleKey`.
   * Default: `['csrfSecret', 'csrfToken', '_csrf']`.
   */
  secrets?: string[];
}

/** What is kept of where a user logged in from. */
export interface DeviceTraits {
  /** The address, shortened to its network: `192.0.2.0`, `2001:db8:1::`. */
  ip: boolean;
  /** The first 256 characters of the header `User-Agent`. */
  userAgent: boolean;
}

/** The option `sockets`: sessions in gateways, and in GraphQL over sockets. Every member may be left out. */
export interface SocketOptions {
  /**
   * How old may be what a message sees of the session, and how late may a socket learn of the end? The store is asked at
   * most so often for each socket, however many messages come. 0: every message asks. Default: `'1s'`.
   */
  staleness?: Duration;
  /**
   * The code that a WebSocket is closed with when its session ends, from 3000 to 4999. Default: 4401. Sockets of
   * socket.io get it as an event `exception` before they are disconnected.
   */
  closeCode?: number;
  /** The reason that goes with it: at most 123 bytes. Default: `'The session has ended.'`. */
  closeReason?: string;
}

/** The option `clearExpired`: the job that clears expired sessions. */
export interface ClearExpiredOptions {
  /** A cron expression (`'0 4 * * *'`, needs `ScheduleModule.forRoot()`) or an interval. Default: `'1d'`. */
  schedule?: Duration;
  /** A random delay of at most this long before each run, so that replicas take turns. Default: `'10m'`. */
  jitter?: Duration;
  /** Records deleted by one statement. Default: 1000. */
  batchSize?: number;
}
