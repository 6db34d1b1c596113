import { ignoreErrorEvents, type IoRedisClient, IoRedisConnection } from './ioredis-connection.js';
import { ANSWERS_WITHIN, type RedisConnection } from './redis-connection.js';
import { type ClientWanted, credentialsOf, parseNode } from './redis-options.js';

/** Without the retries at 0 ioredis would let the commands that it does not send again wait for ever. */
const failFast = {
  autoResendUnfulfilledCommands: false,
  maxRetriesPerRequest: 0,
  commandTimeout: ANSWERS_WITHIN,
};

/**
 * Commands fail at once while there is no connection, instead of waiting for one, and are not sent again when it
 * broke before the answer: whether to try again is for the application to say.
 */
export async function openIoRedis({
  url,
  cluster,
  sentinel,
  options = {},
}: ClientWanted): Promise<RedisConnection> {
  const { Cluster, Redis } = await import('ioredis');
  const defaults = {
    lazyConnect: true,
    enableOfflineQueue: false,
    ...failFast,
  };
  let client: IoRedisClient;
  if (cluster !== undefined) {
    const given = options as { redisOptions?: object };
    const credentials = credentialsOf(cluster);
    client = new Cluster([...cluster], {
      lazyConnect: true,
      enableOfflineQueue: false,
      retryDelayOnFailover: 0,
      ...given,
      redisOptions: {
        ...failFast,
        ...credentials,
        ...(credentials.tls && { tls: {} }),
        ...given.redisOptions,
      },
    } as ConstructorParameters<typeof Cluster>[1]);
  } else if (sentinel !== undefined) {
    const sentinels = sentinel.nodes.map((node) => parseNode('sentinel.nodes', node));
    client = new Redis({ ...defaults, sentinels, name: sentinel.name, ...options });
  } else {
    client =
      url === undefined
        ? new Redis({ ...defaults, ...options })
        : new Redis(url, { ...defaults, ...options });
  }
  ignoreErrorEvents(client);
  return new IoRedisConnection(client, { owned: true });
}
