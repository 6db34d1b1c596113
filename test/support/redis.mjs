import { createClient } from 'redis';
import { findBinary, startServer } from './local-server.mjs';

/** @type {import('./service-discovery.mjs').Service} */
export const redis = {
  name: 'redis',
  label: 'Redis or Valkey',
  urlVariable: 'TEST_REDIS_URL',
  standardUrls: ['redis://127.0.0.1:6379'],

  ping: (url) => withClient(url, (client) => client.ping()),

  async startLocally() {
    const server = findBinary(['redis-server', 'valkey-server']);
    if (!server) return undefined;
    return startServer({
      osUser: 'redis',
      prepare: () => [server, ['--version']],
      serve: (directory, port) => [
        server,
        [
          '--port',
          String(port),
          '--bind',
          '127.0.0.1',
          '--dir',
          directory,
          '--save',
          '',
          '--appendonly',
          'no',
        ],
      ],
      stopSignal: 'SIGKILL',
      urlOf: (port) => `redis://127.0.0.1:${port}`,
      ping: this.ping,
    });
  },

  /** Redis knows no databases by name: what is this run's own begins with the name, which travels in the URL. */
  async createDatabase(url, name) {
    const created = new URL(url);
    created.hash = name;
    return created.href;
  },

  async dropDatabase(url, name) {
    await withClient(url, async (client) => {
      for await (const keys of client.scanIterator({ MATCH: `${name}*`, COUNT: 1000 })) {
        if (keys.length > 0) await client.unlink(keys);
      }
    });
  },
};

async function withClient(url, work) {
  const client = createClient({ url, socket: { connectTimeout: 3000, reconnectStrategy: false } });
  // Every error comes out of the call that met it as well.
  client.on('error', () => {});
  try {
    await client.connect();
    await work(client);
  } finally {
    if (client.isOpen) client.destroy();
  }
}
