import { randomBytes } from 'node:crypto';
import { type IncomingMessage, type ServerResponse } from 'node:http';
import { Controller, Get, Req, Res } from '@nestjs/common';
import { getIronSession } from 'iron-session';
import { type Keeping } from '../application.js';
import { COOKIE_AGE, type VisitorData, visitorData } from '../contestants.js';

const options = {
  cookieName: 'session',
  password: randomBytes(32).toString('base64url'),
  ttl: COOKIE_AGE,
};

let turn = 0;

/** It has no middleware: a handler asks for the session, and saves it. */
@Controller()
class IronSessionController {
  @Get('fill')
  async fill(@Req() request: IncomingMessage, @Res({ passthrough: true }) response: ServerResponse) {
    const session = await getIronSession<VisitorData>(request, response, options);
    Object.assign(session, visitorData());
    await session.save();
    return { ok: true };
  }

  @Get('untouched')
  untouched() {
    return { ok: true };
  }

  @Get('read')
  async read(@Req() request: IncomingMessage, @Res({ passthrough: true }) response: ServerResponse) {
    const session = await getIronSession<VisitorData>(request, response, options);
    return { name: session.name };
  }

  @Get('write')
  async write(@Req() request: IncomingMessage, @Res({ passthrough: true }) response: ServerResponse) {
    const session = await getIronSession<VisitorData>(request, response, options);
    turn += 1;
    session.turn = turn;
    await session.save();
    return { turn };
  }
}

export function ironSession(): Keeping {
  return { controller: IronSessionController };
}
