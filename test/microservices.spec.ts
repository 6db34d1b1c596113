import { type Server } from 'node:net';
import { jest } from '@jest/globals';
import { Controller, Logger } from '@nestjs/common';
import {
  type ClientProxy,
  ClientProxyFactory,
  EventPattern,
  MessagePattern,
  Payload,
  Transport,
} from '@nestjs/microservices';
import { Test } from '@nestjs/testing';
import {
  SessionGoneError,
  SessionLimitError,
  SessionModule,
  Sessions,
  SessionsPerUserError,
  SessionStoreUnavailableError,
  SessionUnsupportedError,
} from 'nest-sessions';
import { firstValueFrom, Observable, throwError } from 'rxjs';
import { platforms, silent, startApp } from './support/app.js';
import { RecordingStore } from './support/recording-store.js';

const store = new RecordingStore();

const failures: Record<string, () => Error> = {
  gone: () => new SessionGoneError('The session ended elsewhere.'),
  'too large': () => new SessionLimitError('size', 1, 2),
  'too many': () => new SessionsPerUserError(1),
  unsupported: () => new SessionUnsupportedError('It cannot.'),
};

@Controller()
class MessagesController {
  static events = 0;

  constructor(private readonly sessions: Sessions) {}

  @MessagePattern('open')
  async open(@Payload() key: string) {
    return { found: (await this.sessions.open(key)) !== null };
  }

  @MessagePattern('fail')
  fail(@Payload() what: string): Promise<never> {
    return Promise.reject(failures[what]?.() ?? new Error(what));
  }

  @MessagePattern('fail later')
  failLater(@Payload() what: string): Observable<never> {
    return throwError(() => failures[what]?.());
  }

  @EventPattern('event')
  async event(@Payload() key: string): Promise<void> {
    MessagesController.events += 1;
    await this.sessions.open(key);
  }
}

const KEY = `${'i'.repeat(22)}.${'k'.repeat(43)}`;
const transport = { transport: Transport.TCP, options: { host: '127.0.0.1', port: 0 } } as const;
const engine = { useFactory: () => store };

/** Ways to have message handlers, each on a free port. */
const services: Record<string, () => Promise<{ server: Server; close(): Promise<void> }>> = {
  async 'a microservice'() {
    const testing = await Test.createTestingModule({
      imports: [SessionModule.forRoot(engine, { clearExpired: false })],
      controllers: [MessagesController],
    }).compile();
    const service = testing.createNestMicroservice({ ...transport, logger: silent });
    await service.listen();
    return { server: service.unwrap<Server>(), close: () => service.close() };
  },
  ...Object.fromEntries(
    platforms.map((platform) => [
      `an application on ${platform} that has message handlers, too`,
      async () => {
        let server: Server | undefined;
        const application = await startApp(platform, {
          engine,
          logger: silent,
          controllers: [MessagesController],
          async prepare(app) {
            const service = app.connectMicroservice({ ...transport }, { inheritAppConfig: true });
            await app.startAllMicroservices();
            server = service.unwrap<Server>();
          },
        });
        return { server: server as Server, close: () => application.close() };
      },
    ]),
  ),
};

describe.each(Object.entries(services))('S102: a caller of %s', (_name, start) => {
  let service: Awaited<ReturnType<typeof start>>;
  let client: ClientProxy;
  beforeAll(async () => {
    service = await start();
    const { port } = service.server.address() as { port: number };
    client = ClientProxyFactory.create({ ...transport, options: { host: '127.0.0.1', port } });
  });
  beforeEach(() => store.reset());
  afterAll(async () => {
    await client.close();
    await service.close();
  });

  const ask = (pattern: string, payload: string): Promise<unknown> =>
    firstValueFrom(client.send<unknown, string>(pattern, payload));

  it('gets what the handler answers', async () => {
    expect(await ask('open', KEY)).toEqual({ found: false });
  });

  it('is told that the store is away, and served again when it is back', async () => {
    store.fail('load', new SessionStoreUnavailableError('load', 'it is away.'));
    const lines = jest.spyOn(Logger.prototype, 'error');
    for (let message = 0; message < 3; message++) {
      await expect(ask('open', KEY)).rejects.toEqual({ status: 'error', message: 'Service Unavailable' });
    }
    expect(lines.mock.calls.flat()).toEqual([expect.stringContaining('does not serve')]);
    lines.mockRestore();
    store.heal();
    expect(await ask('open', KEY)).toEqual({ found: false });
  });

  it.each([
    ['gone', 'Conflict'],
    ['too large', 'Payload Too Large'],
    ['too many', 'Conflict'],
    ['unsupported', 'Internal server error'],
  ])('gets an error when a session is %s, also out of a stream', async (what, message) => {
    await expect(ask('fail', what)).rejects.toEqual({ status: 'error', message });
    await expect(ask('fail later', what)).rejects.toEqual({ status: 'error', message });
  });

  it('harms nobody by an event whose handler fails', async () => {
    store.fail('load', failures['gone']?.() as Error);
    const before = MessagesController.events;
    await firstValueFrom(client.emit('event', KEY), { defaultValue: null });
    while (MessagesController.events === before) await new Promise((resolve) => setImmediate(resolve));
    store.heal();
    expect(await ask('open', KEY)).toEqual({ found: false });
  });
});
