import { randomUUID } from 'node:crypto';
import { type DynamicModule } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import connectPgSimple from 'connect-pg-simple';
import expressSession from 'express-session';
import { databaseEngine } from 'nest-sessions/database';
import { Client, Pool } from 'pg';
import { type Libraries, nestSessions, sessionMiddleware, type Sessions } from '../application.js';
import { type ByHand, controllerByHand } from '../by-hand.js';
import { COOKIE_AGE, type Platform, type VisitorData } from '../contestants.js';
import { countCalls } from '../counters.js';
import { type Places } from '../places.js';

/** Connections, for each application. They stay open while the others have their turn. */
const POOL = { poolSize: 10, options: { max: 10, idleTimeoutMillis: 0 } };

// Everything here reaches PostgreSQL through `pg`, so this sees every statement, of a pool too.
countCalls('sql', Client.prototype, 'query');

export const libraries: Libraries = {
  databaseEngine: (places) => nestSessions(databaseEngine(), [typeOrm(places)]),
  'connect-pg-simple': (places, platform) => connectPg(places, platform, false),
  'connect-pg-simple, disableTouch': (places, platform) => connectPg(places, platform, true),
  'pg by hand': ({ postgres }) => ({ controller: controllerByHand(sessionsByHand(postgres)) }),
};

export function typeOrm({ postgres }: Places): DynamicModule {
  return TypeOrmModule.forRoot({
    type: 'postgres',
    url: postgres,
    poolSize: POOL.poolSize,
    extra: POOL.options,
    autoLoadEntities: true,
    synchronize: true,
  });
}

function connectPg({ postgres }: Places, platform: Platform, disableTouch: boolean): Sessions {
  const PostgresStore = connectPgSimple(expressSession);
  const pool = new Pool({ connectionString: postgres, ...POOL.options });
  return sessionMiddleware(platform, new PostgresStore({ pool, disableTouch, pruneSessionInterval: false }));
}

/** One SELECT, and one UPDATE that writes only over what was read. */
function sessionsByHand(postgres: string): ByHand {
  const pool = new Pool({ connectionString: postgres, ...POOL.options });
  return {
    async load(id) {
      const { rows } = await pool.query<{ data: string; version: number }>({
        name: 'load',
        text: 'SELECT data, version FROM by_hand WHERE id = $1 AND expires > $2',
        values: [id, Date.now()],
      });
      const [row] = rows;
      if (!row) throw new Error('The session is gone.');
      return { data: JSON.parse(row.data) as VisitorData, version: row.version };
    },
    async create(data) {
      const id = randomUUID();
      const values = [id, JSON.stringify(data), deadline()];
      await pool.query('INSERT INTO by_hand (id, data, version, expires) VALUES ($1, $2, 1, $3)', values);
      return id;
    },
    async save(id, { data, version }) {
      const { rowCount } = await pool.query({
        name: 'save',
        text: 'UPDATE by_hand SET data = $3, expires = $4, version = version + 1 WHERE id = $1 AND version = $2',
        values: [id, version, JSON.stringify(data), deadline()],
      });
      if (rowCount !== 1) throw new Error('The session was not saved.');
      return id;
    },
  };
}

function deadline(): number {
  return Date.now() + COOKIE_AGE * 1000;
}
