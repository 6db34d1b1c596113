import { SessionConfigError } from '../session.errors.js';
import { type ExpiryPolicy, LONGEST_COOKIE } from '../session/expiry.js';
import { type ParsedOptions } from './options-schema.js';

const DAY = 86_400_000;
const SHORTEST_RENEWAL = 120_000;

type AssuranceLevel = NonNullable<ParsedOptions['assurance']>;
type Timeouts = Record<'idleTimeout' | 'absoluteTimeout', number>;

/** https://pages.nist.gov/800-63-4/sp800-63b/aal/, "Reauthentication" of each level. */
const ASSURANCE: Record<AssuranceLevel, Timeouts> = {
  aal1: { idleTimeout: 30 * DAY, absoluteTimeout: 30 * DAY },
  aal2: { idleTimeout: DAY / 24, absoluteTimeout: DAY },
  aal3: { idleTimeout: DAY / 96, absoluteTimeout: DAY / 2 },
};

export interface ResolvedTimeouts {
  policy: ExpiryPolicy;
  rememberedPolicy: ExpiryPolicy;
  /** Options that are weaker than the assurance level asks for, each as a sentence. */
  warnings: string[];
}

/** @throws SessionConfigError when timeouts contradict each other */
export function resolveTimeouts({
  cookie,
  idleTimeout,
  sliding,
  absoluteTimeout,
  assurance,
  remember,
  expireAtBrowserClose,
}: ParsedOptions): ResolvedTimeouts {
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
  { idleTimeout, absoluteTimeout }: ParsedOptions['remember'],
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
