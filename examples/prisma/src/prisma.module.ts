import { Injectable, Module, type OnApplicationShutdown } from '@nestjs/common';
import { PrismaLibSql } from '@prisma/adapter-libsql';
import { PrismaClient } from './generated/client.js';

@Injectable()
export class PrismaService extends PrismaClient implements OnApplicationShutdown {
  constructor() {
    super({ adapter: new PrismaLibSql({ url: process.env.DATABASE_URL ?? 'file:./app.db' }) });
  }

  /** Not `onModuleDestroy`, which comes before the last requests are answered. */
  onApplicationShutdown(): Promise<void> {
    return this.$disconnect();
  }
}

@Module({ providers: [PrismaService], exports: [PrismaService] })
export class PrismaModule {}
