import { createHmac } from 'node:crypto';
import { inspect } from 'node:util';
import fastifyCookie from '@fastify/cookie';
import { acceptExpressSession, acceptFastifySession } from './accept-sessions.js';
import { type CallbackStore } from './callback-store.js';

const SECRET = 'the secret of the other library';
const SID = 'a session.id/with+signs';

/** A store with one session. */
function storeOf(session: unknown): CallbackStore {
  return {
    get: (sid, callback) => callback(null, sid === SID ? session : undefined),
    set: (_sid, _session, callback) => callback(),
    destroy: (_sid, callback) => callback(),
  };
}

async function read(session: unknown, accept = acceptExpressSession): Promise<unknown> {
  return (await accept({ secret: SECRET, store: storeOf(session) }).read(SID))?.data ?? null;
}

const store = storeOf(undefined);
const later = new Date(Date.now() + 60_000);

describe('the cookie of an old session', () => {
  it('of @fastify/session opens with any of its secrets, its prefix and its algorithm', () => {
    for (const algorithm of ['sha256', 'sha512']) {
      const signer = new fastifyCookie.Signer([SECRET], algorithm);
      const cookie = encodeURIComponent(`old:${signer.sign(SID)}`);
      const options = { store, cookiePrefix: 'old:', algorithm };
      expect(acceptFastifySession({ ...options, secret: ['a newer one', SECRET] }).open(cookie)).toBe(SID);
      expect(acceptFastifySession({ ...options, secret: Buffer.from(SECRET) }).open(cookie)).toBe(SID);
      expect(acceptFastifySession({ ...options, secret: 'another' }).open(cookie)).toBeNull();
      expect(acceptFastifySession({ store, algorithm, secret: SECRET }).open(cookie)).toBeNull();
    }
  });

  it('of express-session opens as it was sent, encoded or not, and nothing of it may differ', () => {
    const signature = createHmac('sha256', SECRET).update(SID).digest('base64').replace(/=+$/, '');
    const cookie = `s:${SID}.${signature}`;
    const accepted = acceptExpressSession({ secret: SECRET, store });
    expect([accepted.open(cookie), accepted.open(encodeURIComponent(cookie))]).toEqual([SID, SID]);
    for (let place = 0; place < cookie.length; place += 1) {
      const other = cookie[place] === 'x' ? 'y' : 'x';
      expect(accepted.open(cookie.slice(0, place) + other + cookie.slice(place + 1))).toBeNull();
      expect(accepted.open(cookie.slice(0, place))).toBeNull();
    }
    expect(accepted.open(`${cookie}=`)).toBeNull();
  });

  it('with no id in it opens nothing, however well it is signed', () => {
    const signature = createHmac('sha256', SECRET).update('').digest('base64').replace(/=+$/, '');
    expect(acceptExpressSession({ secret: SECRET, store }).open(`s:.${signature}`)).toBeNull();
  });
});

describe('the content of an old session', () => {
  it.each([
    ['as text', later.toISOString(), true],
    ['as a date', later, true],
    ['as a number', later.getTime(), true],
    ['that has passed', new Date(Date.now() - 1), false],
    ['that is none', 'soon', false],
    ['that is missing', null, true],
  ])('counts with a deadline %s', async (_what, moment, isThere) => {
    for (const name of ['expires', '_expires']) {
      const data = await read({ cookie: { originalMaxAge: 1, [name]: moment }, a: 1 });
      expect(data).toEqual(isThere ? { a: 1 } : null);
    }
  });

  it('is free of what libraries and stores keep for themselves, and shares nothing with the store', async () => {
    const cart = { items: [1] };
    const session = { cookie: {}, __lastAccess: 1, sessionId: 'a', encryptedSessionId: 'b', cart };
    const data = (await read(session, acceptFastifySession)) as { cart: typeof cart };
    expect(data).toEqual({ cart });
    data.cart.items.push(2);
    expect(cart).toEqual({ items: [1] });
    expect(await read(session)).toEqual({ sessionId: 'a', encryptedSessionId: 'b', cart });
  });
});

it('two old sessions and two purposes lead to different bytes, and none of them is the signature', () => {
  const accepted = acceptExpressSession({ secret: SECRET, store });
  const bytes = [
    accepted.derive(SID, 'id'),
    accepted.derive(SID, 'secret'),
    accepted.derive('another', 'secret'),
    createHmac('sha256', SECRET).update(`secret:${SID}`).digest(),
  ].map((each) => each.toString('hex'));
  expect(new Set(bytes).size).toBe(4);
  expect(
    acceptExpressSession({ secret: [SECRET, 'older'], store })
      .derive(SID, 'id')
      .toString('hex'),
  ).toBe(bytes[0]);
});

it('shows no secret when it is inspected', () => {
  const accepted = acceptExpressSession({ secret: SECRET, store });
  expect(inspect(accepted, { showHidden: true, depth: 9 })).not.toContain(SECRET);
});
