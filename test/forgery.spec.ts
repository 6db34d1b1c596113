import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { Controller, Get, Post, Query } from '@nestjs/common';
import { Session } from 'nest-sessions';
import { keyHasher, parseSessionKey } from '../libs/session/src/session/session-key.js';
import { platforms, type RunningApp, startApp } from './support/app.js';
import { laidOpenStores, type LaidOpen } from './support/laid-open.js';
import { sessionKeyIn } from './support/database-app.js';
import { describeWithService } from './support/services.js';

/** Eve has a session of her own and may write to the store. With a pepper she becomes nobody else. */

@Controller()
class SiteController {
  @Post('login')
  login(@Session() session: Session, @Query('user') user: string) {
    session.login(user);
    session.set('note', `of ${user}`);
  }

  @Get('me')
  me(@Session() session: Session) {
    return { userId: session.userId, note: session.get('note') ?? null };
  }
}

const pepper = { secrets: randomBytes(32).toString('base64url') };

/** A session in the store, and what opens it. */
interface Stored {
  id: string;
  key: string;
  hash: string;
  text: string;
}

/** What is written under an id, and the key that is tried then. */
type Forgery = (eve: Stored, ada: Stored) => { id: string; text: string; key: string };

/** The hash that anybody can make of a key: it takes no secret of the server. */
const plainHash = (key: string, userId: string): string =>
  keyHasher().hash({ ...parseSessionKey(key), userId });

/** Some stores keep the kind of the hash apart from it. */
const withHash = (text: string, hash: string, by: string): string =>
  text.replaceAll(hash, by).replaceAll(hash.slice(3), by.slice(3));

const forgeries: Record<string, Forgery> = {
  'another user in her own record': (eve) => ({
    ...eve,
    text: eve.text.replaceAll('user-eve', 'user-ada'),
  }),
  'another user in her own record, and a plain hash for it': (eve) => ({
    ...eve,
    text: withHash(eve.text, eve.hash, plainHash(eve.key, 'user-ada')).replaceAll('user-eve', 'user-ada'),
  }),
  'the record of another user, under her id': (eve, ada) => ({
    ...eve,
    text: ada.text.replaceAll(ada.id, eve.id),
  }),
  'the record of another user, under her id and with her own key hash': (eve, ada) => ({
    ...eve,
    text: withHash(ada.text.replaceAll(ada.id, eve.id), ada.hash, eve.hash),
  }),
  'her own key hash in the record of another user': (eve, ada) => ({
    id: ada.id,
    text: withHash(ada.text, ada.hash, eve.hash),
    key: `${ada.id}.${eve.key.slice(23)}`,
  }),
  'a plain hash of her own secret in the record of another user': (eve, ada) => {
    const key = `${ada.id}.${eve.key.slice(23)}`;
    return { id: ada.id, text: withHash(ada.text, ada.hash, plainHash(key, 'user-ada')), key };
  },
};

const seen = async (app: RunningApp, key: string): Promise<unknown> =>
  (await app.request.get('/me').set('Cookie', `sessionid=${key}`)).body;

const PLAIN = 'a plain hash of her own secret in the record of another user';

describe.each(platforms)('on %s', (platform) => {
  describe.each(laidOpenStores.filter(([name]) => name !== 'memory'))('records in %s', (_, service, open) => {
    if (service === undefined) suite();
    else describeWithService(service, 'that is there', suite);

    function suite(): void {
      let store: LaidOpen;
      const apps: RunningApp[] = [];
      beforeAll(async () => {
        store = await open();
        for (const options of [{ pepper }, {}]) {
          apps.push(await startApp(platform, { ...store, options, controllers: [SiteController] }));
        }
      });
      afterAll(async () => {
        for (const app of apps) await app.close();
        await store.dispose();
      });

      const stored = async (app: RunningApp, userId: string, given?: typeof pepper): Promise<Stored> => {
        const key = sessionKeyIn(await app.request.post(`/login?user=${userId}`)) as string;
        const id = key.slice(0, 22);
        const text = await store.read(id);
        const hash = keyHasher(given).hash({ ...parseSessionKey(key), userId });
        assert(text.includes(hash.slice(3)) && text.includes(userId), 'The text shows what is to be forged.');
        return { id, key, hash, text };
      };

      it.each(Object.entries(forgeries))('S05: open nothing, with a pepper: %s', async (__, forge) => {
        const app = apps[0] as RunningApp;
        const eve = await stored(app, 'user-eve', pepper);
        const ada = await stored(app, 'user-ada', pepper);
        expect(await seen(app, eve.key)).toEqual({ userId: 'user-eve', note: 'of user-eve' });
        const { id, text, key } = forge(eve, ada);
        expect(text).not.toBe(await store.read(id));
        await store.write(id, text);
        expect(await seen(app, key)).toEqual({ userId: null, note: null });
      });

      it('are a login without one: what is forged above is well made', async () => {
        const app = apps[1] as RunningApp;
        const [eve, ada] = [await stored(app, 'user-eve'), await stored(app, 'user-ada')];
        const { id, text, key } = (forgeries[PLAIN] as Forgery)(eve, ada);
        await store.write(id, text);
        expect(await seen(app, key)).toEqual({ userId: 'user-ada', note: 'of user-ada' });
      });
    }
  });
});
