import { match, type MatchFunction } from 'path-to-regexp';
import { z } from 'zod';
import { SessionConfigError } from '../session.errors.js';
import {
  type ClearExpiredOptions,
  type DeviceTraits,
  type Duration,
  type LoginPolicyOptions,
  type SessionOptions,
  type SocketOptions,
} from '../session.options.js';
import { parseDuration } from '../session/expiry.js';
import { type Limits } from '../session/json-value.js';
import { type CurrentStamp } from '../session/login.js';
import { type CookieAttributes } from '../session/session-environment.js';
import { type PepperOptions } from '../session/session-key.js';
import { type SessionLimit } from '../session/user-sessions.js';
import { AcceptedSessions } from '../stores/accepted-sessions.js';
import { cookieOptions, requestCookie, resolveCookie } from './cookie-options.js';
import { duration, resolveRenewal, resolveTimeouts, type SchemaOf, timeoutOptions } from './timeouts.js';
import { transportOption } from './transport.js';

/** Node keeps timer delays in 32 bits; a longer one would fire at once. */
const LONGEST_TIMER = 2 ** 31 - 1;

/** Checks and defaults. What the options mean is written where their types are. */
const sessionOptions = z.strictObject({
  application: z
    .string()
    .regex(/^[\w.-]*$/, "must be letters, digits, '.', '_' or '-'")
    .default(''),
  cookie: cookieOptions.prefault({}),
  transport: transportOption,
  ...timeoutOptions,
  saveEveryRequest: z.boolean().default(false),
  login: z
    .strictObject({
      neverKeep: z.array(z.string()).default([]),
      secrets: z.array(z.string()).default(['csrfSecret', 'csrfToken', '_csrf']),
    } satisfies SchemaOf<LoginPolicyOptions>)
    .prefault({}),
  renewAfter: z
    .union([duration, z.literal(false)], "must be a duration such as '15m', or false for never")
    .default(false)
    .transform(resolveRenewal),
  onReuse: z.enum(['report', 'revoke']).default('report'),
  currentStamp: z
    .custom<CurrentStamp>((value) => typeof value === 'function', 'must be a function')
    .optional(),
  pepper: z
    .strictObject({
      secrets: z.union(
        [z.string(), z.array(z.string()).readonly()],
        'must be a string, or a list of strings',
      ),
      allowUnpeppered: z.boolean().default(false),
    } satisfies SchemaOf<PepperOptions>)
    .optional(),
  sessionsPerUser: z
    .union(
      [
        z.literal(false),
        z.strictObject({
          max: z.int().positive(),
          policy: z.enum(['evict-oldest', 'evict-idle', 'reject']),
        } satisfies SchemaOf<SessionLimit>),
      ],
      "must be like { max: 5, policy: 'evict-oldest' } (or 'evict-idle', 'reject'), or false for no limit",
    )
    .default(false),
  device: z
    .union(
      [
        z.boolean(),
        z.strictObject({
          ip: z.boolean().default(false),
          userAgent: z.boolean().default(false),
        } satisfies SchemaOf<DeviceTraits>),
      ],
      'must be true, false or like { ip: true, userAgent: true }',
    )
    .default(false)
    .transform((device) => (typeof device === 'boolean' ? { ip: device, userAgent: device } : device)),
  clearExpired: z
    .union([
      z.literal(false),
      z.strictObject({
        schedule: z.union([z.number(), z.string()]).default('1d').transform(resolveSchedule),
        jitter: duration.or(z.literal(0)).default(600_000).transform(checkJitter),
        batchSize: z.int().positive().default(1000),
      } satisfies SchemaOf<ClearExpiredOptions>),
    ])
    .prefault({}),
  loading: z.enum(['lazy', 'eager']).default('lazy'),
  exclude: z.array(z.string()).default([]).transform(compileExclude),
  limits: z
    .strictObject({
      size: z.int().positive().default(65_536),
      keys: z.int().positive().default(1000),
      keyLength: z.int().positive().default(128),
      depth: z.int().positive().default(32),
    } satisfies SchemaOf<Limits>)
    .prefault({}),
  accept: z
    .custom<AcceptedSessions>(
      (value) => value instanceof AcceptedSessions,
      'must be what acceptExpressSession() or acceptFastifySession() returns',
    )
    .optional(),
  storeTimeout: duration
    .refine((milliseconds) => milliseconds <= LONGEST_TIMER, 'must be at most 24 days')
    .default(5000),
  sockets: z
    .strictObject({
      staleness: duration
        .refine((milliseconds) => milliseconds <= LONGEST_TIMER / 2, 'must be at most 12 days')
        .or(z.literal(0))
        .default(1000),
      closeCode: z.int().min(3000).max(4999).default(4401),
      closeReason: z
        .string()
        .refine((reason) => Buffer.byteLength(reason) <= 123, 'must be at most 123 bytes')
        .default('The session has ended.'),
    } satisfies SchemaOf<SocketOptions>)
    .prefault({}),
} satisfies SchemaOf<SessionOptions>);

