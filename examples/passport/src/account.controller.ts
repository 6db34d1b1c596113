import { Controller, Get, HttpCode, Post, Req, UseGuards } from '@nestjs/common';
import { AuthGuard } from '@nestjs/passport';
import { Session, SessionGuard } from 'nest-sessions';
import { type User } from './users.js';

declare module 'nest-sessions' {
  interface SessionData {
    name: string;
    visits: number;
  }
}

@Controller()
export class AccountController {
  @Post('visit')
  visit(@Session() session: Session) {
    return { visits: session.increment('visits') };
  }

  @Post('login')
  @HttpCode(204)
  @UseGuards(AuthGuard('local'))
  login(@Req() request: { user: User }, @Session() session: Session): void {
    session.login(request.user.id, { keep: ['visits'] });
    session.name = request.user.name;
  }

  @Get('me')
  @UseGuards(SessionGuard)
  me(@Session() session: Session) {
    return { userId: session.userId, name: session.name, visits: session.visits };
  }

  @Post('logout')
  @HttpCode(204)
  logout(@Session() session: Session): void {
    session.logout();
  }
}
