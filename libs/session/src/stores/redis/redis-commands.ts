import { setImmediate, setTimeout } from 'node:timers/promises';
import {
  SessionError,
  SessionRecordCorruptError,
  SessionStoreUnavailableError,
} from '../../session.errors.js';
import { type Command, fateOf, type RedisConnection, type ReplicaWait } from './redis-connection.js';
import { clockScript, type RedisScript, repeatable } from './redis-scripts.js';

type Values = readonly (string | number)[];

/** What is made of a reply. */
export type Use<Result> = (reply: unknown) => Result | Promise<Result>;
/** What is done about an error of the store. */
export type Failed<Result> = (error: unknown) => Result | Promise<Result>;

/** How long a command waits for a connection: so many pauses of so many milliseconds, which are longer in a busy process. */
const PAUSES = 36;
const PAUSE = 25;

/** These change nothing, so they may be sent twice. */
const READS = new Set(['lrange', 'lindex', 'zscore', 'zrange']);

interface Failure {
  error: unknown;
}

/** The connection broke before the answer: nobody knows whether the command was carried out. */
export class UnansweredError extends SessionStoreUnavailableError {}

/** Sends the store's commands, and translates what goes wrong. `operation` is for the message of an error. */
export class RedisCommands {
  private forEnds: Promise<RedisConnection> | undefined;
  private pause: Promise<void> | undefined;
  private closed = false;

  constructor(
    private readonly connection: RedisConnection,
    private readonly waitForReplicas: ReplicaWait | undefined,
  ) {}

  /**
   * Resolves with the reply, or with what `use` makes of it. That runs in the promise of the reply, because another one
   * would cost every request more; and so does `failed`, which by default throws the error.
   */
  send<Result = unknown>(
    operation: string,
    command: Command,
    use?: Use<Result>,
    failed?: Failed<Result>,
  ): Promise<Result> {
    const [name, key] = command;
    const work = (): Promise<unknown> => this.connection.send(command);
    return this.onceConnected(operation, key, READS.has(name), work, use, failed);
  }

  /** One reply for each, which is an error where there is none. */
  async sendAll(operation: string, commands: readonly Command[]): Promise<unknown[]> {
    if (this.connection.cluster) {
      return Promise.all(commands.map((command) => this.send(operation, command).catch(errorOf)));
    }
    const areReads = commands.every(([name]) => READS.has(name));
    return this.onceConnected(operation, undefined, areReads, async () => {
      const outcomes = await this.connection.sendAll(commands);
      const lost = outcomes.find((outcome) => outcome.status === 'rejected' && fateOf(outcome.reason));
      if (lost?.status === 'rejected') throw lost.reason;
      return outcomes.map((outcome) =>
        outcome.status === 'fulfilled' ? outcome.value : toStoreError(operation, outcome.reason),
      );
    });
  }

  primaries(): readonly string[] {
    return this.connection.primaries();
  }

  /** A command that reads and names no key. */
  ask(operation: string, primary: string, ...command: Command): Promise<unknown> {
    return this.onceConnected(operation, undefined, true, () => this.connection.sendTo(primary, command));
  }

  run(operation: string, script: RedisScript, key: string, values: Values): Promise<unknown> {
    const texts = values.map(String);
    return this.onceConnected(operation, key, repeatable.has(script), () =>
      this.connection.run(script, [key], texts),
    );
  }

  /**
   * Does the work when there is a connection, for which it waits about a second: while nothing is sent, nothing can
   * happen twice. It is done again when it was not sent after all, when the server had become a replica, and, if it may
   * be done twice, when the connection broke before the answer.
   */
  private onceConnected<Reply, Result = Reply>(
    operation: string,
    key: string | undefined,
    twice: boolean,
    work: () => Promise<Reply>,
    use?: (reply: Reply) => Result | Promise<Result>,
    failed?: Failed<Result>,
  ): Promise<Result> {
    const done = use as (reply: Reply) => Result | Promise<Result>;
    const patiently = (first?: Failure): Promise<Result> =>
      this.patiently(operation, key, twice, work, first).then(done, failed);
    return this.connection.ready(key) ? work().then(done, (error) => patiently({ error })) : patiently();
  }

  /** @param failure of the first try, if there was one */
  private async patiently<Reply>(
    operation: string,
    key: string | undefined,
    twice: boolean,
    work: () => Promise<Reply>,
    failure?: Failure,
  ): Promise<Reply> {
    let metReplica = false;
    // After a failed try the pause is longer each time.
    for (let [pauses, next] = [PAUSES, 1]; ;) {
      if (failure) {
        const { error } = failure;
        if (error instanceof SessionError) throw error;
        const fate = fateOf(error);
        const again =
          fate === 'not sent' || (fate === 'unanswered' && twice) || (fate === 'read-only' && !metReplica);
        if (!again || pauses <= 0) throw toStoreError(operation, error);
        metReplica ||= fate === 'read-only';
        for (let pause = 0; pause < next; pause++) await this.nextPause();
        pauses -= next;
        next *= 2;
        failure = undefined;
      }
      if (this.connection.ready(key)) {
        try {
          return await work();
        } catch (error) {
          failure = { error };
        }
      } else {
        if (pauses <= 0 || this.closed) throw notConnected(operation);
        await this.nextPause();
        pauses -= 1;
      }
    }
  }

  /** One for all that wait. In it the client has a turn, too, however many timers are late. */
  private nextPause(): Promise<void> {
    this.pause ??= (async () => {
      await setTimeout(PAUSE);
      await setImmediate();
      this.pause = undefined;
    })();
    return this.pause;
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
    this.closed = true;
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
    return this.onceConnected(operation, key, false, async () => {
      const connection = await this.connectionForEnds();
      const [reply, confirmed] = await connection.sendAndWait(key, command, wait);
      if (confirmed < wait.replicas) throw notConfirmed(operation, confirmed, wait);
      return reply;
    });
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

function errorOf(error: unknown): unknown {
  return error;
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
  const StoreError = fateOf(error) === 'unanswered' ? UnansweredError : SessionStoreUnavailableError;
  return new StoreError(
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
      'so a fail-over could undo it. Check the replicas, or change the option "waitForReplicas".',
  );
}
