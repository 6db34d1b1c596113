import {
  type INestApplication,
  type LoggerService,
  type ModuleMetadata,
  type Provider,
  type Type,
} from '@nestjs/common';
import { type AbstractHttpAdapter, NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import request from 'supertest';
import { type Engine, SessionModule, type SessionOptions } from 'nest-sessions';

export const platforms = ['express', 'fastify'] as const;
export type Platform = (typeof platforms)[number];

/** For specs that provoke errors. */
export const silent: LoggerService = { log() {}, warn() {}, error() {} };

export interface AppSetup {
  /** `none`: the same application without the module. */
  engine: Engine | 'none';
  options?: SessionOptions;
  /** Default: the platform's own, without any options. */
  adapter?: AbstractHttpAdapter;
  /** Serve over TLS. */
  https?: { key: string; cert: string };
  /** Default: Nest's, from errors on. */
  logger?: LoggerService;
  controllers?: Type[];
  imports?: NonNullable<ModuleMetadata['imports']>;
  providers?: Provider[];
  /** Called before the application starts to listen: `app.use(…)`, view engines, filters. */
  prepare?: (app: INestApplication) => void | Promise<void>;
}

export interface RunningApp {
  app: INestApplication;
  /** `http://127.0.0.1:<port>` */
  url: string;
  /** A browser: keeps the cookies it is given. */
  browser(): ReturnType<typeof request.agent>;
  /** One request without any memory. */
  request: ReturnType<typeof request>;
  close(): Promise<void>;
}

/** A busy machine may take longer for an answer than the default allows. */
const patient = { clearExpired: false, storeTimeout: '1m' } as const;

/** A real application on a free port, made as a user makes it. Its logger says nothing below errors. */
export async function startApp(platform: Platform, setup: AppSetup): Promise<RunningApp> {
  const { engine, options, imports = [], controllers = [], providers = [] } = setup;
  const sessions = engine === 'none' ? [] : [SessionModule.forRoot(engine, { ...patient, ...options })];
  const module = class ApplicationModule {};
  const app = await NestFactory.create(
    { module, imports: [...imports, ...sessions], controllers, providers },
    setup.adapter ?? (platform === 'fastify' ? fastifyAdapter(setup) : new ExpressAdapter()),
    {
      abortOnError: false,
      logger: setup.logger ?? ['error', 'fatal'],
      ...(setup.https && { httpsOptions: setup.https }),
    },
  );
  await setup.prepare?.(app);
  await app.listen(0, '127.0.0.1');
  const { port } = app.getHttpServer().address() as { port: number };
  const url = `${setup.https ? 'https' : 'http'}://127.0.0.1:${port}`;
  return { app, url, browser: () => request.agent(url), request: request(url), close: () => app.close() };
}

function fastifyAdapter({ https }: AppSetup): AbstractHttpAdapter {
  return https ? new FastifyAdapter({ https }) : new FastifyAdapter();
}
