import { Controller, Get, Post, Redirect, UseGuards } from '@nestjs/common';
import { RequireSession, Session, SessionGuard, SessionKeyError } from 'nest-sessions';

interface Account {
  name: string;
  password: string;
  number: number;
  testcookie: string;
}

/** First steps: does the browser take cookies, and a session that is created, read, emptied and ended. */
@Controller()
export class S0Controller {
  @Get('testcookie')
  testCookie(@Session() session: Session<Account>) {
    session.setTestCookie();
    return '<h1>A test cookie was set</h1><a href="/deletecookie">See whether it came back</a>';
  }

  @Get('deletecookie')
  deleteCookie(@Session() session: Session<Account>) {
    if (!session.testCookieWorked()) return '<h1>Your browser does not accept cookies</h1>';
    session.deleteTestCookie();
    return '<h1>Your browser accepts cookies</h1>';
  }

  @Get('create')
  create(@Session() session: Session<Account>) {
    session.name = 'ada';
    session['password'] = 'engine';
    session.set('number', 1815);
    return '<h1>The session is set</h1>';
  }

  @Get('access')
  @UseGuards(SessionGuard)
  @RequireSession({ keys: ['name'], redirectTo: '/create' })
  access(@Session() session: Session<Account>) {
    return `Name: ${session.get('name')}, password: ${session.password}, number: ${session.get('number', 0) + 1}`;
  }

  @Get('delete')
  delete(@Session() session: Session<Account>) {
    try {
      session.deleteOrThrow('name');
      session.deleteOrThrow('password');
      session.deleteOrThrow('number');
    } catch (error) {
      if (!(error instanceof SessionKeyError)) throw error;
      return '<h1>There was nothing to delete</h1>';
    }
    return '<h1>Session data deleted</h1>';
  }

  @Post('logout')
  @Redirect('/access', 303)
  logout(@Session() session: Session<Account>) {
    session.flush();
  }
}
