import { Controller, Get, Session as NestSession } from '@nestjs/common';
import { Session } from 'nest-sessions';
import { type VisitorData, visitorData } from './contestants.js';

let turn = 0;

/** The same answers without any session. */
@Controller()
export class BareController {
  @Get('untouched')
  untouched() {
    return { ok: true };
  }

  @Get('read')
  read() {
    return { name: 'Ada Lovelace' };
  }

  @Get('write')
  write() {
    turn += 1;
    return { turn };
  }
}

@Controller()
export class NestSessionsController {
  @Get('fill')
  fill(@Session() session: Session<VisitorData>) {
    session.update(visitorData());
    return { ok: true };
  }

  @Get('untouched')
  untouched() {
    return { ok: true };
  }

  @Get('read')
  read(@Session() session: Session<VisitorData>) {
    return { name: session.name };
  }

  @Get('write')
  write(@Session() session: Session<VisitorData>) {
    turn += 1;
    session.turn = turn;
    return { turn };
  }
}

/** For all whose middleware leaves a session on the request: express-session, cookie-session. */
@Controller()
export class PeerController {
  @Get('fill')
  fill(@NestSession() session: VisitorData) {
    Object.assign(session, visitorData());
    return { ok: true };
  }

  @Get('untouched')
  untouched() {
    return { ok: true };
  }

  @Get('read')
  read(@NestSession() session: VisitorData) {
    return { name: session.name };
  }

  @Get('write')
  write(@NestSession() session: VisitorData) {
    turn += 1;
    session.turn = turn;
    return { turn };
  }
}
