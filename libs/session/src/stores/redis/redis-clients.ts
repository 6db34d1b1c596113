/** @internal What is used of a client of `ioredis`: `Redis` (single node or Sentinel) or `Cluster`. */
export interface IoRedisClient {
  readonly status: string;
  readonly isCluster: boolean;
  readonly options: {
    readonly keyPrefix?: unknown;
    readonly commandTimeout?: unknown;
    readonly redisOptions?: { readonly commandTimeout?: unknown } | undefined;
  };
  /** Of a `Redis`: its socket, once it connects. */
  readonly stream?: { cork(): void; uncork(): void };
  connect(): Promise<void>;
  ping(): Promise<unknown>;
  call(command: string, ...parameters: string[]): Promise<unknown>;
  evalsha(hash: string, numberOfKeys: number, ...keysAndValues: string[]): Promise<unknown>;
  eval(text: string, numberOfKeys: number, ...keysAndValues: string[]): Promise<unknown>;
  pipeline(commands: unknown[][]): { exec(): Promise<[error: Error | null, result: unknown][] | null> };
  duplicate(): IoRedisClient;
  /** Of a `Cluster`: its clients for single nodes. */
  nodes?(role: 'master'): ClusterNode[];
  /** Of a `Cluster`: for each slot, the `host:port` of its primary and then of its replicas. */
  readonly slots?: readonly (readonly string[])[];
  on(event: 'error', listener: (error: unknown) => void): unknown;
  once(event: 'ready' | 'end', listener: () => void): unknown;
  disconnect(reconnect?: boolean): void;
}

export interface ClusterNode extends Pick<IoRedisClient, 'status' | 'pipeline' | 'ping' | 'disconnect'> {
  readonly options: { readonly host?: string | undefined; readonly port?: number | undefined };
}

/** @internal What is used of a client of `redis` (node-redis): of `createClient`, `createCluster` or `createSentinel`. */
export interface NodeRedisClient {
  readonly isOpen: boolean;
  readonly isReady?: boolean;
  /** Of `createClient`. */
  readonly options?:
    | {
        readonly socket?:
          { readonly socketTimeout?: unknown; readonly reconnectStrategy?: unknown } | undefined;
      }
    | undefined;
  connect(): Promise<unknown>;
  evalSha(hash: string, options: { keys: string[]; arguments: string[] }): Promise<unknown>;
  eval(text: string, options: { keys: string[]; arguments: string[] }): Promise<unknown>;
  // Its parameters differ between the three kinds.
  sendCommand(...parameters: never[]): Promise<unknown>;
  once(event: 'ready', listener: () => void): unknown;
  on(event: 'error', listener: (error: unknown) => void): unknown;
  destroy(): unknown;
}

export function isIoRedis(client: unknown): client is IoRedisClient {
  return typeof (client as Partial<IoRedisClient> | null | undefined)?.evalsha === 'function';
}

export function isNodeRedis(client: unknown): client is NodeRedisClient {
  return typeof (client as Partial<NodeRedisClient> | null | undefined)?.evalSha === 'function';
}

/** Does the client put something before keys by itself? That of node-redis does so since version 6, if it is told to. */
export function prefixesKeys(client: IoRedisClient | NodeRedisClient): boolean {
  return Boolean(
    isIoRedis(client) ? client.options.keyPrefix : (client as { ['_keyPrefix']?: unknown })['_keyPrefix'],
  );
}

/** What is wrong with an application's own client when its connection goes silent, and what to do. */
export function silenceAdvice(client: IoRedisClient | NodeRedisClient): string | undefined {
  const forEver =
    'when the network swallows what it sends, sessions fail until the operating system gives up the connection, ' +
    'which takes a quarter of an hour.';
  const ownConnection =
    'say where Redis is (url, cluster, sentinel), so that sessions have a connection of their own, which is watched.';
  if (isIoRedis(client)) {
    const { commandTimeout, redisOptions } = client.options;
    if ((commandTimeout ?? redisOptions?.commandTimeout) !== undefined) return undefined;
    return `has no "commandTimeout": ${forEver} Set it to 3500, or ${ownConnection}`;
  }
  const { socket } = client.options ?? { socket: { socketTimeout: 0, reconnectStrategy: 0 } };
  if (socket?.socketTimeout === undefined) {
    // Nor would it help under traffic: every command begins the time anew.
    return `has no "socket.socketTimeout": ${forEver} Better than to set it, ${ownConnection}`;
  }
  if (socket.reconnectStrategy !== undefined) return undefined;
  return (
    'has a "socket.socketTimeout" and no "socket.reconnectStrategy": that of node-redis gives up for good after the ' +
    'first time-out, and every session fails until a restart. Set it to (retries) => Math.min(50 * 2 ** retries, 500), ' +
    `or ${ownConnection}`
  );
}

const lastErrors = new WeakMap<object, unknown>();

/** Every operation that fails says so itself; an `error` event without a listener is printed, or ends the process. */
export function keepLastError(client: Pick<IoRedisClient, 'on'> | Pick<NodeRedisClient, 'on'>): void {
  client.on('error', (error) => lastErrors.set(client, error));
}

/** Why there is no connection, as far as the client has told: `ECONNREFUSED`, `WRONGPASS`. The rest may quote secrets. */
export function lastErrorOf(client: object): string | undefined {
  const { code, message } = (lastErrors.get(client) ?? {}) as { code?: unknown; message?: unknown };
  return /\b(E[A-Z]{4,}|WRONGPASS|NOAUTH|NOPERM|LOADING|MASTERDOWN)\b/.exec(
    `${String(code)} ${String(message)}`,
  )?.[0];
}
