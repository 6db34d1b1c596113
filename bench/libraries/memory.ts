import { randomUUID } from 'node:crypto';
import expressSession from 'express-session';
import createMemoryStore from 'memorystore';
import { memoryEngine } from 'nest-sessions/memory';
import { type Libraries, nestSessions, sessionMiddleware } from '../application.js';
import { type ByHand, controllerByHand } from '../by-hand.js';
import { COOKIE_AGE, type VisitorData } from '../contestants.js';

export const libraries: Libraries = {
  memoryEngine: () => nestSessions(memoryEngine()),
  memorystore: (_places, platform) => {
    const MemoryStore = createMemoryStore(expressSession);
    return sessionMiddleware(platform, new MemoryStore({}));
  },
  'MemoryStore of express-session': () => sessionMiddleware('express', new expressSession.MemoryStore()),
  '@fastify/session': () => sessionMiddleware('fastify'),
  'a Map by hand': () => ({ controller: controllerByHand(sessionsByHand()) }),
};

function sessionsByHand(): ByHand {
  const texts = new Map<string, { text: string; expires: number }>();
  const keep = (id: string, data: VisitorData): string => {
    texts.set(id, { text: JSON.stringify(data), expires: Date.now() + COOKIE_AGE * 1000 });
    return id;
  };
  return {
    load(id) {
      const kept = texts.get(id);
      if (!kept || kept.expires < Date.now()) throw new Error('The session is gone.');
      return { data: JSON.parse(kept.text) as VisitorData };
    },
    create: (data) => keep(randomUUID(), data),
    save: (id, { data }) => keep(id, data),
  };
}
