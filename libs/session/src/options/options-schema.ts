import { z } from 'zod';
import { SessionConfigError } from '../session.errors.js';
import {
  type RequestCookie,
  type SessionCookieOptions,
  type SessionOptions,
  type SocketOptions,
} from '../session.options.js';
import { type CurrentStamp } from '../session/login.js';
import { parseDuration } from '../session/expiry.js';
import { type CookieAttributes } from '../session/session-environment.js';
import { AcceptedSessions } from '../stores/accepted-sessions.js';

const DAY = 86_400_000;
/** Node keeps timer delays in 32 bits; a longer one would fire at once. */
export const LONGEST_TIMER = 2 ** 31 - 1;

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
  .refine((milliseconds) => milliseconds > 0, 'must be more than zero');

/** Attributes of the cookie, in the options and for one request. */
const attributes = {
  domain: z.string(),
  path: z.string().startsWith('/', "must start with '/'"),
  secure: z.union([z.boolean(), z.literal('auto')], "must be true, false or 'auto'"),
  sameSite: z.union(
    [z.enum(['lax', 'strict', 'none', 'auto']), z.literal(false)],
    "must be 'lax', 'strict', 'none', 'auto' or false",
  ),
  priority: z.enum(['low', 'medium', 'high']),
};

const place = z.union([z.literal('cookie'), z.strictObject({ header: z.string() })]);

/** A schema for each option of the type, and for nothing else. */
type SchemaOf<Options> = { [Name in keyof Options]-?: z.ZodType };

const schema = z.strictObject({
  application: z
    .string()
    .regex(/^[\w.-]*$/, "must be letters, digits, '.', '_' or '-'")
    .default(''),
  cookie: z
    .strictObject({
      name: z.string().default('sessionid'),
      maxAge: duration.default(14 * DAY),
      domain: attributes.domain.optional(),
      path: attributes.path.default('/'),
      former: z
        .array(z.strictObject({ domain: attributes.domain.optional(), path: attributes.path.optional() }))
        .default([]),
      secure: attributes.secure.default('auto'),
      httpOnly: z.boolean().default(true),
      sameSite: attributes.sameSite.default('lax'),
      partitioned: z.boolean().default(false),
      priority: attributes.priority.optional(),
      forRequest: z
        .custom<NonNullable<SessionCookieOptions['forRequest']>>(
          (value) => typeof value === 'function',
          'must be a function',
        )
        .optional(),
    } satisfies SchemaOf<SessionCookieOptions>)
    .prefault({}),
  transport: z
    .union([place, z.array(place).min(1)], "must be 'cookie', { header: 'authorization' }, or a list of such")
    .default('cookie'),
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
  sessionsPerUser: z
    .union(
      [
        z.literal(false),
        z.strictObject({
          max: z.int().positive(),
          policy: z.enum(['evict-oldest', 'evict-idle', 'reject']),
        }),
      ],
      "must be like { max: 5, policy: 'evict-oldest' } (or 'evict-idle', 'reject'), or false for no limit",
    )
    .default(false),
  device: z
    .union(
      [
        z.boolean(),
        z.strictObject({ ip: z.boolean().default(false), userAgent: z.boolean().default(false) }),
      ],
      'must be true, false or like { ip: true, userAgent: true }',
    )
    .default(false),
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
      keys: z.int().positive().default(1000),
      keyLength: z.int().positive().default(128),
      depth: z.int().positive().default(32),
    })
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

/** The options as given, with defaults, and durations in milliseconds. */
export type ParsedOptions = z.infer<typeof schema>;

/** @throws SessionConfigError naming the option of the wrong type */
export function parseOptions(options: SessionOptions): ParsedOptions {
  const given: z.input<typeof schema> = options;
  // Without the input: a secret in the wrong place must not be in the error.
  const parsed = schema.safeParse(given);
  if (!parsed.success) throw firstProblem(parsed.error);
  return parsed.data;
}

const requestCookie = z.strictObject(
  {
    domain: attributes.domain.optional(),
    path: attributes.path.optional(),
    secure: attributes.secure.optional(),
    httpOnly: z.boolean().optional(),
    sameSite: attributes.sameSite.optional(),
    partitioned: z.boolean().optional(),
    priority: attributes.priority.optional(),
  } satisfies SchemaOf<RequestCookie>,
  'must be an object with attributes of the cookie',
);

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
  const parsed = requestCookie.safeParse(returned);
  if (!parsed.success) throw firstProblem(parsed.error, 'cookie.forRequest()');
  const members = Object.entries(parsed.data);
  // A domain of undefined is the host alone.
  return Object.fromEntries(members.filter(([name, value]) => value !== undefined || name === 'domain'));
}

function firstProblem(error: z.ZodError, within = ''): SessionConfigError {
  const issue = error.issues[0];
  const optionAt = (path: PropertyKey[]): string => [...(within ? [within] : []), ...path].join('.');
  if (issue?.code === 'unrecognized_keys') {
    return new SessionConfigError(
      optionAt([...issue.path, issue.keys[0] ?? '']),
      'does not exist. Check its spelling.',
    );
  }
  const option = optionAt(issue?.path ?? []) || 'options';
  return new SessionConfigError(option, `is wrong: ${issue?.message ?? error.message}.`);
}
