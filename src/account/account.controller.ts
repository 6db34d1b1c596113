import { Body, Controller, Get, Post, Redirect, Render, UseGuards } from '@nestjs/common';
import { RequireSession, Session, SessionGuard } from 'nest-sessions';
import { formatMoment } from '../format.js';

/** Shown on the login page. An application with users of its own keeps a hash of each password. */
const DEMO_USER = { id: 'ada', password: 'password' };

interface Credentials {
  name?: string;
  password?: string;
}

@Controller()
export class AccountController {
  @Get('login')
  @Render('login')
  showLogin() {
    return { title: 'Log in', demoUser: DEMO_USER };
  }

  @Post('login')
  @Redirect('/secret', 303)
  login(@Session() session: Session, @Body() { name, password }: Credentials = {}) {
    if (name !== DEMO_USER.id || password !== DEMO_USER.password) {
      session.addFlash('error', 'Wrong name or password.');
      return { url: '/login' };
    }
    // Gives the session a new key: one that somebody planted or saw before the login is worth nothing.
    session.login(DEMO_USER.id);
    session.addFlash('success', `Welcome, ${DEMO_USER.id}.`);
    return {};
  }

  @Get('secret')
  @UseGuards(SessionGuard)
  @RequireSession({ redirectTo: '/login' })
  @Render('secret')
  showSecret(@Session() session: Session) {
    return { title: 'Secret', since: session.createdAt && formatMoment(session.createdAt) };
  }

  /** The same guard without a place to send visitors to: they get 401. */
  @Get('secret/strict')
  @UseGuards(SessionGuard)
  @Render('secret')
  showStrictSecret(@Session() session: Session) {
    return this.showSecret(session);
  }

  @Post('logout')
  @Redirect('/login', 303)
  logout(@Session() session: Session) {
    session.logout();
    // The old session is over; this message begins a new one, under a new key.
    session.addFlash('success', 'You are logged out.');
  }
}
