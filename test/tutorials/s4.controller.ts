import { Body, Controller, Get, Post, Redirect } from '@nestjs/common';
import { Session } from 'nest-sessions';

interface Connection {
  username: string;
}

/** A connection: the form is skipped by those who are in, and leaving twice is no mistake. */
@Controller()
export class S4Controller {
  @Get('connection')
  connection(@Session() session: Session<Connection>) {
    return session.hasKey('username') ? `Welcome ${session.username}` : 'Please log in';
  }

  @Post('login')
  @Redirect('/connection', 303)
  login(@Session() session: Session<Connection>, @Body('username') username: string) {
    session.username = username;
    session.setExpiry('30m');
  }

  @Get('logout')
  logout(@Session() session: Session<Connection>) {
    try {
      session.deleteOrThrow('username');
    } catch {
      return 'You were not logged in.';
    }
    return 'You are logged out.';
  }

  @Get('expiry')
  expiry(@Session() session: Session<Connection>) {
    return {
      age: session.getExpiryAge(),
      date: session.getExpiryDate(),
      expiresAt: session.expiresAt,
      atBrowserClose: session.getExpireAtBrowserClose(),
    };
  }

  @Post('expiry/browser')
  browser(@Session() session: Session<Connection>) {
    session.setExpiry(0);
  }
}
