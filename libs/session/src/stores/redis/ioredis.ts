import { SessionConfigError } from '../../session.errors.js';
import { ignoreErrorEvents, type IoRedisClient } from './redis-clients.js';
import {
  ANSWERS_WITHIN,
  type Command,
  followRedirection,
  type RedisConnection,
  type ReplicaWait,
  runByHash,
  SharedWait,
  slotOf,
  UnknownPrimaryError,
} from './redis-connection.js';
import { type ClientWanted, credentialsOf, parseNode } from './redis-options.js';
import { type RedisScript } from './redis-scripts.js';

/** What ioredis says when `commandTimeout` passes. */
const TIMED_OUT = 'Command timed out';

/** Without the retries at 0 ioredis would let the commands that it does not send again wait for ever. */
const failFast = {
  autoResendUnfulfilledCommands: false,
  maxRetriesPerRequest: 0,
  commandTimeout: ANSWERS_WITHIN,
};

/**
 * Makes a client whose commands fail at once while there is no connection, instead of waiting for one, and are not sent
 * again when the connection broke before the answer: whether to try again is for the application to say.
 */
export async function openIoRedis({
  url,
  cluster,
  sentinel,
  options = {},
}: ClientWanted): Promise<RedisConnection> {
  const { Cluster, Redis } = await import('ioredis');
  const defaults = {
    lazyConnect: true,
    enableOfflineQueue: false,
    ...failFast,
  };
  let client: IoRedisClient;
  if (cluster !== undefined) {
    const given = options as { redisOptions?: object };
    const credentials = credentialsOf(cluster);
    client = new Cluster([...cluster], {
      lazyConnect: true,
      enableOfflineQueue: false,
      retryDelayOnFailover: 0,
      ...given,
      redisOptions: {
        ...failFast,
        ...credentials,
        ...(credentials.tls && { tls: {} }),
        ...given.redisOptions,
      },
    } as ConstructorParameters<typeof Cluster>[1]);
  } else if (sentinel !== undefined) {
    const sentinels = sentinel.nodes.map((node) => parseNode('sentinel.nodes', node));
    client = new Redis({ ...defaults, sentinels, name: sentinel.name, ...options });
  } else {
    client =
      url === undefined
        ? new Redis({ ...defaults, ...options })
        : new Redis(url, { ...defaults, ...options });
  }
  ignoreErrorEvents(client);
  return new IoRedisConnection(client, { owned: true });
}

export class IoRedisConnection implements RedisConnection {
  private reconnectedAt = -Infinity;
  private readonly wait = new SharedWait((server, commands) => this.together(server, commands));

  /**
   * @param ownership does closing this connection close the client? Not if the client is the application's own
   * @throws SessionConfigError when the client puts a prefix before all keys
   */
  constructor(
    private readonly client: IoRedisClient,
    private readonly ownership: { owned: boolean },
  ) {
    // In a cluster the store has to know the whole key, to find the server that it lives on.
    if (client.options.keyPrefix) {
      throw new SessionConfigError(
        'prefix',
        'is what keys of sessions begin with. Set it, and take "keyPrefix" out of the options of the ioredis client (give sessions a client of their own if other code needs it).',
      );
    }
  }

  get cluster(): boolean {
    return this.client.isCluster;
  }

  get ready(): boolean {
    return this.client.status === 'ready';
  }

  async connect(): Promise<void> {
    // Rejects when the first attempt fails, and goes on trying.
    if (this.client.status === 'wait') await this.client.connect().catch(() => {});
    if (!this.ready) await new Promise<void>((resolve) => this.client.once('ready', resolve));
    if (this.ownership.owned) await this.meetPrimaries();
  }

  /**
   * A cluster is `ready` when one of its nodes has told of the others, which are connected to by the first command for
   * each. Without an offline queue all commands after that one would be refused until then, with "Connection is closed".
   */
  private async meetPrimaries(): Promise<void> {
    const primaries = this.client.nodes?.('master') ?? [];
    // One that is down now is down for its share of the sessions, as it may be at any time.
    await Promise.allSettled(primaries.map((primary) => primary.ping()));
  }

  send(command: Command): Promise<unknown> {
    return this.watched(() => this.client.call(...command));
  }

  sendAll(commands: readonly Command[]): Promise<PromiseSettledResult<unknown>[]> {
    if (!this.cluster) return this.together('', commands);
    return Promise.allSettled(commands.map((command) => this.send(command)));
  }

  run(script: RedisScript, [key]: [string], values: string[]): Promise<unknown> {
    return this.watched(() =>
      runByHash(
        script,
        (hash) => this.client.evalsha(hash, 1, key, ...values),
        (text) => this.client.eval(text, 1, key, ...values),
      ),
    );
  }

  sendAndWait(key: string, command: Command, wait: ReplicaWait): Promise<[unknown, number]> {
    return followRedirection(
      async () => this.wait.run(this.primaryOf(key), command, wait),
      () => this.send(['exists', key]),
    );
  }

  /** @returns `host:port` in a cluster */
  private primaryOf(key: string): string {
    if (!this.cluster) return '';
    const [primary] = this.client.slots?.[slotOf(key)] ?? [];
    if (primary === undefined) throw new UnknownPrimaryError();
    return primary;
  }

  private together(server: string, commands: readonly Command[]): Promise<PromiseSettledResult<unknown>[]> {
    return this.watched(async () => {
      const client = await this.clientFor(server);
      const results = await client.pipeline(commands.map((command) => [...command])).exec();
      const outcomes = (results ?? []).map(([error, value]): PromiseSettledResult<unknown> =>
        error ? { status: 'rejected', reason: error } : { status: 'fulfilled', value },
      );
      const timedOut = outcomes.find((outcome) => outcome.status === 'rejected' && isTimeout(outcome.reason));
      if (timedOut?.status === 'rejected') throw timedOut.reason;
      return outcomes;
    });
  }

  private async clientFor(server: string): Promise<Pick<IoRedisClient, 'pipeline'>> {
    if (!this.cluster) return this.client;
    const nodes = this.client.nodes?.('master') ?? [];
    const node = nodes.find(({ options }) => `${options.host}:${options.port}` === server);
    if (!node) throw new UnknownPrimaryError();
    // A replica that was promoted is connected to by its first command.
    if (node.status !== 'ready') await node.ping();
    return node;
  }

  /** What is sent may still be carried out, long after its caller has given up. */
  private async watched<Result>(work: () => Promise<Result>): Promise<Result> {
    const startedAt = performance.now();
    try {
      return await work();
    } catch (error) {
      if (this.ownership.owned && isTimeout(error)) this.reconnect(startedAt);
      throw error;
    }
  }

  /**
   * Leaves a connection that has gone silent, which the operating system would keep for a quarter of an hour. Once for
   * all commands that waited on it. ioredis's own `socketTimeout` goes on to break the next connection, too.
   */
  private reconnect(commandStartedAt: number): void {
    if (commandStartedAt < this.reconnectedAt) return;
    this.reconnectedAt = performance.now();
    this.client.disconnect(true);
  }

  duplicate(): RedisConnection {
    const client = this.client.duplicate();
    ignoreErrorEvents(client);
    return new IoRedisConnection(client, { owned: true });
  }

  async close(): Promise<void> {
    if (!this.ownership.owned) return;
    const ended = this.ready && new Promise<void>((resolve) => this.client.once('end', resolve));
    this.client.disconnect();
    await ended;
  }
}

function isTimeout(error: unknown): boolean {
  return (error as Error).message === TIMED_OUT;
}
