import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { createClient } from 'redis';
import { freeRedisPort } from './redis-process.js';

/** A Redis server of this spec's own, without persistence: what was in it is gone when it was killed. */
export interface KillableRedis {
  url: string;
  start(): Promise<void>;
  /** As a crash does it. */
  kill(): Promise<void>;
  /** Holds everything: connections stay open, and no answer comes. */
  freeze(): void;
  thaw(): void;
}

const COMMAND = 'redis-server';
const isInstalled = spawnSync(COMMAND, ['--version']).status === 0;

/** `describe` for suites that start, kill and restart a Redis server. */
export function describeWithKillableRedis(name: string, suite: (redis: KillableRedis) => void): void {
  const redis = killableRedis();
  if (!isInstalled) {
    describe.skip(`${name} [no redis-server]`, () => suite(redis));
    return;
  }
  describe(name, () => {
    beforeAll(() => redis.start());
    afterAll(() => redis.kill());
    suite(redis);
  });
}

function killableRedis(): KillableRedis {
  let port = 0;
  let directory = '';
  let server: ChildProcess | undefined;
  const signal = (name: NodeJS.Signals): void => void server?.kill(name);
  const killAtExit = (): void => signal('SIGKILL');
  return {
    get url() {
      return `redis://127.0.0.1:${port}`;
    },
    async start() {
      port ||= await freeRedisPort();
      directory = await mkdtemp(join(tmpdir(), 'nest-sessions-redis-'));
      server = spawn(
        COMMAND,
        ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'],
        // Where a replica may leave what it gets from its primary.
        { stdio: 'ignore', cwd: directory },
      );
      process.once('exit', killAtExit);
      await untilAnswering(this.url);
    },
    async kill() {
      if (!server) return;
      const exited = once(server, 'exit');
      signal('SIGKILL');
      await exited;
      server = undefined;
      await rm(directory, { recursive: true, force: true, maxRetries: 5 });
      process.removeListener('exit', killAtExit);
    },
    freeze: () => signal('SIGSTOP'),
    thaw: () => signal('SIGCONT'),
  };
}

async function untilAnswering(url: string): Promise<void> {
  for (const deadline = Date.now() + 100_000; ;) {
    const client = createClient({ url, socket: { reconnectStrategy: false } });
    client.on('error', () => {});
    try {
      await client.connect();
      await client.ping();
      return;
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await setTimeout(25);
    } finally {
      if (client.isOpen) client.destroy();
    }
  }
}
