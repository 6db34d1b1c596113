import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { SessionModule, SessionStore } from 'nest-sessions';
import { databaseEngine } from 'nest-sessions/database';

/** An application as `clear-expired --app` finds it; which database it uses is its own business. */
@Module({
  imports: [
    TypeOrmModule.forRootAsync({
      useFactory: () => ({
        type: 'postgres' as const,
        url: process.env['CLEAR_EXPIRED_APP_DATABASE'] ?? '',
        autoLoadEntities: true,
        retryAttempts: 0,
      }),
    }),
    SessionModule.forRoot(databaseEngine()),
  ],
})
export class AppModule {}

/** Stands for engines that leave nothing on the server. */
class CookieStore extends SessionStore {
  load = () => Promise.resolve(null);
  create = () => Promise.resolve(true);
  save = () => Promise.resolve(true);
  delete = () => Promise.resolve(true);

  override clearExpired(): Promise<number> {
    return this.unsupported('clear expired sessions');
  }
}

@Module({ imports: [SessionModule.forRoot(CookieStore)] })
export class CookieAppModule {}

@Module({})
export class AppWithoutSessions {}
