import { SessionConfigError } from '../../session.errors.js';
import { slotOf } from './cluster-slot.js';
import { ignoreErrorEvents } from './ioredis-connection.js';
import {
  followRedirection,
  NO_SCRIPT,
  type RedisConnection,
  type ReplicaWait,
  runByHash,
  type RunsScripts,
  UnknownPrimaryError,
} from './redis-connection.js';
import { type RedisScript } from './redis-scripts.js';
import { type Command, SharedWait } from './shared-wait.js';

/** What is used of a client of `redis` (node-redis): of `createClient`, `createCluster` or `createSentinel`. */
export interface NodeRedisClient {
  readonly isOpen: boolean;
  readonly isReady?: boolean;
  connect(): Promise<unknown>;
  evalSha(hash: string, options: { keys: string[]; arguments: string[] }): Promise<unknown>;
  eval(text: string, options: { keys: string[]; arguments: string[] }): Promise<unknown>;
  // Its parameters differ between the three kinds.
  sendCommand(...parameters: never[]): Promise<unknown>;
  once(event: 'ready', listener: () => void): unknown;
  on(event: 'error', listener: () => void): unknown;
  destroy(): unknown;
}

type Evaluates = Pick<NodeRedisClient, 'evalSha' | 'eval'>;
type SendCommand = (...parameters: unknown[]) => Promise<unknown>;
type Kind = 'single' | 'cluster' | 'sentinel';

export class NodeRedisConnection implements RedisConnection {
  private readonly kind: Kind;
  private readonly wait = new SharedWait((server, commands) => this.together(server, commands));

  /**
   * @param ownership does closing this connection close the client? Not if the client is the application's own. And
   * how another one like it is made, for clients of Sentinel have no method for that
   */
  constructor(
    private readonly client: NodeRedisClient,
    private readonly ownership: { owned: boolean; another?: () => NodeRedisClient },
  ) {
    this.kind = 'nodeClient' in client ? 'cluster' : 'getMasterNode' in client ? 'sentinel' : 'single';
  }

  get cluster(): boolean {
    return this.kind === 'cluster';
  }

  get ready(): boolean {
    // A cluster of version 5 does not tell.
    return this.client.isReady ?? this.client.isOpen;
  }

  async connect(): Promise<void> {
    if (!this.client.isOpen) await this.client.connect();
    if (!this.ready) await new Promise<void>((resolve) => this.client.once('ready', resolve));
  }

  run(script: RedisScript, keys: string[], values: string[]): Promise<unknown> {
    return runOn(this.client, script, keys, values);
  }

  async primaries(): Promise<readonly RunsScripts[]> {
    const cluster = this.client as NodeRedisClient & Clustered;
    const nodes =
      this.kind === 'cluster'
        ? await Promise.all(cluster.masters.map((node) => cluster.nodeClient(node)))
        : [this.client];
    return nodes.map(
      (node): RunsScripts =>
        (script, values) =>
          runOn(node, script, [], values),
    );
  }

  async runAndWait(
    script: RedisScript,
    keys: string[],
    values: string[],
    wait: ReplicaWait,
  ): Promise<[unknown, number]> {
    const command = ['EVAL', script.text, String(keys.length), ...keys, ...values];
    const [key = ''] = keys;
    return followRedirection(
      async () => this.wait.run(this.primaryOf(key), command, wait),
      () => this.client.eval(NO_SCRIPT, { keys: [key], arguments: [] }),
    );
  }

  duplicate(): RedisConnection {
    const client = this.ownership.another?.() ?? (this.client as NodeRedisClient & Duplicable).duplicate?.();
    if (client === undefined) {
      throw new SessionConfigError(
        'waitForReplicas',
        'needs a second connection, and a client of createSentinel cannot be duplicated. Say where the sentinels are by "sentinel" instead of handing in a "client".',
      );
    }
    ignoreErrorEvents(client);
    return new NodeRedisConnection(client, { owned: true });
  }

  close(): Promise<void> {
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
    const client = await this.clientFor(server);
    const send = client.sendCommand.bind(client) as SendCommand;
    // What is sent in one turn of the event loop goes out together.
    return Promise.allSettled(
      commands.map((command) => (this.kind === 'sentinel' ? send(false, command) : send(command))),
    );
  }

  private async clientFor(server: string): Promise<Pick<NodeRedisClient, 'sendCommand'>> {
    if (this.kind !== 'cluster') return this.client;
    const cluster = this.client as NodeRedisClient & Clustered;
    const primary = cluster.masters.find(({ address }) => address === server);
    if (!primary) throw new UnknownPrimaryError();
    return cluster.nodeClient(primary);
  }
}

interface Clustered {
  readonly masters: readonly ClusterNode[];
  readonly slots: readonly ({ master: ClusterNode } | undefined)[];
  nodeClient(node: ClusterNode): Promise<Evaluates & Pick<NodeRedisClient, 'sendCommand'>>;
}

interface ClusterNode {
  readonly address: string;
}

interface Duplicable {
  duplicate?(): NodeRedisClient;
}

function runOn(client: Evaluates, script: RedisScript, keys: string[], values: string[]): Promise<unknown> {
  return runByHash(
    script,
    (hash) => client.evalSha(hash, { keys, arguments: values }),
    (text) => client.eval(text, { keys, arguments: values }),
  );
}
