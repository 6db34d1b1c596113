import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { Logger } from '@nestjs/common';
import { type SessionEngine } from 'nest-sessions';
import { type Settings } from './settings.js';

/** Injects the name of the engine. */
export const ENGINE = Symbol('ENGINE');

/** Each is imported only when it is chosen: who keeps sessions in files needs neither TypeORM nor a Redis client. */
const engines: Record<Settings['engine'], (settings: Settings) => Promise<SessionEngine>> = {
  async database() {
    const { databaseEngine } = await import('nest-sessions/database');
    return databaseEngine();
  },
  async sql({ databaseUrl }) {
    const { sqlEngine } = await import('nest-sessions/sql');
    const { openSqlite } = await import('./sqlite.js');
    return sqlEngine(await openSqlite(databaseUrl));
  },
  async redis({ redisUrl = 'redis://localhost:6379' }) {
    const { redisEngine } = await import('nest-sessions/redis');
    return redisEngine({ url: redisUrl });
  },
  async cache() {
    const { cacheEngine } = await import('nest-sessions/cache');
    return cacheEngine();
  },
  async 'cached-database'({ redisUrl }) {
    const { cachedDatabaseEngine } = await import('nest-sessions/cached-database');
    return cachedDatabaseEngine(redisUrl === undefined ? {} : { cache: { redis: { url: redisUrl } } });
  },
  async file({ sessionDirectory: directory }) {
    const { fileEngine } = await import('nest-sessions/file');
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    return fileEngine({ directory });
  },
  async cookie({ sessionSecrets }) {
    const { cookieEngine } = await import('nest-sessions/cookie');
    return cookieEngine({ secrets: sessionSecrets.length > 0 ? sessionSecrets : [secretForThisStart()] });
  },
  async memory() {
    const { memoryEngine } = await import('nest-sessions/memory');
    return memoryEngine();
  },
  async 'express-store'() {
    const { expressSession, expressStoreEngine } = await import('nest-sessions/express-store');
    const { default: createMemoryStore } = await import('memorystore');
    const MemoryStore = createMemoryStore(expressSession);
    return expressStoreEngine(new MemoryStore({ checkPeriod: 86_400_000 }));
  },
};

/** The engine that `SESSION_ENGINE` names. */
export function sessionEngine(settings: Settings): Promise<SessionEngine> {
  return engines[settings.engine](settings);
}

function secretForThisStart(): string {
  new Logger('Demo').warn(
    'SESSION_SECRETS is not set: the cookies are sealed with a secret made for this start, and the next start opens none of them.',
  );
  return randomBytes(32).toString('base64url');
}
