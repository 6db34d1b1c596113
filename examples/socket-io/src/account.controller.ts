import { Body, Controller, Get, HttpCode, Post, UnauthorizedException } from '@nestjs/common';
import { Session } from 'nest-sessions';

declare module 'nest-sessions' {
  interface SessionData {
    cart: string[];
  }
}

/** A socket cannot set a cookie, so a login is a request of its own. */
@Controller()
export class AccountController {
  @Post('login')
  @HttpCode(204)
  login(@Session() session: Session, @Body() form: { name: string; password: string }): void {
    if (form.name !== 'ada' || form.password !== 'engine') throw new UnauthorizedException();
    session.login(form.name);
  }

  @Get('cart')
  cart(@Session('cart') cart: string[] | undefined) {
    return cart ?? [];
  }

  @Post('logout')
  @HttpCode(204)
  logout(@Session() session: Session): void {
    session.logout();
  }
}
