import { type EngineFactory, engineOf, type SessionEngine } from '../session-engine.js';
import { checkGiven } from './directory-check.js';
import { FileStore, type FileStoreOptions } from './file-store.js';

/**
 * Keeps each session in a file, for the processes of one machine.
 *
 * If the directory is missing or open to others, the start-up fails with a `SessionConfigError`.
 *
 * @example
 * ```ts
 * SessionModule.forRoot(fileEngine({ directory: '/var/lib/shop/sessions' }))
 * ```
 *
 * @example With options from elsewhere
 * ```ts
 * fileEngine({
 *   inject: [ConfigService],
 *   useFactory: (config: ConfigService) => ({ directory: config.getOrThrow('SESSION_DIRECTORY') }),
 * })
 * ```
 */
export function fileEngine(options: FileStoreOptions | EngineFactory<FileStoreOptions>): SessionEngine {
  return engineOf(options, checkGiven, (given) => new FileStore(given));
}
