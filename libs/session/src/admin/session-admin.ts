import { setImmediate } from 'node:timers/promises';
import { Inject, Injectable, type OnModuleDestroy } from '@nestjs/common';
import { Observable, Subject, takeUntil, timer } from 'rxjs';
import { type HttpEnvironment } from '../http/request-session.js';
import { type SessionPage, Sessions, type SessionSummary } from '../management/sessions.js';
import { SessionObserver } from '../observability/session-observer.js';
import { SessionUnsupportedError } from '../session.errors.js';
import { HTTP_ENVIRONMENT } from '../session.tokens.js';

/** What the page is asked for. */
export interface AdminQuery {
  /** Whose sessions; empty: everybody's. */
  user: string;
  /** A cursor of `Sessions.all`; empty: from the first on. */
  after: string;
}

/** What the page tells. Null: the engine, or this process, cannot tell. */
export interface Overview {
  live: number | null;
  loggedIn: number | null;
  /** How long the store took for a load just now, in milliseconds. */
  latency: number;
  /** How long ago this process has finished a sweep of expired sessions, in seconds. */
  sweepLag: number | null;
  /** Sessions in which a user is logged in. */
  sessions: SessionSummary[] | null;
  /** How many sessions the user has who was searched for, of which `sessions` are the last used; null: of everybody. */
  total: number | null;
  /** Where more of them begin; null: there are no more. */
  next: string | null;
}

/** So many sessions fill a page, and for them so many pages of the store are looked through at most. */
const [ROWS, STORE_PAGES, STORE_PAGE] = [50, 5, 100];
/** Milliseconds between two looks at the store, and how much longer than the look itself the pause is at least. */
const [PAUSE, PAUSE_PER_LOOK] = [2000, 20];
/** A stream ends after so many milliseconds. The browser opens another one, past the guard. */
const STREAM_LASTS = 30_000;

/** Gathers what the admin page shows. */
@Injectable()
export class SessionAdmin implements OnModuleDestroy {
  private readonly closing = new Subject<void>();

  constructor(
    @Inject(Sessions) private readonly sessions: Sessions,
    @Inject(SessionObserver) private readonly observer: SessionObserver,
    @Inject(HTTP_ENVIRONMENT) private readonly environment: HttpEnvironment,
  ) {}

  /** @throws SessionStoreUnavailableError */
  async overview(query: AdminQuery): Promise<Overview> {
    const startedAt = performance.now();
    await this.environment.sessions.tokens.ping();
    const latency = performance.now() - startedAt;
    const { sweptAt } = this.observer;
    const count = await unlessUnsupported(this.sessions.count());
    const page = await unlessUnsupported(this.page(query));
    return {
      live: count?.live ?? null,
      loggedIn: count?.loggedIn ?? null,
      latency,
      sweepLag: sweptAt === undefined ? null : (performance.now() - sweptAt) / 1000,
      sessions: page?.sessions ?? null,
      total: page?.total ?? null,
      next: page?.next ?? null,
    };
  }

  /**
   * Overviews, one after the other; null while the store does not answer. The store is at work for this a twentieth of the
   * time at most.
   */
  watch(query: AdminQuery): Observable<Overview | null> {
    return new Observable<Overview | null>((subscriber) => {
      let pause: NodeJS.Timeout | undefined;
      const look = async (): Promise<void> => {
        const startedAt = performance.now();
        const overview = await this.overview(query).catch(() => null);
        if (subscriber.closed) return;
        subscriber.next(overview);
        const took = performance.now() - startedAt;
        pause = setTimeout(() => void look(), Math.max(PAUSE, PAUSE_PER_LOOK * took)).unref();
      };
      void look();
      return () => clearTimeout(pause);
    }).pipe(takeUntil(timer(STREAM_LASTS)), takeUntil(this.closing));
  }

  /** An open stream would hold up the end of the application. After a turn its connection is idle, and is closed as such. */
  async onModuleDestroy(): Promise<void> {
    this.closing.next();
    await setImmediate();
  }

  private async page({ user, after }: AdminQuery): Promise<SessionPage & Pick<Overview, 'total'>> {
    if (user !== '') {
      const sessions = await this.sessions.listByUser(user);
      return { sessions: sessions.slice(0, ROWS), total: sessions.length, next: null };
    }
    const page: SessionPage & { total: null } = {
      sessions: [],
      total: null,
      next: after === '' ? null : after,
    };
    for (let looked = 0; looked < STORE_PAGES && page.sessions.length < ROWS; looked++) {
      const { sessions, next } = await this.sessions.all({
        after: page.next ?? undefined,
        limit: STORE_PAGE,
      });
      page.sessions.push(...sessions.filter(({ userId }) => userId !== null));
      page.next = next;
      if (next === null) break;
    }
    return page;
  }
}

async function unlessUnsupported<Answer>(answer: Promise<Answer>): Promise<Answer | null> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof SessionUnsupportedError) return null;
    throw error;
  }
}
