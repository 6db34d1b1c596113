import { type IncomingHttpHeaders } from 'node:http';
import {
  type CanActivate,
  Controller,
  type DynamicModule,
  type ExecutionContext,
  ForbiddenException,
  Injectable,
  Module,
  type ModuleMetadata,
  type Type,
  UseGuards,
} from '@nestjs/common';
import { SessionConfigError } from '../session.errors.js';
import { SessionAdmin } from './session-admin.js';
import { ADMIN_BASE, SessionAdminController } from './session-admin.controller.js';

/** What `SessionAdminModule.forRoot` takes. Only `guard` is required. */
export interface SessionAdminOptions {
  /** Decides who may see the page and end sessions: a guard of Nest, as a class or an object. Let administrators pass only. */
  guard: Type<CanActivate> | CanActivate;
  /** Modules that export what the guard injects. */
  imports?: NonNullable<ModuleMetadata['imports']>;
  /**
   * Where the page is, below the global prefix if there is one.
   * @default 'admin/sessions'
   */
  path?: string;
}

/**
 * Lets a request that changes something pass only if it comes from a page of this very origin. Browsers say so in a header
 * that no page can set: `Sec-Fetch-Site`, or `Origin` where they do not send that one (over plain HTTP).
 */
@Injectable()
class SameOriginGuard implements CanActivate {
  /** @throws ForbiddenException */
  canActivate(context: ExecutionContext): boolean {
    const request = context.switchToHttp().getRequest<{ method: string; headers: IncomingHttpHeaders }>();
    if (request.method === 'GET' || request.method === 'HEAD' || isFromHere(request.headers)) return true;
    throw new ForbiddenException('The form was sent from another site. Nothing was changed.');
  }
}

function isFromHere({ 'sec-fetch-site': site, origin, host }: IncomingHttpHeaders): boolean {
  if (site !== undefined) return site === 'same-origin';
  return origin !== undefined && host !== undefined && hostOf(origin) === host.toLowerCase();
}

/** Undefined for `null`, which is what a page without an origin sends. */
function hostOf(origin: string): string | undefined {
  return URL.canParse(origin) ? new URL(origin).host : undefined;
}

/**
 * A page for operators and support: who is logged in, live, with a search by user id and a way to end sessions. It shows no
 * session key and no key hash.
 *
 * @throws SessionConfigError when the guard is missing or the path is none
 *
 * @example
 * ```ts
 * @Injectable()
 * class AdminGuard extends SessionGuard {
 *   protected override satisfies(session: Session) {
 *     return administrators.has(session.userId ?? '');
 *   }
 * }
 *
 * @Module({ imports: [SessionModule.forRoot(engine), SessionAdminModule.forRoot({ guard: AdminGuard })] })
 * export class AppModule {}
 * ```
 */
@Module({})
export class SessionAdminModule {
  /** @throws SessionConfigError */
  static forRoot(options: SessionAdminOptions): DynamicModule {
    const { guard, imports = [], path = 'admin/sessions' } = options ?? {};
    checkGuard(guard);
    // A class for each call, because decorators write on the class.
    class AdminController extends SessionAdminController {}
    Controller(path)(AdminController);
    UseGuards(guard, SameOriginGuard)(AdminController);
    return {
      module: SessionAdminModule,
      imports,
      controllers: [AdminController],
      providers: [SessionAdmin, { provide: ADMIN_BASE, useValue: lastPartOf(path) }],
    };
  }
}

function checkGuard(guard: unknown): void {
  const { prototype = guard } = (guard ?? {}) as { prototype?: unknown };
  const { canActivate } = (prototype ?? {}) as { canActivate?: unknown };
  if (typeof canActivate === 'function') return;
  throw new SessionConfigError(
    'guard',
    `${guard === undefined ? 'is missing' : 'is not a guard'}. The page shows who is logged in and ends sessions: give ` +
      'SessionAdminModule.forRoot() a Nest guard that only lets administrators pass.',
  );
}

function lastPartOf(path: unknown): string {
  const [, last] = (typeof path === 'string' && /^\/?(?:[\w-]+\/)*([\w-]+)$/.exec(path)) || [];
  if (last !== undefined) return last;
  throw new SessionConfigError(
    'path',
    'must be a path such as "admin/sessions", of letters, digits, "_" and "-".',
  );
}
