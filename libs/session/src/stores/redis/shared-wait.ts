import { ANSWERS_WITHIN, type ReplicaWait } from './redis-connection.js';

/** A command and its parameters. */
export type Command = string[];

/** Sends commands to a server in one go over one connection, and resolves with what became of each. */
type SendTogether = (server: string, commands: Command[]) => Promise<PromiseSettledResult<unknown>[]>;

interface Waiting {
  command: Command;
  since: number;
  resolve: (outcome: [reply: unknown, confirmed: number]) => void;
  reject: (reason: unknown) => void;
}

/**
 * Commands that wait for replicas, a WAIT for many. WAIT holds up its connection, and does so for its whole timeout when
 * the replicas are away. With a WAIT each, commands would pile up behind it at the server, and be carried out long after
 * their callers have given up. So what comes while one is under way stays here, and goes out together after it.
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

  /** Nobody waits for the others any more, so they had better not happen. */
  private inTime(waiting: Waiting[]): Waiting[] {
    const oldest = performance.now() - ANSWERS_WITHIN;
    for (const { since, reject } of waiting) {
      if (since < oldest) reject(new Error('It was not sent, for the connection was held up'));
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
