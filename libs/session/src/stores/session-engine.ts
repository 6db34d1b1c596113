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

/** What an engine is given, from a factory: for what has to be injected, such as a configuration, a pool or a client. */
export interface EngineFactory<Options> extends Pick<SessionEngine, 'imports' | 'inject'> {
  /** Returns it, or a promise of it. */
  useFactory: FactoryProvider<Options>['useFactory'];
}

/**
 * The engine of options that are there, or that a factory will make. Both are checked: the first at once.
 * @param check throws SessionConfigError
 */
export function engineOf<Options extends object>(
  options: Options | EngineFactory<Options>,
  check: (options: Options) => void,
  open: (options: Options) => SessionStore | Promise<SessionStore>,
): SessionEngine {
  if (!isFactory(options)) {
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

/** Anything may have been handed in; the check says what is wrong with it. */
function isFactory<Options>(given: Options | EngineFactory<Options>): given is EngineFactory<Options> {
  return typeof given === 'object' && given !== null && 'useFactory' in given;
}
