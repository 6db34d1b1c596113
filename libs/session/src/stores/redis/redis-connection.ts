import { type RedisScript } from './redis-scripts.js';

/** A command and its parameters. Where there is a key, it comes right after the name. */
export type Command = readonly [name: string, ...parameters: string[]];

/** How many replicas an end waits for, and how long. */
export interface ReplicaWait {
  /** How many replicas must have the end before it counts as done. */
  replicas: number;
  /** Milliseconds to wait for them. After that the operation fails. */
  timeout: number;
}

/**
 * A connection on which nothing comes for so long, though an answer is due, is given up. Milliseconds. Together with the
 * time for another connection less than five seconds, in which sessions are to be served again when the network is back.
 */
export const ANSWERS_WITHIN = 3500;
/** How often a connection is asked whether it still answers. Milliseconds. */
export const ASKED_EVERY = 1000;
/** A connection that was not made within this is tried anew. Milliseconds. */
export const CONNECTS_WITHIN = 2000;
/** The longest pause between two tries to connect. Milliseconds. */
export const LONGEST_PAUSE = 500;

/** All that the store wants of a Redis client. Everything goes to the primary that holds the key. */
export interface RedisConnection {
  /** Are the keys spread over several primaries, so that a command may name those of one slot only? */
  readonly cluster: boolean;
  /** Would a command about this key go out now, instead of waiting in a queue for a connection? Without a key: about any. */
  ready(key?: string): boolean;
  /** Resolves when `ready`. */
  connect(): Promise<void>;
  /** Sends one command and resolves with its reply. */
  send(command: Command): Promise<unknown>;
  /** Commands about any keys, sent together where the client can. Each has its own outcome. */
  sendAll(commands: readonly Command[]): Promise<PromiseSettledResult<unknown>[]>;
  /** The primaries, each by a name for `sendTo`, in an order that stays the same while there are the same ones. */
  primaries(): readonly string[];
  /** Sends a command that names no key to one of the primaries. */
  sendTo(primary: string, command: Command): Promise<unknown>;
  /** Runs a script about one key. */
  run(script: RedisScript, keys: [string], values: string[]): Promise<unknown>;
  /**
   * Sends a command about this key, then waits until its effects are on replicas. Resolves with its reply and how many
   * have them. Both go out together over one connection, because WAIT speaks of the writes of its own, and after a
   * reconnection of none. What comes while one waits goes out together after it: see `SharedWait`.
   */
  sendAndWait(key: string, command: Command, wait: ReplicaWait): Promise<[reply: unknown, confirmed: number]>;
  /** Why there is no connection, in a word such as `WRONGPASS`, as far as a client of our own has told. */
  lastError?(): string | undefined;
  /** Another connection to the same place, which is the caller's to connect and close. */
  duplicate(): RedisConnection;
  /** Closes the client, unless it is the application's own. */
  close(): Promise<void>;
}

/** The reply to the only command of these. */
export function onlyReply([outcome]: readonly PromiseSettledResult<unknown>[]): unknown {
  if (outcome?.status === 'fulfilled') return outcome.value;
  throw outcome?.reason ?? new Error('The client left a command without an answer');
}

/** Runs a script by its hash, which is short; in full when the server does not know it, as after a restart. */
export function runByHash(
  script: RedisScript,
  byHash: (hash: string) => Promise<unknown>,
  inFull: (text: string) => Promise<unknown>,
): Promise<unknown> {
  return byHash(script.hash).catch((error: unknown) => {
    if (!(error as Error).message.startsWith('NOSCRIPT')) throw error;
    return inFull(script.text);
  });
}

/** What the clients say of a command that they did not send, because there was no connection. */
const NOT_SENT =
  /^(Stream isn't writeable|Cluster isn't ready|The client is (offline|closed)|No primary is known)/;
/** What they say of one that was sent, or may have been, when the connection broke before its answer. */
const UNANSWERED =
  /^(Socket closed unexpectedly|Reached the max retries per request|Connection is closed|Command aborted due to|Disconnects client|(read|write) E)/;
/** What a server says that is a replica now. Before version 7, Redis wraps what a command in a script answered. */
const READ_ONLY = /^(READONLY |ERR Error running script.*-READONLY )/s;

