import {
  SessionError,
  SessionRecordCorruptError,
  SessionStoreUnavailableError,
} from '../../session.errors.js';
import { type Command, type RedisConnection, type ReplicaWait } from './redis-connection.js';
import { clockScript, type RedisScript } from './redis-scripts.js';

type Values = readonly (string | number)[];

/** Sends the store's commands, and translates what goes wrong. `operation` is for the message of an error. */
export class RedisCommands {
  private forEnds: Promise<RedisConnection> | undefined;

  constructor(
    private readonly connection: RedisConnection,
    private readonly waitForReplicas: ReplicaWait | undefined,
  ) {}

  async send(operation: string, ...command: Command): Promise<unknown> {
    if (!this.connection.ready) throw notConnected(operation);
    try {
      return await this.connection.send(command);
    } catch (error) {
      throw toStoreError(operation, error);
    }
  }

  /** One reply for each, which is an error where there is none. */
  async sendAll(operation: string, commands: readonly Command[]): Promise<unknown[]> {
    if (!this.connection.ready) throw notConnected(operation);
    try {
      const outcomes = await this.connection.sendAll(commands);
      return outcomes.map((outcome) =>
        outcome.status === 'fulfilled' ? outcome.value : toStoreError(operation, outcome.reason),
      );
    } catch (error) {
      throw toStoreError(operation, error);
    }
  }

  async run(operation: string, script: RedisScript, key: string, values: Values): Promise<unknown> {
    if (!this.connection.ready) throw notConnected(operation);
    try {
      return await this.connection.run(script, [key], values.map(String));
    } catch (error) {
      throw toStoreError(operation, error);
    }
  }

  /** Like `run`, for what a fail-over must not undo: waits for replicas, if the options say so. */
  async runForGood(operation: string, script: RedisScript, key: string, values: Values): Promise<unknown> {
    if (this.waitForReplicas === undefined) return this.run(operation, script, key, values);
    const command: Command = ['eval', script.text, '1', key, ...values.map(String)];
    return this.sendAndWait(operation, key, command, this.waitForReplicas);
  }

  /** Like `sendAll`, for what a fail-over must not undo. Resolves with the sum of the replies. */
  async countForGood(operation: string, commands: readonly Command[]): Promise<number> {
    const { waitForReplicas: wait } = this;
    const replies = wait
      ? await Promise.all(
          commands.map((command) => this.sendAndWait(operation, command[1] ?? '', command, wait)),
        )
      : await this.sendAll(operation, commands);
    return replies.reduce((sum: number, reply) => sum + Number(valueOf(reply)), 0);
  }

  /** Resolves with how many of these keys there were. */
  deleteForGood(operation: string, keys: readonly string[]): Promise<number> {
    const groups = this.connection.cluster ? keys.map((key) => [key]) : inBatches(keys);
    return this.countForGood(
      operation,
      groups.map((group) => ['unlink', ...group]),
    );
  }

  async close(): Promise<void> {
    const forEnds = await this.forEnds?.catch(() => undefined);
    await forEnds?.close();
    await this.connection.close();
  }

