import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type * as NestCore from '@nestjs/core';
import { SessionConfigError } from '../session.errors.js';
import { type ClearingTarget } from './cli.target.js';
import { failureMessage } from './failure-message.js';
import { SESSIONS } from './sessions.token.js';

type AppModule = Parameters<typeof NestCore.NestFactory.createApplicationContext>[0];
type Exports = Record<string, AppModule | undefined>;

/**
 * The sessions of an application, with the engine, the connections and the configuration it has itself.
 * @param target `dist/app.module.js`, with `#AppModule` when the file exports more than one class
 */
export async function openApp(target: string): Promise<ClearingTarget> {
  const [path = '', exportName] = target.split('#');
  const file = resolve(path);
  if (!existsSync(file)) throw problem(`names ${path}, which does not exist. Build the application first.`);
  const appModule = pickModule(path, await importFile(path, file), exportName);

  // The application's own Nest: with another copy of it nothing could be injected.
  const nestFile = createRequire(file).resolve('@nestjs/core');
  const { NestFactory }: typeof NestCore = await import(pathToFileURL(nestFile).href);
  const app = await NestFactory.createApplicationContext(appModule, {
    logger: ['error', 'fatal'],
    abortOnError: false,
  });
  try {
    const sessions = app.get<Pick<ClearingTarget, 'clearExpired'>>(SESSIONS, { strict: false });
    return { clearExpired: (options) => sessions.clearExpired(options), close: () => app.close() };
  } catch (cause) {
    await app.close();
    throw problem('names a module that does not import SessionModule.', cause);
  }
}

async function importFile(path: string, file: string): Promise<Exports> {
  try {
    return await import(pathToFileURL(file).href);
  } catch (cause) {
    const why = failureMessage(cause);
    throw problem(
      `names ${path}, which could not be loaded: ${why}. Give the compiled JavaScript file.`,
      cause,
    );
  }
}

/** The export of that name; without a name the default export, or the only class there is. */
function pickModule(path: string, exported: Exports, name?: string): AppModule {
  const classes = Object.keys(exported).filter((key) => typeof exported[key] === 'function');
  const picked = name ?? (classes.includes('default') ? 'default' : classes[0]);
  if (picked === undefined) throw problem(`names ${path}, which exports no class.`);
  if (!exported[picked])
    throw problem(`names ${path}#${picked}, but that file exports ${classes.join(', ')}.`);
  if (name === undefined && picked !== 'default' && classes.length > 1) {
    throw problem(`names ${path}, which exports ${classes.join(', ')}. Say which, as in ${path}#${picked}.`);
  }
  return exported[picked];
}

function problem(sentence: string, cause?: unknown): SessionConfigError {
  return new SessionConfigError('--app', sentence, cause === undefined ? undefined : { cause });
}
