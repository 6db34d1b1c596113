/**
 * What sessions cost a request: CPU time of the server process and statements sent to PostgreSQL, for a bare Nest
 * application, nest-sessions, and express-session with connect-pg-simple. See docs/benchmarks.md.
 */
import { run } from './run.js';

const peer = 'express-session';

/** The yardstick of each platform comes first. */
await run(
  [
    { platform: 'express', keeper: 'none' },
    { platform: 'express', keeper: 'nest-sessions', peer },
    { platform: 'express', keeper: 'express-session', peer },
    { platform: 'express', keeper: 'express-session, disableTouch', peer },
    { platform: 'fastify', keeper: 'none' },
    { platform: 'fastify', keeper: 'nest-sessions', peer },
  ],
  { needsRedis: false, rounds: 9, warmUpRounds: 4, requests: 1500 },
);
