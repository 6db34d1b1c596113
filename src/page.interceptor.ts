import {
  type CallHandler,
  type ExecutionContext,
  Inject,
  Injectable,
  type NestInterceptor,
} from '@nestjs/common';
import { type Session } from 'nest-sessions';
import { map, type Observable } from 'rxjs';
import { guideTo } from './guide.js';
import { ENGINE } from './session-engine.js';
import { type Settings } from './settings.js';

interface PageRequest {
  method: string;
  url: string;
  session: Session;
}

/**
 * Gives every page what the layout shows: where we are, who is logged in, and the messages left for this visitor. Where
 * sessions are makes a difference to what some pages say.
 */
@Injectable()
export class PageInterceptor implements NestInterceptor {
  constructor(@Inject(ENGINE) private readonly engine: Settings['engine']) {}

  async intercept(context: ExecutionContext, next: CallHandler<object>): Promise<Observable<unknown>> {
    const { method, url, session } = context.switchToHttp().getRequest<PageRequest>();
    const section = /^\/([\w-]*)/.exec(url)?.[1] || 'home';
    // The admin page is one of its own.
    if (method !== 'GET' || section === 'admin') return next.handle();
    await session.load();
    return next.handle().pipe(
      map((page) => ({
        ...page,
        here: { [section]: true },
        guide: guideTo(section),
        inCookie: this.engine === 'cookie',
        user: session.userId,
        messages: session.takeFlash(),
      })),
    );
  }
}
