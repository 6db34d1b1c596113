import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { Agent, get, type IncomingMessage } from 'node:http';
import { fileURLToPath } from 'node:url';
// As a whole: `import { type … }` would run that program.
import type { Answer, Question } from './contestant.js';
import { type Contestant, type Use } from './contestants.js';
import { type Cost, type Kind } from './counters.js';
import { type Places } from './places.js';

/** So large that nothing is collected while bytes are counted. */
const YOUNG_GENERATION = 512;

/** An application in its process, and the visitors whose cookies its requests carry. */
export class RunningContestant {
  readonly #agent: Agent;
  readonly #child: ChildProcess;
  #url = '';
  #cookies: string[] = [];

  /** @param concurrency requests under way at a time, each on a kept-alive connection */
  constructor(
    readonly contestant: Contestant,
    places: Places,
    private readonly concurrency: number,
  ) {
    this.#agent = new Agent({ keepAlive: true, maxSockets: concurrency });
    const size = [`--min-semi-space-size=${YOUNG_GENERATION}`, `--max-semi-space-size=${YOUNG_GENERATION}`];
    this.#child = fork(
      fileURLToPath(new URL('contestant.js', import.meta.url)),
      [JSON.stringify(contestant), JSON.stringify(places)],
      {
        env: { ...process.env, NODE_ENV: 'production' },
        execArgv: concurrency === 1 ? ['--expose-gc', ...size] : [],
      },
    );
  }

  /** @param visitors how many sessions are stored before the first measurement */
  async ready(visitors: number): Promise<void> {
    this.#url = (await this.#answer('listening')).url;
    await this.#fill(visitors);
  }

  /** One request of every visitor. Each comes only once, so that no session was written a moment ago. */
  async measure(use: Use, kind: Kind): Promise<Cost> {
    await this.#ask({ start: kind }, 'started');
    await this.#forEach(this.#cookies, (cookie) => this.#get(use, cookie));
    const { cost } = await this.#ask('stop', 'stopped');
    const perRequest = Object.entries(cost).map(([name, sum]) => [name, sum / this.#cookies.length]);
    return Object.fromEntries(perRequest) as Cost;
  }

  async stop(): Promise<void> {
    this.#agent.destroy();
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.disconnect();
    await exited;
  }

  async #fill(visitors: number): Promise<void> {
    // Without sessions, a cookie of the same length as ours.
    this.#cookies = Array.from({ length: visitors }, () => `sessionid=${'x'.repeat(66)}`);
    if (this.contestant.group === 'bare') return;
    const filled: string[] = [];
    await this.#forEach(this.#cookies, async () => {
      const { headers } = await this.#get('fill');
      filled.push((headers['set-cookie'] ?? []).map((line) => line.split(';')[0]).join('; '));
    });
    this.#cookies = filled;
  }

  #get(path: string, cookie = ''): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const options = { agent: this.#agent, headers: cookie ? { cookie } : {} };
      get(`${this.#url}/${path}`, options, (response) => {
        if (response.statusCode !== 200) {
          const { platform, library } = this.contestant;
          reject(new Error(`${platform}, ${library}: ${path} was answered ${response.statusCode}`));
        }
        response.resume().on('end', () => resolve(response));
      }).on('error', reject);
    });
  }

  async #forEach<Item>(items: readonly Item[], task: (item: Item) => Promise<unknown>): Promise<void> {
    const rest = items.values();
    const worker = async (): Promise<void> => {
      for (const item of rest) await task(item);
    };
    await Promise.all(Array.from({ length: this.concurrency }, worker));
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
