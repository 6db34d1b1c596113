/**
 * The Redis engine: a single node, Sentinel or Cluster, through `ioredis` or `redis`.
 *
 * @example
 * ```ts
 * import { redisEngine } from 'nest-sessions/redis';
 * ```
 * @module nest-sessions/redis
 */
export type { EncryptionOptions } from '../sealing.js';
export { redisEngine } from './redis-engine.js';
export type {
  ClientGiven,
  ClientWanted,
  RedisEngineOptions,
  RedisLibrary,
  RedisStoreOptions,
} from './redis-options.js';
export * from './redis-store.js';
export type { IoRedisClient, NodeRedisClient } from './redis-clients.js';
export type { Command, RedisConnection, ReplicaWait } from './redis-connection.js';
export type { RedisScript } from './redis-scripts.js';
