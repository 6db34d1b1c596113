import { type FactoryProvider, type ModuleMetadata } from '@nestjs/common';
import { SessionConfigError } from '../../session.errors.js';
import { engineOf, type SessionEngine } from '../session-engine.js';
import { FileStore, type FileStoreOptions } from './file-store.js';

/** Options of `fileEngine` from a factory, if something has to be injected. */
export interface FileEngineAsyncOptions {
  /** Modules that export what the factory injects. */
  imports?: NonNullable<ModuleMetadata['imports']>;
  /** Tokens of the factory's arguments, in this order. */
  inject?: NonNullable<FactoryProvider['inject']>;
  /** Returns the options, or a promise of them. */
  useFactory: FactoryProvider<FileStoreOptions>['useFactory'];
}

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
export function fileEngine(options: FileStoreOptions | FileEngineAsyncOptions): SessionEngine {
  return engineOf(options, checkOptions, (given) => new FileStore(given));
}

/** @throws SessionConfigError */
function checkOptions({ directory }: Partial<FileStoreOptions>): void {
  if (typeof directory === 'string' && directory !== '') return;
  throw new SessionConfigError('directory', 'is missing. Name the directory for the session files.');
}
