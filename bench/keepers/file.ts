import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import expressSession from 'express-session';
import { fileEngine } from 'nest-sessions/file';
import createFileStore from 'session-file-store';
import { expressSessionOn, type Keeping, nestSessions } from '../application.js';
import { COOKIE_AGE, type Places } from '../contestants.js';

export async function ours(places: Places): Promise<Keeping> {
  const directory = join(places.directory, 'ours');
  await mkdir(directory, { mode: 0o700 });
  return nestSessions(fileEngine({ directory }));
}

export function sessionFileStore(places: Places): Keeping {
  const FileStore = createFileStore(expressSession);
  const path = join(places.directory, 'session-file-store');
  return expressSessionOn(new FileStore({ path, ttl: COOKIE_AGE, reapInterval: -1, logFn: () => {} }));
}