/** The options with defaults filled in and durations in milliseconds: what the rest of the library reads. */
export type ResolvedSessionOptions = ReturnType<typeof resolveOptions>;

/** When and how expired sessions are cleared. */
export type ClearingPlan = Exclude<ResolvedSessionOptions['clearExpired'], false>;

/**
 * Checks the options and fills in the defaults.
 * @throws SessionConfigError naming the option at fault
 */
export function resolveOptions(given: SessionOptions = {}) {
  const { expireAtBrowserClose, idleTimeout, sliding, absoluteTimeout, assurance, remember, ...others } =
    parse(sessionOptions, given satisfies z.input<typeof sessionOptions>);
  const timeouts = { expireAtBrowserClose, idleTimeout, sliding, absoluteTimeout, assurance, remember };
  const { cookie, exclude, ...rules } = others;
  return {
    ...rules,
    ...resolveTimeouts(cookie.maxAge, timeouts),
    cookie: resolveCookie(cookie),
    /** Does this path have no session? */
    excluded: exclude,
  };
}

type RequestAttributes = Partial<Omit<CookieAttributes, 'domain'>> & { domain?: string | undefined };

/**
 * What `cookie.forRequest` has returned, without the members that say nothing.
 * @throws SessionConfigError naming the member of the wrong type
 */
export function parseRequestCookie(returned: unknown): RequestAttributes {
  if (returned instanceof Promise) {
    throw new SessionConfigError(
      'cookie.forRequest()',
      'is a promise. Return the attributes directly. If they need a lookup, do it before, in a middleware.',
    );
  }
  const members = Object.entries(parse(requestCookie, returned, 'cookie.forRequest()'));
  // A domain of undefined is the host alone.
  return Object.fromEntries(members.filter(([name, value]) => value !== undefined || name === 'domain'));
}

/**
 * @param within the option that this is in
 * @throws SessionConfigError naming the first option that is wrong
 */
function parse<Options>(schema: z.ZodType<Options>, given: unknown, within?: string): Options {
  const parsed = schema.safeParse(given);
  if (parsed.success) return parsed.data;
  // Without the input: a secret in the wrong place must not be in the error.
  const issue = parsed.error.issues[0];
  const isUnknown = issue?.code === 'unrecognized_keys';
  const path = [
    ...(within ? [within] : []),
    ...(issue?.path ?? []),
    ...(isUnknown ? issue.keys.slice(0, 1) : []),
  ];
  throw new SessionConfigError(
    path.join('.') || 'options',
    isUnknown
      ? 'does not exist. Check its spelling.'
      : `is wrong: ${issue?.message ?? parsed.error.message}.`,
  );
}

/** @throws SessionConfigError */
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

/** @throws SessionConfigError */
function checkJitter(jitter: number): number {
  if (jitter <= LONGEST_TIMER) return jitter;
  throw new SessionConfigError('clearExpired.jitter', 'is more than 24 days. Use a shorter time.');
}

/**
 * Tells of a path whether one of these patterns matches it.
 * @throws SessionConfigError for what is no pattern
 */
function compileExclude(patterns: string[]): (path: string) => boolean {
  const matchers = patterns.map((pattern, index): MatchFunction<object> => {
    try {
      // Decoding would throw at paths such as `/%zz`, and exclusion needs no parameters.
      return match(pattern, { decode: false });
    } catch {
      throw new SessionConfigError(
        `exclude[${index}]`,
        `is not a path pattern: ${JSON.stringify(pattern)}. Write it like '/health' or '/assets/*path'.`,
      );
    }
  });
  return matchers.length === 0 ? () => false : (path) => matchers.some((matches) => matches(path) !== false);
}
