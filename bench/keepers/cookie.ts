import { randomBytes } from 'node:crypto';
import cookieSession from 'cookie-session';
import { cookieEngine } from 'nest-sessions/cookie';
import { type Keeping, nestSessions } from '../application.js';
import { COOKIE_AGE } from '../contestants.js';
import { PeerController } from '../controllers.js';

const secret = randomBytes(32).toString('base64url');

export function ours(signedOnly: boolean): Keeping {
  return nestSessions(cookieEngine({ secrets: secret, signedOnly }));
}

export function signedCookie(): Keeping {
  const middleware = cookieSession({ keys: [secret], maxAge: COOKIE_AGE * 1000 });
  return { controller: PeerController, middleware };
}
