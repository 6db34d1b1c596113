import expressSession from 'express-session';
import createMemoryStore from 'memorystore';
import { memoryEngine } from 'nest-sessions/memory';
import { expressSessionOn, type Keeping, nestSessions } from '../application.js';

export function ours(): Keeping {
  return nestSessions(memoryEngine());
}

export function memorystore(): Keeping {
  const MemoryStore = createMemoryStore(expressSession);
  return expressSessionOn(new MemoryStore({}));
}
