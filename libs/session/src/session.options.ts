import { stringifySetCookie } from 'cookie';
import { match, type MatchFunction } from 'path-to-regexp';
import { z } from 'zod';
import { SessionConfigError } from './session.errors.js';
import { type CookieAttributes } from './session/cookie-attributes.js';
import { type ExpiryPolicy, parseDuration } from './session/expiry.js';
import { type Limits } from './session/json-value.js';

/** Seconds, or a string such as `'30m'`, `'12h'`, `'2w'`. */
export type Duration = number | string;

/** What `SessionModule.forRoot(engine, options)` takes. Every option may be left out. */
export interface SessionOptions {
  cookie?: SessionCookieOptions;
  /**
   * Let the session end with the browser: the cookie gets no Max-Age. A session that calls `setExpiry` overrules this.
   * Default: false.
   */
  expireAtBrowserClose?: boolean;
  /**
   * Renew the deadline and the cookie of a live session with every request, whether the request uses it or not. It costs
   * a load and a touch per request; `sliding` is mostly what is wanted instead. Default: false.
   */
  saveEveryRequest?: boolean;
  /** The session ends when it was not used for so long. Judged on the server. Default: `cookie.maxAge`. */
  idleTimeout?: Duration;
  /**
   * Does reading count as use? True: the idle clock restarts with every use, by touches of the store throttled to a
   * tenth of `idleTimeout`. False: it runs from the last save, as in Django. Default: true.
   */
  sliding?: boolean;
  /** The session ends so long after it was created, however busy it is. Default: `false`, no such limit. */
  absoluteTimeout?: Duration | false;
  /** Regular clearing of expired sessions, or `false` for none. */
  clearExpired?: false | ClearExpiredOptions;
  /**
   * `'lazy'`: the store is read for handlers that take the session, and by guards. `'eager'`: before every handler and
   * middleware, for such as read `req.session` themselves (passport, connect-flash). Default: `'lazy'`.
   */
  loading?: 'lazy' | 'eager';
  /** Paths without a session, as path-to-regexp patterns: `['/health', '/assets/*path']`. Default: none. */
  exclude?: string[];
  /** What a session may hold at most. */
  limits?: Partial<Limits>;
  /** Time limit of one call of the store; past it the visitor gets a 503. Default: 5 seconds. */
  storeTimeout?: Duration;
}

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
   * Send the cookie over TLS only. `'auto'`: yes in production (`NODE_ENV`), and elsewhere for requests that came over
   * TLS, directly or through a trusted proxy. Default: `'auto'`.
   */
  secure?: boolean | 'auto';
  /** Keep the cookie from scripts. Default: true. */
  httpOnly?: boolean;
  /** `false` leaves the attribute out. Default: `'lax'`. */
  sameSite?: 'lax' | 'strict' | 'none' | false;
  /** One cookie jar per top-level site (CHIPS). Needs `secure: true`. Default: false. */
  partitioned?: boolean;
  /** Which cookies Chromium evicts first. Default: the attribute is left out. */
  priority?: 'low' | 'medium' | 'high';
}

export interface ClearExpiredOptions {
  /** A cron expression (`'0 4 * * *'`, needs `ScheduleModule.forRoot()`) or an interval. Default: `'1d'`. */
  schedule?: Duration;
  /** A random delay of up to so long before each run, so that replicas take turns. Default: `'10m'`. */
  jitter?: Duration;
  /** Records deleted by one statement. Default: 1000. */
  batchSize?: number;
}

/** The options with defaults filled in and durations in milliseconds. */
export interface ResolvedSessionOptions {
  cookie: ResolvedCookieOptions;
  policy: ExpiryPolicy;
  saveEveryRequest: boolean;
  clearExpired: false | { schedule: { cron: string } | { every: number }; jitter: number; batchSize: number };
  loading: 'lazy' | 'eager';
  /** Does this path have no session? */
  excluded: (path: string) => boolean;
  limits: Limits;
  storeTimeout: number;
}

export interface ResolvedCookieOptions extends CookieAttributes {
  name: string;
}

