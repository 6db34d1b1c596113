import { Body, Controller, Get, HttpCode, Post, UnauthorizedException, UseGuards } from '@nestjs/common';
import { Session, SessionGuard } from 'nest-sessions';

declare module 'nest-sessions' {
  interface SessionData {
    notes: string[];
  }
}

@Controller()
export class NotesController {
  @Post('login')
  @HttpCode(204)
  login(@Session() session: Session, @Body() form: { name: string; password: string }): void {
    if (form.name !== 'ada' || form.password !== 'engine') throw new UnauthorizedException();
    session.login(form.name);
  }

  @Get('notes')
  @UseGuards(SessionGuard)
  notes(@Session() session: Session) {
    return { userId: session.userId, notes: session.notes ?? [] };
  }

  @Post('notes')
  @HttpCode(204)
  @UseGuards(SessionGuard)
  add(@Session() session: Session, @Body() { note }: { note: string }): void {
    session.push('notes', note);
  }

  @Post('logout')
  @HttpCode(204)
  logout(@Session() session: Session): void {
    session.logout();
  }
}
