import {
  type ClusterNode,
  type IoRedisClient,
  keepLastError,
  lastErrorOf,
  prefixesKeys,
} from './redis-clients.js';
import {
  ANSWERS_WITHIN,
  ASKED_EVERY,
  type Command,
  CONNECTS_WITHIN,
  fateOf,
  followRedirection,
  LONGEST_PAUSE,
  onlyReply,
  READ_ONLY_RESTS,
  type RedisConnection,
  type ReplicaWait,
  runByHash,
  SharedWait,
  slotOf,
  UnknownPrimaryError,
} from './redis-connection.js';
import { type ClientWanted, credentialsOf, parseNode, keyPrefixRefused } from './redis-options.js';
import { type RedisScript } from './redis-scripts.js';

/** What ioredis says when `commandTimeout` passes. */
const TIMED_OUT = 'Command timed out';

/** Without the retries at 0 ioredis would let the commands that it does not send again wait for ever. */
const failFast = {
  autoResendUnfulfilledCommands: false,
  maxRetriesPerRequest: 0,
  commandTimeout: ANSWERS_WITHIN,
  connectTimeout: CONNECTS_WITHIN,
  // A connection that has gone silent does not answer to its end either.
  disconnectTimeout: 100,
  // It would come before the first command of every connection.
  disableClientInfo: true,
  retryStrategy: (times: number) => Math.min(times * 50, LONGEST_PAUSE),
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
  keepLastError(client);
  return new IoRedisConnection(client, { owned: true });
}

export class IoRedisConnection implements RedisConnection {
  /** When a connection was given up, on the clock of `performance`. */
  private readonly leftAt = new WeakMap<Server, number>();
  private readonly wait = new SharedWait((server, commands) => this.together(server, commands));
  private readonly pings: NodeJS.Timeout | undefined;
  private collects = false;

  /**
   * @param ownership does closing this connection close the client? Not if the client is the application's own
   * @throws SessionConfigError when the client puts a prefix before all keys
   */
  constructor(
    private readonly client: IoRedisClient,
    private readonly ownership: { owned: boolean },
  ) {
    // In a cluster the store has to know the whole key, to find the server that it lives on.
    if (prefixesKeys(client)) throw keyPrefixRefused('ioredis');
    // So that silence is noticed before a visitor comes.
    if (ownership.owned) this.pings = setInterval(() => this.ping(), ASKED_EVERY).unref();
  }

  get cluster(): boolean {
    return this.client.isCluster;
  }

  ready(key?: string): boolean {
    if (this.client.status !== 'ready') return false;
    const node = key === undefined || !this.cluster ? undefined : this.nodeOf(key);
    // One that is not there yet is connected to by the first command for it.
    return node === undefined || node.status === 'ready' || node.status === 'wait';
  }

