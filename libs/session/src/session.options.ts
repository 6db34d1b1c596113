import { stringifySetCookie } from 'cookie';
import { match, type MatchFunction } from 'path-to-regexp';
import { z } from 'zod';
import { SessionConfigError } from './session.errors.js';
import { type CookieAttributes } from './session/cookie-attributes.js';
import { type PepperOptions } from './session/session-key.js';
import { type CurrentStamp } from './session/credential-stamp.js';
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
   * Replaces the session key when it is so old, without ending the session. Requests that still carry the old key are
   * served for up to a minute, so parallel ones lose nothing. Needs an engine that remembers moved keys. Default: never.
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
   * A secret that store keys are computed with, so that a stolen store is of no use without it. For engines that keep
   * sessions on the server. Default: none; store keys are plain hashes of session keys, which cannot be inverted either.
   */
  pepper?: PepperOptions;
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

export type AssuranceLevel = 'aal1' | 'aal2' | 'aal3';

export interface RememberOptions {
  /** Default: `'30d'`, which is also how long the browser keeps the cookie. */
  idleTimeout?: Duration;
  /** Counted from the login. Default: `'90d'`. */
  absoluteTimeout?: Duration | false;
}

export interface LoginPolicyOptions {
  /** Keys that mean something only when they were set for a user: a login removes what an anonymous visitor had there. */
  neverKeep?: string[];
  /**
   * Keys that hold secrets of the session: removed whenever it gets a new key, so that whoever made them makes new ones.
   * Default: `['csrfSecret', 'csrfToken', '_csrf']`.
   */
  secrets?: string[];
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
  rememberedPolicy: ExpiryPolicy;
  login: { neverKeep: string[]; secrets: string[] };
  renewAfter: number | null;
  onReuse: 'report' | 'revoke';
  currentStamp?: CurrentStamp | undefined;
  pepper?: { secrets: string | string[]; allowUnpeppered: boolean } | undefined;
  /** Options that are weaker than the assurance level asks for, each as a sentence. */
  concessions: string[];
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

const DAY = 86_400_000;
const FOUR_HUNDRED_DAYS = 400 * DAY;
const SHORTEST_RENEWAL = 120_000;

type Timeouts = Record<'idleTimeout' | 'absoluteTimeout', number>;

/** https://pages.nist.gov/800-63-4/sp800-63b/aal/, "Reauthentication" of each level. */
const ASSURANCE: Record<AssuranceLevel, Timeouts> = {
  aal1: { idleTimeout: 30 * DAY, absoluteTimeout: 30 * DAY },
  aal2: { idleTimeout: DAY / 24, absoluteTimeout: DAY },
  aal3: { idleTimeout: DAY / 96, absoluteTimeout: DAY / 2 },
};
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
      maxAge: duration.default(14 * DAY),
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
    .optional(),
  assurance: z.enum(['aal1', 'aal2', 'aal3']).optional(),
  remember: z
    .strictObject({
      idleTimeout: duration.optional(),
      absoluteTimeout: z
        .union([duration, z.literal(false)], "must be a duration such as '90d', or false for none")
        .optional(),
    })
    .prefault({}),
  login: z
    .strictObject({
      neverKeep: z.array(z.string()).default([]),
      secrets: z.array(z.string()).default(['csrfSecret', 'csrfToken', '_csrf']),
    })
    .prefault({}),
  renewAfter: z
    .union([duration, z.literal(false)], "must be a duration such as '15m', or false for never")
    .default(false),
  onReuse: z.enum(['report', 'revoke']).default('report'),
  currentStamp: z
    .custom<CurrentStamp>((value) => typeof value === 'function', 'must be a function')
    .optional(),
  pepper: z
    .strictObject({
      secrets: z.union([z.string(), z.array(z.string())], 'must be a text, or a list of texts'),
      allowUnpeppered: z.boolean().default(false),
    })
    .optional(),
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
    assurance,
    remember,
    renewAfter,
    expireAtBrowserClose,
    clearExpired,
    exclude,
    ...rest
  } = parsed.data;
  const required = assurance && ASSURANCE[assurance];
  const policy: ExpiryPolicy = {
    cookieAge: cookie.maxAge,
    idleTimeout: idleTimeout ?? Math.min(cookie.maxAge, required?.idleTimeout ?? Infinity),
    absoluteTimeout: (absoluteTimeout ?? required?.absoluteTimeout ?? false) || null,
    expireAtBrowserClose,
    sliding,
  };
  checkTimeouts(policy, idleTimeout !== undefined);
  const rememberedPolicy = resolveRemembered(policy, remember, required);
  if (renewAfter !== false && renewAfter < SHORTEST_RENEWAL) {
    throw new SessionConfigError(
      'renewAfter',
      'is less than two minutes, in which a former key may still be in use. Lengthen it.',
    );
  }
  checkCookie(cookie);
  const { maxAge: _, domain, priority, ...attributes } = cookie;
  return {
    ...rest,
    cookie: { ...attributes, ...(domain !== undefined && { domain }), ...(priority && { priority }) },
    policy,
    rememberedPolicy,
    renewAfter: renewAfter || null,
    concessions: assurance ? concessionsOf(assurance, { '': policy, 'remember.': rememberedPolicy }) : [],
    clearExpired: clearExpired &&
      checkJitter(clearExpired.jitter) && {
        ...clearExpired,
        schedule: resolveSchedule(clearExpired.schedule),
      },
    excluded: compileExclude(exclude),
  };
}

function resolveRemembered(
  policy: ExpiryPolicy,
  { idleTimeout, absoluteTimeout }: { idleTimeout?: number | undefined; absoluteTimeout?: number | false | undefined },
  required: Timeouts | undefined,
): ExpiryPolicy {
  const last = (absoluteTimeout ?? required?.absoluteTimeout ?? 90 * DAY) || null;
  const idle = idleTimeout ?? Math.min(30 * DAY, required?.idleTimeout ?? Infinity, last ?? Infinity);
  if (last !== null && idle > last) {
    throw new SessionConfigError(
      'remember.idleTimeout',
      'is longer than "remember.absoluteTimeout", so it could never strike. Shorten it, or lengthen the other.',
    );
  }
  return {
    ...policy,
    cookieAge: Math.min(idle, FOUR_HUNDRED_DAYS),
    idleTimeout: idle,
    absoluteTimeout: last,
    expireAtBrowserClose: false,
  };
}

/** What is weaker than the level asks for. Somebody decided that, and whoever reads the log should know. */
function concessionsOf(level: AssuranceLevel, policies: Record<string, ExpiryPolicy>): string[] {
  return Object.entries(policies).flatMap(([prefix, policy]) =>
    (['idleTimeout', 'absoluteTimeout'] as const)
      .filter((name) => (policy[name] ?? Infinity) > ASSURANCE[level][name])
      .map((name) => `Session option "${prefix}${name}" is longer than the assurance level ${level} allows.`),
  );
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
