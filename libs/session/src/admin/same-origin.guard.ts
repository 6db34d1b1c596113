import { type IncomingHttpHeaders } from 'node:http';
import { type CanActivate, type ExecutionContext, ForbiddenException, Injectable } from '@nestjs/common';

/**
 * Lets a request that changes something pass only if it comes from a page of this very origin. Browsers say so in a header
 * that no page can set: `Sec-Fetch-Site`, or `Origin` where they do not send that one (over plain HTTP).
 */
@Injectable()
export class SameOriginGuard implements CanActivate {
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
