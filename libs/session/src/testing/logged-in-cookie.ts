import { type INestApplicationContext } from '@nestjs/common';
import { Sessions } from '../management/sessions.js';
import { type ResolvedSessionOptions } from '../options/resolve-options.js';
import { SESSION_OPTIONS } from '../session.tokens.js';
import { type SessionData, type StorableData } from '../session/session.js';

/**
 * The Cookie header of a browser in which this user has just logged in: a new session, in whatever store the application
 * uses.
 *
 * @param data what else is in the session
 *
 * @example
 * ```ts
 * await request(app.getHttpServer()).get('/account').set('Cookie', await loggedInCookie(app, user.id)).expect(200);
 * ```
 */
export async function loggedInCookie<Data extends StorableData<Data> = SessionData>(
  app: INestApplicationContext,
  userId: string | number,
  data: Partial<Data> = {},
): Promise<string> {
  const session = await app.get(Sessions, { strict: false }).create<Data>(data);
  session.login(userId);
  await session.save();
  const { cookie } = app.get<ResolvedSessionOptions>(SESSION_OPTIONS, { strict: false });
  return `${cookie.name}=${session.sessionKey()}`;
}
