import { Controller, Get, Render } from '@nestjs/common';
import { Session } from 'nest-sessions';

@Controller()
export class HomeController {
  /** The template reads the count from `session.visits`. */
  @Get()
  @Render('home')
  show(@Session() session: Session) {
    session.increment('visits');
    return { title: 'Home', once: session.visits === 1 };
  }
}
