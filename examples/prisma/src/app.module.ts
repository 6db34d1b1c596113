import { Module } from '@nestjs/common';
import { SessionModule } from 'nest-sessions';
import { sqlEngine } from 'nest-sessions/sql';
import { CartController } from './cart.controller.js';
import { PrismaModule, PrismaService } from './prisma.module.js';

@Module({
  imports: [
    PrismaModule,
    SessionModule.forRoot(
      sqlEngine({
        imports: [PrismaModule],
        inject: [PrismaService],
        useFactory: (prisma: PrismaService) => ({
          dialect: 'sqlite',
          query: (sql, values, returns) =>
            returns === 'rows'
              ? prisma.$queryRawUnsafe<object[]>(sql, ...values)
              : prisma.$executeRawUnsafe(sql, ...values),
        }),
      }),
    ),
  ],
  controllers: [CartController],
})
export class AppModule {}
