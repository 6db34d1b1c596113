import { type DynamicModule } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import connectPgSimple from 'connect-pg-simple';
import expressSession from 'express-session';
import { cachedDatabaseEngine } from 'nest-sessions/cached-database';
import { databaseEngine } from 'nest-sessions/database';
import { Client, Pool } from 'pg';
import { expressSessionOn, type Keeping, nestSessions } from '../application.js';
import { type Places, POOL_SIZE } from '../contestants.js';
import { countCalls } from '../operations.js';
import { countRedisCommands } from './redis-commands.js';

/** Also while the others have their turn. */
const KEEP_CONNECTIONS = { idleTimeoutMillis: 0 };

// Both libraries reach PostgreSQL through `pg`, so this sees every statement, of a pool too.
countCalls('SQL', Client.prototype, 'query');

export function ours(places: Places): Keeping {
  return nestSessions(databaseEngine(), [typeOrm(places)]);
}

/** @param revocationBound after which the database is asked again */
export function oursCached(places: Places, revocationBound?: string): Keeping {
  const { url, prefix } = places.redis;
  countRedisCommands();
  const engine = cachedDatabaseEngine({
    cache: { redis: { url }, prefix: `${prefix}cache:` },
    ...(revocationBound !== undefined && { revocationBound }),
  });
  return nestSessions(engine, [typeOrm(places)]);
}

export function pgSimple({ postgres }: Places, disableTouch: boolean): Keeping {
  const PostgresStore = connectPgSimple(expressSession);
  return expressSessionOn(
    new PostgresStore({
      pool: new Pool({ connectionString: postgres, max: POOL_SIZE, ...KEEP_CONNECTIONS }),
      disableTouch,
      pruneSessionInterval: false,
    }),
  );
}

function typeOrm({ postgres }: Places): DynamicModule {
  return TypeOrmModule.forRoot({
    type: 'postgres',
    url: postgres,
    poolSize: POOL_SIZE,
    extra: KEEP_CONNECTIONS,
    autoLoadEntities: true,
    synchronize: true,
  });
}
