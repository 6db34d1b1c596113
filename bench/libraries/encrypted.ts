import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { type IncomingMessage, type ServerResponse } from 'node:http';
import secureSession from '@fastify/secure-session';
import { Controller, Get, Req, Res } from '@nestjs/common';
import { type NestFastifyApplication } from '@nestjs/platform-fastify';
import { getIronSession } from 'iron-session';
import { cookieEngine } from 'nest-sessions/cookie';
import { type Libraries, nestSessions, nextTurn, PeerController } from '../application.js';
import { type ByHand, controllerByHand } from '../by-hand.js';
import { COOKIE_AGE, type VisitorData, visitorData } from '../contestants.js';

export const libraries: Libraries = {
  cookieEngine: () => nestSessions(cookieEngine({ secrets: randomBytes(32).toString('base64url') })),
  'iron-session': () => ({ controller: IronSessionController }),
  '@fastify/secure-session': () => ({
    controller: PeerController,
    mount: (app) => {
      const options = { key: randomBytes(32), expiry: COOKIE_AGE, cookie: { path: '/', maxAge: COOKIE_AGE } };
      return (app as NestFastifyApplication).register(secureSession, options);
    },
  }),
  'AES-GCM by hand': () => ({ controller: controllerByHand(sessionsByHand()) }),
};

function sessionsByHand(): ByHand {
  const key = randomBytes(32);
  const seal = (data: VisitorData): string => {
    const nonce = randomBytes(12);
    const cipher = createCipheriv('aes-256-gcm', key, nonce);
    const text = cipher.update(JSON.stringify({ data, expires: Date.now() + COOKIE_AGE * 1000 }));
    return Buffer.concat([nonce, text, cipher.final(), cipher.getAuthTag()]).toString('base64url');
  };
  return {
    load(token) {
      const sealed = Buffer.from(token, 'base64url');
      const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, 12));
      decipher.setAuthTag(sealed.subarray(-16));
      const text = decipher.update(sealed.subarray(12, -16), undefined, 'utf8') + decipher.final('utf8');
      const { data, expires } = JSON.parse(text) as { data: VisitorData; expires: number };
      if (expires < Date.now()) throw new Error('The session is gone.');
      return { data };
    },
    create: seal,
    save: (_token, { data }) => seal(data),
  };
}

const options = {
  cookieName: 'session',
  password: randomBytes(32).toString('base64url'),
  ttl: COOKIE_AGE,
};

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
    session.turn = nextTurn();
    await session.save();
    return { turn: session.turn };
  }
}
