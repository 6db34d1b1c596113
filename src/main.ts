import { SessionConfigError } from 'nest-sessions';
import { createApp } from './app.js';
import { readSettings, type Settings, SettingsError, usesDatabase } from './settings.js';

/** What drivers say when nobody answers at the address. */
const UNREACHABLE = new Set(['ECONNREFUSED', 'ENOTFOUND', 'ETIMEDOUT']);

try {
  const settings = readSettings(process.env);
  const app = await createApp(settings);
  await app.listen(settings.port, '0.0.0.0');
  app.useLogger(['log', 'warn', 'error', 'fatal']);
  const address = app.getHttpServer().address() as { port: number };
  console.log(
    `\nThe demo of nest-sessions, on ${settings.platform}, with the engine ${engineOf(settings)}:` +
      `\n\n  http://localhost:${address.port}\n\nCtrl-C ends it.\n`,
  );
} catch (error) {
  console.error(explain(error));
  process.exit(1);
}

function engineOf(settings: Settings): string {
  return usesDatabase(settings) ? `${settings.engine} (${settings.databaseType})` : settings.engine;
}

function explain(error: unknown): unknown {
  if (error instanceof SettingsError || error instanceof SessionConfigError)
    return `The demo cannot start: ${error.message}`;
  if (error instanceof Error && 'code' in error && error.code === 'EADDRINUSE') {
    return 'The demo cannot start: the port is taken. Set PORT to another one.';
  }
  if (error instanceof Error && 'code' in error && UNREACHABLE.has(String(error.code))) {
    return `The demo cannot start: its database cannot be reached (${String(error.code)}). Check DATABASE_URL.`;
  }
  return error;
}
