const platforms = ['express', 'fastify'] as const;
const engines = [
  'database',
  'sql',
  'redis',
  'cache',
  'cached-database',
  'file',
  'cookie',
  'memory',
  'express-store',
] as const;
const databases = ['postgres', 'postgresql', 'mysql', 'mariadb', 'sqlite'] as const;

export type Platform = (typeof platforms)[number];

export interface Settings {
  platform: Platform;
  port: number;
  engine: (typeof engines)[number];
  /** For the engines `database` and `cached-database`, and for `sql`, which takes SQLite. */
  databaseType: (typeof databases)[number];
  databaseUrl: string;
  /** For the engine `redis`, and for `cached-database`, which without it caches in its own memory. */
  redisUrl: string | undefined;
  /** For the engine `file`. */
  sessionDirectory: string;
  /** For the engine `cookie`, the newest first. None: one is made for this start. */
  sessionSecrets: string[];
}

export function usesDatabase({ engine }: Settings): boolean {
  return engine === 'database' || engine === 'cached-database';
}

/** An environment variable says something that this application does not know. */
export class SettingsError extends Error {}

/** @throws SettingsError naming the variable and what it accepts */
export function readSettings(environment: NodeJS.ProcessEnv): Settings {
  const databaseUrl = environment['DATABASE_URL'] || 'sqlite:var/demo.sqlite';
  const settings: Settings = {
    platform: oneOf(platforms, 'PLATFORM', environment['PLATFORM'] || 'express'),
    port: readPort(environment['PORT'] || '3000'),
    engine: oneOf(engines, 'SESSION_ENGINE', environment['SESSION_ENGINE'] || 'database'),
    databaseType: readDatabaseType(databaseUrl),
    databaseUrl,
    redisUrl: readRedisUrl(environment['REDIS_URL']),
    sessionDirectory: environment['SESSION_DIRECTORY'] || 'var/sessions',
    sessionSecrets: environment['SESSION_SECRETS']?.split(/\s+/).filter(Boolean) ?? [],
  };
  if (settings.engine === 'sql' && settings.databaseType !== 'sqlite') {
    throw new SettingsError('DATABASE_URL must begin with sqlite:<file> for SESSION_ENGINE=sql.');
  }
  const isProduction = environment['NODE_ENV'] === 'production';
  if (settings.engine === 'cookie' && isProduction && settings.sessionSecrets.length === 0) {
    throw new SettingsError('SESSION_SECRETS is not set. In production SESSION_ENGINE=cookie needs it.');
  }
  return settings;
}

function oneOf<Choice extends string>(choices: readonly Choice[], variable: string, value: string): Choice {
  const choice = choices.find((accepted) => accepted === value);
  if (choice !== undefined) return choice;
  throw new SettingsError(`${variable} is "${value}", but must be ${inWords(choices)}.`);
}

function readPort(value: string): number {
  const port = Number(value);
  if (/^\d+$/.test(value) && port <= 65_535) return port;
  throw new SettingsError(`PORT is "${value}", but must be a number from 0 to 65535.`);
}

function readDatabaseType(url: string): Settings['databaseType'] {
  const type = databases.find((name) => url.startsWith(`${name}:`));
  if (type !== undefined) return type;
  // Without the value: it may hold a password.
  const beginnings = databases.map((name) => (name === 'sqlite' ? 'sqlite:<file>' : `${name}://`));
  throw new SettingsError(`DATABASE_URL must begin with ${inWords(beginnings)}.`);
}

function readRedisUrl(url: string | undefined): string | undefined {
  if (!url || /^rediss?:\/\//.test(url)) return url || undefined;
  throw new SettingsError('REDIS_URL must begin with redis:// or rediss://.');
}

function inWords(choices: readonly string[]): string {
  return new Intl.ListFormat('en', { type: 'disjunction' }).format(choices);
}
