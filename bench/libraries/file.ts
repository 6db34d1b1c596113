import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import expressSession from 'express-session';
import { fileEngine } from 'nest-sessions/file';
import createFileStore from 'session-file-store';
import { type Libraries, nestSessions, sessionMiddleware } from '../application.js';
import { COOKIE_AGE } from '../contestants.js';

export const libraries: Libraries = {
  fileEngine: async (places) => {
    const directory = join(places.directory, 'ours');
    await mkdir(directory, { mode: 0o700, recursive: true });
    return nestSessions(fileEngine({ directory }));
  },
  'session-file-store': (places, platform) => {
    const FileStore = createFileStore(expressSession);
    const path = join(places.directory, 'session-file-store');
    return sessionMiddleware(
      platform,
      new FileStore({ path, ttl: COOKIE_AGE, reapInterval: -1, logFn: () => {} }),
    );
  },
};
