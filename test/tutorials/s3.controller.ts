import { Body, Controller, Get, Post, Redirect, Render, UseGuards } from '@nestjs/common';
import { RequireSession, Session, SessionGuard } from 'nest-sessions';

interface Shelf {
  id: number;
  name: string;
  password: string;
  items_to_buy: Record<string, number>;
  user_id: number;
  logged_in: boolean;
}

/** The whole programming interface: values of all kinds, nested ones, a login by hand and its messages. */
@Controller()
export class S3Controller {
  @Get('save')
  save(@Session() session: Session<Shelf>) {
    session.set('id', 1);
    session.name = 'root';
    session.password = 'rootpass';
    session.items_to_buy = { apples: 2, tea: 1 };
    return 'Session data saved';
  }

  @Get('show')
  show(@Session() session: Session<Shelf>) {
    if (session.keys().length === 0) return { answer: 'No session data' };
    return { id: session.get('id'), name: session.name, items_to_buy: session.items_to_buy };
  }

  @Get('buy')
  buy(@Session() session: Session<Shelf>) {
    const items = session.getOrThrow('items_to_buy');
    items['apples'] = 3;
    return items;
  }

  @Get('delete')
  delete(@Session() session: Session<Shelf>) {
    for (const key of ['id', 'name', 'password', 'items_to_buy'] as const) session.delete(key);
    return 'Session data deleted';
  }

  @Get('renew')
  renew(@Session() session: Session<Shelf>) {
    session.modified = true;
    return 'Renewed';
  }

  @Get('login')
  @Render('login.hbs')
  form(@Session() session: Session<Shelf>) {
    return { messages: session.takeFlash() };
  }

  @Post('login')
  @Redirect('/secret', 303)
  login(@Session() session: Session<Shelf>, @Body() form: { username: string; password: string }) {
    if (form.username !== 'ada' || form.password !== 'engine') {
      session.addFlash('error', 'Name and password do not match');
      return { url: '/login' };
    }
    session.cycleKey();
    session.user_id = 7;
    session.logged_in = true;
    return undefined;
  }

  @Get('secret')
  @UseGuards(SessionGuard)
  @RequireSession({ keys: ['logged_in'], redirectTo: '/login' })
  @Render('secret.hbs')
  secret() {
    return {};
  }

  @Post('logout')
  @Redirect('/login', 303)
  logout(@Session() session: Session<Shelf>) {
    session.delete('user_id');
    session.delete('logged_in');
  }
}
