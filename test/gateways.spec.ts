import { jest } from '@jest/globals';
import { type CanActivate, Controller, Injectable, Logger, Post, UseGuards } from '@nestjs/common';
import { WsAdapter } from '@nestjs/platform-ws';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import {
  type Engine,
  RequireSession,
  Session,
  type SessionError,
  SessionGuard,
  type SessionOptions,
  Sessions,
  SessionStoreUnavailableError,
  type SocketOptions,
} from 'nest-sessions';
import { cookieEngine } from 'nest-sessions/cookie';
import { concatMap, from, Observable } from 'rxjs';
import { type HttpEnvironment } from '../libs/session/src/http/request-session.js';
import { HTTP_ENVIRONMENT } from '../libs/session/src/session.tokens.js';
import { platforms, type RunningApp, silent, startApp } from './support/app.js';
import { type EngineUnderTest, enginesOnDatabases, otherEngines } from './support/engines.js';
import { adapters, type Client } from './support/gateway-clients.js';
import { RecordingStore } from './support/recording-store.js';
import { describeWithService, type ServiceName } from './support/services.js';
import { rowsOf } from './support/test-all.js';
import { Checkpoint } from './suites/checkpoint.js';

type Data = { items?: string[]; name?: string; count?: number };

@Controller()
class AccountController {
  @Post('logout')
  logout(@Session() session: Session<Data>): void {
    session.logout();
  }

  @Post('cycle')
  cycle(@Session() session: Session<Data>): void {
    session.cycleKey();
  }

  @Post('visit')
  visit(@Session('name') name: string | undefined) {
    return { name };
  }
}

@Injectable()
class Gate {
  checkpoint: Checkpoint | null = null;
  streams = 0;
}

@Injectable()
class SlowGuard implements CanActivate {
  constructor(private readonly gate: Gate) {}

  async canActivate(): Promise<boolean> {
    await this.gate.checkpoint?.wait();
    return true;
  }
}

@WebSocketGateway()
class ShopGateway {
  constructor(private readonly gate: Gate) {}

  @SubscribeMessage('ping')
  ping() {
    return { to: 'ping' };
  }

  @SubscribeMessage('read')
  read(@Session() session: Session<Data>, @Session('name') name: string | undefined) {
    return { to: 'read', userId: session.userId, data: { ...session }, name };
  }

  @SubscribeMessage('add')
  async add(
    @Session() session: Session<Data>,
    @MessageBody() { item, fail }: { item: string; fail?: boolean },
  ) {
    session.push('items', item);
    await this.gate.checkpoint?.wait();
    if (fail) throw new Error('It failed.');
    return { to: 'add', items: session.items };
  }

  @SubscribeMessage('add inside')
  async addInside(@Session() session: Session<Data>, @MessageBody() item: string) {
    session.items?.push(item);
    await this.gate.checkpoint?.wait();
    return { to: 'add inside' };
  }

  @SubscribeMessage('count')
  count(@Session() session: Session<Data>): Observable<object> {
    return from([1, 2, 3]).pipe(
      concatMap(async (number) => {
        session.count = number;
        return { to: 'count', number };
      }),
    );
  }

  @SubscribeMessage('news')
  news(
    @Session() session: Session<Data>,
    @MessageBody() { logout }: { logout?: boolean },
  ): Observable<object> {
    if (logout) session.logout();
    return new Observable(() => {
      this.gate.streams += 1;
      return () => {
        this.gate.streams -= 1;
      };
    });
  }

  @SubscribeMessage('logout')
  async logout(@Session() session: Session<Data>, @MessageBody() { fail }: { fail?: boolean }) {
    session.logout();
    await this.gate.checkpoint?.wait();
    if (fail) throw new Error('It failed.');
    return { to: 'logout' };
  }

  @SubscribeMessage('impossible')
  async impossible(@Session() session: Session<Data>, @MessageBody() what: string) {
    const deeds: Record<string, () => unknown> = {
      login: () => session.login('bob'),
      'a new key': () => session.cycleKey(),
      'a new session': () => session.regenerate(),
      'a first write': () => {
        session.name = 'eve';
        return session.save();
      },
      logout: () => session.logout(),
      'a late write': () => {
        setImmediate(() => {
          try {
            session.set('name', 'eve');
          } catch (error) {
            refused.push((error as SessionError).code);
          }
        });
      },
    };
    try {
      await deeds[what]?.();
    } catch (error) {
      const { code, message } = error as SessionError;
      refused.push(`${code}: ${message}`);
    }
    return { to: 'impossible' };
  }

