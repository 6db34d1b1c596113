import { setTimeout } from 'node:timers/promises';
import { Sessions } from 'nest-sessions';
import { type RunningApp } from '../support/app.js';
import { sessionKeyIn } from '../support/database-app.js';
import { type EngineRow } from './engine-row.js';

/** In real time, as most rows take in any case. Seconds. */
const SHORT = 2;

/** What else a visitor sees, first and last in the row, so that a session can expire in real time meanwhile. */
export function describeVisits(row: EngineRow, meanwhile: () => void): void {
  const act = (action: string, cookie = '', given: object = {}) =>
    row.site.request.post(`/races/act/${action}`).set('Cookie', cookie).send(given);
  const look = async (cookie: string): Promise<unknown> =>
    (await row.site.request.get('/races').set('Cookie', cookie)).body;

  let short = '';
  let ends = 0;
  it('gives a session and its cookie the time that was set for it', async () => {
    const started = sessionKeyIn(await act('start'));
    ends = performance.now() + SHORT * 1000;
    const response = await act('expire', `sessionid=${started}`, { expiry: SHORT });
    expect(response.get('Set-Cookie')?.[0]).toContain(`Max-Age=${SHORT};`);
    short = `sessionid=${sessionKeyIn(response)}`;
    const seen = await look(short);
    // On a machine that took longer for these lines its time may be over.
    const late = performance.now() >= ends;
    expect([{ secret: 'of ada', userId: null }, ...(late ? [{ userId: null }] : [])]).toContainEqual(seen);
  });

  it('ends a session at once whose time is set to the past', async () => {
    const started = `sessionid=${sessionKeyIn(await act('start'))}`;
    const gone = await act('expire', started, { expiry: -1 });
    expect(gone.get('Set-Cookie')?.[0]).toMatch(/^sessionid=; Max-Age=0/);
  });

  it.each(['', 'x', 'A'.repeat(43), `${'A'.repeat(42)}%`, 'null', '../../etc/passwd', 'ü'.repeat(20)])(
    'takes %p for no session',
    async (value) => {
      const cookie = `sessionid=${encodeURI(value)}`;
      expect(await look(cookie)).toEqual({ userId: null });
      expect(sessionKeyIn(await act('increment', cookie))).not.toBe(value);
    },
  );

  describe('S69: between applications that share the store and the secrets', () => {
    const apps: Record<string, RunningApp> = {};
    beforeAll(async () => {
      for (const application of ['', 'shop', 'blog']) {
        apps[application] = await row.start({ options: { application } });
      }
    });
    afterAll(async () => {
      for (const app of Object.values(apps)) await app.close();
    });

    const pairs = [
      ['shop', 'blog'],
      ['shop', ''],
      ['', 'shop'],
    ] as const;

    it.each(pairs)('a session of %p is nobody to %p', async (one, other) => {
      const [own, foreign] = [apps[one], apps[other]] as [RunningApp, RunningApp];
      for (const action of ['start', 'login']) {
        const cookie = `sessionid=${sessionKeyIn(await own.request.post(`/races/act/${action}`).send({}))}`;
        const seen = async (app: RunningApp): Promise<unknown> =>
          (await app.request.get('/races').set('Cookie', cookie)).body;
        const before = await seen(own);
        expect(before).not.toEqual({ userId: null });
        expect(await seen(foreign)).toEqual({ userId: null });
        await foreign.request.post('/races/act/logout').set('Cookie', cookie);
        await foreign.request.post('/races/act/write').set('Cookie', cookie).send({});
        expect(await seen(own)).toEqual(before);
        expect(await foreign.app.get(Sessions).open(cookie.slice('sessionid='.length))).toBeNull();
      }
    });

    if (row.lacks('listing')) return;
    it.each(pairs)('sessions of a user of %p are none of %p', async (one, other) => {
      const [own, foreign] = [apps[one], apps[other]] as [RunningApp, RunningApp];
      const user = `user of ${one} and ${other}`;
      const cookie = `sessionid=${sessionKeyIn(await own.request.post('/races/act/login').send({ user }))}`;
      const [ours, theirs] = [own.app.get(Sessions), foreign.app.get(Sessions)];
      const [session] = await ours.listByUser(user);
      expect(session?.id).toBe(cookie.slice('sessionid='.length).slice(0, 22));
      expect(await theirs.listByUser(user)).toEqual([]);
      expect(await theirs.revoke(session?.id ?? '', { userId: user })).toBe(false);
      expect(await theirs.revoke(session?.id ?? '')).toBe(false);
      expect(await theirs.revokeAll(user)).toBe(0);
      expect((await own.request.get('/races').set('Cookie', cookie)).body).toEqual({ userId: user });
      expect(await ours.revokeAll(user)).toBe(1);
      expect((await own.request.get('/races').set('Cookie', cookie)).body).toEqual({ userId: null });
    });
  });

  meanwhile();

  it('has ended the session on the server when its time is over', async () => {
    await setTimeout(Math.max(0, ends + 500 - performance.now()));
    expect(await look(short)).toEqual({ userId: null });
  });
}
