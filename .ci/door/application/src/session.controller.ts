import { Body, Controller, Get, Post, UseGuards } from '@nestjs/common';
import { Session, SessionGuard } from 'nest-sessions';

declare module 'nest-sessions' {
  interface SessionData {
    visits: number;
  }
}

@Controller()
export class SessionController {
  @Post('visit')
  visit(@Session() session: Session) {
    return { visits: session.increment('visits') };
  }

  @Post('login')
  login(@Session() session: Session, @Body('name') name: string) {
    session.login(name, { keep: ['visits'] });
  }

  @Get('mine')
  @UseGuards(SessionGuard)
  mine(@Session('userId') userId: string, @Session('visits') visits: number) {
    return { userId, visits };
  }

  @Post('logout')
  logout(@Session() session: Session) {
    session.logout();
  }
}
