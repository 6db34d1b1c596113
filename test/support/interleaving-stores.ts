import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseStore, SessionEntity } from 'nest-sessions/database';
import { FileStore } from 'nest-sessions/file';
import { type RedisScript, RedisStore } from 'nest-sessions/redis';
import { openConnection } from '../../libs/session/src/stores/redis/open-connection.js';
import * as moveScripts from '../../libs/session/src/stores/redis/move-scripts.js';
import * as redisScripts from '../../libs/session/src/stores/redis/redis-scripts.js';
import * as userScripts from '../../libs/session/src/stores/redis/user-scripts.js';
import { testDataSource } from './data-source.js';
import { takeStep } from './interleaving.js';
import { basicKinds, type KindName } from './interleaving-kinds.js';
import { type Scenario } from './interleaving-race.js';
import { Site } from './interleaving-site.js';
import { SteppedStore } from './interleaving-store.js';
import { DelegatingConnection } from './redis-connections.js';
import { testRedis } from './redis-store-bench.js';
import { type DatabaseServer, type ServiceName } from './services.js';
import { rowsOf } from './test-all.js';

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
    async open() {
      const { url, ...options } = testRedis();
      const store = new RedisStore(await openConnection({ url }), options);
      return shared(await Site.over(new SteppedStore(store)), () => store.close());
    },
  },
  files: {
    atOnce: 2,
    swapsLoads: true,
    open: () => Promise.resolve({ enter: enterDirectory, close: () => Promise.resolve() }),
  },
};

/** Redis again, by its commands: what takes several of them is not one step. */
const commandTracks: Record<string, RaceTrack> = {
  'Redis, by its commands': byCommands({
    cluster: false,
    runs: ({ requests }) => requests.length === 2 && requests.every((name) => basicKinds.includes(name)),
  }),
  // A rotation takes six commands here, so that two of them have thousands of orders.
  'Redis, by its commands in a cluster': byCommands({
    cluster: true,
    runs: ({ owner, requests: [one, other, third] }) =>
      owner === 'user' && third === undefined && isBrief(one) && other === 'rotate',
  }),
};

export const tracksByCommands = rowsOf(commandTracks, ['Redis, by its commands']);

function isBrief(name: KindName | undefined): boolean {
  return name === 'read' || name === 'write a' || name === 'touch' || name === 'logout';
}

function byCommands({ cluster, runs }: { cluster: boolean } & Required<Pick<RaceTrack, 'runs'>>): RaceTrack {
  return {
    service: 'redis',
    atOnce: 16,
    swapsLoads: true,
    runs,
    async open() {
      const { url, ...options } = testRedis();
      const connection = await openConnection({ url });
      const store = new RedisStore(new SteppedConnection(connection, { cluster }), options);
      return shared(await Site.over(new SteppedStore(store, false)), () => connection.close());
    },
  };
}

class SteppedConnection extends DelegatingConnection {
  override run(script: RedisScript, keys: string[], values: string[]): Promise<unknown> {
    const storeKeys = [...keys, ...values].flatMap((text) => text.match(/v1-[0-9a-f]{64}/g) ?? []);
    return takeStep({ name: nameOf(script), keys: storeKeys }, () => super.run(script, keys, values));
  }
}

function nameOf(script: RedisScript): string {
  const name =
    Object.entries({ ...moveScripts, ...redisScripts, ...userScripts }).find(
      ([, one]) => one === script,
    )?.[0] ?? 'command';
  return name.replace(/Script$/, '');
}

async function openDatabase(kind: DatabaseServer): Promise<OpenTrack> {
  const { dataSource, dispose } = await testDataSource(kind, [SessionEntity]);
  return shared(await Site.over(new SteppedStore(new DatabaseStore(dataSource))), dispose);
}

/** A directory for each scenario: to find the sessions of a user, all files in it are read. */
async function enterDirectory(): Promise<{ site: Site; leave: () => Promise<void> }> {
  const directory = await mkdtemp(join(tmpdir(), 'nest-sessions-'));
  const site = await Site.over(new SteppedStore(new FileStore({ directory })));
  return { site, leave: () => rm(directory, { recursive: true, force: true }) };
}

export function shared(site: Site, close: () => Promise<void>): OpenTrack {
  return { enter: () => Promise.resolve({ site, leave: () => Promise.resolve() }), close };
}
