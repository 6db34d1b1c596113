import { type CustomDecorator, SetMetadata } from '@nestjs/common';

export const SESSION_REQUIREMENT = 'nest-sessions:requirement';

export interface SessionRequirement {
  /** Values that the session must hold (not null, not false). Default: none, but a user bound by `login`. */
  keys?: string[];
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
 * ```
 */
export function RequireSession(...demands: (string | SessionRequirement)[]): CustomDecorator {
  const requirement: SessionRequirement = {};
  for (const demand of demands) {
    if (typeof demand === 'string') (requirement.keys ??= []).push(demand);
    else Object.assign(requirement, demand, { keys: [...(requirement.keys ?? []), ...(demand.keys ?? [])] });
  }
  return SetMetadata(SESSION_REQUIREMENT, requirement);
}
