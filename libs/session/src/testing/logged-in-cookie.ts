import { type INestApplicationContext } from '@nestjs/common';
import { Sessions } from '../management/sessions.js';
import { type ResolvedSessionOptions } from '../options/resolve-options.js';
import { SessionUnsupportedError } from '../session.errors.js';
import { SESSION_OPTIONS } from '../session.tokens.js';
import { type SessionData, type StorableData } from '../session/session.js';

/**
 * The Cookie header of a browser in which this user has just logged in: a new session, in whatever store the application
 * uses.
 *
 * @param data what else is in the session
 * @throws SessionUnsupportedError when the application takes session keys in a header only
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
  const { cookie, transport } = optionsOf(app);
  if (!transport.cookie) {
    throw new SessionUnsupportedError(
      'loggedInCookie() needs an application that reads the cookie, and the option "transport" names a header only. ' +
        'Use loggedInHeader().',
    );
  }
  return `${cookie.name}=${await loggedInKey(app, userId, data)}`;
}

/**
 * The header of a client in which this user has just logged in, for an application that takes session keys in one: the
 * first that the option `transport` names.
 *
 * @param data what else is in the session
 * @throws SessionUnsupportedError when the application takes session keys in the cookie only
 *
 * @example
 * ```ts
 * await request(app.getHttpServer()).get('/account').set(await loggedInHeader(app, user.id)).expect(200);
 * ```
 */
export async function loggedInHeader<Data extends StorableData<Data> = SessionData>(
  app: INestApplicationContext,
  userId: string | number,
  data: Partial<Data> = {},
): Promise<Record<string, string>> {
  const [header] = optionsOf(app).transport.headers;
  if (!header) {
    throw new SessionUnsupportedError(
      'loggedInHeader() needs an application that reads a header, and the option "transport" names none. Use ' +
        'loggedInCookie().',
    );
  }
  const key = await loggedInKey(app, userId, data);
  return { [header.name]: header.bearer ? `Bearer ${key}` : key };
}

function optionsOf(app: INestApplicationContext): ResolvedSessionOptions {
  return app.get<ResolvedSessionOptions>(SESSION_OPTIONS, { strict: false });
}

async function loggedInKey<Data extends StorableData<Data>>(
  app: INestApplicationContext,
  userId: string | number,
  data: Partial<Data>,
): Promise<string> {
  const session = await app.get(Sessions, { strict: false }).create<Data>(data);
  session.login(userId);
  await session.save();
  return session.sessionKey() as string;
}
