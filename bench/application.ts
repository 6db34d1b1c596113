import { randomBytes } from 'node:crypto';
import fastifyCookie from '@fastify/cookie';
import fastifySession, { type FastifySessionOptions } from '@fastify/session';
import {
  Controller,
  Get,
  type INestApplication,
  type ModuleMetadata,
  Session as NestSession,
  type Type,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import expressSession from 'express-session';
import { Session, type SessionEngine, SessionModule } from 'nest-sessions';
import { COOKIE_AGE, type Platform, type VisitorData, visitorData } from './contestants.js';
import { type Places } from './places.js';

/** What a library makes of an application. */
export interface Sessions {
  controller: Type;
  imports?: NonNullable<ModuleMetadata['imports']>;
  /** Mounts its middleware, or its plugin. */
  mount?: (app: INestApplication) => unknown;
}

/** What each module in `libraries/` exports: its libraries by name. */
export type Libraries = Readonly<
  Record<string, (places: Places, platform: Platform) => Sessions | Promise<Sessions>>
>;

export async function createApplication(
  platform: Platform,
  { controller, imports = [], mount }: Sessions,
): Promise<INestApplication> {
  const module = class ContestantModule {};
  const app = await NestFactory.create(
    { module, imports, controllers: [controller] },
    platform === 'fastify' ? new FastifyAdapter() : new ExpressAdapter(),
    { logger: ['error', 'fatal'] },
  );
  await mount?.(app);
  return app;
}

let turn = 0;

/** A number that is another one each time, for what a request writes. */
export function nextTurn(): number {
  turn += 1;
  return turn;
}

@Controller()
class NestSessionsController {
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
    session.turn = nextTurn();
    return { turn: session.turn };
  }
}

export function nestSessions(
  engine: SessionEngine,
  imports: NonNullable<ModuleMetadata['imports']> = [],
): Sessions {
  const sessions = SessionModule.forRoot(engine, { cookie: { maxAge: COOKIE_AGE }, clearExpired: false });
  return { imports: [...imports, sessions], controller: NestSessionsController };
}

/** For all that leave a session on the request. */
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
    session.turn = nextTurn();
    return { turn: session.turn };
  }
}

/**
 * express-session, or @fastify/session, as their documentation recommends: nothing is saved that need not be.
 * @param store undefined: their own
 */
export function sessionMiddleware(platform: Platform, store?: expressSession.Store): Sessions {
  const options = {
    secret: randomBytes(32).toString('base64url'),
    saveUninitialized: false,
    cookie: { maxAge: COOKIE_AGE * 1000, secure: false },
  };
  if (platform === 'express') {
    const middleware = expressSession({ ...options, resave: false, ...(store && { store }) });
    return { controller: PeerController, mount: (app) => app.use(middleware) };
  }
  const sessions = { ...options, rolling: false, ...(store && { store }) } as FastifySessionOptions;
  return {
    controller: PeerController,
    mount: async (app) => {
      const fastify = app as NestFastifyApplication;
      await fastify.register(fastifyCookie);
      await fastify.register(fastifySession, sessions);
    },
  };
}