  private async sendAndWait(
    operation: string,
    key: string,
    command: Command,
    wait: ReplicaWait,
  ): Promise<unknown> {
    if (!this.connection.ready) throw notConnected(operation);
    try {
      const connection = await this.connectionForEnds();
      const [reply, confirmed] = await connection.sendAndWait(key, command, wait);
      if (confirmed < wait.replicas) throw notConfirmed(operation, confirmed, wait);
      return reply;
    } catch (error) {
      throw error instanceof SessionError ? error : toStoreError(operation, error);
    }
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

/** How many keys one command names, or one pipeline is about. */
const BATCH = 1000;

export function inBatches<Item>(items: readonly Item[]): Item[][] {
  const batches: Item[][] = [];
  for (let start = 0; start < items.length; start += BATCH) batches.push(items.slice(start, start + BATCH));
  return batches;
}

export function valueOf(reply: unknown): unknown {
  if (reply instanceof Error) throw reply;
  return reply;
}

/** For so long a reading of the server's clock is relied on, and one that took longer than this to come. Milliseconds. */
const [READING_LASTS, ROUGH_ONE_LASTS, ROUGH] = [60_000, 1000, 100];
/** The two clocks of this process differ by more than this: one was set, or the machine slept. Milliseconds. */
const JUMP = 500;

interface Reading {
  server: number;
  wall: number;
  steady: number;
  lasts: number;
}

/**
 * The clock of Redis, by which sessions live. It is read once a minute, and followed by the steady clock of this process
 * in between. In a cluster all processes read that of the same server.
 */
export class ServerClock {
  private reading: Reading | undefined;
  private reader: Promise<void> | undefined;
  /** Another server is asked when one does not answer. */
  private failures = 0;

  constructor(
    private readonly commands: RedisCommands,
    private readonly prefix: string,
  ) {}

  /** To be awaited before `now`. */
  ready(operation: string): Promise<void> | undefined {
    const { reading } = this;
    if (!reading) return this.read(operation);
    const [wall, steady] = [Date.now() - reading.wall, performance.now() - reading.steady];
    if (Math.abs(wall - steady) > JUMP) return this.read(operation);
    if (steady > reading.lasts) this.read(operation).catch(() => {}); // the next operation tries again
    return undefined;
  }

  now(): number {
    if (!this.reading) throw new Error('The clock of Redis was not read.');
    return this.reading.server + performance.now() - this.reading.steady;
  }

  /** What to add to a moment of this process to have it on the clock of the server. */
  get offset(): number {
    return this.now() - Date.now();
  }

  private read(operation: string): Promise<void> {
    this.reader ??= (async () => {
      try {
        const sentAt = performance.now();
        const key = `${this.prefix}clock:${this.failures}`;
        const answer = Number(await this.commands.run(operation, clockScript, key, []));
        const [wall, steady] = [Date.now(), performance.now()];
        const took = steady - sentAt;
        // It was read somewhere on the way there and back.
        const server = answer + took / 2;
        this.reading = { server, wall, steady, lasts: took > ROUGH ? ROUGH_ONE_LASTS : READING_LASTS };
      } catch (error) {
        this.failures++;
        throw error;
      } finally {
        this.reader = undefined;
      }
    })();
    return this.reader;
  }
}

/** What a server answers that is up but was asked for something wrong. All else comes from a server that cannot serve. */
const WRONG_QUESTIONS = /^(ERR|WRONGTYPE|CROSSSLOT|NOSCRIPT|EXECABORT)\b/;

const UNAVAILABLE_ANSWERS = /max number of clients|WAIT cannot be used with replica/i;

/** Before version 7, Redis wraps what a command in a script answered. */
const WRAPPED = /^ERR Error running script.*@user_script: ?\d+: -?([A-Z]{2,}\b.*)$/s;

/** Is it an answer of the server, and not a failure on the way to it? Answers begin with a code in capitals. */
const ANSWER = /^[A-Z]{2,}\b /;

/**
 * What the store throws for an error of the client: unavailable, corrupt, or a copy of the error. None carries what
 * the clients hang on theirs: the command with its keys and session data.
 */
export function toStoreError(operation: string, error: unknown): Error {
  const cause = withoutCommand(error);
  if (cause.message.startsWith('WRONGTYPE')) {
    return new SessionRecordCorruptError(
      'A session record in Redis is not a list. It is treated as absent and left for inspection.',
      { cause },
    );
  }
  if (isWrongQuestion(cause.message)) return cause;
  return new SessionStoreUnavailableError(
    operation,
    `Redis did not carry it out (${cause.message}). Check that it is up, accepts writes, and that the client can reach it.`,
    { cause },
  );
}

function isWrongQuestion(message: string): boolean {
  return ANSWER.test(message) && WRONG_QUESTIONS.test(message) && !UNAVAILABLE_ANSWERS.test(message);
}

/** A new error, for the clients put the command on theirs, and stacks quote messages. */
function withoutCommand(error: unknown): Error {
  const { name, message, code } = (error ?? {}) as { name?: unknown; message?: unknown; code?: unknown };
  // Several addresses that all refuse make an error without a message.
  const text = [message, code].find((part): part is string => typeof part === 'string' && part !== '');
  const clean = new Error(text === undefined ? 'unknown error' : (WRAPPED.exec(text)?.[1] ?? text));
  if (typeof name === 'string') clean.name = name;
  return typeof code === 'string' ? Object.assign(clean, { code }) : clean;
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
