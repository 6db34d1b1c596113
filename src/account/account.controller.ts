import { Body, Controller, Get, Post, Query, Redirect, Render, UseGuards } from '@nestjs/common';
import { RequireSession, Session, SessionGuard } from 'nest-sessions';
import { formatMoment } from '../format.js';
import { areRight, type Credentials, DEMO_USER } from './demo-user.js';

/** Anybody can send a name of any length, and it is kept for the form that comes next. */
const LONGEST_NAME = 100;

/**
 * Where a confirmed password leads, and what is said there. To no other page: a link of somebody else could otherwise send
 * visitors away from here with the trust of having just typed their password.
 */
const continuations = {
  '/secret/fresh': 'Your password is confirmed.',
  '/devices': 'Your password is confirmed. Nothing has ended yet: choose again.',
};

@Controller()
export class AccountController {
  @Get('login')
  @Render('login')
  showLogin(@Session() session: Session) {
    return { title: 'Log in', demoUser: DEMO_USER, triedName: session.takeOldInput()['name'] };
  }

  @Post('login')
  @Redirect('/secret', 303)
  login(@Session() session: Session, @Body() credentials: Credentials = {}) {
    if (!areRight(credentials)) {
      // Without the password.
      if (typeof credentials.name === 'string')
        session.flashInput({ name: credentials.name.slice(0, LONGEST_NAME) });
      session.addFlash('error', 'Wrong name or password.');
      return { url: '/login' };
    }
    // Gives the session a new key: one that somebody planted or saw before the login is worth nothing.
    session.login(DEMO_USER.id, { remember: credentials.remember !== undefined });
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

  @Get('secret/fresh')
  @UseGuards(SessionGuard)
  @RequireSession({ authenticatedWithin: '1m', redirectTo: '/confirm-password' })
  @Render('fresh-secret')
  showFreshSecret(@Session() session: Session) {
    const { authenticatedAt } = session;
    return { title: 'Fresh secret', loggedIn: authenticatedAt && formatMoment(authenticatedAt) };
  }

  @Get('confirm-password')
  @UseGuards(SessionGuard)
  @RequireSession({ redirectTo: '/login' })
  @Render('confirm-password')
  showConfirmation(@Query('next') next: unknown) {
    return { title: 'Confirm your password', next: continuation(next) };
  }

  @Post('confirm-password')
  @UseGuards(SessionGuard)
  @RequireSession({ redirectTo: '/login' })
  @Redirect('/secret/fresh', 303)
  confirm(@Session() session: Session, @Body() { password = '', next }: Confirmation = {}) {
    const { userId } = session;
    const url = continuation(next);
    if (userId === null || !areRight({ name: userId, password })) {
      session.addFlash('error', 'Wrong password.');
      return { url: `/confirm-password?next=${url}` };
    }
    session.login(userId);
    session.addFlash('success', continuations[url]);
    return { url };
  }

  @Post('logout')
  @Redirect('/login', 303)
  logout(@Session() session: Session) {
    session.logout();
    // The old session is over; this message begins a new one, under a new key.
    session.addFlash('success', 'You are logged out.');
  }
}

interface Confirmation {
  password?: string;
  next?: string;
}

function continuation(next: unknown): keyof typeof continuations {
  return next === '/devices' ? next : '/secret/fresh';
}
