import { RedisStore } from 'connect-redis';
import { redisEngine } from 'nest-sessions/redis';
import { createClient } from 'redis';
import { expressSessionOn, type Keeping, nestSessions } from '../application.js';
import { type Places } from '../contestants.js';
import { countRedisCommands } from './redis-commands.js';

countRedisCommands();

export function ours({ redis }: Places, library: 'ioredis' | 'redis'): Keeping {
  return nestSessions(redisEngine({ url: redis.url, library, prefix: `${redis.prefix}${library}:` }));
}

export async function connectRedis({ redis }: Places): Promise<Keeping> {
  const client = await createClient({ url: redis.url }).connect();
  return expressSessionOn(new RedisStore({ client, prefix: `${redis.prefix}connect-redis:` }));
}
