import { realpath, rename, stat, writeFile } from 'node:fs/promises';
import { DataSource, type DataSourceOptions, DriverPackageNotInstalledError, Entity } from 'typeorm';
import { SessionConfigError } from '../../session.errors.js';
import { type SessionStore } from '../session-store.js';
import { DatabaseStore } from './database-store.js';
import { SessionEntity } from './session.entity.js';

/** A database opened by its URL, without an application around it. */
interface OpenDatabase {
  store: SessionStore;
  /** Writes what only this process has (sql.js), and disconnects. */
  close: () => Promise<void>;
}

interface Connection {
  dataSource: DataSource;
  /** For a driver that works on a copy of the database: bring it to where the database is. */
  save?: () => Promise<void>;
}

/**
 * The session store in the database at `url`: `postgres://…`, `mysql://…`, `mariadb://…` or `sqlite:<file>`.
 * @param table where the sessions are, when not in "nest_session"
 * @throws SessionConfigError when the URL is none of these, or there is no such file
 */
export async function openDatabase(url: string, table?: string): Promise<OpenDatabase> {
  const entity = table === undefined ? SessionEntity : entityOn(table);
  const { dataSource, save } = await connect(url, entity);
  return {
    store: new DatabaseStore(dataSource, entity),
    close: async () => {
      try {
        await save?.();
      } finally {
        await dataSource.destroy();
      }
    },
  };
}

function entityOn(table: string): typeof SessionEntity {
  @Entity(table)
  class SessionEntityOnTable extends SessionEntity {}
  return SessionEntityOnTable;
}

async function connect(url: string, entity: typeof SessionEntity): Promise<Connection> {
  const [scheme] = url.split(':');
  const shared = { entities: [entity], poolSize: 1 };
  switch (scheme) {
    case 'postgres':
    case 'postgresql':
      return initialized({ ...shared, type: 'postgres', url, connectTimeoutMS: 10_000 });
    case 'mysql':
    case 'mariadb':
      if (url.includes('?')) {
        // The driver would never see them, and one of them may be the demand for TLS.
        throw problem('has parameters behind a "?", which are not supported for MySQL. Use --app.');
      }
      return initialized({ ...shared, type: scheme, url });
    case 'sqlite':
      return connectFile(url.replace(/^sqlite:(\/\/)?/, ''), entity);
    default:
      throw problem('must begin with postgres:, mysql:, mariadb: or sqlite:.');
  }
}

async function initialized(options: DataSourceOptions): Promise<Connection> {
  return { dataSource: await new DataSource(options).initialize() };
}

async function connectFile(path: string, entity: typeof SessionEntity): Promise<Connection> {
  const file = await realpath(path).catch((cause: unknown) => {
    throw problem(`names the file ${path}, which does not exist.`, cause);
  });
  try {
    return await initialized({ type: 'better-sqlite3', database: file, entities: [entity] });
  } catch (error) {
    if (!(error instanceof DriverPackageNotInstalledError)) throw error;
    return connectCopy(file, entity);
  }
}

/** sql.js reads the whole file into memory and knows of no other process. */
async function connectCopy(file: string, entity: typeof SessionEntity): Promise<Connection> {
  const opened = await stat(file);
  const { dataSource } = await initialized({ type: 'sqljs', location: file, entities: [entity] });
  const save = async (): Promise<void> => {
    const [row]: [{ changes: number }] = await dataSource.query('SELECT total_changes() AS changes');
    if (row.changes === 0) return;
    if ((await stat(file)).mtimeMs !== opened.mtimeMs) {
      throw problem(
        `names the file ${file}, which another process has changed since it was read. It was left as it is. ` +
          'Stop the application first, or install better-sqlite3.',
      );
    }
    const draft = `${file}.${process.pid}.tmp`;
    await writeFile(draft, dataSource.sqljsManager.exportDatabase(), { mode: opened.mode });
    await rename(draft, file);
  };
  return { dataSource, save };
}

function problem(sentence: string, cause?: unknown): SessionConfigError {
  return new SessionConfigError('--database-url', sentence, { cause });
}
