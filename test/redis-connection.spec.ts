import { setTimeout as sleep } from 'node:timers/promises';
import { Controller, Get, HttpCode, Post } from '@nestjs/common';
import { Redis } from 'ioredis';
import { Session } from 'nest-sessions';
import { redisEngine } from 'nest-sessions/redis';
import { platforms, type RunningApp, startApp } from './support/app.js';
import { describeWithKillableRedis } from './support/killable-redis.js';
import { redisLibraries } from './support/redis-store-bench.js';
import { startTcpProxy, type TcpProxy } from './support/tcp-proxy.js';
import { exchange, sessionCookie } from './support/wire.js';

// Rows of docs/faults.md about the connection to Redis. What every store does in a fault is in faults.spec.ts.

@Controller()
class VisitorController {
  @Get('read')
  read(@Session() session: Session<{ visits: number }>) {
    return { visits: session.visits ?? 0 };
  }

  @Post('visit')
  @HttpCode(200)
  visit(@Session() session: Session<{ visits: number }>) {
    return { visits: session.increment('visits') };
  }

  @Post('login')
  @HttpCode(200)
  login(@Session() session: Session) {
    session.login('ada');
  }
}

/** Visitors who read and write by turns without a pause, each in a session of their own. */
class Visitors {
  served = 0;
  refused = 0;
  private going = true;
  private readonly visitors: Promise<void>[];

  constructor(
    private readonly running: RunningApp,
    private readonly cookies: readonly string[],
  ) {
    this.visitors = cookies.map((cookie) => this.come(cookie));
  }

  static async of(running: RunningApp, number: number): Promise<Visitors> {
    const logins = Array.from({ length: number }, () => post(running, '/login'));
    const cookies = (await Promise.all(logins)).map((answer) => sessionCookie(answer) as string);
    return new Visitors(running, cookies);
  }

  /** Resolves when so many more were answered. */
  async more(number: number): Promise<void> {
    const goal = this.served + this.refused + number;
    while (this.served + this.refused < goal) await sleep(5);
  }

  async stop(): Promise<void> {
    this.going = false;
    await Promise.all(this.visitors);
  }

  private async come(cookie: string): Promise<void> {
    let visits = 0;
    while (this.going) {
      for (const method of ['GET', 'POST']) {
        const path = method === 'GET' ? '/read' : '/visit';
        const { answer } = exchange(`${this.running.url}${path}`, { method, headers: { Cookie: cookie } });
        const { status, body } = await answer;
        if (status !== 200) {
          this.refused += 1;
          continue;
        }
        if (method === 'POST') visits += 1;
        this.served += 1;
        expect(JSON.parse(body.toString())).toEqual({ visits });
      }
    }
  }
}

const post = (running: RunningApp, path: string) => exchange(`${running.url}${path}`, { method: 'POST' }).answer;

describeWithKillableRedis('the connection to Redis', (redis) => {
  describe.each(redisLibraries)('through %s', (library) => {
    let wire: TcpProxy;
    let running: RunningApp;
    let raw: Redis;

    beforeAll(async () => {
      raw = new Redis(redis.url);
      wire = await startTcpProxy('127.0.0.1', Number(new URL(redis.url).port));
      running = await startApp(platforms[redisLibraries.indexOf(library)] ?? 'express', {
        engine: redisEngine({ url: `redis://127.0.0.1:${wire.port}`, library }),
        controllers: [VisitorController],
      });
    });
    afterAll(async () => {
      await running.close();
      await raw.quit();
      await wire.close();
    });

    const cut = async (): Promise<void> => {
      wire.cut();
      await sleep(50);
      wire.mend();
    };
    const kill = async (): Promise<void> => {
      await raw.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    };

    it.each([
      ['a process with time, when the way to Redis breaks', 0, cut],
      ['a process with time, when Redis closes it', 0, kill],
      ['a busy process, when Redis closes it', 30, kill],
    ])('refuses nobody in %s, and counts nothing twice', async (_where, busy, strike) => {
      const visitors = await Visitors.of(running, 8);
      // Between any two turns of the event loop other work has to be waited for.
      const work = busy ? setInterval(() => block(busy), 1) : undefined;
      for (let breaks = 0; breaks < 5; breaks++) {
        await visitors.more(8);
        await strike();
      }
      await visitors.more(8);
      clearInterval(work);
      await visitors.stop();
      expect(visitors.refused).toBe(0);
    });
  });
});

function block(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}
