import { SessionConfigError } from '../session.errors.js';
import { clearExpired } from './clear-expired.js';
import { type ClearingTarget } from './cli.target.js';

/** The sessions in a database, reached without the application. TypeORM is loaded only now: it is an optional peer. */
export async function openDatabaseUrl(url: string, table?: string): Promise<ClearingTarget> {
  const { openDatabase } = await import('../stores/database/database-url.js').catch(explainMissingPackage);
  const database = await openDatabase(url, table);
  return {
    clearExpired: (options) => clearExpired(database.store, options),
    close: () => database.close(),
  };
}

function explainMissingPackage(cause: Error & { code?: string }): never {
  if (cause.code !== 'ERR_MODULE_NOT_FOUND') throw cause;
  throw new SessionConfigError(
    '--database-url',
    'needs the package typeorm, which was not found. Run the command in the directory of your application, ' +
      'where typeorm and the driver of your database are installed.',
    { cause },
  );
}
