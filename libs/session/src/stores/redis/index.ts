export type { EncryptionOptions } from '../record-cipher.js';
export * from './redis-engine.js';
export * from './redis-options.js';
export * from './redis-store.js';
export type { IoRedisClient } from './ioredis-connection.js';
export type { NodeRedisClient } from './node-redis-connection.js';
export type { RedisConnection, ReplicaWait, RunsScripts } from './redis-connection.js';
export type { RedisScript } from './redis-scripts.js';
