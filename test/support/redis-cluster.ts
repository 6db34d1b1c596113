import { type ChildProcess, execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { promisify } from 'node:util';
import { type Redis } from 'ioredis';
import {
  ask,
  freeRedisPort,
  isRunning,
  killRedis,
  redisInstalled,
  spawnRedis,
  untilAnswering,
} from './redis-process.js';

const run = promisify(execFile);

/** A node counts as dead when it was silent for so long, which on a busy machine one that lives can be, too. Milliseconds. */
const NODE_TIMEOUT = 2500;

/** `describe` for suites that start a cluster of their own; skipped where Redis is not installed. */
export function describeWithRedisCluster(name: string, suite: (cluster: RedisCluster) => void): void {
  const cluster = new RedisCluster();
  if (!redisInstalled) {
    describe.skip(`${name} [no redis]`, () => suite(cluster));
    return;
  }
  describe(name, () => {
    beforeAll(() => cluster.start());
    afterAll(() => cluster.stop());
    suite(cluster);
  });
}

/** A Redis Cluster on free ports of this machine: three primaries with one replica each. */
export class RedisCluster {
  private readonly nodes = new Map<number, ChildProcess>();
  private directory = '';

  get urls(): string[] {
    return this.ports.map((port) => `redis://127.0.0.1:${port}`);
  }

  async start(): Promise<void> {
    this.directory = await mkdtemp(join(tmpdir(), 'nest-sessions-cluster-'));
    process.once('exit', this.killAll);
    for (let node = 0; node < 6; node++) this.startNode(await freeRedisPort());
    await Promise.all(this.ports.map(untilAnswering));
    const addresses = this.ports.map((port) => `127.0.0.1:${port}`);
    await run('redis-cli', ['--cluster', 'create', ...addresses, '--cluster-replicas', '1', '--cluster-yes']);
    await this.untilHealthy();
  }

  async stop(): Promise<void> {
    await Promise.all([...this.nodes.values()].map(killRedis));
    process.removeListener('exit', this.killAll);
    await rm(this.directory, { recursive: true, force: true, maxRetries: 5 });
  }

  /** The port of the primary that has this key. */
  primaryOf(key: string): Promise<number> {
    return ask(this.alive(), async (client) => {
      const slot = Number(await client.call('CLUSTER', 'KEYSLOT', key));
      const slots = (await client.call('CLUSTER', 'SLOTS')) as [number, number, [string, number]][];
      const range = slots.find(([from, to]) => from <= slot && slot <= to);
      if (!range) throw new Error(`Slot ${slot} is nobody's.`);
      return range[2][1];
    });
  }

  /** Waits until all that this primary has answered so far is on its replica, too. */
  replicated(port: number): Promise<void> {
    return ask(port, async (client) => {
      const offset = async (pattern: RegExp): Promise<number> =>
        Number(pattern.exec(await client.info('replication'))?.[1] ?? -1);
      const written = await offset(/master_repl_offset:(\d+)/);
      while ((await offset(/slave0:.*offset=(\d+)/)) < written) await setTimeout(5);
    });
  }

  async kill(port: number): Promise<void> {
    const child = this.nodes.get(port);
    if (!child) throw new Error('There is no such node.');
    await killRedis(child);
  }

  /** Holds a node: connections stay open, and no answer comes. */
  freeze(port: number): void {
    this.nodes.get(port)?.kill('SIGSTOP');
  }

  thaw(port: number): void {
    this.nodes.get(port)?.kill('SIGCONT');
  }

  /** After how many milliseconds of silence the others take a node for dead. */
  async setNodeTimeout(timeout = NODE_TIMEOUT): Promise<void> {
    const set = (client: Redis): Promise<unknown> =>
      client.config('SET', 'cluster-node-timeout', String(timeout));
    await Promise.all(this.ports.map((port) => ask(port, set)));
  }

  /** The numbers of the connections of clients to a node. */
  async connectionsOf(port: number): Promise<string[]> {
    const list = await ask(port, (client) => client.call('CLIENT', 'LIST', 'TYPE', 'normal'));
    return String(list).match(/^id=\d+/gm) ?? [];
  }

  /** Makes every connection to its nodes break. */
  async killConnections(): Promise<void> {
    await Promise.all(
      this.ports.map((port) => ask(port, (client) => client.call('CLIENT', 'KILL', 'TYPE', 'normal'))),
    );
  }

  /** Makes the replica of this primary, which goes on, take its place. */
  async replace(port: number, key: string): Promise<void> {
    const replicas = await ask(port, async (client) => {
      const id = await client.call('CLUSTER', 'MYID');
      return (await client.call('CLUSTER', 'REPLICAS', String(id))) as string[];
    });
    const replica = Number(/:(\d+)@/.exec(replicas[0] ?? '')?.[1]);
    await ask(replica, (client) => client.call('CLUSTER', 'FAILOVER'));
    await this.untilReplaced(port, key);
  }

  async restart(port: number): Promise<void> {
    this.startNode(port);
    await this.untilHealthy();
  }

  /** Waits until a replica has taken over from this one, which had this key. */
  async untilReplaced(port: number, key: string): Promise<void> {
    for (const deadline = Date.now() + 100_000; ; await setTimeout(50)) {
      if ((await this.primaryOf(key)) !== port && (await stateOf(this.alive())) === 'ok') return;
      if (Date.now() > deadline) throw new Error('No replica took over.');
    }
  }

  /** All nodes agree on who is who, and every replica follows its primary. */
  private async untilHealthy(): Promise<void> {
    for (const deadline = Date.now() + 100_000; ; await setTimeout(100)) {
      const healthy = await Promise.all(this.ports.map((port) => isHealthy(port).catch(() => false)));
      if (healthy.every(Boolean)) return;
      if (Date.now() > deadline) throw new Error('The cluster did not come up.');
    }
  }

  private get ports(): number[] {
    return [...this.nodes.keys()];
  }

  private alive(): number {
    for (const [port, child] of this.nodes) if (isRunning(child)) return port;
    throw new Error('No node is alive.');
  }

  private startNode(port: number): void {
    const settings = {
      port: String(port),
      save: '',
      appendonly: 'no',
      'cluster-enabled': 'yes',
      'cluster-config-file': `nodes-${port}.conf`,
      'cluster-node-timeout': String(NODE_TIMEOUT),
      'repl-diskless-sync-delay': '0',
    };
    this.nodes.set(port, spawnRedis(this.directory, settings));
  }

  private readonly killAll = (): void => {
    for (const child of this.nodes.values()) child.kill('SIGKILL');
  };
}

async function isHealthy(port: number): Promise<boolean> {
  if ((await stateOf(port)) !== 'ok') return false;
  return ask(port, async (client) => {
    const nodes = String(await client.call('CLUSTER', 'NODES'))
      .trim()
      .split('\n');
    const replication = await client.info('replication');
    const linked = /role:master/.test(replication) ? /connected_slaves:1/ : /master_link_status:up/;
    return (
      nodes.length === 6 && !nodes.some((node) => /fail|handshake/.test(node)) && linked.test(replication)
    );
  });
}

async function stateOf(port: number): Promise<string | undefined> {
  const info = await ask(port, (client) => client.call('CLUSTER', 'INFO'));
  return /cluster_state:(\w+)/.exec(String(info))?.[1];
}
