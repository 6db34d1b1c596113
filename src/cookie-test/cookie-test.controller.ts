import { Controller, Get, Post, Redirect, Render } from '@nestjs/common';
import { Session } from 'nest-sessions';

/** Does this browser accept cookies? Worth knowing before a login form, which is useless without. */
@Controller('cookie-test')
export class CookieTestController {
  @Get()
  @Render('cookie-test')
  show() {
    return { title: 'Cookie test' };
  }

  @Post()
  @Redirect('/cookie-test/result', 303)
  start(@Session() session: Session) {
    session.setTestCookie();
  }

  /** Only another request can tell, by what the browser brings back with it. */
  @Get('result')
  @Render('cookie-test-result')
  showResult(@Session() session: Session) {
    const worked = session.testCookieWorked();
    if (worked) session.deleteTestCookie();
    return { title: 'Cookie test', worked };
  }
}
