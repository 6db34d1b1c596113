export type { EncryptionOptions } from '../sealing.js';
export * from './redis-engine.js';
export * from './redis-options.js';
export * from './redis-store.js';
export type { IoRedisClient, NodeRedisClient } from './redis-clients.js';
export type { Command, RedisConnection, ReplicaWait } from './redis-connection.js';
export type { RedisScript } from './redis-scripts.js';
