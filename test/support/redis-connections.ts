import {
  type RedisConnection,
  type RedisScript,
  type ReplicaWait,
  type RunsScripts,
} from 'nest-sessions/redis';

interface Interference {
  cluster?: boolean;
  /** Called before each command with its number, from 1 on. */
  before?: (command: number) => Promise<void>;
}

/** Counts the commands that go over a connection, and lets others come in between. */
export class DelegatingConnection implements RedisConnection {
  commands = 0;

  constructor(
    protected readonly connection: RedisConnection,
    private readonly interference: Interference = {},
  ) {}

  get cluster(): boolean {
    return this.interference.cluster ?? this.connection.cluster;
  }

  get ready(): boolean {
    return this.connection.ready;
  }

  connect(): Promise<void> {
    return this.connection.connect();
  }

  async run(script: RedisScript, keys: string[], values: string[]): Promise<unknown> {
    this.commands++;
    await this.interference.before?.(this.commands);
    return this.connection.run(script, keys, values);
  }

  runAndWait(
    script: RedisScript,
    keys: string[],
    values: string[],
    wait: ReplicaWait,
  ): Promise<[unknown, number]> {
    return this.connection.runAndWait(script, keys, values, wait);
  }

  primaries(): Promise<readonly RunsScripts[]> {
    return this.connection.primaries();
  }

  duplicate(): RedisConnection {
    return this.connection.duplicate();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

/** Sends everything twice, as a client does that reconnects before the answer is there. */
export class StutteringConnection extends DelegatingConnection {
  override async run(script: RedisScript, keys: string[], values: string[]): Promise<unknown> {
    await super.run(script, keys, values);
    return super.run(script, keys, values);
  }
}

/** Breaks at a step of a rotation across servers, for good: the process behind it has died. */
export class DyingConnection extends DelegatingConnection {
  constructor(
    connection: RedisConnection,
    private readonly end: { step: number; carriedOut: boolean },
  ) {
    super(connection, { cluster: true });
  }

  override async run(script: RedisScript, keys: string[], values: string[]): Promise<unknown> {
    const { step, carriedOut } = this.end;
    if (this.commands + 1 > step) throw new Error('The connection is closed.');
    if (this.commands + 1 < step) return super.run(script, keys, values);
    if (carriedOut) await super.run(script, keys, values);
    else this.commands++;
    throw new Error('The connection is closed.');
  }
}