const FOUR_HUNDRED_DAYS = 400 * 86_400_000;
/** Node keeps timer delays in 32 bits; a longer one would fire at once. */
const LONGEST_TIMER = 2 ** 31 - 1;

const duration = z
  .union([z.number(), z.string()])
  .transform((input, context) => {
    const milliseconds = parseDuration(input);
    if (milliseconds !== undefined) return milliseconds;
    context.addIssue(
      `must be a number of seconds or a duration such as '30m', but is ${JSON.stringify(input)}`,
    );
    return z.NEVER;
  })
  .refine((milliseconds) => milliseconds > 0, 'must be longer than nothing');

const schema = z.strictObject({
  cookie: z
    .strictObject({
      name: z.string().default('sessionid'),
      maxAge: duration.default(14 * 86_400_000),
      domain: z.string().optional(),
      path: z.string().startsWith('/', "must start with '/'").default('/'),
      secure: z.union([z.boolean(), z.literal('auto')], "must be true, false or 'auto'").default('auto'),
      httpOnly: z.boolean().default(true),
      sameSite: z
        .union(
          [z.enum(['lax', 'strict', 'none']), z.literal(false)],
          "must be 'lax', 'strict', 'none' or false",
        )
        .default('lax'),
      partitioned: z.boolean().default(false),
      priority: z.enum(['low', 'medium', 'high']).optional(),
    })
    .prefault({}),
  expireAtBrowserClose: z.boolean().default(false),
  saveEveryRequest: z.boolean().default(false),
  idleTimeout: duration.optional(),
  sliding: z.boolean().default(true),
  absoluteTimeout: z
    .union([duration, z.literal(false)], "must be a duration such as '12h', or false for none")
    .default(false),
  clearExpired: z
    .union([
      z.literal(false),
      z.strictObject({
        schedule: z.union([z.number(), z.string()]).default('1d'),
        jitter: duration.or(z.literal(0)).default(600_000),
        batchSize: z.int().positive().default(1000),
      }),
    ])
    .prefault({}),
  loading: z.enum(['lazy', 'eager']).default('lazy'),
  exclude: z.array(z.string()).default([]),
  limits: z
    .strictObject({
      size: z.int().positive().default(65_536),
      keyLength: z.int().positive().default(128),
      depth: z.int().positive().default(32),
    })
    .prefault({}),
  storeTimeout: duration.default(5000),
});

/**
 * Checks the options and fills in the defaults.
 * @throws SessionConfigError naming the option at fault
 */
export function resolveOptions(options: SessionOptions = {}): ResolvedSessionOptions {
  const parsed = schema.safeParse(options, { reportInput: true });
  if (!parsed.success) throw firstProblem(parsed.error);
  const {
    cookie,
    idleTimeout,
    sliding,
    absoluteTimeout,
    expireAtBrowserClose,
    clearExpired,
    exclude,
    ...rest
  } = parsed.data;
  const policy: ExpiryPolicy = {
    cookieAge: cookie.maxAge,
    idleTimeout: idleTimeout ?? cookie.maxAge,
    absoluteTimeout: absoluteTimeout === false ? null : absoluteTimeout,
    expireAtBrowserClose,
    sliding,
  };
  checkTimeouts(policy, idleTimeout !== undefined);
  checkCookie(cookie);
  const { maxAge: _, domain, priority, ...attributes } = cookie;
  return {
    ...rest,
    cookie: { ...attributes, ...(domain !== undefined && { domain }), ...(priority && { priority }) },
    policy,
    clearExpired: clearExpired &&
      checkJitter(clearExpired.jitter) && {
        ...clearExpired,
        schedule: resolveSchedule(clearExpired.schedule),
      },
    excluded: compileExclude(exclude),
  };
}

function checkTimeouts(policy: ExpiryPolicy, idleGiven: boolean): void {
  if (policy.cookieAge > FOUR_HUNDRED_DAYS) {
    throw new SessionConfigError(
      'cookie.maxAge',
      'is more than 400 days, which no browser keeps. Shorten it.',
    );
  }
  if (policy.absoluteTimeout === null || policy.idleTimeout <= policy.absoluteTimeout) return;
  if (idleGiven) {
    throw new SessionConfigError(
      'idleTimeout',
      'is longer than "absoluteTimeout", so it could never strike. Shorten it, or lengthen "absoluteTimeout".',
    );
  }
  policy.idleTimeout = policy.absoluteTimeout;
}

