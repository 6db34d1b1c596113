import { Logger } from '@nestjs/common';
import { SessionConfigError, SessionStoreUnavailableError } from '../../session.errors.js';
import { type EngineFactory, engineOf, type SessionEngine } from '../session-engine.js';
import { IoRedisConnection, openIoRedis } from './ioredis.js';
import { NodeRedisConnection, openNodeRedis } from './node-redis.js';
import { isIoRedis, silenceAdvice } from './redis-clients.js';
import { toStoreError } from './redis-commands.js';
import { type RedisConnection } from './redis-connection.js';
import {
  checkEngineOptions,
  type ClientGiven,
  type ClientWanted,
  type RedisEngineOptions,
  type RedisLibrary,
} from './redis-options.js';
import { RedisStore } from './redis-store.js';

/**
 * Keeps sessions in Redis or Valkey: a single node, Sentinel or Cluster, through `ioredis` or `redis` (node-redis).
 *
 * If there is no connection within ten seconds, the start-up fails with a `SessionStoreUnavailableError`.
 *
 * @throws SessionConfigError if an option is wrong
 *
 * @example
 * ```ts
 * SessionModule.forRoot(redisEngine({ url: 'redis://localhost:6379' }))
 * SessionModule.forRoot(redisEngine({ cluster: ['redis://node-1:6379', 'redis://node-2:6379'] }))
 * SessionModule.forRoot(redisEngine({ client: new Redis() })) // never closed by the engine
 * SessionModule.forRoot(redisEngine({
 *   inject: [ConfigService],
 *   useFactory: (config: ConfigService) => ({ url: config.getOrThrow('REDIS_URL') }),
 * }))
 * ```
 */
export function redisEngine(options: RedisEngineOptions | EngineFactory<RedisEngineOptions>): SessionEngine {
  return engineOf(options, checkEngineOptions, openStore);
}

async function openStore(options: RedisEngineOptions): Promise<RedisStore> {
  return new RedisStore(await openConnection(options), options);
}

/** How long the start of an application waits for Redis. Milliseconds. */
const CONNECTS_WITHIN = 10_000;

/** @throws SessionStoreUnavailableError when there is no connection in time */
export async function openConnection(options: ClientGiven | ClientWanted): Promise<RedisConnection> {
  const connection = 'client' in options ? connectionOf(options) : await makeConnection(options);
  try {
    await connectInTime(connection);
    return connection;
  } catch (error) {
    await connection.close();
    throw error;
  }
}

function connectionOf({ client }: ClientGiven): RedisConnection {
  const ownership = { owned: false };
  const advice = silenceAdvice(client);
  if (advice !== undefined) new Logger('Sessions').warn(`The Redis client of the sessions ${advice}`);
  return isIoRedis(client)
    ? new IoRedisConnection(client, ownership)
    : new NodeRedisConnection(client, ownership);
}

async function connectInTime(connection: RedisConnection): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      const said = connection.lastError?.();
      const reason = said === undefined ? '' : ` (the client says ${said})`;
      reject(
        new SessionStoreUnavailableError(
          'connect',
          `there was no connection within ${CONNECTS_WITHIN / 1000} s${reason}. Check that Redis is up, and ` +
            'check the address and the password in the options.',
        ),
      );
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
  const libraries: RedisLibrary[] = wanted.library ? [wanted.library] : ['ioredis', 'redis'];
  let cause: unknown;
  for (const library of libraries) {
    try {
      return library === 'ioredis' ? await openIoRedis(wanted) : await openNodeRedis(wanted);
    } catch (error) {
      if (!isMissingPackage(error, library)) throw error;
      cause = error;
    }
  }
  throw new SessionConfigError(
    'engine',
    `needs the package ${libraries.join(' or ')}, which is not installed. Run npm install ${libraries[0]}.`,
    { cause },
  );
}

function isMissingPackage(error: unknown, name: RedisLibrary): boolean {
  const { code, message } = error as { code?: unknown; message: string };
  return (code === 'ERR_MODULE_NOT_FOUND' || code === 'MODULE_NOT_FOUND') && message.includes(`'${name}'`);
}