/**
 * Why a command has failed, as far as it is for the connection: it was not sent; it was, and nobody knows whether it was
 * carried out; or it met a server that takes no writes any more. Undefined: for another reason.
 */
export function fateOf(error: unknown): 'not sent' | 'unanswered' | 'read-only' | undefined {
  const { message = '' } = (error ?? {}) as { message?: string };
  if (NOT_SENT.test(message)) return 'not sent';
  if (UNANSWERED.test(message)) return 'unanswered';
  return READ_ONLY.test(message) ? 'read-only' : undefined;
}

/** A server that stays read-only is asked on a new connection once in so many milliseconds. */
export const READ_ONLY_RESTS = 1000;

/** The client does not know, or no longer knows, which server of the cluster has a key. */
export class UnknownPrimaryError extends Error {
  constructor() {
    super('No primary is known for the key');
  }
}

/**
 * A command that is sent to one server of a cluster follows no redirection. So after a redirection another command goes
 * first, from which the client learns where the key lives now. A command that was redirected has not been carried out.
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

const SLOTS = 16_384;
/** CRC-16/XMODEM, as the specification of Redis Cluster has it. */
const POLYNOMIAL = 0x1021;

/** The slot of a key in a Redis Cluster. No key of ours has braces, of which a part alone would decide. */
export function slotOf(key: string): number {
  let crc = 0;
  for (const byte of Buffer.from(key)) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? (crc << 1) ^ POLYNOMIAL : crc << 1;
  }
  return (crc & 0xffff) % SLOTS;
}

/** Sends commands to a server in one go over one connection, and resolves with what became of each. */
type SendTogether = (server: string, commands: Command[]) => Promise<PromiseSettledResult<unknown>[]>;

interface Waiting {
  command: Command;
  since: number;
  resolve: (outcome: [reply: unknown, confirmed: number]) => void;
  reject: (reason: unknown) => void;
}

/**
 * Commands that wait for replicas share a WAIT. It holds up its connection, for its whole timeout when the replicas are
 * away. With a WAIT each, commands would pile up behind it at the server and be carried out long after their callers
 * have given up. So what comes while one is under way stays here, and goes out together after it.
 */
export class SharedWait {
  private readonly waiting = new Map<string, Waiting[]>();

  constructor(private readonly send: SendTogether) {}

  run(server: string, command: Command, wait: ReplicaWait): Promise<[reply: unknown, confirmed: number]> {
    return new Promise((resolve, reject) => {
      const one = { command, since: performance.now(), resolve, reject };
      const others = this.waiting.get(server);
      if (others) {
        others.push(one);
        return;
      }
      this.waiting.set(server, [one]);
      void this.carryOut(server, wait);
    });
  }

  private async carryOut(server: string, wait: ReplicaWait): Promise<void> {
    for (;;) {
      const waiting = this.waiting.get(server) ?? [];
      if (waiting.length === 0) break;
      this.waiting.set(server, []);
      await this.together(server, this.inTime(waiting), wait);
    }
    this.waiting.delete(server);
  }

  /** Nobody waits for the others any more, so they are not sent. */
  private inTime(waiting: Waiting[]): Waiting[] {
    const oldest = performance.now() - ANSWERS_WITHIN;
    for (const { since, reject } of waiting) {
      if (since < oldest) reject(new Error('It was not sent, because the connection was held up'));
    }
    return waiting.filter(({ since }) => since >= oldest);
  }

  private async together(server: string, batch: Waiting[], wait: ReplicaWait): Promise<void> {
    if (batch.length === 0) return;
    const commands = batch.map(({ command }) => command);
    try {
      const outcomes = await this.send(server, [
        ...commands,
        ['wait', String(wait.replicas), String(wait.timeout)],
      ]);
      const confirmation = outcomes[batch.length];
      batch.forEach(({ resolve, reject }, index) => {
        const [own, seen] = [outcomes[index], confirmation];
        if (own?.status === 'rejected') reject(own.reason);
        else if (seen?.status === 'rejected') reject(seen.reason);
        else if (!own || !seen) reject(new Error('The client left a command without an answer'));
        else resolve([own.value, Number(seen.value)]);
      });
    } catch (error) {
      for (const { reject } of batch) reject(error);
    }
  }
}
