import { INestApplication } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import request from 'supertest';
import { AppModule } from '../src/app.module.js';

describe('Sessions (e2e)', () => {
  let app: INestApplication;

  beforeAll(async () => {
    const testing = await Test.createTestingModule({ imports: [AppModule] }).compile();
    app = await testing.createNestApplication().init();
  });
  afterAll(() => app.close());

  it('last from one request to the next', async () => {
    const browser = request.agent(app.getHttpServer());
    await browser.post('/visit').expect(201, { visits: 1 });
    await browser.post('/visit').expect(201, { visits: 2 });
    await browser.get('/mine').expect(401);
    await browser.post('/login').send({ name: 'ada' }).expect(201);
    const { body } = await browser.get('/mine').expect(200);
    expect(body).toEqual({ userId: 'ada', visits: 2 });
  });
});
