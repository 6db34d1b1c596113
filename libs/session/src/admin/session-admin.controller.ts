import { type IncomingMessage } from 'node:http';
import { Get, Inject, type MessageEvent, Post, Query, Req, Res, Sse } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { map, NEVER, type Observable, takeUntil } from 'rxjs';
import { Sessions } from '../management/sessions.js';
import { RequireSession } from '../nest/session.guard.js';
import { type Session } from '../session/session.js';
import { adminPage, figures, list, SCRIPT, searchOf, STYLE } from './admin-page.js';
import { type AdminQuery, SessionAdmin } from './session-admin.js';

/** Injects the last part of the page's path, to which links are relative: so a prefix may be in front of it. */
export const ADMIN_BASE = Symbol('nest-sessions:admin-base');

/** Anybody could make somebody else send anything. */
type QueryString = Partial<Record<string, unknown>>;

type AdminRequest = IncomingMessage & { originalUrl?: string; session?: Session };

const HEADERS = {
  'Cache-Control': 'no-store',
  'Content-Security-Policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; " +
    "base-uri 'none'; frame-ancestors 'none'",
  'Referrer-Policy': 'same-origin',
  'X-Content-Type-Options': 'nosniff',
  'X-Frame-Options': 'DENY',
};

/**
 * The routes of the admin page. They answer by themselves and not through Nest, so that interceptors of the application
 * make nothing else of the page. The module makes a controller of it, with path and guards.
 */
export class SessionAdminController {
  constructor(
    @Inject(SessionAdmin) private readonly admin: SessionAdmin,
    @Inject(Sessions) private readonly sessions: Sessions,
    @Inject(HttpAdapterHost) private readonly adapterHost: HttpAdapterHost,
    @Inject(ADMIN_BASE) private readonly base: string,
  ) {}

  @Get()
  async show(
    @Req() request: AdminRequest,
    @Res() response: unknown,
    @Query() query: QueryString,
  ): Promise<void> {
    const asked = queryOf(query);
    // With a slash at the end, links would be relative to something else.
    if (/\/(?:\?|$)/.test(request.originalUrl ?? request.url ?? '')) return this.back(response, asked);
    const overview = await this.admin.overview(asked);
    const ended = /^\d{1,9}$/.test(text(query['ended'])) ? Number(query['ended']) : null;
    this.send(response, 'text/html; charset=utf-8', adminPage(this.base, asked, overview, ended));
  }

  /** The page opens it again and again, which must not keep the session of the administrator alive. */
  @Sse('events')
  @RequireSession({ countsAsUse: false })
  events(@Req() request: AdminRequest, @Query() query: QueryString): Observable<MessageEvent> {
    const asked = queryOf(query);
    return this.admin.watch(asked).pipe(
      map((overview) => ({
        data: {
          figures: figures(overview).text,
          list: overview && list(this.base, asked, overview).text,
        },
      })),
      takeUntil(this.end(request)),
    );
  }

  @Post('end')
  async endOne(@Res() response: unknown, @Query() query: QueryString): Promise<void> {
    const ended = await this.sessions.revoke(text(query['id']));
    this.back(response, { user: text(query['user']), ended: ended ? '1' : '0' });
  }

  @Post('end-all')
  async endAll(@Res() response: unknown, @Query() query: QueryString): Promise<void> {
    const user = text(query['user']);
    const ended = await this.sessions.revokeAll(user);
    this.back(response, { user, ended: String(ended) });
  }

  @Get('style.css')
  style(@Res() response: unknown): void {
    this.send(response, 'text/css; charset=utf-8', STYLE);
  }

  @Get('live.js')
  script(@Res() response: unknown): void {
    this.send(response, 'text/javascript; charset=utf-8', SCRIPT);
  }

  /** Of the session of the administrator, where the guard has loaded one. */
  private end({ session }: AdminRequest): Observable<void> {
    return session?.loaded && session.sessionKey() !== null ? this.sessions.whenEnded(session) : NEVER;
  }

  private send(response: unknown, type: string, body: string): void {
    const { httpAdapter } = this.adapterHost;
    for (const [name, value] of Object.entries({ 'Content-Type': type, ...HEADERS })) {
      httpAdapter.setHeader(response, name, value);
    }
    httpAdapter.reply(response, body, 200);
  }

  /** To the page, from a path below it. */
  private back(response: unknown, query: AdminQuery | Record<string, string>): void {
    this.adapterHost.httpAdapter.redirect(response, 303, `../${this.base}${searchOf(query)}`);
  }
}

function queryOf(query: QueryString): AdminQuery {
  const after = text(query['after']);
  return { user: text(query['user']), after: /^[\w.-]{1,64}$/.test(after) ? after : '' };
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
