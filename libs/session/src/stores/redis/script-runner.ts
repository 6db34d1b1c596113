import { SessionError, SessionStoreUnavailableError } from '../../session.errors.js';
import { type RedisConnection, type ReplicaWait, type RunsScripts } from './redis-connection.js';
import { toStoreError } from './redis-errors.js';
import { type RedisScript } from './redis-scripts.js';

/** A script's reply; all of ours answer with a list. */
export type Reply = readonly [status: number, ...rest: (string | number | string[] | null)[]];

type Values = readonly (string | number)[];

/** Runs the store's scripts under its prefix, and translates the errors. */
export class ScriptRunner {
  private forEnds: Promise<RedisConnection> | undefined;

  constructor(
    private readonly connection: RedisConnection,
    private readonly waitForReplicas: ReplicaWait | undefined,
  ) {}

  get cluster(): boolean {
    return this.connection.cluster;
  }

  async run(operation: string, script: RedisScript, keys: string[], values: Values): Promise<Reply> {
    if (!this.connection.ready) throw notConnected(operation);
    try {
      return (await this.connection.run(script, keys, values.map(String))) as Reply;
    } catch (error) {
      throw toStoreError(operation, error);
    }
  }

  /** Like `run`, for what must not be undone by a fail-over: waits for replicas, if the options say so. */
  async end(operation: string, script: RedisScript, keys: string[], values: Values): Promise<Reply> {
    const wait = this.waitForReplicas;
    if (wait === undefined) return this.run(operation, script, keys, values);
    if (!this.connection.ready) throw notConnected(operation);
    try {
      const connection = await this.connectionForEnds();
      const [reply, confirmed] = await connection.runAndWait(script, keys, values.map(String), wait);
      if (confirmed < wait.replicas) throw notConfirmed(operation, confirmed, wait);
      return reply as Reply;
    } catch (error) {
      throw error instanceof SessionError ? error : toStoreError(operation, error);
    }
  }

  /** Every primary, each as a function that runs a script on it. */
  async primaries(operation: string): Promise<((script: RedisScript, values: Values) => Promise<Reply>)[]> {
    if (!this.connection.ready) throw notConnected(operation);
    const translated =
      (run: RunsScripts) =>
      async (script: RedisScript, values: Values): Promise<Reply> => {
        try {
          return (await run(script, values.map(String))) as Reply;
        } catch (error) {
          throw toStoreError(operation, error);
        }
      };
    try {
      return (await this.connection.primaries()).map(translated);
    } catch (error) {
      throw toStoreError(operation, error);
    }
  }

  async close(): Promise<void> {
    const forEnds = await this.forEnds?.catch(() => undefined);
    await forEnds?.close();
    await this.connection.close();
  }

  /** One of its own, because WAIT holds up everything else on its connection. Made by the first end. */
  private connectionForEnds(): Promise<RedisConnection> {
    this.forEnds ??= (async () => {
      const connection = this.connection.duplicate();
      try {
        await connection.connect();
        return connection;
      } catch (error) {
        this.forEnds = undefined;
        await connection.close().catch(() => {});
        throw error;
      }
    })();
    return this.forEnds;
  }
}

function notConnected(operation: string): SessionStoreUnavailableError {
  return new SessionStoreUnavailableError(
    operation,
    'its Redis client is not connected. Check that Redis is up and that the client can reach it.',
  );
}

function notConfirmed(operation: string, confirmed: number, wait: ReplicaWait): SessionStoreUnavailableError {
  const replicas = wait.replicas === 1 ? '1 replica' : `${wait.replicas} replicas`;
  return new SessionStoreUnavailableError(
    operation,
    `it is done on the primary, but ${confirmed} of ${replicas} confirmed it within ${wait.timeout} ms, ` +
      'so that a fail-over could undo it. Look after the replicas, or change the option "waitForReplicas".',
  );
}
