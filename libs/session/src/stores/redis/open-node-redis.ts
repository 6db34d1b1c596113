import { ignoreErrorEvents } from './ioredis-connection.js';
import { type NodeRedisClient, NodeRedisConnection } from './node-redis-connection.js';
import { ANSWERS_WITHIN, type RedisConnection } from './redis-connection.js';
import { type ClientWanted, credentialsOf, parseNode } from './redis-options.js';

/**
 * Commands fail at once while there is no connection, instead of waiting for one. This client sends none again of which
 * it does not know whether it was carried out.
 */
export async function openNodeRedis({
  url,
  cluster,
  sentinel,
  options = {},
}: ClientWanted): Promise<RedisConnection> {
  const { createClient, createCluster, createSentinel } = await import('redis');
  const make = (): NodeRedisClient => {
    if (cluster !== undefined) {
      const given = options as { defaults?: { socket?: object } };
      const { tls, ...credentials } = credentialsOf(cluster);
      const socket = { ...(tls && { tls }), ...given.defaults?.socket };
      return createCluster({
        rootNodes: cluster.map((node) => ({ url: node })),
        // Soon after a node has gone, or its commands fail until it is back, whoever has taken over.
        topologyRefreshOnReconnectionAttemptStrategy: 500,
        ...given,
        defaults: nodeDefaults({ ...credentials, ...given.defaults, socket }),
      });
    }
    if (sentinel !== undefined) {
      const given = options as { nodeClientOptions?: object };
      return createSentinel({
        name: sentinel.name,
        sentinelRootNodes: sentinel.nodes.map((node) => parseNode('sentinel.nodes', node)),
        ...given,
        nodeClientOptions: nodeDefaults(given.nodeClientOptions),
      });
    }
    return createClient({ ...(url !== undefined && { url }), ...nodeDefaults(options) });
  };
  const client = make();
  ignoreErrorEvents(client);
  return new NodeRedisConnection(client, { owned: true, another: make });
}

function nodeDefaults(given: { socket?: object } = {}): object {
  return {
    disableOfflineQueue: true,
    pingInterval: ANSWERS_WITHIN / 2,
    ...given,
    socket: {
      socketTimeout: ANSWERS_WITHIN,
      // The client's own gives up for good after the first connection that went silent.
      reconnectStrategy: (retries: number) => Math.min(50 * 2 ** retries, 2000),
      ...given.socket,
    },
  };
}
