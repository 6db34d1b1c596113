import {
  followRedirection,
  NO_SCRIPT,
  type RedisConnection,
  type ReplicaWait,
  runByHash,
  type RunsScripts,
} from './redis-connection.js';
import { type RedisScript } from './redis-scripts.js';

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
  nodes?(role: 'master'): (Pick<IoRedisClient, 'evalsha' | 'eval'> & { ping(): Promise<unknown> })[];
  on(event: 'error', listener: () => void): unknown;
  once(event: 'ready' | 'end', listener: () => void): unknown;
  disconnect(reconnect?: boolean): void;
}

/** What ioredis says when `commandTimeout` passes. */
const TIMED_OUT = 'Command timed out';

export class IoRedisConnection implements RedisConnection {
  private reconnectedAt = -Infinity;

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
    const startedAt = performance.now();
    try {
      return await runByHash(
        script,
        (hash) => this.client.evalsha(hash, keys.length, ...keys, ...values),
        (text) => this.client.eval(text, keys.length, ...keys, ...values),
      );
    } catch (error) {
      if (this.ownership.owned && (error as Error).message === TIMED_OUT) this.reconnect(startedAt);
      throw error;
    }
  }

  runAndWait(
    script: RedisScript,
    keys: string[],
    values: string[],
    { replicas, timeout }: ReplicaWait,
  ): Promise<[unknown, number]> {
    const commands = [
      ['eval', script.text, keys.length, ...keys, ...values],
      ['wait', replicas, timeout],
    ];
    return followRedirection(
      async () => {
        const results = await this.client.pipeline(commands).exec();
        const [reply, confirmed] = (results ?? []).map(([error, result]) => {
          if (error) throw error;
          return result;
        });
        return [reply, Number(confirmed)];
      },
      () => this.client.eval(NO_SCRIPT, 1, keys[0] ?? ''),
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

/** Every operation that fails tells so itself; an `error` event without a listener is printed, or ends the process. */
export function ignoreErrorEvents(client: { on(event: 'error', listener: () => void): unknown }): void {
  client.on('error', () => {});
}
