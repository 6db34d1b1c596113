import { type FactoryProvider, type ModuleMetadata } from '@nestjs/common';
import { type SessionSealer } from './session-sealer.js';
import { type SessionStore } from './session-store.js';

/**
 * The Nest wiring of a store: what to import, what to inject, and a factory that makes the store from it.
 * This is what `SessionModule.forRoot` takes; `databaseEngine()` and its siblings return one.
 *
 * @example
 * ```ts
 * const engine: SessionEngine = {
 *   imports: [ConfigModule],
 *   inject: [ConfigService],
 *   useFactory: (config: ConfigService) => new MyStore(config.getOrThrow('MY_STORE_URL')),
 * };
 * ```
 */
export interface SessionEngine {
  /** Modules that export what the factory injects. */
  imports?: NonNullable<ModuleMetadata['imports']>;
  /** Tokens of what the factory gets, in this order. */
  inject?: NonNullable<FactoryProvider['inject']>;
  /** Makes the store (or, for the cookie engine, the sealer). May return a promise. Called once, at the start. */
  useFactory: FactoryProvider<SessionStore | SessionSealer>['useFactory'];
}

type Factory<Options> = Pick<SessionEngine, 'imports' | 'inject'> & {
  useFactory: FactoryProvider<Options>['useFactory'];
};

/**
 * The engine of options that are there, or that a factory will make. Both are checked: the first at once.
 * @param check throws SessionConfigError
 */
export function engineOf<Options extends object>(
  options: Options | Factory<Options>,
  check: (options: Options) => void,
  open: (options: Options) => SessionStore | Promise<SessionStore>,
): SessionEngine {
  if (!('useFactory' in options)) {
    check(options);
    return { useFactory: () => open(options) };
  }
  const { useFactory, ...wiring } = options;
  return {
    ...wiring,
    useFactory: async (...dependencies: Parameters<typeof useFactory>) => {
      const made = await useFactory(...dependencies);
      check(made);
      return open(made);
    },
  };
}
