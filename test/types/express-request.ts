import { Controller, Get, Req } from '@nestjs/common';
import { expectTypeOf } from 'expect-type';
import { type Request } from 'express';
import 'nest-sessions/express';
import { type Session } from 'nest-sessions';

declare module 'nest-sessions' {
  interface SessionData {
    visits: number;
  }
}

@Controller()
export class VisitController {
  @Get()
  async visit(@Req() request: Request): Promise<number> {
    expectTypeOf(request.session).toEqualTypeOf<Session>();
    expectTypeOf(request.sessionID).toEqualTypeOf<string | undefined>();
    await request.session.load();
    // @ts-expect-error no such key
    request.session.visit = 1;
    // @ts-expect-error the wrong type
    request.session.visits = 'one';
    return request.session.increment('visits');
  }
}
