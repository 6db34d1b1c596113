import { randomUUID } from 'node:crypto';
import { RedisStore } from 'connect-redis';
import { Redis } from 'ioredis';
import { redisEngine } from 'nest-sessions/redis';
import { createClient } from 'redis';
import { type Libraries, nestSessions, sessionMiddleware, type Sessions } from '../application.js';
import { controllerByHand } from '../by-hand.js';
import { COOKIE_AGE, type VisitorData } from '../contestants.js';
import { countCalls } from '../counters.js';
import { type Places } from '../places.js';

/** Those of every client in this process, of either library. A script that runs is one command. */
export function countRedisCommands(): void {
  countCalls('redis', Redis.prototype, 'sendCommand');
  countCalls('redis', createClient(), 'sendCommand');
}

countRedisCommands();

export const libraries: Libraries = {
  'redisEngine, node-redis': (places) => ours(places, 'redis'),
  'redisEngine, ioredis': (places) => ours(places, 'ioredis'),
  'connect-redis': async ({ redis }, platform) => {
    const client = await createClient({ url: redis.url }).connect();
    const store = new RedisStore({ client, prefix: `${redis.prefix}connect-redis-${platform}:` });
    return sessionMiddleware(platform, store);
  },
  'node-redis by hand': async ({ redis }) => {
    const client = await createClient({ url: redis.url }).connect();
    return byHand(`${redis.prefix}by-hand:`, {
      get: (key) => client.get(key),
      set: (key, text, only) => client.set(key, text, { condition: only, expiration: EXPIRATION }),
    });
  },
  'ioredis by hand': ({ redis }) => {
    const client = new Redis(redis.url);
    return byHand(`${redis.prefix}by-hand:`, {
      get: (key) => client.get(key),
      set: (key, text, only) =>
        only === 'NX'
          ? client.set(key, text, 'EX', COOKIE_AGE, 'NX')
          : client.set(key, text, 'EX', COOKIE_AGE, 'XX'),
    });
  },
};

const EXPIRATION = { type: 'EX', value: COOKIE_AGE } as const;

function ours({ redis }: Places, library: 'ioredis' | 'redis'): Sessions {
  return nestSessions(redisEngine({ url: redis.url, library, prefix: `${redis.prefix}${library}:` }));
}

interface Client {
  get(key: string): Promise<string | null>;
  set(key: string, text: string, only: 'NX' | 'XX'): Promise<unknown>;
}

/** One GET, and one SET that only writes over what is there. */
function byHand(prefix: string, client: Client): Sessions {
  return {
    controller: controllerByHand({
      async load(id) {
        const text = await client.get(prefix + id);
        if (text === null) throw new Error('The session is gone.');
        return { data: JSON.parse(text) as VisitorData };
      },
      async create(data) {
        const id = randomUUID();
        await client.set(prefix + id, JSON.stringify(data), 'NX');
        return id;
      },
      async save(id, { data }) {
        await client.set(prefix + id, JSON.stringify(data), 'XX');
        return id;
      },
    }),
  };
}
