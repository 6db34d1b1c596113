import { SessionConfigError } from '../../session.errors.js';
import { ignoreErrorEvents } from './ioredis-connection.js';
import {
  followRedirection,
  NO_SCRIPT,
  type RedisConnection,
  type ReplicaWait,
  runByHash,
  type RunsScripts,
} from './redis-connection.js';
import { type RedisScript } from './redis-scripts.js';

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
    { replicas, timeout }: ReplicaWait,
  ): Promise<[unknown, number]> {
    const [reply, confirmed] = await this.together(keys[0] ?? '', [
      ['EVAL', script.text, String(keys.length), ...keys, ...values],
      ['WAIT', String(replicas), String(timeout)],
    ]);
    return [reply, Number(confirmed)];
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

  /** Commands that leave in one go over one connection: in a cluster that to the primary of this key. */
  private together(key: string, commands: string[][]): Promise<unknown[]> {
    if (this.kind === 'cluster') {
      const cluster = this.client as NodeRedisClient & Clustered;
      return followRedirection(
        () =>
          commands
            .reduce((pipeline, command) => pipeline.addCommand(key, false, command), cluster.multi(key))
            .execAsPipeline(),
        () => this.client.eval(NO_SCRIPT, { keys: [key], arguments: [] }),
      );
    }
    // What is sent in one turn of the event loop.
    const send = this.client.sendCommand.bind(this.client) as SendCommand;
    return Promise.all(
      commands.map((command) => (this.kind === 'sentinel' ? send(false, command) : send(command))),
    );
  }
}

interface Clustered {
  multi(key: string): Pipeline;
  readonly masters: readonly object[];
  nodeClient(node: object): Promise<Evaluates>;
}

interface Pipeline {
  addCommand(key: string, readOnly: boolean, command: string[]): Pipeline;
  execAsPipeline(): Promise<unknown[]>;
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
