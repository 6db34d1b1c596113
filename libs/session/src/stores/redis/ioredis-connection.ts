import { slotOf } from './cluster-slot.js';
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

/** What is used of a client of `ioredis`: `Redis` (single node or Sentinel) or `Cluster`. */
export interface IoRedisClient {
  readonly status: string;
  readonly isCluster: boolean;
  connect(): Promise<void>;
  evalsha(hash: string, numberOfKeys: number, ...keysAndValues: string[]): Promise<unknown>;
  eval(text: string, numberOfKeys: number, ...keysAndValues: string[]): Promise<unknown>;
  pipeline(commands: unknown[][]): { exec(): Promise<[error: Error | null, result: unknown][] | null> };
  duplicate(): IoRedisClient;
  /** Of a `Cluster`: its clients for single nodes. */
  nodes?(role: 'master'): ClusterNode[];
  /** Of a `Cluster`: for each slot, the `host:port` of its primary and then of its replicas. */
  readonly slots?: readonly (readonly string[])[];
  on(event: 'error', listener: () => void): unknown;
  once(event: 'ready' | 'end', listener: () => void): unknown;
  disconnect(reconnect?: boolean): void;
}

interface ClusterNode extends Pick<IoRedisClient, 'status' | 'evalsha' | 'eval' | 'pipeline'> {
  readonly options: { readonly host?: string | undefined; readonly port?: number | undefined };
  ping(): Promise<unknown>;
}

/** What ioredis says when `commandTimeout` passes. */
const TIMED_OUT = 'Command timed out';

export class IoRedisConnection implements RedisConnection {
  private reconnectedAt = -Infinity;
  private readonly wait = new SharedWait((server, commands) => this.together(server, commands));

  /** @param ownership does closing this connection close the client? Not if the client is the application's own */
  constructor(
    private readonly client: IoRedisClient,
    private readonly ownership: { owned: boolean },
  ) {}

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

  async run(script: RedisScript, keys: string[], values: string[]): Promise<unknown> {
    return this.watched(() =>
      runByHash(
        script,
        (hash) => this.client.evalsha(hash, keys.length, ...keys, ...values),
        (text) => this.client.eval(text, keys.length, ...keys, ...values),
      ),
    );
  }

  async runAndWait(
    script: RedisScript,
    keys: string[],
    values: string[],
    wait: ReplicaWait,
  ): Promise<[unknown, number]> {
    const command = ['eval', script.text, String(keys.length), ...keys, ...values];
    const [key = ''] = keys;
    return followRedirection(
      async () => this.wait.run(this.primaryOf(key), command, wait),
      () => this.watched(() => this.client.eval(NO_SCRIPT, 1, key)),
    );
  }

  primaries(): Promise<readonly RunsScripts[]> {
    const nodes = this.client.nodes?.('master') ?? [this.client];
    return Promise.resolve(
      nodes.map(
        (node): RunsScripts =>
          (script, values) =>
            runByHash(
              script,
              (hash) => node.evalsha(hash, 0, ...values),
              (text) => node.eval(text, 0, ...values),
            ),
      ),
    );
  }

  /** @returns `host:port` in a cluster */
  private primaryOf(key: string): string {
    if (!this.cluster) return '';
    const [primary] = this.client.slots?.[slotOf(key)] ?? [];
    if (primary === undefined) throw new UnknownPrimaryError();
    return primary;
  }

  private together(server: string, commands: Command[]): Promise<PromiseSettledResult<unknown>[]> {
    return this.watched(async () => {
      const results = await (await this.clientFor(server)).pipeline(commands).exec();
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

  /** For what is sent there may still be carried out, long after nobody reckons with it any more. */
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

/** Every operation that fails tells so itself; an `error` event without a listener is printed, or ends the process. */
export function ignoreErrorEvents(client: { on(event: 'error', listener: () => void): unknown }): void {
  client.on('error', () => {});
}
