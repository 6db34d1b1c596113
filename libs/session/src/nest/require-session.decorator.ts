import { type CustomDecorator, SetMetadata } from '@nestjs/common';
import { SessionConfigError } from '../session.errors.js';
import { parseDuration } from '../session/expiry.js';

export const SESSION_REQUIREMENT = 'nest-sessions:requirement';

export interface SessionRequirement {
  /** Values that the session must hold (not null, not false). Default: none, but a user bound by `login`. */
  keys?: string[];
  /**
   * How fresh the login must be, as seconds or `'10m'`; an older one gets the 401 or the redirect, and has to log in
   * again. For what a stolen or forgotten session must not do.
   */
  authenticatedWithin?: number | string;
  /** Where a visitor without such a session is sent, instead of the 401. */
  redirectTo?: string;
}

/**
 * Says what `SessionGuard` demands of a route or controller, when a logged-in user is not it.
 *
 * @example
 * ```ts
 * @RequireSession('cartId')
 * @RequireSession({ redirectTo: '/login' })
 * @RequireSession({ authenticatedWithin: '10m', redirectTo: '/confirm-password' })
 * ```
 * @throws SessionConfigError when `authenticatedWithin` is no duration
 */
export function RequireSession(...demands: (string | SessionRequirement)[]): CustomDecorator {
  const requirement: SessionRequirement = {};
  for (const demand of demands) {
    if (typeof demand === 'string') (requirement.keys ??= []).push(demand);
    else Object.assign(requirement, demand, { keys: [...(requirement.keys ?? []), ...(demand.keys ?? [])] });
  }
  const { authenticatedWithin } = requirement;
  if (authenticatedWithin !== undefined && !(Number(parseDuration(authenticatedWithin)) > 0)) {
    throw new SessionConfigError(
      'authenticatedWithin',
      `must be a number of seconds or a duration such as '10m', but is ${JSON.stringify(authenticatedWithin)}.`,
    );
  }
  return SetMetadata(SESSION_REQUIREMENT, requirement);
}
