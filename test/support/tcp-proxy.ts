import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** A wire to a server that can be cut and mended. */
export interface TcpProxy {
  port: number;
  /** Breaks every connection and refuses new ones. */
  cut(): void;
  /** Leaves connections open, but lets nothing through any more. */
  stall(): void;
  /**
   * As a firewall that forgets: whatever is sent is swallowed, now and after `mend`, on the connections that are open and
   * on those that are made until then. Nobody is told.
   */
  silence(): void;
  mend(): void;
  /** From now on new connections lead to this port; those that there are stay. */
  lead(port: number): void;
  close(): Promise<void>;
}

export async function startTcpProxy(host: string, port: number): Promise<TcpProxy> {
  const sockets = new Set<Socket>();
  let target = port;
  const silent = new Set<Socket>();
  let state: 'whole' | 'cut' | 'stalled' | 'silent' = 'whole';
  const breakAll = (): void => sockets.forEach((socket) => socket.destroy());

  const server = createServer((near) => {
    if (state === 'cut') {
      near.destroy();
      return;
    }
    const far = connect(target, host);
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from);
      if (state === 'silent') silent.add(from);
      from.on('data', (bytes) => state === 'whole' && !silent.has(from) && to.write(bytes));
      from.on('error', () => {});
      from.on('close', () => {
        sockets.delete(from);
        if (!silent.delete(from)) to.destroy();
      });
    }
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');

  return {
    port: (server.address() as AddressInfo).port,
    cut() {
      state = 'cut';
      breakAll();
    },
    stall: () => void (state = 'stalled'),
    silence() {
      state = 'silent';
      for (const socket of sockets) silent.add(socket);
    },
    mend() {
      // What was swallowed while it stalled is missing from these conversations.
      if (state === 'stalled') breakAll();
      state = 'whole';
    },
    lead: (other) => void (target = other),
    async close() {
      breakAll();
      server.close();
      await once(server, 'close');
    },
  };
}
