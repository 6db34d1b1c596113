import { TypeOrmModule } from '@nestjs/typeorm';
import { type Response } from 'supertest';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { databaseEngine } from 'nest-sessions/database';
import { type AppSetup, type Platform, type RunningApp, startApp } from './app.js';
import { testDatabase } from './data-source.js';
import { type DatabaseKind, serviceUrl } from './services.js';

export interface DatabaseApp extends RunningApp {
  dataSource: DataSource;
}

export interface DatabaseAppSetup extends Partial<AppSetup> {
  /** Share it to start several applications on one database; whoever made it disposes of it. */
  database?: Awaited<ReturnType<typeof testDatabase>>;
  typeorm?: Partial<Pick<DataSourceOptions, 'synchronize' | 'migrations' | 'migrationsRun' | 'logger'>>;
}

/** PostgreSQL where there is one, else SQLite. */
export const anyDatabase: DatabaseKind = serviceUrl('postgres') === undefined ? 'sqljs' : 'postgres';

/** An application with the database engine on a database of its own. */
export async function startDatabaseApp(
  platform: Platform,
  kind: DatabaseKind,
  { database, typeorm, imports = [], ...setup }: DatabaseAppSetup,
): Promise<DatabaseApp> {
  const { options, dispose } = database ?? (await testDatabase(kind));
  const running = await startApp(platform, {
    engine: databaseEngine(),
    ...setup,
    imports: [
      TypeOrmModule.forRoot({ ...options, synchronize: true, ...typeorm, autoLoadEntities: true }),
      ...imports,
    ],
  });
  const close = async (): Promise<void> => {
    await running.close();
    if (!database) await dispose();
  };
  return { ...running, dataSource: running.app.get(DataSource), close };
}

/** The value of the session cookie that a response sets: the session key, `''` for a removal, else undefined. */
export function sessionKeyIn(response: Pick<Response, 'headers'>, name = 'sessionid'): string | undefined {
  const lines = (response.headers as Record<string, unknown>)['set-cookie'] as string[] | undefined;
  return lines
    ?.find((line) => line.startsWith(`${name}=`))
    ?.slice(name.length + 1)
    .split(';')[0];
}

/** Lets the stored sessions be older than they are, as if nothing had happened for so many seconds. */
export async function age(dataSource: DataSource, seconds: number): Promise<void> {
  await dataSource.query(
    ['created_at', 'last_seen_at', 'expire_date']
      .map((column) => `${column} = ${column} - ${seconds * 1000}`)
      .join(', ')
      .replace(/^/, 'UPDATE nest_session SET '),
  );
}
