import { cachedDatabaseEngine } from 'nest-sessions/cached-database';
import { type Libraries, nestSessions, type Sessions } from '../application.js';
import { type Places } from '../places.js';
import { libraries as postgres, typeOrm } from './postgres.js';
import { countRedisCommands } from './redis.js';

countRedisCommands();

export const libraries: Libraries = {
  ...postgres,
  cachedDatabaseEngine: (places) => cached(places),
  'cachedDatabaseEngine, 10 min': (places) => cached(places, '10m'),
};

/** @param revocationBound after which the database is asked again */
function cached(places: Places, revocationBound?: string): Sessions {
  const { url, prefix } = places.redis;
  const engine = cachedDatabaseEngine({
    cache: { redis: { url }, prefix: `${prefix}cache:` },
    ...(revocationBound !== undefined && { revocationBound }),
  });
  return nestSessions(engine, [typeOrm(places)]);
}
