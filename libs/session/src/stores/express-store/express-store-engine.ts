import { type FactoryProvider } from '@nestjs/common';
import { type SessionEngine } from '../session-engine.js';
import { type CallbackStore, checkCallbackStore } from './callback-store.js';
import { ExpressStore, type ExpressStoreOptions } from './express-store.js';

/** A store from a factory, for what has to be injected: a pool, a client, a configuration. */
export interface ExpressStoreEngineFactory extends Pick<SessionEngine, 'imports' | 'inject'> {
  useFactory: FactoryProvider<CallbackStore>['useFactory'];
}

/**
 * Sessions in any store that was written for express-session. The store, and what it is connected to, is the
 * application's: the engine never closes it.
 *
 * @throws SessionConfigError when it is no such store
 *
 * @example
 * ```ts
 * SessionModule.forRoot(expressStoreEngine(new FileStore({ path: '/var/lib/shop/sessions', retries: 0 })))
 * SessionModule.forRoot(expressStoreEngine({
 *   inject: [Pool],
 *   useFactory: (pool: Pool) => new PostgresStore({ pool }),
 * }))
 * ```
 */
export function expressStoreEngine(
  store: CallbackStore | ExpressStoreEngineFactory,
  options: ExpressStoreOptions = {},
): SessionEngine {
  if (typeof store === 'object' && store !== null && 'useFactory' in store) {
    const { useFactory, ...wiring } = store;
    return {
      ...wiring,
      useFactory: async (...dependencies: Parameters<typeof useFactory>) =>
        new ExpressStore(await useFactory(...dependencies), options),
    };
  }
  checkCallbackStore(store);
  return { useFactory: () => new ExpressStore(store, options) };
}
