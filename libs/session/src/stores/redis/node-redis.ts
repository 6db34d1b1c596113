import { setImmediate, setTimeout } from 'node:timers/promises';
import { SessionConfigError } from '../../session.errors.js';
import { keepLastError, lastErrorOf, type NodeRedisClient, prefixesKeys } from './redis-clients.js';
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

interface Clustered {
  readonly masters: readonly ClusterNode[];
  readonly slots: readonly ({ master: ClusterNode } | undefined)[];
  nodeClient(node: ClusterNode): Promise<Pick<NodeRedisClient, 'sendCommand'>>;
}

interface ClusterNode {
  readonly address: string;
  readonly client?: NodeRedisClient | undefined;
}

interface Duplicable {
  duplicate?(): NodeRedisClient;
}

type SendCommand = (...parameters: unknown[]) => Promise<unknown>;
type Kind = 'single' | 'cluster' | 'sentinel';

/**
 * Makes a client whose commands fail at once while there is no connection, instead of waiting for one. This client sends
 * no command again of which it does not know whether it was carried out.
 */
export async function openNodeRedis({
  url,
  cluster,
  sentinel,
  options = {},
}: ClientWanted): Promise<RedisConnection> {
  const { createClient, createCluster, createSentinel } = await import('redis');
  const make = (): NodeRedisClient => {
    if (cluster !== undefined) {
      const given = options as { defaults?: { socket?: object } };
      const { tls, ...credentials } = credentialsOf(cluster);
      const socket = { ...(tls && { tls }), ...given.defaults?.socket };
      return createCluster({
        rootNodes: cluster.map((node) => ({ url: node })),
        commandOptions,
        // Soon after a node has gone. Otherwise its commands fail until it is back, though another has taken over.
        topologyRefreshOnReconnectionAttemptStrategy: 500,
        ...given,
        defaults: nodeDefaults({ ...credentials, ...given.defaults, socket }),
      });
    }
    if (sentinel !== undefined) {
      const given = options as { nodeClientOptions?: object };
      return createSentinel({
        name: sentinel.name,
        sentinelRootNodes: sentinel.nodes.map((node) => parseNode('sentinel.nodes', node)),
        commandOptions,
        ...given,
        nodeClientOptions: nodeDefaults(given.nodeClientOptions),
      });
    }
    return createClient({ ...(url !== undefined && { url }), ...nodeDefaults(options) });
  };
  const client = make();
  keepLastError(client);
  return new NodeRedisConnection(client, { owned: true, another: make });
}

/**
 * By default the client makes an AbortSignal and a timer for every command, for the case that it waits too long to be sent.
 * Ours are sent at once or never, and whether their answer comes in time is watched by the store.
 */
const commandOptions = { timeout: 0 };

function nodeDefaults(given: { socket?: object } = {}): object {
  return {
    disableOfflineQueue: true,
    commandOptions,
    ...given,
    socket: {
      // For the first answers on a new connection. Later every command that is sent begins this time anew.
      socketTimeout: ANSWERS_WITHIN,
      connectTimeout: CONNECTS_WITHIN,
      // The client's own gives up for good after the first connection that went silent.
      reconnectStrategy: (retries: number) => Math.min(50 * 2 ** retries, LONGEST_PAUSE),
      ...given.socket,
    },
  };
}

export class NodeRedisConnection implements RedisConnection {
  private readonly kind: Kind;
  private readonly wait = new SharedWait((server, commands) => this.together(server, commands));
  private readonly asked = new WeakSet<NodeRedisClient>();
  private readonly pings: NodeJS.Timeout | undefined;
  /** When a replica was last left, on the clock of `performance`. */
  private leftAt = -Infinity;

  /**
   * @param ownership does closing this connection close the client? Not if the client is the application's own. And
   * how another one like it is made, for clients of Sentinel have no method for that
   */
  constructor(
    private client: NodeRedisClient,
    private readonly ownership: { owned: boolean; another?: () => NodeRedisClient },
  ) {
    // It would come before the keys of scripts, and not before those of other commands.
    if (prefixesKeys(client)) throw keyPrefixRefused('node-redis');
    this.kind = 'nodeClient' in client ? 'cluster' : 'getMasterNode' in client ? 'sentinel' : 'single';
    if (ownership.owned) this.pings = setInterval(() => this.ping(), ASKED_EVERY).unref();
  }

  get cluster(): boolean {
    return this.kind === 'cluster';
  }

  ready(key?: string): boolean {
    // A cluster of version 5 does not tell.
    const isReady = this.client.isReady ?? this.client.isOpen;
    if (!isReady || key === undefined || this.kind !== 'cluster') return isReady;
    const { slots } = this.client as NodeRedisClient & Clustered;
    return slots[slotOf(key)]?.master.client?.isReady ?? true;
  }

  async connect(): Promise<void> {
    if (!this.client.isOpen) await this.client.connect();
    if (!this.ready()) await new Promise<void>((resolve) => this.client.once('ready', resolve));
  }

