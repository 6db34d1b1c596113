import { strict as assert } from 'node:assert';
import { Controller, Get, type INestApplication, Module, Post, UseGuards } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { TypeOrmModule } from '@nestjs/typeorm';
import { Session, SessionGuard, SessionModule } from 'nest-sessions';
import { databaseEngine } from 'nest-sessions/database';

@Controller()
class VisitController {
  @Post('visit')
  visit(@Session() session: Session<{ visits: number }>) {
    return { visits: session.increment('visits') };
  }

  @Post('login')
  login(@Session() session: Session) {
    session.login('ada');
  }

  @Get('mine')
  @UseGuards(SessionGuard)
  mine(@Session('userId') userId: string) {
    return { userId };
  }
}

@Module({
  imports: [
    TypeOrmModule.forRoot({ type: 'sqljs', autoLoadEntities: true, synchronize: true }),
    SessionModule.forRoot(databaseEngine()),
  ],
  controllers: [VisitController],
})
class AppModule {}

async function check(platform: string, app: INestApplication): Promise<void> {
  await app.listen(0, '127.0.0.1');
  let cookie = '';
  const call = async (method: string, path: string): Promise<Response> => {
    const response = await fetch(`${await app.getUrl()}${path}`, { method, headers: { cookie } });
    cookie = response.headers.getSetCookie()[0]?.split(';')[0] ?? cookie;
    return response;
  };
  assert.deepEqual(await (await call('POST', '/visit')).json(), { visits: 1 });
  assert.deepEqual(await (await call('POST', '/visit')).json(), { visits: 2 });
  assert.equal((await call('GET', '/mine')).status, 401);
  await call('POST', '/login');
  assert.deepEqual(await (await call('GET', '/mine')).json(), { userId: 'ada' });
  await app.close();
  console.log(`Nest 11, CommonJS, ${platform}: ok`);
}

async function main(): Promise<void> {
  await check('Express', await NestFactory.create(AppModule, { logger: ['error'] }));
  await check('Fastify', await NestFactory.create(AppModule, new FastifyAdapter(), { logger: ['error'] }));
}

void main();
