import { Module } from '@nestjs/common';
import { SessionModule } from 'nest-sessions';
import { memoryEngine } from 'nest-sessions/memory';
import { AccountController } from './account.controller.js';
import { CartGateway } from './cart.gateway.js';

@Module({
  imports: [SessionModule.forRoot(memoryEngine())],
  controllers: [AccountController],
  providers: [CartGateway],
})
export class AppModule {}
