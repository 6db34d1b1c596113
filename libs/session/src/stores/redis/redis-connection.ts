import { type RedisScript } from './redis-scripts.js';

/** For how many replicas an end waits, and for how long. */
export interface ReplicaWait {
  /** How many replicas must have the end before it counts as done. */
  replicas: number;
  /** Milliseconds to wait for them. When they pass, the operation fails. */
  timeout: number;
}

/** A connection on which nothing comes for so long, though an answer is due, is given up. Milliseconds. */
export const ANSWERS_WITHIN = 5000;

/** Runs a script that is given no keys. */
export type RunsScripts = (script: RedisScript, values: string[]) => Promise<unknown>;

/** All that the store wants of a Redis client: to run a script on the primary that holds the keys. */
export interface RedisConnection {
  /** Are the keys spread over several primaries, so that a script may touch those of one slot only? */
  readonly cluster: boolean;
  /** Would a command go out now, instead of waiting in a queue for a connection? */
  readonly ready: boolean;
  /** Resolves when `ready`. */
  connect(): Promise<void>;
  run(script: RedisScript, keys: string[], values: string[]): Promise<unknown>;
  /**
   * Runs a script, then waits until its effects are on replicas. Resolves with its reply and how many have them. Both
   * go out together over one connection, for WAIT speaks of the writes of its own, and after a reconnection of none.
   * While one waits, others gather for the next: see `SharedWait`.
   */
  runAndWait(
    script: RedisScript,
    keys: string[],
    values: string[],
    wait: ReplicaWait,
  ): Promise<[reply: unknown, confirmed: number]>;
  /**
   * Every primary, each as a function that runs a script there, for what looks at all keys: on a single server that one,
   * in a cluster those that are known to be in charge of slots.
   */
  primaries(): Promise<readonly RunsScripts[]>;
  /** Another connection to the same place, which is the caller's to connect and close. */
  duplicate(): RedisConnection;
  /** Closes the client, unless it is the application's own. */
  close(): Promise<void>;
}

/** By its hash, which is short; in full when the server does not know it, for it forgets all at a restart. */
export async function runByHash(
  script: RedisScript,
  byHash: (hash: string) => Promise<unknown>,
  inFull: (text: string) => Promise<unknown>,
): Promise<unknown> {
  try {
    return await byHash(script.hash);
  } catch (error) {
    if (!(error as Error).message.startsWith('NOSCRIPT')) throw error;
    return inFull(script.text);
  }
}

/** The client does not know, or not any more, which server of the cluster has a key. */
export class UnknownPrimaryError extends Error {
  constructor() {
    super('No primary is known for the key');
  }
}

/**
 * What is sent to one server of a cluster follows no redirection. So after one a command of its own goes first, by which
 * the client learns where the key lives now. What was redirected has not been carried out.
 */
export async function followRedirection<Result>(
  send: () => Promise<Result>,
  lookUp: () => Promise<unknown>,
): Promise<Result> {
  try {
    return await send();
  } catch (error) {
    const redirected = error instanceof UnknownPrimaryError || /^(MOVED|ASK) /.test((error as Error).message);
    if (!redirected) throw error;
    await lookUp();
    return send();
  }
}

/** A script that does nothing but to be sent to where its key lives. */
export const NO_SCRIPT = 'return 1';
