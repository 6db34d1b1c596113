import { type INestApplication, type ModuleMetadata, type Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import expressSession from 'express-session';
import { type SessionEngine, SessionModule } from 'nest-sessions';
import { COOKIE_AGE, type Platform } from './contestants.js';
import { NestSessionsController, PeerController } from './controllers.js';

/** What sessions make of an application. */
export interface Keeping {
  controller: Type;
  imports?: NonNullable<ModuleMetadata['imports']>;
  middleware?: (...given: never[]) => unknown;
}

export async function createApplication(platform: Platform, keeping: Keeping): Promise<INestApplication> {
  const module = class ContestantModule {};
  const app = await NestFactory.create(
    { module, imports: keeping.imports ?? [], controllers: [keeping.controller] },
    platform === 'fastify' ? new FastifyAdapter() : new ExpressAdapter(),
    { logger: ['error', 'fatal'] },
  );
  if (keeping.middleware) app.use(keeping.middleware);
  return app;
}

export function nestSessions(
  engine: SessionEngine,
  imports: NonNullable<ModuleMetadata['imports']> = [],
): Keeping {
  const sessions = SessionModule.forRoot(engine, { cookie: { maxAge: COOKIE_AGE }, clearExpired: false });
  return { imports: [...imports, sessions], controller: NestSessionsController };
}

/** As its documentation recommends: nothing is saved that need not be. */
export function expressSessionOn(store: expressSession.Store): Keeping {
  const middleware = expressSession({
    secret: 'only the benchmark knows this one',
    resave: false,
    saveUninitialized: false,
    cookie: { maxAge: COOKIE_AGE * 1000 },
    store,
  });
  return { controller: PeerController, middleware };
}
