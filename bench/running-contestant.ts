import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { Agent, get, type IncomingMessage } from 'node:http';
import { fileURLToPath } from 'node:url';
import { type Contestant, type Places, type Use } from './contestants.js';
import { type Answer, type Operations, type Question } from './messages.js';

/** Requests under way at a time, each on a kept-alive connection. */
export const CONCURRENCY = 12;

/** Per request. */
export interface Cost {
  /** Microseconds of CPU time. */
  cpu: number;
  operations: Operations;
}

/** A contestant in its process, and the visitors whose cookies its requests carry. */
export class RunningContestant {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: CONCURRENCY });
  readonly #child: ChildProcess;
  #url = '';
  #cookies: string[] = [];

  constructor(
    readonly contestant: Contestant,
    places: Places,
  ) {
    this.#child = fork(
      fileURLToPath(new URL('contestant.js', import.meta.url)),
      [contestant.platform, contestant.keeper, JSON.stringify(places)],
      { env: { ...process.env, NODE_ENV: 'production' } },
    );
  }

  /** @param visitors how many sessions are stored before the first measurement */
  async ready(visitors: number): Promise<void> {
    this.#url = (await this.#answer('listening')).url;
    await this.#fill(visitors);
  }

  /** One request of every visitor. Each comes but once, so that no session was written a moment ago. */
  async measure(use: Use): Promise<Cost> {
    await this.#ask('start', 'started');
    await forEach(this.#cookies, (cookie) => this.#get(use, cookie));
    const { cpu, operations } = await this.#ask('stop', 'spent');
    const requests = this.#cookies.length;
    return {
      cpu: cpu / requests,
      operations: { SQL: operations.SQL / requests, Redis: operations.Redis / requests },
    };
  }

  async stop(): Promise<void> {
    this.#agent.destroy();
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.disconnect();
    await exited;
  }

  async #fill(visitors: number): Promise<void> {
    // Whoever keeps no sessions gets a cookie of the same length as ours.
    this.#cookies = Array.from({ length: visitors }, () => `sessionid=${'x'.repeat(43)}`);
    if (this.contestant.keeper === 'none') return;
    const filled: string[] = [];
    await forEach(this.#cookies, async () => {
      const { headers } = await this.#get('fill');
      filled.push((headers['set-cookie'] ?? []).map((line) => line.split(';')[0]).join('; '));
    });
    this.#cookies = filled;
  }

  #get(path: string, cookie = ''): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const options = { agent: this.#agent, headers: cookie ? { cookie } : {} };
      get(`${this.#url}/${path}`, options, (response) => {
        if (response.statusCode !== 200) reject(new Error(`${path} was answered ${response.statusCode}`));
        response.resume().on('end', () => resolve(response));
      }).on('error', reject);
    });
  }

  #ask<Type extends Answer['type']>(
    question: Question,
    type: Type,
  ): Promise<Extract<Answer, { type: Type }>> {
    const answer = this.#answer(type);
    this.#child.send(question);
    return answer;
  }

  async #answer<Type extends Answer['type']>(type: Type): Promise<Extract<Answer, { type: Type }>> {
    const gone = new AbortController();
    const exit = (): void => gone.abort();
    this.#child.once('exit', exit);
    try {
      const [answer] = (await once(this.#child, 'message', { signal: gone.signal })) as [Answer];
      if (answer.type !== type) throw new Error(`Expected "${type}", got "${answer.type}".`);
      return answer as Extract<Answer, { type: Type }>;
    } finally {
      this.#child.off('exit', exit);
    }
  }
}

async function forEach<Item>(items: readonly Item[], task: (item: Item) => Promise<unknown>): Promise<void> {
  const rest = items.values();
  const worker = async (): Promise<void> => {
    for (const item of rest) await task(item);
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, worker));
}
