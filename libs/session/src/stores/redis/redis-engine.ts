import { type FactoryProvider } from '@nestjs/common';
import { type SessionEngine } from '../session-engine.js';
import { openConnection } from './open-connection.js';
import { checkEngineOptions, type RedisEngineOptions } from './redis-options.js';
import { RedisStore } from './redis-store.js';

/** Options from a factory, for what has to be injected: a configuration, or a client of the application's own. */
export interface RedisEngineFactory extends Pick<SessionEngine, 'imports' | 'inject'> {
  useFactory: FactoryProvider<RedisEngineOptions>['useFactory'];
}

/**
 * Sessions in Redis or Valkey: a single node, Sentinel or Cluster, through `ioredis` or `redis` (node-redis).
 *
 * The start-up fails with a `SessionStoreUnavailableError` when there is no connection within ten seconds.
 *
 * @throws SessionConfigError when an option is wrong
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
export function redisEngine(options: RedisEngineOptions | RedisEngineFactory): SessionEngine {
  if ('useFactory' in options) {
    const { useFactory, ...wiring } = options;
    return {
      ...wiring,
      useFactory: async (...dependencies: Parameters<typeof useFactory>) => {
        const made = await useFactory(...dependencies);
        checkEngineOptions(made);
        return openStore(made);
      },
    };
  }
  checkEngineOptions(options);
  return { useFactory: () => openStore(options) };
}

async function openStore(options: RedisEngineOptions): Promise<RedisStore> {
  return new RedisStore(await openConnection(options), options);
}
