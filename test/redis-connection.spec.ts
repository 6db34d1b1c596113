import { setTimeout as sleep } from 'node:timers/promises';
import { Controller, Get, HttpCode, Post } from '@nestjs/common';
import { Redis } from 'ioredis';
import { type Engine, Session } from 'nest-sessions';
import { redisEngine } from 'nest-sessions/redis';
import { createClient } from 'redis';
import { platforms, type RunningApp, startApp } from './support/app.js';
import { describeWithKillableRedis, type KillableRedis } from './support/killable-redis.js';
import { startTcpProxy, type TcpProxy } from './support/tcp-proxy.js';
import { rowsOf, testsAll } from './support/test-all.js';
import { exchange, type Exchange, sessionCookie } from './support/wire.js';

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
  /** Visits that were answered and are not there, or are there twice. */
  readonly miscounted: number[][] = [];
  /** How many answers each of them has had. */
  private readonly answers: number[];
  private going = true;
  private readonly visitors: Promise<void>[];

  constructor(
    private readonly running: RunningApp,
    private readonly cookies: readonly string[],
  ) {
    this.answers = cookies.map(() => 0);
    this.visitors = cookies.map((cookie, index) => this.come(cookie, index));
  }

  static async of(running: RunningApp, number: number): Promise<Visitors> {
    return new Visitors(running, await logIn(running, number));
  }

  /** Resolves when so many more were answered. */
  async more(number: number): Promise<void> {
    const goal = this.served + this.refused + number;
    while (this.served + this.refused < goal) await sleep(5);
  }

  /** Resolves when each of them was answered once more, so that no request meets two breaks. */
  async eachOnceMore(): Promise<void> {
    const goals = this.answers.map((number) => number + 1);
    while (this.answers.some((number, index) => number < (goals[index] ?? 0))) await sleep(5);
  }

  /** Somebody who comes once. */
  another(): void {
    const { answer } = this.send('GET', '/read', this.cookies[0] ?? '');
    this.visitors.push(answer.then(() => {}));
  }

  async stop(): Promise<void> {
    this.going = false;
    await Promise.all(this.visitors);
  }

  private send(method: string, path: string, cookie: string): Exchange {
    return exchange(`${this.running.url}${path}`, { method, headers: { Cookie: cookie } });
  }

  private async come(cookie: string, index: number): Promise<void> {
    let visits = 0;
    /** Visits that were refused, of which nobody knows whether they count. */
    let unsure = 0;
    while (this.going) {
      for (const method of ['GET', 'POST']) {
        const path = method === 'GET' ? '/read' : '/visit';
        const { status, body } = await this.send(method, path, cookie).answer;
        this.answers[index] = (this.answers[index] ?? 0) + 1;
        if (status !== 200) {
          this.refused += 1;
          if (method === 'POST') unsure += 1;
          continue;
        }
        this.served += 1;
        const seen = (JSON.parse(body.toString()) as { visits: number }).visits;
        if (method === 'POST') visits += 1;
        if (seen < visits || seen > visits + unsure) this.miscounted.push([visits, unsure, seen]);
        [visits, unsure] = [seen, 0];
      }
    }
  }
}

async function logIn(running: RunningApp, number: number): Promise<string[]> {
  const logins = Array.from({ length: number }, () => exchange(`${running.url}/login`, { method: 'POST' }));
  return Promise.all(logins.map(async ({ answer }) => sessionCookie(await answer) as string));
}

/** The engine's own clients, and clients of the application as their documentation makes them. */
const clients: Record<string, (url: string) => Promise<{ engine: Engine; close?: () => void }>> = {
  ioredis: async (url) => ({ engine: redisEngine({ url, library: 'ioredis' }) }),
  redis: async (url) => ({ engine: redisEngine({ url, library: 'redis' }) }),
  "the application's ioredis": async (url) => {
    const client = new Redis(url);
    client.on('error', () => {});
    return { engine: redisEngine({ client }), close: () => client.disconnect() };
  },
  "the application's redis": async (url) => {
    const client = createClient({ url });
    client.on('error', () => {});
    return { engine: redisEngine({ client }), close: () => client.destroy() };
  },
};

function portOf({ url }: KillableRedis): number {
  return Number(new URL(url).port);
}

/** Between any two turns of the event loop other work has to be waited for. */
function keepBusy(): () => void {
  let busy = true;
  const work = (): void => {
    if (!busy) return;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 30);
    setImmediate(work);
  };
  work();
  return () => void (busy = false);
}

