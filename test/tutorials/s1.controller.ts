import { Body, Controller, Get, Post, Redirect, Render, UseGuards } from '@nestjs/common';
import { RequireSession, Session, SessionGuard } from 'nest-sessions';

interface Visitor {
  username: string;
  logged_in: boolean;
}

const DAY = 24 * 60 * 60 * 1000;

/** A login that rotates the session key, templates that show the session, and sessions that live shorter or longer. */
@Controller()
export class S1Controller {
  @Get()
  @Render('welcome.hbs')
  home() {
    return { title: 'Shop' };
  }

  @Post('login')
  @Redirect('/dashboard', 303)
  login(@Session() session: Session<Visitor>, @Body() form: { username: string; password: string }) {
    if (form.password !== 'engine') return { url: '/?wrong' };
    session.login(form.username);
    session.username = form.username;
    session.logged_in = true;
    return undefined;
  }

  @Get('dashboard')
  @UseGuards(SessionGuard)
  @RequireSession({ redirectTo: '/' })
  @Render('welcome.hbs')
  dashboard() {
    return { title: 'Dashboard' };
  }

  @Post('expiry/half-an-hour')
  halfAnHour(@Session() session: Session<Visitor>) {
    session.setExpiry(1800);
  }

  @Post('expiry/tomorrow')
  tomorrow(@Session() session: Session<Visitor>) {
    session.setExpiry(new Date(Date.now() + DAY));
  }

  @Post('expiry/browser')
  browser(@Session() session: Session<Visitor>) {
    session.setExpiry(0);
  }

  @Post('logout')
  @Redirect('/', 303)
  logout(@Session() session: Session<Visitor>) {
    session.flush();
  }
}
