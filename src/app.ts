import { join } from 'node:path';
import { type DynamicModule, type INestApplication, type LogLevel } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { type NestExpressApplication } from '@nestjs/platform-express';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import Handlebars from 'handlebars';
import { AppModule } from './app.module.js';
import { type Settings } from './settings.js';

const views = join(import.meta.dirname, 'views');
const assets = join(import.meta.dirname, 'public');
const ASSETS_PREFIX = '/public/';

/** The route table would bury the one line that a newcomer needs. */
const logger: LogLevel[] = ['warn', 'error', 'fatal'];

/** The application on either platform: the same controllers, templates and stylesheet. */
export async function createApp(settings: Settings): Promise<INestApplication> {
  const module = await AppModule.with(settings);
  const app = settings.platform === 'fastify' ? await onFastify(module) : await onExpress(module);
  app.enableCsrfProtection();
  app.enableShutdownHooks();
  return app;
}

async function onExpress(module: DynamicModule): Promise<INestApplication> {
  const app = await NestFactory.create<NestExpressApplication>(module, { logger });
  app.setBaseViewsDir(views);
  app.setViewEngine('hbs');
  app.useStaticAssets(assets, { prefix: ASSETS_PREFIX });
  return app;
}

async function onFastify(module: DynamicModule): Promise<INestApplication> {
  const app = await NestFactory.create<NestFastifyApplication>(module, new FastifyAdapter(), {
    logger,
  });
  app.setViewEngine({ engine: { handlebars: Handlebars }, templates: views, layout: 'layout' });
  app.useStaticAssets({ root: assets, prefix: ASSETS_PREFIX });
  return app;
}