describeWithKillableRedis('the connection to Redis', (redis) => {
  // Both wait ten seconds for a connection.
  if (testsAll) {
    it.each(['ioredis', 'redis'] as const)(
      'is refused for a wrong password, and the start says so (%s)',
      async (library) => {
        const admin = new Redis(redis.url);
        await admin.config('SET', 'requirepass', 'right');
        try {
          const url = redis.url.replace('redis://', 'redis://:mistaken@');
          const start = startApp('express', { engine: redisEngine({ url, library }) });
          await expect(start).rejects.toMatchObject({
            code: 'SESSION_STORE_UNAVAILABLE',
            message: expect.stringMatching(/the client says (WRONGPASS|NOAUTH)\)((?!mistaken).)*$/s),
          });
        } finally {
          await admin.config('SET', 'requirepass', '');
          await admin.quit();
        }
      },
    );
  }

  describeWithKillableRedis('behind one address', (other) => {
    describe.each(rowsOf(clients, ['ioredis', 'redis']))('through %s', (name, make) => {
      let wire: TcpProxy;
      let running: RunningApp;
      let close: (() => void) | undefined;
      /** To the two servers themselves. */
      let raw: Redis;
      let rawOther: Redis;

      beforeAll(async () => {
        [raw, rawOther] = [new Redis(redis.url), new Redis(other.url)];
        wire = await startTcpProxy('127.0.0.1', portOf(redis));
        const setup = await make(`redis://127.0.0.1:${wire.port}`);
        close = setup.close;
        running = await startApp(platforms[Object.keys(clients).indexOf(name) % 2] ?? 'express', {
          engine: setup.engine,
          controllers: [VisitorController],
        });
      });
      afterAll(async () => {
        await running.close();
        close?.();
        await wire.close();
        await Promise.all([raw.quit(), rawOther.quit()]);
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
        ['a process with time, when the way to Redis breaks', false, cut],
        ['a process with time, when Redis closes it', false, kill],
        ['a busy process, when Redis closes it', true, kill],
      ])('refuses nobody in %s, and counts nothing twice', async (_where, isBusy, strike) => {
        const visitors = await Visitors.of(running, 8);
        const relax = isBusy ? keepBusy() : undefined;
        for (let breaks = 0; breaks < 5; breaks++) {
          await visitors.eachOnceMore();
          await strike();
        }
        await visitors.eachOnceMore();
        relax?.();
        await visitors.stop();
        expect([visitors.refused, visitors.miscounted]).toEqual([0, []]);
      });

      it('is left when its server has become a replica, and nobody is refused', async () => {
        await raw.config('SET', 'repl-diskless-sync-delay', '0');
        await rawOther.replicaof('127.0.0.1', portOf(redis));
        const logins = await logIn(running, 8);
        // WAIT speaks of the writes of its own connection, and of what came before them.
        await raw.set('mark', 'last');
        while ((await raw.wait(1, 1000)) < 1);
        await rawOther.replicaof('NO', 'ONE');
        await raw.replicaof('127.0.0.1', portOf(other));
        wire.lead(portOf(other));
        try {
          const visitors = new Visitors(running, logins);
          await visitors.more(80);
          await visitors.stop();
          expect([visitors.refused, visitors.miscounted]).toEqual([0, []]);
        } finally {
          // As it was, for the other tests.
          await raw.replicaof('NO', 'ONE');
          wire.lead(portOf(redis));
          wire.cut();
          wire.mend();
        }
      });

      if (name.startsWith('the application')) return; // which has to set the limits itself
      const silences: Record<string, [strike: () => void, mend: () => void]> = {
        'the way to it swallows everything': [() => wire.silence(), () => wire.mend()],
        ...(testsAll && { 'it is stopped': [() => redis.freeze(), () => redis.thaw()] }),
      };
      it.each(Object.entries(silences))(
        'is left when it is silent because %s, and serves within seconds after that',
        async (_why, [strike, mend]) => {
          const visitors = await Visitors.of(running, 4);
          await visitors.more(8);
          strike();
          // Others come all the time, so that there is always something to send.
          const others = setInterval(() => visitors.another(), 100);
          // Long enough for connections that were made while it was silent to hang as well.
          await sleep(5000);
          mend();
          const [back, { served }] = [performance.now(), visitors];
          while (visitors.served < served + 8) await sleep(10);
          clearInterval(others);
          await visitors.stop();
          expect(visitors.miscounted).toEqual([]);
          expect(performance.now() - back).toBeLessThan(10_000);
        },
      );
    });
  });
});
