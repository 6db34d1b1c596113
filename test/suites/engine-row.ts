import { type DynamicModule, type INestApplication, Module } from '@nestjs/common';
import { RouterModule } from '@nestjs/core';
import { type NestExpressApplication } from '@nestjs/platform-express';
import { type NestFastifyApplication } from '@nestjs/platform-fastify';
import handlebars from 'handlebars';
import { join } from 'node:path';
import { type SessionRecord, SessionStore } from 'nest-sessions';
import { type AppSetup, type Platform, type RunningApp, silent, startApp } from '../support/app.js';
import { type EngineSetup, type EngineUnderTest } from '../support/engines.js';
import { S0Controller } from '../tutorials/s0.controller.js';
import { S2Controller } from '../tutorials/s2.controller.js';
import { S3Controller } from '../tutorials/s3.controller.js';
import { S4Controller } from '../tutorials/s4.controller.js';
import { RacesModule } from './races.pages.js';

@Module({ controllers: [S0Controller] })
class S0Module {}
@Module({ controllers: [S2Controller] })
class S2Module {}
@Module({ controllers: [S3Controller] })
class S3Module {}
@Module({ controllers: [S4Controller] })
class S4Module {}

/** The tutorials share an application, each under its name. */
const tutorials: [path: string, module: new () => object][] = [
  ['s0', S0Module],
  ['s2', S2Module],
  ['s3', S3Module],
  ['s4', S4Module],
];
const pages: (DynamicModule | (new () => object))[] = [
  RacesModule,
  ...tutorials.map(([, module]) => module),
  RouterModule.register(tutorials.map(([path, module]) => ({ path, module }))),
];

/** One engine on one platform: what the suites share. */
export class EngineRow {
  setup!: EngineSetup;
  /** The races, and all tutorials that need no options of their own. */
  site!: RunningApp;

  constructor(
    readonly platform: Platform,
    readonly engine: EngineUnderTest,
  ) {}

  async open(): Promise<void> {
    this.setup = await this.engine.make();
    this.site = await this.start({
      prepare: async (app) => {
        app.enableCsrfProtection();
        await showViews(app, this.platform);
      },
    });
  }

  async close(): Promise<void> {
    await this.site?.close();
    await this.setup?.dispose();
  }

  lacks(ability: keyof EngineUnderTest['lacks']): boolean {
    return ability in this.engine.lacks;
  }

  /** One more process of the same site; whoever starts it closes it. */
  start({ imports = [], ...setup }: Partial<AppSetup> = {}): Promise<RunningApp> {
    const wiring = this.setup.wire();
    return startApp(this.platform, {
      logger: silent,
      ...setup,
      engine: wiring.engine,
      imports: [...(wiring.imports ?? []), ...(setup.controllers ? [] : pages), ...imports],
    });
  }

  async elapse(seconds: number): Promise<void> {
    await this.setup.elapse(seconds, this.site.app);
  }

  get store(): SessionStore {
    return this.site.app.get(SessionStore);
  }

  /** What the store has under a session key; null of a client's own session as well. */
  async record(sessionKey: string | undefined): Promise<SessionRecord | null> {
    return this.lacks('server') ? null : this.store.load((sessionKey ?? '').slice(0, 22));
  }

  /** Rows that should not be there any more. Where there are no rows to look into, none are known. */
  async rowsOf(sessionId: string): Promise<unknown[]> {
    const rows = (await this.setup.rows?.(this.site.app)) ?? [];
    return rows.filter((row) => row.sessionId === sessionId);
  }
}

/** The same templates on both platforms; nothing about sessions has to be said. */
export async function showViews(app: INestApplication, platform: Platform): Promise<void> {
  const templates = join(import.meta.dirname, '..', 'tutorials', 'views');
  if (platform === 'fastify') {
    (app as NestFastifyApplication).setViewEngine({ engine: { handlebars }, templates });
  } else {
    (app as NestExpressApplication).setBaseViewsDir(templates).setViewEngine('hbs');
  }
}
