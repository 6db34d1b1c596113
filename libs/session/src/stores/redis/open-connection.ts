import { SessionConfigError, SessionStoreUnavailableError } from '../../session.errors.js';
import { type IoRedisClient, IoRedisConnection } from './ioredis-connection.js';
import { type NodeRedisClient, NodeRedisConnection } from './node-redis-connection.js';
import { openIoRedis } from './open-ioredis.js';
import { openNodeRedis } from './open-node-redis.js';
import { type RedisConnection } from './redis-connection.js';
import { toStoreError } from './redis-errors.js';
import { type ClientWanted, isIoRedis, type RedisEngineOptions, type RedisLibrary } from './redis-options.js';

/** How long the start of an application waits for Redis. Milliseconds. */
const CONNECTS_WITHIN = 10_000;

/** @throws SessionStoreUnavailableError when there is no connection in time */
export async function openConnection(options: RedisEngineOptions): Promise<RedisConnection> {
  const connection = 'client' in options ? connectionOf(options.client) : await makeConnection(options);
  try {
    await connectInTime(connection);
    return connection;
  } catch (error) {
    await connection.close();
    throw error;
  }
}

function connectionOf(client: IoRedisClient | NodeRedisClient): RedisConnection {
  const ownership = { owned: false };
  return isIoRedis(client)
    ? new IoRedisConnection(client, ownership)
    : new NodeRedisConnection(client, ownership);
}

async function connectInTime(connection: RedisConnection): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      const problem = `no connection came about within ${CONNECTS_WITHIN / 1000} s. Check that Redis is up, and where the options look for it.`;
      reject(new SessionStoreUnavailableError('connect', problem));
    }, CONNECTS_WITHIN);
  });
  try {
    await Promise.race([connection.connect(), timeout]);
  } catch (error) {
    throw error instanceof SessionStoreUnavailableError ? error : toStoreError('connect', error);
  } finally {
    clearTimeout(timer);
  }
}

async function makeConnection(wanted: ClientWanted): Promise<RedisConnection> {
  const { library: chosen } = wanted;
  const library = chosen ?? 'ioredis';
  try {
    return library === 'ioredis' ? await openIoRedis(wanted) : await openNodeRedis(wanted);
  } catch (error) {
    if (!isMissingPackage(error, library)) throw error;
    if (chosen === undefined) return makeConnection({ ...wanted, library: 'redis' });
    throw missing(library, error);
  }
}

function isMissingPackage(error: unknown, name: RedisLibrary): boolean {
  const { code, message } = error as { code?: unknown; message: string };
  return (code === 'ERR_MODULE_NOT_FOUND' || code === 'MODULE_NOT_FOUND') && message.includes(`'${name}'`);
}

function missing(library: RedisLibrary, cause: unknown): SessionConfigError {
  return new SessionConfigError(
    'engine',
    `needs the package "${library}", which is not installed. Run npm install ioredis (or redis).`,
    { cause },
  );
}
