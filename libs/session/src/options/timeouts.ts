import { z } from 'zod';
import { SessionConfigError } from '../session.errors.js';
import { type AssuranceLevel, type RememberOptions, type SessionOptions } from '../session.options.js';
import { type ExpiryPolicy, LONGEST_COOKIE, parseDuration } from '../session/expiry.js';

export const DAY = 86_400_000;
const SHORTEST_RENEWAL = 120_000;

/** A schema for each option of the type, and for nothing else, which takes no other values. Groups have one of their own. */
export type SchemaOf<Options> = {
  [Name in keyof Options]-?: z.ZodType<unknown, Exclude<Options[Name], object> | object | undefined>;
};

/** Comes out in milliseconds. */
export const duration = z
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

const rememberOptions = z.strictObject({
  idleTimeout: duration.optional(),
  absoluteTimeout: z
    .union([duration, z.literal(false)], "must be a duration such as '90d', or false for none")
    .optional(),
} satisfies SchemaOf<RememberOptions>);

export const timeoutOptions = {
  expireAtBrowserClose: z.boolean().default(false),
  idleTimeout: duration.optional(),
  sliding: z.boolean().default(true),
  absoluteTimeout: z
    .union([duration, z.literal(false)], "must be a duration such as '12h', or false for none")
    .optional(),
  assurance: z.enum(['aal1', 'aal2', 'aal3']).optional(),
  remember: rememberOptions.prefault({}),
} satisfies Partial<SchemaOf<SessionOptions>>;

type Timeouts = Record<'idleTimeout' | 'absoluteTimeout', number>;

/** https://pages.nist.gov/800-63-4/sp800-63b/aal/, "Reauthentication" of each level. */
const ASSURANCE: Record<AssuranceLevel, Timeouts> = {
  aal1: { idleTimeout: 30 * DAY, absoluteTimeout: 30 * DAY },
  aal2: { idleTimeout: DAY / 24, absoluteTimeout: DAY },
  aal3: { idleTimeout: DAY / 96, absoluteTimeout: DAY / 2 },
};

interface ResolvedTimeouts {
  policy: ExpiryPolicy;
  rememberedPolicy: ExpiryPolicy;
  /** Options that are weaker than the assurance level asks for, each as a sentence. */
  warnings: string[];
}

/** @throws SessionConfigError when timeouts contradict each other */
export function resolveTimeouts(
  cookieAge: number,
  options: z.output<z.ZodObject<typeof timeoutOptions>>,
): ResolvedTimeouts {
  const { idleTimeout, sliding, absoluteTimeout, assurance, remember, expireAtBrowserClose } = options;
  const required = assurance && ASSURANCE[assurance];
  const policy: ExpiryPolicy = {
    cookieAge,
    idleTimeout: idleTimeout ?? Math.min(cookieAge, required?.idleTimeout ?? Infinity),
    absoluteTimeout: (absoluteTimeout ?? required?.absoluteTimeout ?? false) || null,
    expireAtBrowserClose,
    sliding,
  };
  checkTimeouts(policy, idleTimeout !== undefined);
  const rememberedPolicy = resolveRemembered(policy, remember, required);
  return {
    policy,
    rememberedPolicy,
    warnings: assurance ? weaknessesOf(assurance, { '': policy, 'remember.': rememberedPolicy }) : [],
  };
}

/** @returns milliseconds; null: never */
export function resolveRenewal(renewAfter: number | false): number | null {
  if (renewAfter === false) return null;
  if (renewAfter >= SHORTEST_RENEWAL) return renewAfter;
  throw new SessionConfigError(
    'renewAfter',
    'is less than two minutes, and an old key may still be in use then. Use a longer time.',
  );
}

function resolveRemembered(
  policy: ExpiryPolicy,
  { idleTimeout, absoluteTimeout }: z.output<typeof rememberOptions>,
  required: Timeouts | undefined,
): ExpiryPolicy {
  const last = (absoluteTimeout ?? required?.absoluteTimeout ?? 90 * DAY) || null;
  const idle = idleTimeout ?? Math.min(30 * DAY, required?.idleTimeout ?? Infinity, last ?? Infinity);
  if (last !== null && idle > last) {
    throw new SessionConfigError(
      'remember.idleTimeout',
      'is longer than "remember.absoluteTimeout", so it would never apply. Shorten it, or lengthen the other.',
    );
  }
  return {
    ...policy,
    cookieAge: Math.min(idle, LONGEST_COOKIE),
    idleTimeout: idle,
    absoluteTimeout: last,
    expireAtBrowserClose: false,
  };
}

/** What is weaker than the level asks for. It is allowed, but the log should say so. */
function weaknessesOf(level: AssuranceLevel, policies: Record<string, ExpiryPolicy>): string[] {
  return Object.entries(policies).flatMap(([prefix, policy]) =>
    (['idleTimeout', 'absoluteTimeout'] as const)
      .filter((name) => (policy[name] ?? Infinity) > ASSURANCE[level][name])
      .map((name) => `Session option "${prefix}${name}" is longer than the assurance level ${level} allows.`),
  );
}

function checkTimeouts(policy: ExpiryPolicy, idleGiven: boolean): void {
  if (policy.cookieAge > LONGEST_COOKIE) {
    throw new SessionConfigError(
      'cookie.maxAge',
      'is more than 400 days, and no browser keeps a cookie that long. Shorten it.',
    );
  }
  if (policy.absoluteTimeout === null || policy.idleTimeout <= policy.absoluteTimeout) return;
  if (idleGiven) {
    throw new SessionConfigError(
      'idleTimeout',
      'is longer than "absoluteTimeout", so it would never apply. Shorten it, or lengthen "absoluteTimeout".',
    );
  }
  policy.idleTimeout = policy.absoluteTimeout;
}
