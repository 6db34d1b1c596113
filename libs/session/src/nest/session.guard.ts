import {
  type CanActivate,
  type CustomDecorator,
  type ExecutionContext,
  HttpException,
  HttpStatus,
  Injectable,
  SetMetadata,
  UnauthorizedException,
} from '@nestjs/common';
import { HttpAdapterHost, Reflector } from '@nestjs/core';
import { SessionConfigError } from '../session.errors.js';
import { parseDuration } from '../session/expiry.js';
import { type Session } from '../session/session.js';
import { type JsonValue } from '../stores/session-store.js';
import { toWsException } from './gateway-errors.js';
import { sessionHolderIn } from './session.decorator.js';

/**
 * What the guard throws instead of a 401. The `Location` header is set already, and SessionErrorFilter answers as the
 * platform answers redirects. To a filter of the application that catches everything it is an exception with status 302.
 */
export class SessionRedirect extends HttpException {
  constructor(readonly location: string) {
    super(`Found. Redirecting to ${location}`, HttpStatus.FOUND);
  }
}

/**
 * Lets a request pass when its session is live and a user is logged in, or when it holds the values named by
 * `@RequireSession`. Everybody else gets 401, or is redirected when the route says so. Where there is no session at
 * all, because the middleware did not run, nobody passes.
 *
 * @example
 * ```ts
 * @Controller('account')
 * @UseGuards(SessionGuard)
 * export class AccountController {
 *   @Get()
 *   show(@Session('userId') userId: string) { … }
 * }
 * ```
 */
@Injectable()
export class SessionGuard implements CanActivate {
  constructor(
    /** Reads what `@RequireSession` says. For subclasses. */
    protected readonly reflector: Reflector,
    /** Sets the header of a redirect. For subclasses. */
    protected readonly adapterHost: HttpAdapterHost,
  ) {}

  /**
   * Loads the session and decides. Nest calls it; override `satisfies` instead.
   * @throws UnauthorizedException when the requirement is not met and no redirect is declared; in a gateway it is the
   * WsException with the same text
   * @throws SessionNotLoadedError where there is no session at all
   */
  async canActivate(context: ExecutionContext): Promise<boolean> {
    if (context.getType() !== 'ws') return this.decide(context);
    return this.decide(context).catch(async (error: unknown) => {
      throw await toWsException(error);
    });
  }

  private async decide(context: ExecutionContext): Promise<boolean> {
    const holder = sessionHolderIn(context);
    await holder.load();
    const { session } = holder;
    const requirement = this.reflector.getAllAndOverride<SessionRequirement | undefined>(
      SESSION_REQUIREMENT,
      [context.getHandler(), context.getClass()],
    );
    const passes = (): boolean =>
      session !== undefined && isFresh(session, requirement) && this.satisfies(session, requirement);
    if (requirement?.countsAsUse === false ? session?.peek(passes) : passes()) return true;
    if (requirement?.redirectTo === undefined || context.getType() !== 'http')
      throw new UnauthorizedException();
    this.adapterHost.httpAdapter.setHeader(
      context.switchToHttp().getResponse(),
      'Location',
      requirement.redirectTo,
    );
    throw new SessionRedirect(requirement.redirectTo);
  }

  /** Override to demand more, such as a role. */
  protected satisfies(session: Session, requirement: SessionRequirement | undefined): boolean {
    const keys = requirement?.keys ?? [];
    if (keys.length === 0) return session.userId !== null;
    // Whatever the application declares its data to be: these keys are plain text.
    const data = session as Session<Record<string, JsonValue>>;
    return keys.every(
      (key) => data.get(key) !== undefined && data.get(key) !== null && data.get(key) !== false,
    );
  }
}

function isFresh(session: Session, requirement: SessionRequirement | undefined): boolean {
  const within = requirement?.authenticatedWithin;
  if (within === undefined) return true;
  const age = session.authenticationAge;
  return age !== null && age <= Number(parseDuration(within)) / 1000;
}

const SESSION_REQUIREMENT = 'nest-sessions:requirement';

/** What `@RequireSession` demands. Every member may be left out. */
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
  /**
   * Does passing the guard restart the idle clock? `false` is for routes that a page polls: they keep no session alive,
   * as long as the handler only asks by `session.peek()`. Default: true.
   */
  countsAsUse?: boolean;
}

/**
 * Says what `SessionGuard` demands of a route or controller, when a logged-in user is not it.
 *
 * @example
 * ```ts
 * @RequireSession('cartId')
 * @RequireSession({ redirectTo: '/login' })
 * @RequireSession({ authenticatedWithin: '10m', redirectTo: '/confirm-password' })
 * @RequireSession({ countsAsUse: false })
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
