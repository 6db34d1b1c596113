import { TypeOrmModule, type TypeOrmModuleOptions } from '@nestjs/typeorm';
import { CreateNestSession1767225600000, SessionEntity } from 'nest-sessions/database';
import { type EngineSurroundings } from './inspect/stored-session.js';
import { TableRow } from './inspect/table-row.js';
import { type Settings } from './settings.js';
import { replaceFile, sqliteFile } from './sqlite-file.js';

export function aroundTheDatabase(settings: Settings): EngineSurroundings {
  return {
    imports: [
      TypeOrmModule.forRoot(databaseOptions(settings)),
      // Only for the page that shows the table's row; sessions need no repository.
      TypeOrmModule.forFeature([SessionEntity]),
    ],
    storedSession: TableRow,
  };
}

function databaseOptions({ databaseType, databaseUrl }: Settings): TypeOrmModuleOptions {
  if (databaseType === 'sqlite') return embeddedDatabase(sqliteFile(databaseUrl));
  return {
    type: databaseType === 'postgresql' ? 'postgres' : databaseType,
    url: databaseUrl,
    autoLoadEntities: true,
    migrations: [CreateNestSession1767225600000],
    migrationsRun: true,
    retryAttempts: 3,
    retryDelay: 1000,
  };
}

/** SQLite inside this process (sql.js): nothing to install. It lives in memory; the file is rewritten by every change. */
function embeddedDatabase(file: string): TypeOrmModuleOptions {
  return {
    type: 'sqljs',
    location: file,
    autoSave: true,
    autoSaveCallback: (content: Uint8Array) => replaceFile(file, content),
    autoLoadEntities: true,
    synchronize: true,
  };
}