  send(command: Command): Promise<unknown> {
    const client = this.client as NodeRedisClient & { sendCommand: SendCommand };
    if (this.kind === 'single') return this.watched(client.sendCommand(command));
    return this.kind === 'cluster'
      ? client.sendCommand(command[1], false, command)
      : client.sendCommand(false, command);
  }

  /** What is sent in one turn of the event loop goes out together. */
  sendAll(commands: readonly Command[]): Promise<PromiseSettledResult<unknown>[]> {
    return Promise.allSettled(commands.map((command) => this.send(command)));
  }

  primaries(): string[] {
    if (this.kind !== 'cluster') return [''];
    const { masters } = this.client as NodeRedisClient & Clustered;
    return masters.map(({ address }) => address).toSorted();
  }

  async sendTo(primary: string, command: Command): Promise<unknown> {
    return onlyReply(await this.together(primary, [command]));
  }

  run(script: RedisScript, keys: [string], values: string[]): Promise<unknown> {
    const reply = runByHash(
      script,
      (hash) => this.client.evalSha(hash, { keys, arguments: values }),
      (text) => this.client.eval(text, { keys, arguments: values }),
    );
    return this.watched(reply);
  }

  sendAndWait(key: string, command: Command, wait: ReplicaWait): Promise<[unknown, number]> {
    return followRedirection(
      async () => this.wait.run(this.primaryOf(key), command, wait),
      () => this.send(['exists', key]),
    );
  }

  lastError(): string | undefined {
    return lastErrorOf(this.client);
  }

  duplicate(): RedisConnection {
    const client = this.ownership.another?.() ?? (this.client as NodeRedisClient & Duplicable).duplicate?.();
    if (client === undefined) {
      throw new SessionConfigError(
        'waitForReplicas',
        'needs a second connection, but a client of createSentinel cannot be duplicated. Use the option "sentinel" instead of "client".',
      );
    }
    keepLastError(client);
    return new NodeRedisConnection(client, { owned: true });
  }

  close(): Promise<void> {
    clearInterval(this.pings);
    // Destroying twice throws.
    if (this.ownership.owned && this.client.isOpen) this.client.destroy();
    return Promise.resolve();
  }

  /** @returns `host:port` in a cluster */
  private primaryOf(key: string): string {
    if (this.kind !== 'cluster') return '';
    const primary = (this.client as NodeRedisClient & Clustered).slots[slotOf(key)]?.master;
    if (!primary) throw new UnknownPrimaryError();
    return primary.address;
  }

  private async together(server: string, commands: Command[]): Promise<PromiseSettledResult<unknown>[]> {
    if (this.kind !== 'cluster') return this.sendAll(commands);
    const cluster = this.client as NodeRedisClient & Clustered;
    const primary = cluster.masters.find(({ address }) => address === server);
    if (!primary) throw new UnknownPrimaryError();
    const node = await cluster.nodeClient(primary);
    const send = node.sendCommand.bind(node) as SendCommand;
    return Promise.allSettled(commands.map((command) => send(command)));
  }

  /**
   * Leaves a connection whose server has become a replica: its address may lead to another by now. (A client of Sentinel
   * does that by itself, and a replica of a cluster says where the primary is.) The client has no method for it, so the
   * server is asked to close the connection. Once for all commands that were sent before.
   */
  private watched(reply: Promise<unknown>): Promise<unknown> {
    const sentAt = performance.now();
    return reply.catch((error: unknown) => {
      if (
        this.kind === 'single' &&
        fateOf(error) === 'read-only' &&
        sentAt >= this.leftAt + READ_ONLY_RESTS
      ) {
        this.leftAt = performance.now();
        this.send(['quit']).catch(() => {});
      }
      throw error;
    });
  }

  /** So that silence is noticed, also while there is so much to send that the client never takes it for idle. */
  private ping(): void {
    if (this.kind !== 'cluster') {
      void this.leaveIfSilent(this.client);
      return;
    }
    for (const { client } of (this.client as NodeRedisClient & Clustered).masters) {
      if (client) void this.leaveIfSilent(client);
    }
  }

  /** Leaves a connection that does not answer, which the operating system would keep for a quarter of an hour. */
  private async leaveIfSilent(client: NodeRedisClient): Promise<void> {
    if (!client.isReady || this.asked.has(client)) return;
    this.asked.add(client);
    const ping = this.kind === 'sentinel' ? [false, ['ping']] : [['ping']];
    const answered = (client as NodeRedisClient & { sendCommand: SendCommand }).sendCommand(...ping).then(
      () => true,
      () => true, // it broke, and makes another by itself
    );
    const isSilent = !(await Promise.race([answered, tooLate()]));
    this.asked.delete(client);
    if (!isSilent || !client.isReady) return;
    client.destroy();
    if (client === this.client && this.kind === 'sentinel' && this.ownership.another) {
      // One that was destroyed does not connect again.
      client = this.client = this.ownership.another();
      keepLastError(client);
    }
    client.connect().catch(() => {}); // it goes on trying by itself
  }
}

/** Resolves with false. In between, an answer that has come to a busy process has its turn. */
async function tooLate(): Promise<boolean> {
  await setTimeout(ANSWERS_WITHIN, undefined, { ref: false });
  await setImmediate();
  return false;
}
