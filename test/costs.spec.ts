import { createHook } from 'node:async_hooks';
import { once } from 'node:events';
import { Agent, get, type IncomingMessage } from 'node:http';
import { Controller, Get } from '@nestjs/common';
import { type Engine, Session } from 'nest-sessions';
import { cookieEngine } from 'nest-sessions/cookie';
import { memoryEngine } from 'nest-sessions/memory';
import { platforms, type RunningApp, startApp } from './support/app.js';

@Controller()
class BareController {
  @Get('untouched')
  untouched() {
    return { name: 'Ada' };
  }
}

@Controller()
class SessionController {
  @Get('fill')
  fill(@Session() session: Session<Visit>) {
    session.name = 'Ada';
    return { name: 'Ada' };
  }

  @Get('untouched')
  untouched() {
    return { name: 'Ada' };
  }

  @Get('read')
  read(@Session() session: Session<Visit>) {
    return { name: session.name };
  }

  @Get('write')
  write(@Session() session: Session<Visit>) {
    session.turn = (session.turn ?? 0) + 1;
    return { turn: session.turn };
  }
}

interface Visit {
  name: string;
  turn: number;
}

const counted = { promises: 0, timers: 0 };
const hook = createHook({
  init(_id, type) {
    if (type === 'PROMISE') counted.promises += 1;
    if (type === 'Timeout') counted.timers += 1;
  },
});
const agent = new Agent({ keepAlive: true, maxSockets: 1 });

afterAll(() => {
  hook.disable();
  agent.destroy();
});

/** By callbacks, because promises of the client would count as well. */
function visit(url: string, cookie: string, then: (response: IncomingMessage) => void): void {
  get(url, { agent, headers: cookie === '' ? {} : { cookie } }, (response) => {
    response.resume().on('end', () => then(response));
  });
}

const REQUESTS = 40;

/** What a request makes, the client's part included. */
async function costOf(url: string, cookie: string): Promise<typeof counted> {
  await new Promise<void>((resolve) => {
    const next = (left: number): void => {
      if (left === REQUESTS) {
        Object.assign(counted, { promises: 0, timers: 0 });
        hook.enable();
      }
      if (left === 0) {
        hook.disable();
        resolve();
      } else {
        visit(url, cookie, ({ statusCode }) => next(statusCode === 200 ? left - 1 : NaN));
      }
    };
    // The first ones are not counted: connections are opened, and sweeps begin.
    next(REQUESTS + 5);
  });
  return { promises: counted.promises / REQUESTS, timers: counted.timers / REQUESTS };
}

const engines: [name: string, engine: () => Engine][] = [
  ['memory', () => memoryEngine()],
  ['cookie', () => cookieEngine({ secrets: '7f1c0e5b9a3d4826b0c9e2d1f6a84735' })],
];

/** At most so many promises more than the same application without sessions makes. */
const most: Record<string, Record<'untouched' | 'read' | 'write', number>> = {
  memory: { untouched: 0, read: 12, write: 18 },
  cookie: { untouched: 0, read: 4, write: 4 },
};

describe.each(platforms)('a request on %s', (platform) => {
  let bare: RunningApp;

  beforeAll(async () => {
    bare = await startApp(platform, { engine: 'none', controllers: [BareController] });
  });
  afterAll(() => bare.close());

  it.each(engines)(
    'makes few promises and no timer of its own, with sessions in %s',
    async (name, engine) => {
      const site = await startApp(platform, { engine: engine(), controllers: [SessionController] });
      try {
        const none = await costOf(`${bare.url}/untouched`, 'sessionid=none');
        const [filled] = (await once(get(`${site.url}/fill`), 'response')) as [IncomingMessage];
        filled.resume();
        const cookie = (filled.headers['set-cookie']?.[0] ?? '').split(';')[0] ?? '';
        for (const use of ['untouched', 'read', 'write'] as const) {
          const cost = await costOf(`${site.url}/${use}`, cookie);
          expect(cost.promises - none.promises).toBeLessThanOrEqual(most[name]?.[use] ?? 0);
          // Not exactly none: those that many requests share, such as that of the clock of HTTP, begin now and then.
          expect(cost.timers - none.timers).toBeLessThan(0.5);
        }
      } finally {
        await site.close();
      }
    },
  );
});
