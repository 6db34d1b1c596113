import { setTimeout } from 'node:timers/promises';
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

  meanwhile();

  it('has ended the session on the server when its time is over', async () => {
    await setTimeout(Math.max(0, ends + 500 - performance.now()));
    expect(await look(short)).toEqual({ userId: null });
  });
}
