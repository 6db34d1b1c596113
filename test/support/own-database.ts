import { readFileSync } from 'node:fs';
import { type DataSourceOptions } from 'typeorm';
import { type DatabaseServer } from './services.js';

/** A database server of this spec's own, which can be stopped with all its connections and go on. */
export interface OwnDatabase {
  options: DataSourceOptions;
  freeze: () => void;
  thaw: () => void;
}

interface LocalServer {
  url: string;
  pid: number;
  stop(): Promise<void>;
}

interface LocalService {
  isInstalled(): boolean;
  startLocally(): Promise<LocalServer>;
  createDatabase(url: string, name: string): Promise<string>;
}

async function load(kind: DatabaseServer): Promise<LocalService> {
  const { [kind]: service } = (await import(`./${kind}.mjs`)) as Record<DatabaseServer, LocalService>;
  return service;
}

const services = { postgres: await load('postgres'), mysql: await load('mysql') };

/** `describe` for suites that start a database server and freeze it. */
export function describeWithOwnDatabase(
  kind: DatabaseServer,
  name: string,
  suite: (database: OwnDatabase) => void,
): void {
  const service = services[kind];
  let server: LocalServer | undefined;
  let options: DataSourceOptions | undefined;
  const signal = (signalName: NodeJS.Signals): void => {
    // PostgreSQL has a process for each connection.
    if (server) for (const pid of [server.pid, ...childrenOf(server.pid)]) send(pid, signalName);
  };
  const database: OwnDatabase = {
    get options() {
      return options as DataSourceOptions;
    },
    freeze: () => signal('SIGSTOP'),
    thaw: () => signal('SIGCONT'),
  };
  if (!service.isInstalled()) {
    describe.skip(`${name} [no ${kind} server]`, () => suite(database));
    return;
  }
  describe(name, () => {
    beforeAll(async () => {
      server = await service.startLocally();
      options = { type: kind, url: await service.createDatabase(server.url, 'own') };
    });
    afterAll(async () => {
      database.thaw();
      await server?.stop();
    });
    suite(database);
  });
}

function childrenOf(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
  return children.split(' ').filter(Boolean).map(Number);
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended in this moment.
  }
}