  @SubscribeMessage('slow')
  @UseGuards(SlowGuard, SessionGuard)
  slow() {
    return { to: 'slow' };
  }

  @SubscribeMessage('account')
  @UseGuards(SessionGuard)
  account(@Session('userId') userId: string) {
    return { to: 'account', userId };
  }
}

@WebSocketGateway({ path: '/members' })
@UseGuards(SessionGuard)
class MembersGateway {
  @SubscribeMessage('hello')
  hello() {
    return { to: 'hello' };
  }

  @SubscribeMessage('named')
  @RequireSession('name')
  named() {
    return { to: 'named' };
  }
}

/** What handlers were told instead of being obeyed. */
const refused: string[] = [];

const DAY = 86_400_000;

const running: RunningApp[] = [];
const clients: Client[] = [];

afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  for (const app of running.splice(0)) await app.close();
});

const everywhere = Object.fromEntries(
  platforms.flatMap((platform) =>
    Object.keys(adapters).map((kind) => [`${kind} on ${platform}`, { kind, platform }] as const),
  ),
);
const quick = ['socket.io on express', 'ws on fastify'];

describe.each(rowsOf(everywhere, quick))('a gateway of %s', (_name, { kind, platform }) => {
  const adapter = adapters[kind] as (typeof adapters)[string];
  const store = new RecordingStore();
  const gate = new Gate();
  let app: RunningApp;
  beforeEach(() => {
    store.reset();
    gate.checkpoint = null;
    gate.streams = 0;
    refused.length = 0;
  });

  const start = async (
    sockets: SocketOptions = { staleness: 0 },
    engine: Engine = { useFactory: () => store },
    rules: SessionOptions = {},
  ): Promise<void> => {
    app = await startApp(platform, {
      engine,
      logger: silent,
      controllers: [AccountController],
      providers: [{ provide: Gate, useValue: gate }, ShopGateway, ...(kind === 'ws' ? [MembersGateway] : [])],
      options: { ...rules, sockets },
      prepare: (application) => void application.useWebSocketAdapter(adapter.make(application)),
    });
    running.push(app);
  };
  const connect = async (key?: string, path = '/'): Promise<Client> => {
    const client = await adapter.connect(
      new URL(path, app.url).href,
      key === undefined ? undefined : `other=1; sessionid=${key}`,
    );
    clients.push(client);
    return client;
  };
  const logIn = async (data: Data = {}): Promise<{ key: string; id: string }> => {
    const session = await app.app.get(Sessions).create<Data>(data);
    session.login('ann');
    await session.save();
    return { key: String(session.sessionKey()), id: session.id };
  };
  /** How often the store is asked in the time of several looks, when clients that have closed are gone. */
  const looksAfterwards = async (key: string): Promise<number> => {
    // Another client's answer comes when the server has seen the end of the first one.
    await (await connect(key)).ask('ping');
    store.calls = [];
    await new Promise((resolve) => setTimeout(resolve, 200));
    return store.calls.length;
  };
  const stored = async (key: string): Promise<Data | null> => {
    const session = await app.app.get(Sessions).open<Data>(key);
    return session && { ...session };
  };
  const request = (path: string, key: string) => app.request.post(path).set('Cookie', `sessionid=${key}`);
  /** For the store, the session is older by so much. */
  const age = (id: string, by: number): void => {
    const record = store.records.get(id);
    if (!record) throw new Error('There is no record.');
    record.createdAt -= by;
  };
  const renew = async ({ id, key }: { id: string; key: string }): Promise<void> => {
    age(id, DAY);
    const { headers } = await request('/visit', key).expect(201);
    expect(String(headers['set-cookie'])).toContain(id);
    expect(String(headers['set-cookie'])).not.toContain(key);
  };

  it('S102: hands out the session of the handshake, or an empty one', async () => {
    await start();
    const { key } = await logIn({ name: 'Ann' });
    const read = await (await connect(key)).ask('read');
    expect(read).toMatchObject({ userId: 'ann', data: { name: 'Ann' }, name: 'Ann' });
    expect(await (await connect()).ask('read')).toMatchObject({ userId: null, data: {} });
    expect(await (await connect(`${key.slice(0, -1)}_`)).ask('read')).toMatchObject({ userId: null });
  });

  it('takes the first of several cookies that is live', async () => {
    await start();
    const { key } = await logIn();
    const dead = `${'i'.repeat(22)}.${'k'.repeat(43)}`;
    expect(await (await connect(`${dead}; sessionid=${key}`)).ask('read')).toMatchObject({ userId: 'ann' });
  });

  it('lets a guard pass whoever is logged in, and nobody else', async () => {
    await start();
    const { key } = await logIn();
    expect(await (await connect(key)).ask('account')).toMatchObject({ userId: 'ann' });
    await expect((await connect()).ask('account')).rejects.toMatchObject({
      status: 'error',
      message: 'Unauthorized',
    });
  });

  it('costs nothing when no handler needs the session', async () => {
    await start();
    const { key } = await logIn();
    store.calls = [];
    const client = await connect(key);
    for (let message = 0; message < 3; message++) await client.ask('ping');
    expect(store.calls).toEqual([]);
  });

  it('sees with every message what others have written', async () => {
    await start();
    const { key } = await logIn();
    const client = await connect(key);
    expect(await client.ask('read')).toMatchObject({ data: {} });
    const session = await app.app.get(Sessions).open<Data>(key);
    session?.set('name', 'Ann');
    await session?.save();
    expect(await client.ask('read')).toMatchObject({ data: { name: 'Ann' } });
  });

  it('asks the store no more often than the staleness allows, and sees its own writes', async () => {
    await start({ staleness: '1h' });
    const { key } = await logIn();
    const client = await connect(key);
    await client.ask('read');
    // The watch for the end begins with the first message.
    while (store.calls.filter((call) => call === 'load').length < 2) await new Promise(setImmediate);
    store.calls = [];
    for (let message = 0; message < 5; message++) await client.ask('read');
    expect(store.calls).toEqual([]);
    await client.ask('add', { item: 'apple' });
    expect(await client.ask('read')).toMatchObject({ data: { items: ['apple'] } });
    expect(store.calls).toEqual(['save', 'load']);
  });

  it('keeps what messages at the same time write', async () => {
    await start({ staleness: '1h' });
    const { key } = await logIn();
    const [one, other] = [await connect(key), await connect(key)];
    const both = (gate.checkpoint = new Checkpoint(2));
    const answers = [one.ask('add', { item: 'apple' }), other.ask('add', { item: 'pear' })];
    await both.reached;
    both.open();
    await Promise.all(answers);
    expect((await stored(key))?.items?.toSorted()).toEqual(['apple', 'pear']);
  });

  it('shows no message what another has not saved yet', async () => {
    await start({ staleness: '1h' });
    const { key } = await logIn({ items: ['apple'] });
    const client = await connect(key);
    await client.ask('read');
    const checkpoint = (gate.checkpoint = new Checkpoint());
    const adding = client.ask('add inside', 'pear');
    await checkpoint.reached;
    expect(await client.ask('read')).toMatchObject({ data: { items: ['apple'] } });
    checkpoint.open();
    await adding;
    expect(await client.ask('read')).toMatchObject({ data: { items: ['apple', 'pear'] } });
  });

  it('counts a message that uses the session as its use', async () => {
    await start();
    const { id, key } = await logIn();
    const client = await connect(key);
    const record = store.records.get(id);
    if (!record) throw new Error('There is no record.');
    record.lastSeenAt -= 3 * DAY;
    record.expiresAt -= 3 * DAY;
    await client.ask('ping');
    expect(store.writes).not.toContain('touch');
    await client.ask('account');
    expect(store.writes).toContain('touch');
  });

  it('answers when the session has been saved, not before', async () => {
    await start();
    const { key } = await logIn();
    const client = await connect(key);
    const save = store.hold('save');
    const answer = client.ask('add', { item: 'apple' });
    await save.reached;
    await client.ask('ping');
    expect(client.answers.map(({ to }) => to)).toEqual(['ping']);
    save.release();
    expect(await answer).toMatchObject({ items: ['apple'] });
    expect(await stored(key)).toEqual({ items: ['apple'] });
  });

  it('saves before each value of a stream', async () => {
    await start();
    const { key } = await logIn();
    const client = await connect(key);
    const save = store.hold('save');
    const answer = client.ask('count');
    await save.reached;
    expect(client.answers).toEqual([]);
    save.release();
    await answer;
    while (client.answers.length < (kind === 'ws' ? 3 : 1)) await new Promise(setImmediate);
    while ((await stored(key))?.count !== 3) await new Promise(setImmediate);
  });

  it('does not acknowledge what could not be saved', async () => {
    await start();
    const { key } = await logIn();
    const client = await connect(key);
    const lines = jest.spyOn(Logger.prototype, 'error');
    const cause = new Error('of the driver');
    store.fail('save', new SessionStoreUnavailableError('save', 'it is away.', { cause }));
    await expect(client.ask('add', { item: 'apple' })).rejects.toMatchObject({
      message: 'Service Unavailable',
    });
    expect(lines.mock.calls.flat()).toEqual([expect.stringContaining('does not serve')]);
    lines.mockRestore();
    store.heal();
    expect(await client.ask('read')).toMatchObject({ data: {} });
  });

  it.each(['read', 'account'])(
    'tells of a store that is away, and goes on when it is back: %s',
    async (event) => {
      await start();
      const { key } = await logIn();
      const client = await connect(key);
      store.fail('load', new SessionStoreUnavailableError('load', 'it is away.'));
      const lines = jest.spyOn(Logger.prototype, 'error');
      for (let message = 0; message < 3; message++) {
        await expect(client.ask(event)).rejects.toMatchObject({ message: 'Service Unavailable' });
      }
      expect(lines.mock.calls.flat()).toEqual([expect.stringContaining('does not serve')]);
      lines.mockRestore();
      store.heal();
      expect(await client.ask(event)).toMatchObject({ userId: 'ann' });
    },
  );

  it('drops what a handler did that fails, but for the end of the session', async () => {
    await start();
    const { key } = await logIn();
    const client = await connect(key);
    await expect(client.ask('add', { item: 'apple', fail: true })).rejects.toMatchObject({ status: 'error' });
    expect(await stored(key)).toEqual({});
    await expect(client.ask('logout', { fail: true })).rejects.toMatchObject({ status: 'error' });
    expect(await stored(key)).toBeNull();
  });

  it('saves what a handler did whose client has gone', async () => {
    await start();
    const { key } = await logIn();
    const client = await connect(key);
    const checkpoint = (gate.checkpoint = new Checkpoint());
    void client.ask('logout');
    await checkpoint.reached;
    client.close();
    const server = await connect(key);
    await server.ask('ping');
    checkpoint.open();
    while (store.records.size > 0) await new Promise(setImmediate);
    expect(await stored(key)).toBeNull();
  });

  it.each(['login', 'a new key', 'a new session', 'a first write'])(
    'says that it takes a new cookie, which no socket can bring: %s',
    async (what) => {
      await start();
      const { key } = await logIn();
      const client = await connect(what === 'a first write' ? undefined : key);
      const outcome = await client.ask('impossible', what).then(
        () => 'answered',
        () => 'refused',
      );
      // What is still unsaved keeps the answer from leaving.
      expect(outcome).toBe(what === 'a first write' ? 'refused' : 'answered');
      expect(refused).toEqual([expect.stringMatching(/^SESSION_COMMITTED: .* over HTTP/)]);
      expect(store.records.size).toBe(1);
    },
  );

  it('refuses changes after the answer', async () => {
    await start();
    const { key } = await logIn();
    await (await connect(key)).ask('impossible', 'a late write');
    while (refused.length === 0) await new Promise(setImmediate);
    expect(refused).toEqual(['SESSION_COMMITTED']);
  });

  it('reads a session of the cookie engine, and says where to write to it', async () => {
    await start({ staleness: 0 }, cookieEngine({ secrets: 'q8Zr1vN4xT7mC2pL9sB6wK3hF0jD5gYu' }));
    const { key } = await logIn({ name: 'Ann' });
    const client = await connect(key);
    expect(await client.ask('read')).toMatchObject({ userId: 'ann', name: 'Ann' });
    await client.ask('impossible', 'logout');
    await expect(client.ask('add', { item: 'apple' })).rejects.toMatchObject({ status: 'error' });
    expect(refused).toEqual([expect.stringMatching(/^SESSION_COMMITTED: .* over HTTP/)]);
  });

  it('gives up on a handler whose client has gone when it has had its time, but for the end of the session', async () => {
    await start();
    const { key } = await logIn();
    const client = await connect(key);
    for (let count = 0; count < 2; count++) void client.ask('news');
    void client.ask('news', { logout: true });
    while (gate.streams < 3) await new Promise(setImmediate);
    const checkpoint = (gate.checkpoint = new Checkpoint());
    void client.ask('add', { item: 'apple' });
    await checkpoint.reached;
    client.close();
    await (await connect()).ask('ping');
    expect(gate.streams).toBe(3);
    const now = performance.now.bind(performance);
    const later = jest.spyOn(performance, 'now').mockImplementation(() => now() + 31_000);
    try {
      while (gate.streams > 0 || store.records.size > 0) {
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    } finally {
      later.mockRestore();
      checkpoint.open();
    }
  });

  it('goes on through a renewal, and still writes', async () => {
    await start({ staleness: 0 }, undefined, { renewAfter: '12h' });
    const session = await logIn();
    const client = await connect(session.key);
    await client.ask('read');
    await renew(session);
    expect(await client.ask('add', { item: 'apple' })).toMatchObject({ items: ['apple'] });
    expect(client.isOpen()).toBe(true);
    expect([...store.records.values()].map(({ data }) => data)).toEqual([{ items: ['apple'] }]);
  });

  it('S17: the key of a handshake is not reused, however late its first message is', async () => {
    await start({ staleness: '50ms' }, undefined, { renewAfter: '12h', onReuse: 'revoke' });
    const events: string[] = [];
    app.app.get<HttpEnvironment>(HTTP_ENVIRONMENT).sessions.emit = ({ type }) => void events.push(type);
    const session = await logIn();
    const [client, other] = [await connect(session.key), await connect(session.key)];
    await renew(session);
    expect(await other.ask('read')).toMatchObject({ userId: 'ann' });
    age(session.id, 120_000);
    await expect(client.ask('read')).rejects.toMatchObject({ message: 'Unauthorized' });
    expect(await client.closed).toEqual({ code: 4401, reason: 'The session has ended.' });
    expect(await other.ask('read')).toMatchObject({ userId: 'ann' });
    expect(events).toContain('rotated');
    expect(events).not.toContain('reuse');
  });

  it('is open to a visitor whose key opens nothing', async () => {
    await start({ staleness: '50ms' });
    const { id, key } = await logIn();
    await app.app.get(Sessions).revoke(id);
    const client = await connect(key);
    expect(await client.ask('read')).toMatchObject({ userId: null });
    await expect(client.ask('account')).rejects.toMatchObject({ message: 'Unauthorized' });
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(await client.ask('read')).toMatchObject({ userId: null });
  });

  describe('S44: closes the socket', () => {
    const soon = { staleness: '50ms', closeCode: 4999, closeReason: 'Log in again.' };
    const ends: [
      how: string,
      end: (session: { id: string; key: string }, client: Client) => Promise<unknown>,
    ][] = [
      ['is revoked', ({ id }) => app.app.get(Sessions).revoke(id)],
      ['is logged out by HTTP', async ({ key }) => request('/logout', key).expect(201)],
      ['gets another key by cycleKey', async ({ key }) => request('/cycle', key).expect(201)],
      ['is logged out by a message, which is answered', (_session, client) => client.ask('logout')],
      [
        'expires',
        async ({ id }) => {
          const record = store.records.get(id);
          if (record) record.expiresAt = Date.now();
        },
      ],
    ];

    it.each(ends)('of a session that %s, with code and reason', async (_how, end) => {
      await start(soon);
      const [session, others] = [await logIn(), await app.app.get(Sessions).create({ name: 'Eve' })];
      const [client, other] = [await connect(session.key), await connect(String(others.sessionKey()))];
      await client.ask('read');
      await other.ask('read');
      await end(session, client);
      expect(await client.closed).toEqual({ code: 4999, reason: 'Log in again.' });
      expect(await other.ask('read')).toMatchObject({ name: 'Eve' });
    });

    it('and does not handle a message that comes after cycleKey', async () => {
      await start({ staleness: 0 });
      const { key } = await logIn();
      const [client, waiting] = [await connect(key), await connect(key)];
      await client.ask('read');
      await request('/cycle', key).expect(201);
      for (const each of [client, waiting]) {
        await expect(each.ask('add', { item: 'apple' })).rejects.toMatchObject({ message: 'Unauthorized' });
        await each.closed;
      }
      expect([...store.records.values()].map(({ data }) => data)).toEqual([{}]);
    });

    it('and does not handle a message of a session that has ended', async () => {
      await start({ staleness: 0 });
      const { id, key } = await logIn();
      const client = await connect(key);
      await client.ask('read');
      await app.app.get(Sessions).revoke(id);
      await expect(client.ask('read')).rejects.toMatchObject({ message: 'Unauthorized' });
      expect(await client.closed).toEqual({ code: 4401, reason: 'The session has ended.' });
    });

    it('of nobody while the store is away', async () => {
      await start(soon);
      const { key } = await logIn();
      const client = await connect(key);
      await client.ask('read');
      store.fail('load', new SessionStoreUnavailableError('load', 'it is away.'));
      store.calls = [];
      while (store.calls.length < 3) await new Promise(setImmediate);
      store.heal();
      expect(await client.ask('read')).toMatchObject({ userId: 'ann' });
    });

    it('and stops asking when the client has gone', async () => {
      await start(soon);
      const { key } = await logIn();
      const client = await connect(key);
      await client.ask('read');
      client.close();
      expect(await looksAfterwards(key)).toBeLessThanOrEqual(1);
    });

    it('and does not begin to ask when the client has gone while its message waited', async () => {
      await start(soon);
      const { key } = await logIn();
      const client = await connect(key);
      const checkpoint = (gate.checkpoint = new Checkpoint());
      void client.ask('slow');
      await checkpoint.reached;
      client.close();
      await (await connect(key)).ask('ping');
      checkpoint.open();
      expect(await looksAfterwards(key)).toBeLessThanOrEqual(1);
    });
  });

  if (kind === 'ws') {
    it('guards all handlers of a class', async () => {
      await start();
      const { key } = await logIn();
      const client = await connect(key, '/members');
      expect(await client.ask('hello')).toEqual({ to: 'hello' });
      await expect(client.ask('named')).rejects.toMatchObject({ message: 'Unauthorized' });
      await expect((await connect(undefined, '/members')).ask('hello')).rejects.toMatchObject({
        message: 'Unauthorized',
      });
    });
  }
});

/** Each with two processes of one site. */
const shared = {
  postgres: enginesOnDatabases['database (postgres)'],
  redis: otherEngines['redis (ioredis)'],
};

for (const [service, engine] of Object.entries(shared)) {
  describeWithService(service as ServiceName, `a gateway with sessions in ${service}`, () => {
    it('S44: saves, and closes the socket after an end in another process', async () => {
      const setup = await (engine as EngineUnderTest).make();
      const [here, there] = [
        await startApp('express', {
          ...setup.wire(),
          providers: [Gate, ShopGateway],
          prepare: (app) => void app.useWebSocketAdapter(new WsAdapter(app)),
        }),
        await startApp('fastify', setup.wire()),
      ];
      const sessions = there.app.get(Sessions);
      const session = await sessions.create();
      session.login('ann');
      await session.save();
      const key = String(session.sessionKey());
      const client = await (adapters['ws'] as (typeof adapters)[string]).connect(
        here.url,
        `sessionid=${key}`,
      );
      await client.ask('add', { item: 'apple' });
      expect(await sessions.open<Data>(key)).toMatchObject({ items: ['apple'] });
      await sessions.revokeAll('ann');
      expect(await client.closed).toEqual({ code: 4401, reason: 'The session has ended.' });
      await here.close();
      await there.close();
      await setup.dispose();
    });
  });
}