  async connect(): Promise<void> {
    // Rejects when the first attempt fails, and goes on trying.
    if (this.client.status === 'wait') await this.client.connect().catch(() => {});
    if (!this.ready()) await new Promise<void>((resolve) => this.client.once('ready', resolve));
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

  private ping(): void {
    const servers = this.cluster ? (this.client.nodes?.('master') ?? []) : [this.client];
    for (const server of servers) {
      if (server.status === 'ready') this.watched(() => server, server.ping()).catch(() => {});
    }
  }

  send(command: Command): Promise<unknown> {
    this.collect();
    return this.watched(() => this.serverOf(command[1]), this.client.call(...command));
  }

  sendAll(commands: readonly Command[]): Promise<PromiseSettledResult<unknown>[]> {
    if (!this.cluster) return this.together('', commands);
    return Promise.allSettled(commands.map((command) => this.send(command)));
  }

  primaries(): string[] {
    if (!this.cluster) return [''];
    const nodes = this.client.nodes?.('master') ?? [];
    return nodes.map(({ options }) => `${options.host}:${options.port}`).toSorted();
  }

  async sendTo(primary: string, command: Command): Promise<unknown> {
    return onlyReply(await this.together(primary, [command]));
  }

  run(script: RedisScript, [key]: [string], values: string[]): Promise<unknown> {
    this.collect();
    const reply = runByHash(
      script,
      (hash) => this.client.evalsha(hash, 1, key, ...values),
      (text) => this.client.eval(text, 1, key, ...values),
    );
    return this.watched(() => this.serverOf(key), reply);
  }

  sendAndWait(key: string, command: Command, wait: ReplicaWait): Promise<[unknown, number]> {
    return followRedirection(
      async () => this.wait.run(this.primaryOf(key), command, wait),
      () => this.send(['exists', key]),
    );
  }

  /**
   * What is sent in one turn of the event loop goes out together, as node-redis does it: a write to the socket costs more
   * than everything else about a command. In a cluster the commands of a turn go to several sockets.
   */
  private collect(): void {
    const { stream } = this.client;
    if (this.collects || !stream) return;
    this.collects = true;
    stream.cork();
    setImmediate(() => {
      this.collects = false;
      stream.uncork();
    });
  }

  /** @returns `host:port` in a cluster */
  private primaryOf(key: string): string {
    if (!this.cluster) return '';
    const [primary] = this.client.slots?.[slotOf(key)] ?? [];
    if (primary === undefined) throw new UnknownPrimaryError();
    return primary;
  }

  private serverOf(key = ''): Server | undefined {
    return this.cluster ? this.nodeOf(key) : this.client;
  }

  /** Of a cluster: the client of the node that has this key, if there is one. */
  private nodeOf(key: string): ClusterNode | undefined {
    const [primary] = this.client.slots?.[slotOf(key)] ?? [];
    return primary === undefined ? undefined : this.nodeAt(primary);
  }

  private nodeAt(address: string): ClusterNode | undefined {
    const nodes = this.client.nodes?.('master') ?? [];
    return nodes.find(({ options }) => `${options.host}:${options.port}` === address);
  }

  private async together(
    server: string,
    commands: readonly Command[],
  ): Promise<PromiseSettledResult<unknown>[]> {
    const client = await this.clientFor(server);
    return this.watched(() => client, pipelined(client, commands));
  }

  private async clientFor(server: string): Promise<Server> {
    if (!this.cluster) return this.client;
    const node = this.nodeAt(server);
    if (!node) throw new UnknownPrimaryError();
    // A replica that was promoted is connected to by its first command.
    if (node.status !== 'ready') await node.ping();
    return node;
  }

  /** What is sent may still be carried out, long after its caller has given up. */
  private watched<Reply>(serverOf: () => Server | undefined, reply: Promise<Reply>): Promise<Reply> {
    const sentAt = performance.now();
    return reply.catch((error: unknown) => {
      const server = isUnfit(error) ? serverOf() : undefined;
      if (server) this.leave(server, isTimeout(error) ? 0 : READ_ONLY_RESTS, sentAt);
      throw error;
    });
  }

  /**
   * Leaves a connection that has gone silent, which the operating system would keep for a quarter of an hour, or whose
   * server has become a replica: its address may lead to another by now. Once for all commands that were sent before. In
   * a cluster only the connection to that node. ioredis's own `socketTimeout` goes on to break the next connection, too.
   */
  private leave(server: Server, rests: number, commandSentAt: number): void {
    const leftAt = this.leftAt.get(server) ?? -Infinity;
    if (commandSentAt < leftAt + rests) return;
    this.leftAt.set(server, performance.now());
    server.disconnect(true);
  }

  lastError(): string | undefined {
    return lastErrorOf(this.client);
  }

  duplicate(): RedisConnection {
    const client = this.client.duplicate();
    keepLastError(client);
    return new IoRedisConnection(client, { owned: true });
  }

  async close(): Promise<void> {
    if (!this.ownership.owned) return;
    clearInterval(this.pings);
    const ended =
      this.client.status === 'ready' && new Promise<void>((resolve) => this.client.once('end', resolve));
    this.client.disconnect();
    await ended;
  }
}

/** A client of a single server: the only one, or that of a node of a cluster. */
type Server = IoRedisClient | ClusterNode;

/** What became of each of these commands. One that says that the connection is of no more use fails them all. */
async function pipelined(
  client: Server,
  commands: readonly Command[],
): Promise<PromiseSettledResult<unknown>[]> {
  const results = await client.pipeline(commands.map((command) => [...command])).exec();
  const outcomes = (results ?? []).map(([error, value]): PromiseSettledResult<unknown> =>
    error ? { status: 'rejected', reason: error } : { status: 'fulfilled', value },
  );
  const unfit = outcomes.find((outcome) => outcome.status === 'rejected' && isUnfit(outcome.reason));
  if (unfit?.status === 'rejected') throw unfit.reason;
  return outcomes;
}

/** Does this say that the connection is of no more use? */
function isUnfit(error: unknown): boolean {
  return isTimeout(error) || fateOf(error) === 'read-only';
}

function isTimeout(error: unknown): boolean {
  return (error as Error).message === TIMED_OUT;
}
