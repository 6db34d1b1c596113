import { type IncomingMessage, type ServerResponse } from 'node:http';
import { Controller, Get, Req, Res, type Type } from '@nestjs/common';
import { nextTurn } from './application.js';
import { COOKIE_AGE, type VisitorData, visitorData } from './contestants.js';

/** A session, and what its write needs to know. */
export interface Loaded {
  data: VisitorData;
  version?: number;
}

type Awaitable<Value> = Value | Promise<Value>;

/** Sessions with the fewest round trips, and without any promise but that the data are there. */
export interface ByHand {
  load(token: string): Awaitable<Loaded>;
  /** Both return what the cookie is to hold. */
  create(data: VisitorData): Awaitable<string>;
  save(token: string, loaded: Loaded): Awaitable<string>;
}

const NAME = 'sessionid=';

/** The floor: what an application costs that does all of it in its handlers. */
export function controllerByHand(sessions: ByHand): Type {
  @Controller()
  class ByHandController {
    @Get('fill')
    async fill(@Res({ passthrough: true }) response: PlatformResponse) {
      setCookie(response, await sessions.create(visitorData()));
      return { ok: true };
    }

    @Get('untouched')
    untouched() {
      return { ok: true };
    }

    @Get('read')
    async read(@Req() request: IncomingMessage) {
      const { data } = await sessions.load(tokenIn(request));
      return { name: data.name };
    }

    @Get('write')
    async write(@Req() request: IncomingMessage, @Res({ passthrough: true }) response: PlatformResponse) {
      const token = tokenIn(request);
      const loaded = await sessions.load(token);
      loaded.data.turn = nextTurn();
      setCookie(response, await sessions.save(token, loaded));
      return { turn: loaded.data.turn };
    }
  }
  return ByHandController;
}

/** As both platforms have it. */
interface PlatformResponse extends Pick<ServerResponse, 'getHeader'> {
  header(name: string, value: string): unknown;
}

function tokenIn({ headers: { cookie = '' } }: Pick<IncomingMessage, 'headers'>): string {
  const start = cookie.indexOf(NAME) + NAME.length;
  const end = cookie.indexOf(';', start);
  return cookie.slice(start, end === -1 ? undefined : end);
}

function setCookie(response: PlatformResponse, token: string): void {
  const expires = new Date(Date.now() + COOKIE_AGE * 1000).toUTCString();
  response.header(
    'Set-Cookie',
    `${NAME}${token}; Max-Age=${COOKIE_AGE}; Path=/; Expires=${expires}; HttpOnly; SameSite=Lax`,
  );
  response.header('Cache-Control', 'no-store');
}
