export type { EncryptionOptions } from '../sealing.js';
export * from './redis-engine.js';
export * from './redis-options.js';
export * from './redis-store.js';
export type { IoRedisClient } from './ioredis.js';
export type { NodeRedisClient } from './node-redis.js';
export type { ClientWanted, RedisLibrary } from './redis-address.js';
export type { Command, RedisConnection, ReplicaWait } from './redis-connection.js';
export type { RedisScript } from './redis-scripts.js';
