import { Redis } from 'ioredis';
import { createClient } from 'redis';
import { countCalls } from '../operations.js';

/** Those of every client in this process, of either library. A script that runs is one command. */
export function countRedisCommands(): void {
  countCalls('Redis', Redis.prototype, 'sendCommand');
  countCalls('Redis', createClient(), 'sendCommand');
}
