import { Body, Controller, Get, HttpCode, Post, UnauthorizedException, UseGuards } from '@nestjs/common';
import { Session, SessionGuard } from 'nest-sessions';
import { PrismaService } from './prisma.module.js';

declare module 'nest-sessions' {
  interface SessionData {
    cart: string[];
  }
}

@Controller()
export class CartController {
  constructor(private readonly prisma: PrismaService) {}

  @Post('cart')
  add(@Session() session: Session, @Body() { item }: { item: string }) {
    session.push('cart', item);
    return session.cart;
  }

  @Post('login')
  @HttpCode(204)
  login(@Session() session: Session, @Body() form: { name: string; password: string }): void {
    if (form.name !== 'ada' || form.password !== 'engine') throw new UnauthorizedException();
    session.login(form.name, { keep: ['cart'] });
  }

  @Get('me')
  @UseGuards(SessionGuard)
  async me(@Session() session: Session) {
    // The table can be read like any other; only the sessions write it.
    const sessions = await this.prisma.nestSession.count({ where: { userId: session.userId } });
    return { userId: session.userId, cart: session.cart ?? [], sessions };
  }

  @Post('logout')
  @HttpCode(204)
  logout(@Session() session: Session): void {
    session.logout();
  }
}
