import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { SessionModule } from 'nest-sessions';
import { databaseEngine } from 'nest-sessions/database';
import { AppController } from './app.controller.js';
import { AppService } from './app.service.js';
import { database } from './data-source.js';
import { SessionController } from './session.controller.js';

@Module({
  imports: [TypeOrmModule.forRoot(database), SessionModule.forRoot(databaseEngine())],
  controllers: [AppController, SessionController],
  providers: [AppService],
})
export class AppModule {}