function checkCookie(cookie: z.infer<typeof schema>['cookie']): void {
  const { name, secure, sameSite, partitioned, path, domain } = cookie;
  const prefix = /^__(host|secure)-/i.exec(name)?.[0];
  if (prefix && prefix !== '__Host-' && prefix !== '__Secure-') {
    throw new SessionConfigError(
      'cookie.name',
      `starts with ${prefix}; spell the prefix "__Host-" or "__Secure-".`,
    );
  }
  const needsSecure = [
    prefix && `the name prefix ${prefix}`,
    sameSite === 'none' && 'sameSite: none',
    partitioned && 'partitioned',
  ].find(Boolean);
  if (needsSecure && secure !== true) {
    throw new SessionConfigError(
      'cookie.secure',
      `must be true, because browsers demand it for ${needsSecure}.`,
    );
  }
  if (prefix === '__Host-' && path !== '/') {
    throw new SessionConfigError('cookie.path', 'must be "/" for a name with the prefix __Host-.');
  }
  if (prefix === '__Host-' && domain !== undefined) {
    throw new SessionConfigError('cookie.domain', 'must be left out for a name with the prefix __Host-.');
  }
  checkSyntax('cookie.name', () => stringifySetCookie({ name, value: '' }));
  checkSyntax('cookie.path', () => stringifySetCookie({ name: 'a', value: '', path }));
  if (domain !== undefined)
    checkSyntax('cookie.domain', () => stringifySetCookie({ name: 'a', value: '', domain }));
}

/** What the cookie library refuses to put into a header would be refused at every response: say so at the start. */
function checkSyntax(option: string, serialize: () => string): void {
  try {
    serialize();
  } catch (cause) {
    throw new SessionConfigError(
      option,
      'holds characters that a Set-Cookie header cannot carry. Change it.',
      { cause },
    );
  }
}

function resolveSchedule(schedule: Duration): { cron: string } | { every: number } {
  const every = parseDuration(schedule);
  if (every === undefined && typeof schedule === 'string' && /^\S+(\s+\S+){4,5}$/.test(schedule.trim())) {
    return { cron: schedule.trim() };
  }
  if (every === undefined || every <= 0) {
    throw new SessionConfigError(
      'clearExpired.schedule',
      `must be a cron expression or a duration such as '1d', but is ${JSON.stringify(schedule)}. Use false for none.`,
    );
  }
  if (every > LONGEST_TIMER) {
    throw new SessionConfigError(
      'clearExpired.schedule',
      'is an interval of more than 24 days. Use a cron expression.',
    );
  }
  return { every };
}

function checkJitter(jitter: number): true {
  if (jitter <= LONGEST_TIMER) return true;
  throw new SessionConfigError('clearExpired.jitter', 'is more than 24 days. Give a part of the interval.');
}

function compileExclude(patterns: string[]): (path: string) => boolean {
  const matchers = patterns.map((pattern, index): MatchFunction<object> => {
    try {
      // Decoding would throw at paths such as `/%zz`, and exclusion needs no parameters.
      return match(pattern, { decode: false });
    } catch (cause) {
      throw new SessionConfigError(
        `exclude[${index}]`,
        `is not a path pattern: ${JSON.stringify(pattern)}. Write it like '/health' or '/assets/*path'.`,
        { cause },
      );
    }
  });
  return matchers.length === 0 ? () => false : (path) => matchers.some((matches) => matches(path) !== false);
}

function firstProblem(error: z.ZodError): SessionConfigError {
  const issue = error.issues[0];
  if (issue?.code === 'unrecognized_keys') {
    const option = [...issue.path, issue.keys[0]].join('.');
    return new SessionConfigError(option, 'does not exist. Check its spelling.');
  }
  const option = issue?.path.join('.') || 'options';
  return new SessionConfigError(option, `is wrong: ${issue?.message ?? error.message}.`, { cause: error });
}
