import { readSettings, SettingsError } from './settings.js';

it('needs no environment', () => {
  expect(readSettings({})).toEqual({
    platform: 'express',
    port: 3000,
    engine: 'database',
    databaseType: 'sqlite',
    databaseUrl: 'sqlite:var/demo.sqlite',
    redisUrl: undefined,
    sessionDirectory: 'var/sessions',
    sessionSecrets: [],
  });
});

it.each([
  'database',
  'sql',
  'redis',
  'cache',
  'cached-database',
  'file',
  'cookie',
  'memory',
  'express-store',
])('takes the engine %s', (engine) => expect(readSettings({ SESSION_ENGINE: engine }).engine).toBe(engine));

it('takes several secrets', () => {
  expect(readSettings({ SESSION_SECRETS: ' new old ' }).sessionSecrets).toEqual(['new', 'old']);
});

it.each([
  ['PLATFORM', 'koa', 'PLATFORM is "koa", but must be express or fastify.'],
  [
    'SESSION_ENGINE',
    'mongo',
    'SESSION_ENGINE is "mongo", but must be database, sql, redis, cache, cached-database, file, cookie, memory, or express-store.',
  ],
  ['PORT', '-1', 'PORT is "-1", but must be a number from 0 to 65535.'],
  ['PORT', '70000', 'PORT is "70000", but must be a number from 0 to 65535.'],
  ['REDIS_URL', 'app:hunter2@cache:6379', 'REDIS_URL must begin with redis:// or rediss://.'],
])('refuses %s=%s and says what it accepts', (variable, value, message) => {
  expect(() => readSettings({ [variable]: value })).toThrow(new SettingsError(message));
});

it('refuses an unknown database without telling its password', () => {
  expect(() => readSettings({ DATABASE_URL: 'oracle://scott:tiger@db/orcl' })).toThrow(
    new SettingsError(
      'DATABASE_URL must begin with postgres://, postgresql://, mysql://, mariadb://, or sqlite:<file>.',
    ),
  );
});

it('takes only SQLite for the engine sql', () => {
  const environment = { SESSION_ENGINE: 'sql', DATABASE_URL: 'postgres://ada:hunter2@db/shop' };
  expect(() => readSettings(environment)).toThrow(
    new SettingsError('DATABASE_URL must begin with sqlite:<file> for SESSION_ENGINE=sql.'),
  );
});

it('makes up no secret in production', () => {
  const environment = { NODE_ENV: 'production', SESSION_ENGINE: 'cookie' };
  expect(() => readSettings(environment)).toThrow(/^SESSION_SECRETS is not set/);
  expect(readSettings({ ...environment, SESSION_SECRETS: 'one' }).sessionSecrets).toEqual(['one']);
});
