import { type DynamicModule, Module } from '@nestjs/common';
import { APP_FILTER, APP_INTERCEPTOR } from '@nestjs/core';
import { ScheduleModule } from '@nestjs/schedule';
import { SessionModule } from 'nest-sessions';
import { SessionAdminModule } from 'nest-sessions/admin';
import { AccountController } from './account/account.controller.js';
import { AdminGuard } from './admin/admin.guard.js';
import { CartController } from './cart/cart.controller.js';
import { CookieTestController } from './cookie-test/cookie-test.controller.js';
import { DevicesController } from './devices/devices.controller.js';
import { ErrorPageFilter } from './error-page.filter.js';
import { ExpiryController } from './expiry/expiry.controller.js';
import { HomeController } from './home/home.controller.js';
import { InspectController } from './inspect/inspect.controller.js';
import { type EngineSurroundings, LoadedSession, StoredSession } from './inspect/stored-session.js';
import { PageInterceptor } from './page.interceptor.js';
import { ENGINE, sessionEngine } from './session-engine.js';
import { type Settings, usesDatabase } from './settings.js';

@Module({
  imports: [
    // Expired sessions are then cleared by a job in Nest's own scheduler.
    ScheduleModule.forRoot(),
    // At /admin/sessions.
    SessionAdminModule.forRoot({ guard: AdminGuard }),
  ],
  controllers: [
    HomeController,
    CookieTestController,
    AccountController,
    DevicesController,
    CartController,
    ExpiryController,
    InspectController,
  ],
  providers: [
    { provide: APP_INTERCEPTOR, useClass: PageInterceptor },
    { provide: APP_FILTER, useClass: ErrorPageFilter },
  ],
})
export class AppModule {
  /** With the engine that the settings name. Where there is only one engine, `@Module` says it all. */
  static async with(settings: Settings): Promise<DynamicModule> {
    const { imports, storedSession } = await aroundTheEngine(settings);
    return {
      module: AppModule,
      imports: [...imports, SessionModule.forRoot(await sessionEngine(settings), { device: true })],
      providers: [
        { provide: ENGINE, useValue: settings.engine },
        { provide: StoredSession, useClass: storedSession },
      ],
    };
  }
}

async function aroundTheEngine(settings: Settings): Promise<EngineSurroundings> {
  if (!usesDatabase(settings)) return { imports: [], storedSession: LoadedSession };
  // Not at the top, so that the other engines do without TypeORM.
  const { aroundTheDatabase } = await import('./database.js');
  return aroundTheDatabase(settings);
}
