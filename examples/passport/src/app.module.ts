import { Module } from '@nestjs/common';
import { PassportModule } from '@nestjs/passport';
import { SessionModule } from 'nest-sessions';
import { memoryEngine } from 'nest-sessions/memory';
import { AccountController } from './account.controller.js';
import { LocalStrategy } from './local.strategy.js';
import { Users } from './users.js';

@Module({
  imports: [PassportModule, SessionModule.forRoot(memoryEngine())],
  controllers: [AccountController],
  providers: [Users, LocalStrategy],
})
export class AppModule {}
