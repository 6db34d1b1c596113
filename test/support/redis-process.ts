import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { setTimeout } from 'node:timers/promises';
import { Redis } from 'ioredis';

/** Where the bus of a cluster's node listens, above its port. */
const BUS_OFFSET = 10_000;

/** Are the binaries of Redis here, for specs that start and kill servers of their own? */
export const redisInstalled = ['redis-server', 'redis-cli'].every(
  (name) => spawnSync(name, ['--version']).status === 0,
);

export function spawnRedis(
  directory: string,
  settings: Record<string, string>,
  mode: string[] = [],
): ChildProcess {
  const given = Object.entries({ bind: '127.0.0.1', dir: directory, ...settings });
  const parameters = given.flatMap(([name, value]) => [`--${name}`, value]);
  return spawn('redis-server', [...mode, ...parameters], { stdio: 'ignore', cwd: directory });
}

export function isRunning({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode === null && signalCode === null;
}

/** As a crash does it. */
export async function killRedis(child: ChildProcess): Promise<void> {
  if (!isRunning(child)) return;
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}

/** Asks a server something, over a connection for this question alone. */
export async function ask<Answer>(
  port: number,
  question: (client: Redis) => Promise<Answer>,
): Promise<Answer> {
  const client = new Redis({ port, lazyConnect: true, retryStrategy: () => null });
  client.on('error', () => {});
  try {
    await client.connect();
    return await question(client);
  } finally {
    await client.quit().catch(() => client.disconnect());
  }
}

export async function untilAnswering(port: number): Promise<void> {
  for (const deadline = Date.now() + 100_000; ; await setTimeout(25)) {
    try {
      await ask(port, (client) => client.ping());
      return;
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
  }
}

/**
 * One whose bus port is free as well. Both are below those that systems give to outgoing connections (from 32768 on),
 * so that nobody takes them before the server does, or while it is down.
 */
export async function freeRedisPort(): Promise<number> {
  for (;;) {
    const port = 12_000 + Math.floor(Math.random() * 10_000);
    if ((await isFree(port)) && (await isFree(port + BUS_OFFSET))) return port;
  }
}

async function isFree(port: number): Promise<boolean> {
  const probe = createServer();
  try {
    probe.listen(port, '127.0.0.1');
    await once(probe, 'listening');
    return true;
  } catch {
    return false;
  } finally {
    if (probe.listening) {
      probe.close();
      await once(probe, 'close');
    }
  }
}
