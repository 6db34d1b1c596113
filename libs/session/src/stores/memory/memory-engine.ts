import { Logger } from '@nestjs/common';
import { type SessionEngine } from '../session-engine.js';
import { checkMaxSessions, MemoryStore, type MemoryStoreOptions } from './memory-store.js';

/** What `memoryEngine` takes. Every member may be left out. */
export type MemoryEngineOptions = MemoryStoreOptions;

/**
 * Keeps sessions in the memory of this process, for development and tests: a restart ends all of them. Warns if
 * `NODE_ENV` is `production`.
 *
 * @throws SessionConfigError if an option is wrong
 *
 * @example
 * ```ts
 * @Module({ imports: [SessionModule.forRoot(memoryEngine())] })
 * export class AppModule {}
 * ```
 */
export function memoryEngine(options: MemoryEngineOptions = {}): SessionEngine {
  if (options.maxSessions !== undefined) checkMaxSessions(options.maxSessions);
  return {
    useFactory: () => {
      if (process.env['NODE_ENV'] === 'production') warn();
      return new MemoryStore(options);
    },
  };
}

function warn(): void {
  new Logger('Sessions').warn(
    'Sessions are kept in the memory of this process: they end with it, and no other process sees them. ' +
      'Use another engine in production.',
  );
}
