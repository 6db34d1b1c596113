import { randomBytes } from 'node:crypto';
import cookieSession from 'cookie-session';
import { cookieEngine } from 'nest-sessions/cookie';
import { type Libraries, nestSessions, PeerController } from '../application.js';
import { COOKIE_AGE } from '../contestants.js';

const secret = randomBytes(32).toString('base64url');

export const libraries: Libraries = {
  'cookieEngine, signedOnly': () => nestSessions(cookieEngine({ secrets: secret, signedOnly: true })),
  'cookie-session': () => {
    const middleware = cookieSession({ keys: [secret], maxAge: COOKIE_AGE * 1000 });
    return { controller: PeerController, mount: (app) => app.use(middleware) };
  },
};
