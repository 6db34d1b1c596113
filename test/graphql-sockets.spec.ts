import { type DynamicModule, Injectable, UseGuards } from '@nestjs/common';
import { ApolloDriver, type ApolloDriverConfig } from '@nestjs/apollo';
import {
  Args,
  Field,
  GraphQLModule,
  Int,
  Mutation,
  ObjectType,
  Parent,
  Query,
  ResolveField,
  Resolver,
  Subscription,
} from '@nestjs/graphql';
import { MercuriusDriver, type MercuriusDriverConfig } from '@nestjs/mercurius';
import { PubSub } from 'graphql-subscriptions';
import { type Client, createClient } from 'graphql-ws';
import {
  Session,
  type SessionError,
  SessionGuard,
  Sessions,
  SessionStoreUnavailableError,
  type SocketOptions,
} from 'nest-sessions';
import { WebSocket } from 'ws';
import { type Platform, type RunningApp, silent, startApp } from './support/app.js';
import { RecordingStore } from './support/recording-store.js';
import { rowsOf } from './support/test-all.js';

type Data = { count?: number };

@Injectable()
class News extends PubSub {
  get listeners(): number {
    return this.ee.listenerCount('news');
  }
}

@ObjectType()
class Article {
  @Field()
  title!: string;
}

@Resolver(() => Article)
class ArticleResolver {
  @ResolveField(() => Int)
  opened(@Session() session: Session<Data>) {
    return session.increment('count');
  }

  @ResolveField(() => String, { nullable: true })
  reader(@Session('userId') userId: string | null) {
    return userId;
  }

  @ResolveField(() => Int, { nullable: true })
  refused(@Session() session: Session<Data>, @Parent() { title }: Article) {
    if (title === 'the end') session.logout();
    else session.increment('count');
    throw new Error('It failed.');
  }
}

@Resolver()
class NewsResolver {
  constructor(private readonly news: News) {}

  @Query(() => String, { nullable: true })
  who(@Session('userId') userId: string | null) {
    return userId;
  }

  @Query(() => [Article])
  articles(@Args('titles', { type: () => [String] }) titles: string[]): Article[] {
    return titles.map((title) => ({ title }));
  }

  @Subscription(() => Article, { resolve: ({ news }: { news: string }) => ({ title: news }) })
  published() {
    return this.news.asyncIterableIterator('news');
  }

  @Mutation(() => Int)
  count(@Session() session: Session<Data>) {
    return session.increment('count');
  }

  @Mutation(() => Boolean)
  cycle(@Session() session: Session<Data>) {
    session.cycleKey();
    return true;
  }

  @Mutation(() => Boolean)
  logout(@Session() session: Session<Data>) {
    session.logout();
    return true;
  }

  @Mutation(() => String)
  login(@Session() session: Session<Data>) {
    try {
      session.login('bob');
      return 'no error';
    } catch (error) {
      return (error as SessionError).code;
    }
  }

  @Subscription(() => String, { resolve: ({ news }: { news: string }) => news })
  @UseGuards(SessionGuard)
  members() {
    return this.news.asyncIterableIterator('news');
  }

  @Subscription(() => String, {
    filter: ({ news }: { news: string }) => news !== 'secret',
    resolve: ({ news }: { news: string }) => news,
  })
  filtered(@Session('userId') _userId: string | null) {
    return this.news.asyncIterableIterator('news');
  }

  @Subscription(() => String)
  greeting(@Session('userId') userId: string | null) {
    return (async function* () {
      yield { greeting: `Hello ${userId ?? 'stranger'}` };
    })();
  }
}

const apollo = (config: Partial<ApolloDriverConfig> = {}): DynamicModule =>
  GraphQLModule.forRoot<ApolloDriverConfig>({
    driver: ApolloDriver,
    autoSchemaFile: true,
    subscriptions: { 'graphql-ws': true },
    ...config,
  });
const mercurius = (config: Partial<MercuriusDriverConfig> = {}): DynamicModule =>
  GraphQLModule.forRoot<MercuriusDriverConfig>({
    driver: MercuriusDriver,
    autoSchemaFile: true,
    subscription: { fullWsTransport: true },
    ...config,
  });

const servers: Record<string, { platform: Platform; graphql: () => DynamicModule }> = {
  'Apollo on Express': { platform: 'express', graphql: apollo },
  'Apollo on Fastify': { platform: 'fastify', graphql: apollo },
  'Apollo with a context of its own': {
    platform: 'express',
    graphql: () =>
      apollo({ context: ({ req, extra }: { req?: object; extra?: object }) => ({ req, extra }) }),
  },
  'Apollo with one context for the whole socket': {
    platform: 'fastify',
    graphql: () =>
      apollo({
        context: (given: { extra?: object }) => Object.assign(given.extra ?? {}, { req: given }),
      }),
  },
  Mercurius: { platform: 'fastify', graphql: mercurius },
  'Mercurius with a context of its own': {
    platform: 'fastify',
    graphql: () =>
      mercurius({
        context: (request: object) => ({ req: request }),
        subscription: { fullWsTransport: true, context: (_socket, request) => ({ req: request }) },
      }),
  },
};
const quick = ['Apollo on Express', 'Apollo with one context for the whole socket', 'Mercurius'];

