import { type Command, type RedisConnection, type RedisScript, type ReplicaWait } from 'nest-sessions/redis';

interface Interference {
  /** Called before each command with its number, from 1 on. */
  before?: (command: number, name: string) => Promise<void>;
}

/** Counts the commands that go over a connection, and lets others come in between. */
export class DelegatingConnection implements RedisConnection {
  /** Their names in the order in which they were sent; of a script `script`. */
  readonly sent: string[] = [];

  constructor(
    protected readonly connection: RedisConnection,
    private readonly interference: Interference = {},
  ) {}

  get cluster(): boolean {
    return this.connection.cluster;
  }

  ready(key?: string): boolean {
    return this.connection.ready(key);
  }

  connect(): Promise<void> {
    return this.connection.connect();
  }

  async send(command: Command): Promise<unknown> {
    await this.note(command[0]);
    return this.connection.send(command);
  }

  async sendAll(commands: readonly Command[]): Promise<PromiseSettledResult<unknown>[]> {
    await this.note(`${commands.length} × ${commands[0]?.[0]}`);
    return this.connection.sendAll(commands);
  }

  primaries(): readonly string[] {
    return this.connection.primaries();
  }

  async sendTo(primary: string, command: Command): Promise<unknown> {
    await this.note(command[0]);
    return this.connection.sendTo(primary, command);
  }

  async run(script: RedisScript, keys: [string], values: string[]): Promise<unknown> {
    await this.note('script');
    return this.connection.run(script, keys, values);
  }

  sendAndWait(key: string, command: Command, wait: ReplicaWait): Promise<[unknown, number]> {
    return this.connection.sendAndWait(key, command, wait);
  }

  duplicate(): RedisConnection {
    return this.connection.duplicate();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  private async note(name: string): Promise<void> {
    this.sent.push(name);
    await this.interference.before?.(this.sent.length, name);
  }
}

/** Sends everything twice, as a client does that reconnects before the answer is there. */
export class StutteringConnection extends DelegatingConnection {
  override async send(command: Command): Promise<unknown> {
    await super.send(command);
    return super.send(command);
  }

  override async run(script: RedisScript, keys: [string], values: string[]): Promise<unknown> {
    await super.run(script, keys, values);
    return super.run(script, keys, values);
  }
}

/** Breaks once: at the next command or script of a save, before it is sent or before its answer is there. */
export class BreakingConnection extends DelegatingConnection {
  next: { sent: boolean; afterwards?: () => Promise<unknown> } | undefined;

  override send(command: Command): Promise<unknown> {
    return command[0] === 'linsert' ? this.breaking(() => super.send(command)) : super.send(command);
  }

  override run(script: RedisScript, keys: [string], values: string[]): Promise<unknown> {
    return this.breaking(() => super.run(script, keys, values));
  }

  private async breaking(work: () => Promise<unknown>): Promise<unknown> {
    const { next } = this;
    if (!next) return work();
    this.next = undefined;
    if (next.sent) await work();
    await next.afterwards?.();
    throw new Error('Socket closed unexpectedly');
  }
}
