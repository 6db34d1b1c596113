import { type ChildProcess } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freeRedisPort, killRedis, spawnRedis, untilAnswering } from './redis-process.js';

/** A Redis that a Sentinel watches. */
export interface WatchedRedis {
  sentinel: { name: string; nodes: string[] };
  port: number;
  stop(): Promise<void>;
}

export async function startWatchedRedis(): Promise<WatchedRedis> {
  const directory = await mkdtemp(join(tmpdir(), 'nest-sessions-sentinel-'));
  const [port, sentinelPort] = [await freeRedisPort(), await freeRedisPort()];
  const config = join(directory, 'sentinel.conf');
  await writeFile(config, `sentinel monitor main 127.0.0.1 ${port} 1\n`);
  const children: ChildProcess[] = [
    spawnRedis(directory, { port: String(port), save: '' }),
    spawnRedis(directory, { port: String(sentinelPort) }, [config, '--sentinel']),
  ];
  const killAll = (): void => children.forEach((child) => child.kill('SIGKILL'));
  process.once('exit', killAll);
  await Promise.all([untilAnswering(port), untilAnswering(sentinelPort)]);
  return {
    sentinel: { name: 'main', nodes: [`127.0.0.1:${sentinelPort}`] },
    port,
    async stop() {
      await Promise.all(children.map(killRedis));
      process.removeListener('exit', killAll);
      await rm(directory, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
