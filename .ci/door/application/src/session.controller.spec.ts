import { INestApplication } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { SessionModule } from 'nest-sessions';
import { loggedInCookie, testingEngine } from 'nest-sessions/testing';
import request from 'supertest';
import { SessionController } from './session.controller.js';

describe('SessionController', () => {
  const engine = testingEngine();
  let app: INestApplication;

  beforeAll(async () => {
    const testing = await Test.createTestingModule({
      imports: [SessionModule.forRoot(engine, { idleTimeout: '30m' })],
      controllers: [SessionController],
    }).compile();
    app = await testing.createNestApplication().init();
  });
  afterAll(() => app.close());

  it('knows a visitor who has logged in, for half an hour', async () => {
    const cookie = await loggedInCookie(app, 'ada', { visits: 3 });
    const visit = () => request(app.getHttpServer()).get('/mine').set('Cookie', cookie);
    expect((await visit()).body).toEqual({ userId: 'ada', visits: 3 });
    engine.clock.advance('31m');
    expect((await visit()).status).toBe(401);
  });
});