interface Result {
  data?: Record<string, unknown> | null;
  errors?: readonly { message: string }[];
}

interface Subscribed {
  events: Result[];
  /** Resolves when the server has completed the operation; rejects when it failed as a whole. */
  over: Promise<void>;
  leave: () => void;
}

const store = new RecordingStore();
const running: RunningApp[] = [];
const clients: Client[] = [];

afterEach(async () => {
  for (const client of clients.splice(0)) await client.dispose();
  for (const app of running.splice(0)) await app.close();
  store.reset();
});

describe.each(rowsOf(servers, quick))('GraphQL over a socket, by %s', (_name, { platform, graphql }) => {
  let app: RunningApp;
  const start = async (sockets: SocketOptions = { staleness: 0 }): Promise<void> => {
    app = await startApp(platform, {
      engine: { useFactory: () => store },
      logger: silent,
      imports: [graphql()],
      providers: [News, NewsResolver, ArticleResolver],
      options: { sockets },
    });
    running.push(app);
  };
  const logIn = async (): Promise<{ key: string; id: string }> => {
    const session = await app.app.get(Sessions).create<Data>();
    session.login('ann');
    await session.save();
    return { key: String(session.sessionKey()), id: session.id };
  };
  const connect = (key?: string) => {
    class WithCookie extends WebSocket {
      constructor(url: string, protocols: string[]) {
        super(url, protocols, key === undefined ? {} : { headers: { cookie: `sessionid=${key}` } });
      }
    }
    const client = createClient({
      url: `${app.url.replace('http', 'ws')}/graphql`,
      webSocketImpl: WithCookie,
      retryAttempts: 0,
      // All operations go over one socket.
      lazyCloseTimeout: 60_000,
    });
    clients.push(client);
    const subscribe = (query: string): Subscribed => {
      const events: Result[] = [];
      let leave!: () => void;
      const over = new Promise<void>((resolve, reject) => {
        leave = client.subscribe(
          { query },
          { next: (event) => events.push(event as Result), error: reject, complete: resolve },
        );
      });
      over.catch(() => {});
      return { events, over, leave };
    };
    /** The one result of an operation, or its errors as messages. */
    const ask = async (query: string): Promise<unknown> => {
      const { events, over } = subscribe(query);
      const failed = await over.then(
        () => null,
        (errors: unknown) => errors as { message: string }[],
      );
      const errors = failed ?? events[0]?.errors;
      return errors ? [errors].flat().map(({ message }) => message) : { ...events[0]?.data };
    };
    return { subscribe, ask };
  };
  const publish = (news: string): Promise<void> => app.app.get(News).publish('news', { news });
  const listening = async (count: number): Promise<void> => {
    while (app.app.get(News).listeners !== count) await new Promise(setImmediate);
  };

  it('S102: knows the session in queries and subscriptions', async () => {
    await start();
    const { key } = await logIn();
    const [ann, nobody] = [connect(key), connect()];
    expect(await ann.ask('{ who }')).toEqual({ who: 'ann' });
    expect(await nobody.ask('{ who }')).toEqual({ who: null });
    expect(await ann.ask('subscription { greeting }')).toEqual({ greeting: 'Hello ann' });
    expect(await nobody.ask('subscription { greeting }')).toEqual({ greeting: 'Hello stranger' });
  });

  it('still knows it over HTTP', async () => {
    await start();
    const { key } = await logIn();
    const { body } = await app.request
      .post('/graphql')
      .set('Cookie', `sessionid=${key}`)
      .send({ query: 'mutation { count }' });
    expect(body).toEqual({ data: { count: 1 } });
    expect([...store.records.values()].map(({ data }) => data)).toEqual([{ count: 1 }]);
  });

  it('saves what a mutation did before its result is sent', async () => {
    await start();
    const { key } = await logIn();
    const client = connect(key);
    const save = store.hold('save');
    const mutation = client.subscribe('mutation { count }');
    await save.reached;
    expect(await client.ask('{ who }')).toEqual({ who: 'ann' });
    expect(mutation.events).toEqual([]);
    save.release();
    await mutation.over;
    expect(mutation.events).toEqual([{ data: { count: 1 } }]);
    expect([...store.records.values()].map(({ data }) => data)).toEqual([{ count: 1 }]);
    store.fail('save', new SessionStoreUnavailableError('save', 'it is away.'));
    expect(await client.ask('mutation { count }')).not.toHaveProperty('count');
  });

  it('saves what the fields of a query did before its result is sent', async () => {
    await start();
    const { key } = await logIn();
    const client = connect(key);
    const save = store.hold('save');
    const query = client.subscribe('{ articles(titles: ["a", "b", "c"]) { title opened } }');
    await Promise.race([save.reached, query.over]);
    expect(await client.ask('{ who }')).toEqual({ who: 'ann' });
    expect(query.events).toEqual([]);
    save.release();
    await query.over;
    const opened = [1, 2, 3].map((count, index) => ({ title: 'abc'[index], opened: count }));
    expect(query.events).toEqual([{ data: { articles: opened } }]);
    expect([...store.records.values()].map(({ data }) => data)).toEqual([{ count: 3 }]);
    store.fail('save', new SessionStoreUnavailableError('save', 'it is away.'));
    expect(await client.ask('{ articles(titles: ["d"]) { opened } }')).not.toHaveProperty('articles');
  });

  it('drops what a field did that fails, but for the end of the session', async () => {
    await start();
    const { key } = await logIn();
    const client = connect(key);
    const failed = ['It failed.'];
    expect(await client.ask('{ articles(titles: ["a"]) { refused } }')).toEqual(failed);
    expect([...store.records.values()].map(({ data }) => data)).toEqual([{}]);
    expect(await client.ask('{ articles(titles: ["the end"]) { refused } }')).toEqual(failed);
    expect(store.records.size).toBe(0);
  });

  it('shows the fields of an event the session as it is then, and saves what they did', async () => {
    await start();
    const { key, id } = await logIn();
    const { events, leave } = connect(key).subscribe('subscription { published { reader opened } }');
    await listening(1);
    await publish('first');
    while (events.length < 1) await new Promise(setImmediate);
    expect([...store.records.values()].map(({ data }) => data)).toEqual([{ count: 1 }]);
    await app.request
      .post('/graphql')
      .set('Cookie', `sessionid=${key}`)
      .send({ query: '{ articles(titles: ["a"]) { opened } }' });
    await publish('second');
    while (events.length < 2) await new Promise(setImmediate);
    const published = [1, 3].map((opened) => ({ data: { published: { reader: 'ann', opened } } }));
    expect(events).toEqual(published);
    await app.app.get(Sessions).revoke(id);
    await publish('third');
    while (events.length < 3) await new Promise(setImmediate);
    const messages = new Set(events[2]?.errors?.map(({ message }) => message));
    expect(messages).toEqual(new Set(['The session of this socket has ended.']));
    leave();
  });

  it('handles nothing under a key that cycleKey has replaced', async () => {
    await start();
    const { key } = await logIn();
    const client = connect(key);
    expect(await client.ask('{ who }')).toEqual({ who: 'ann' });
    await app.request
      .post('/graphql')
      .set('Cookie', `sessionid=${key}`)
      .send({ query: 'mutation { cycle }' })
      .expect(200);
    const ended = ['The session of this socket has ended.'];
    expect(await client.ask('mutation { count }')).toEqual(ended);
    expect(await connect(key).ask('{ who }')).toEqual(ended);
    expect([...store.records.values()].map(({ data }) => data)).toEqual([{}]);
  });

  it('says that a login takes a new cookie', async () => {
    await start();
    const { key } = await logIn();
    expect(await connect(key).ask('mutation { login }')).toEqual({ login: 'SESSION_COMMITTED' });
  });

  it('lets a guard refuse a subscription', async () => {
    await start();
    const { key } = await logIn();
    expect(await connect().ask('subscription { members }')).toEqual(['Unauthorized']);
    const { events, leave } = connect(key).subscribe('subscription { members }');
    await listening(1);
    await publish('first');
    while (events.length === 0) await new Promise(setImmediate);
    expect(events).toEqual([{ data: { members: 'first' } }]);
    leave();
    await listening(0);
  });

  type End = [how: string, end: (session: { id: string; key: string }) => Promise<unknown>];
  const ends: End[] = [
    ['revoked', ({ id }) => app.app.get(Sessions).revoke(id)],
    ...Object.entries({ 'logged out by HTTP': 'logout', 'given another key by cycleKey': 'cycle' }).map(
      ([how, mutation]): End => [
        how,
        ({ key }) =>
          app.request
            .post('/graphql')
            .set('Cookie', `sessionid=${key}`)
            .send({ query: `mutation { ${mutation} }` })
            .expect(200),
      ],
    ),
    ['logged out over a socket', ({ key }) => connect(key).ask('mutation { logout }')],
  ];

  it.each(ends)('S44: ends subscriptions with their session: %s', async (_how, end) => {
    await start({ staleness: '50ms' });
    const [session, other] = [await logIn(), await logIn()];
    const client = connect(session.key);
    const [members, filtered] = ['subscription { members }', 'subscription { filtered }'].map(
      client.subscribe,
    );
    const others = connect(other.key).subscribe('subscription { members }');
    await listening(3);
    await end(session);
    await Promise.all([members?.over, filtered?.over]);
    await listening(1);
    await publish('last');
    while (others.events.length === 0) await new Promise(setImmediate);
    expect([members?.events, filtered?.events]).toEqual([[], []]);
  });
});

it('S102: a context without the request says what to return', async () => {
  const app = await startApp('express', {
    engine: { useFactory: () => store },
    logger: silent,
    imports: [apollo({ context: () => ({ req: {} }) })],
    providers: [News, NewsResolver],
  });
  running.push(app);
  const client = createClient({ url: `${app.url.replace('http', 'ws')}/graphql`, webSocketImpl: WebSocket });
  clients.push(client);
  const { value } = await client.iterate({ query: '{ who }' }).next();
  expect(JSON.stringify(value)).toContain('({ req, extra })');
});
