import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseStore, SessionEntity } from 'nest-sessions/database';
import { FileStore } from 'nest-sessions/file';
import { type RedisScript, RedisStore } from 'nest-sessions/redis';
import { type Command } from '../../libs/session/src/stores/redis/redis-connection.js';
import { openConnection } from '../../libs/session/src/stores/redis/redis-engine.js';
import * as scripts from '../../libs/session/src/stores/redis/redis-scripts.js';
import { testDataSource } from './data-source.js';
import { takeStep } from './interleaving.js';
import { basicKinds } from './interleaving-kinds.js';
import { type Scenario } from './interleaving-race.js';
import { Site } from './interleaving-site.js';
import { SteppedStore } from './interleaving-store.js';
import { type RedisCluster } from './redis-cluster.js';
import { DelegatingConnection } from './redis-connections.js';
import { openRedisStore, testRedis } from './redis-store-bench.js';
import { type DatabaseServer, type ServiceName } from './services.js';

/** A real store for requests to race on. */
export interface RaceTrack {
  service?: ServiceName;
  /** How many scenarios run at the same time, each on sessions and users of its own. */
  atOnce: number;
  /** See `Exploration`. */
  swapsLoads: boolean;
  /** Which sets of requests are run; default: all. */
  runs?(scenario: Scenario): boolean;
  open(): Promise<OpenTrack>;
}

export interface OpenTrack {
  /** For one scenario. */
  enter(): Promise<{ site: Site; leave: () => Promise<void> }>;
  close(): Promise<void>;
}

export const raceTracks: Record<string, RaceTrack> = {
  PostgreSQL: { service: 'postgres', atOnce: 32, swapsLoads: false, open: () => openDatabase('postgres') },
  MariaDB: { service: 'mysql', atOnce: 16, swapsLoads: true, open: () => openDatabase('mysql') },
  Redis: {
    service: 'redis',
    atOnce: 16,
    swapsLoads: true,
    open: () => openRedis(testRedis()),
  },
  files: {
    atOnce: 2,
    swapsLoads: true,
    open: () => Promise.resolve({ enter: enterDirectory, close: () => Promise.resolve() }),
  },
};

/** Redis again, by its commands: what takes several of them is not one step. */
export const byCommands: RaceTrack = {
  service: 'redis',
  atOnce: 16,
  swapsLoads: true,
  runs: ({ requests }) => requests.length === 2 && requests.every((name) => basicKinds.includes(name)),
  async open() {
    const { url, ...options } = testRedis();
    const connection = await openConnection({ url });
    const store = new RedisStore(new SteppedConnection(connection), options);
    return shared(await Site.over(new SteppedStore(store, false)), () => connection.close());
  },
};

export function onCluster(cluster: RedisCluster): RaceTrack {
  return {
    atOnce: 16,
    swapsLoads: true,
    open: () => openRedis({ cluster: cluster.urls, prefix: 'races:' }),
  };
}

async function openRedis(options: Parameters<typeof openRedisStore>[0]): Promise<OpenTrack> {
  const store = await openRedisStore(options);
  return shared(await Site.over(new SteppedStore(store)), () => store.close());
}

/** Every command is a step, and so is every script, but for the clock: it is read once a minute, in whichever race. */
class SteppedConnection extends DelegatingConnection {
  override send(command: Command): Promise<unknown> {
    return takeStep({ name: command[0] ?? '', ids: idsIn(command) }, () => super.send(command));
  }

  override sendAll(commands: readonly Command[]): Promise<PromiseSettledResult<unknown>[]> {
    const name = commands.map(([first]) => first).join('+');
    return takeStep({ name, ids: idsIn(commands.flat()) }, () => super.sendAll(commands));
  }

  override run(script: RedisScript, keys: [string], values: string[]): Promise<unknown> {
    if (script === scripts.clockScript) return super.run(script, keys, values);
    return takeStep({ name: nameOf(script), ids: idsIn(keys) }, () => super.run(script, keys, values));
  }
}

function idsIn(texts: readonly string[]): string[] {
  return texts.flatMap((text) => /:([\w-]{22})$/.exec(text)?.[1] ?? []);
}

function nameOf(script: RedisScript): string {
  const name = Object.entries(scripts).find(([, one]) => one === script)?.[0] ?? 'script';
  return name.replace(/Script$/, '');
}

async function openDatabase(kind: DatabaseServer): Promise<OpenTrack> {
  const { dataSource, dispose } = await testDataSource(kind, [SessionEntity]);
  return shared(await Site.over(new SteppedStore(new DatabaseStore(dataSource))), dispose);
}

/** A directory for each scenario. */
async function enterDirectory(): Promise<{ site: Site; leave: () => Promise<void> }> {
  const directory = await mkdtemp(join(tmpdir(), 'nest-sessions-'));
  const site = await Site.over(new SteppedStore(new FileStore({ directory })));
  return { site, leave: () => rm(directory, { recursive: true, force: true }) };
}

export function shared(site: Site, close: () => Promise<void>): OpenTrack {
  return { enter: () => Promise.resolve({ site, leave: () => Promise.resolve() }), close };
}
