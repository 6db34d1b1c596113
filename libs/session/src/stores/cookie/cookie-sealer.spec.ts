import { createHmac, randomBytes } from 'node:crypto';
import { deflateRawSync } from 'node:zlib';
import { jest } from '@jest/globals';
import * as fc from 'fast-check';
import {
  SessionRecordCorruptError,
  SessionUnsupportedError,
  SessionValueError,
} from '../../session.errors.js';
import { type SessionRecord } from '../session-store.js';
import { type JsonObject } from '../session-store.js';
import { CookieSealer, type CookieSealerOptions } from './cookie-sealer.js';
import { KeyRing } from '../secrets.js';
import { MemoryRevocationStore } from './revocation-store.js';
import { longestText } from '../record-log.js';
import { seals, TokenFormat } from '../sealing.js';

const secret = (): string => randomBytes(32).toString('base64url');
const SECRET = secret();
const NAME = 'sessionid';
const NOW = Date.UTC(2026, 0, 1);
const DAY = 86_400_000;

const record = (data: JsonObject = { name: 'Ada' }, more: Partial<SessionRecord> = {}): SessionRecord => ({
  id: 'gB0s8xkq3xVQ2xkq3xVQ2w',
  userId: 'ada',
  keyHash: '',
  data,
  expiry: null,
  createdAt: NOW - 5000,
  meta: {},
  lastSeenAt: NOW,
  expiresAt: NOW + DAY,
  version: 3,
  ...more,
});

/** Deriving keys takes its time, on purpose: one store per set of options. */
const made = new Map<string, CookieSealer>();
const storeWith = (options: Partial<CookieSealerOptions> = {}): CookieSealer => {
  const name = JSON.stringify(options);
  const store = made.get(name) ?? new CookieSealer({ secrets: SECRET, ...options });
  made.set(name, store);
  return store;
};

const plain = (given: unknown): unknown => JSON.parse(JSON.stringify(given));

const read = (token: string): string => Buffer.from(token.split('.')[2] ?? '', 'base64url').toString();
const deflated = (text: string): Buffer => Buffer.concat([Buffer.of(1), deflateRawSync(text)]);
const sealedLength = (data: JsonObject, compress: boolean): number =>
  storeWith({ compress }).seal(record(data), NAME).length;

it('seals under one key, derived once per process, each time with another nonce', () => {
  const store = new CookieSealer({ secrets: SECRET });
  const bodies = Array.from({ length: 1000 }, () => {
    const [, , body = ''] = store.seal(record(), NAME).split('.');
    return Buffer.from(body, 'base64url');
  });
  const parts = (from: number, to: number) => new Set(bodies.map((body) => body.toString('hex', from, to)));
  expect(parts(0, 12).size).toBe(1);
  expect(parts(12, 24).size).toBe(1000);
  const [body = Buffer.alloc(0)] = bodies;
  const other = new CookieSealer({ secrets: SECRET }).seal(record(), NAME).split('.')[2] ?? '';
  expect(Buffer.from(other, 'base64url').toString('hex', 0, 12)).not.toBe(body.toString('hex', 0, 12));
});

describe.each([
  ['encrypted', {}],
  ['encrypted and compressed', { compress: true }],
  ['signed only', { signedOnly: true }],
  ['signed and compressed', { signedOnly: true, compress: true }],
] as const)('%s tokens', (_name, options) => {
  const store = storeWith(options);
  const openedOf = (forgeries: string[], token: string) =>
    forgeries.filter((forgery) => forgery !== token && store.open(forgery, NAME) !== null);

  it('bring back the whole record', () => {
    const given = record({ text: 'a\0b 🔑 "\ud800"', list: [1, null, { deep: true }] }, { expiry: 600 });
    const token = store.seal(given, NAME);
    expect(store.isToken(token)).toBe(true);
    expect(token).toMatch(/^[A-Za-z0-9._-]+$/);
    expect(plain(store.open(token, NAME))).toEqual(plain(given));
  });

  it('bring back whatever JSON can carry, under any key', () => {
    const keys = fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom('__proto__', 'constructor', ''));
    fc.assert(
      fc.property(fc.dictionary(keys, fc.jsonValue()), (given) => {
        const data = Object.assign(Object.create(null) as JsonObject, given);
        const opened = store.open(store.seal(record(data), NAME), NAME);
        expect(Object.getPrototypeOf(opened?.data)).toBeNull();
        expect(JSON.stringify(opened?.data)).toBe(JSON.stringify(data));
      }),
      { numRuns: 200 },
    );
  });

  it('tell how long their data are at most, so that a small write measures nothing', () => {
    const data = { text: 'x'.repeat(700), 'ü🔑': 'ü'.repeat(50) };
    const opened = store.open(store.seal(record(data), NAME), NAME) as SessionRecord;
    const { length } = JSON.stringify(data);
    expect(longestText(opened.data)).toBeGreaterThanOrEqual(length);
    expect(longestText(opened.data)).toBeLessThan(length + 128);
  });

  it('S74: are void with any bit flipped, any character changed, dropped or added', () => {
    const token = store.seal(record(), NAME);
    const forgeries = [...Array(token.length).keys()].flatMap((at) => {
      const [before, after] = [token.slice(0, at), token.slice(at + 1)];
      return [
        before + after,
        `${before}A${token.slice(at)}`,
        ...'AaB9_-.=+/%'.split('').map((it) => before + it + after),
      ];
    });
    const [scheme = '', keyId = '', body = ''] = token.split('.');
    const sealed = Buffer.from(body, 'base64url');
    const withBody = (bytes: Buffer) => `${scheme}.${keyId}.${bytes.toString('base64url')}`;
    for (let bit = 0; bit < sealed.length * 8; bit += 1) {
      const flipped = Buffer.from(sealed);
      flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7));
      forgeries.push(withBody(flipped));
    }
    for (let length = 0; length < sealed.length; length += 1) {
      const zeros = Buffer.alloc(sealed.length - length);
      const head = sealed.subarray(0, length);
      const tail = sealed.subarray(sealed.length - length);
      forgeries.push(...[head, tail, Buffer.concat([head, zeros])].map(withBody));
    }
    expect(forgeries.length).toBeGreaterThan(1000);
    expect(openedOf(forgeries, token)).toEqual([]);
  });

  it('have one text only', () => {
    // One and two characters more make bodies of every length there is: with 0, 2 and 4 bits to spare at the end.
    for (const padding of ['', 'x', 'xx']) {
      const token = store.seal(record({ padding }), NAME);
      const last = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'.split('');
      const twins = [...last.map((it) => token.slice(0, -1) + it), `${token}=`, `${token}\n`, ` ${token}`];
      expect(openedOf(twins, token)).toEqual([]);
    }
  });

  it('S72: open under the name of their cookie only', () => {
    const token = store.seal(record(), NAME);
    for (const name of ['sessionid2', 'Sessionid', 'sessioni', '', '__Host-sessionid']) {
      expect(store.open(token, name)).toBeNull();
    }
  });

  it('S77: are void under another scheme, and so are those of another version', () => {
    const token = store.seal(record(), NAME);
    const schemes = ['e1', 's1', 'e0', 'e2', 's2', 'n1', '__', 'E1'];
    expect(
      openedOf(
        schemes.map((scheme) => scheme + token.slice(2)),
        token,
      ),
    ).toEqual([]);
    const other = storeWith({ signedOnly: !('signedOnly' in options) });
    expect(other.isToken(token)).toBe(false);
    expect(other.open(token, NAME)).toBeNull();
  });

  it('S77: authenticate the scheme, the key and the name of the cookie together with the content', () => {
    const use = 'signedOnly' in options ? 'sign' : 'encrypt';
    const { newest } = new KeyRing([SECRET], use, 'cookie');
    const [scheme, , body = ''] = store.seal(record(), NAME).split('.');
    const content = seals[use].open(
      newest.bytes,
      `nest-sessions:cookie:${scheme}:${newest.id}:${NAME}`,
      Buffer.from(body, 'base64url'),
    );
    expect(content).not.toBeNull();
    // As somebody would seal it who has this key, for another scheme, another key, another name, or none of them.
    for (const context of [
      `nest-sessions:cookie:x1:${newest.id}:${NAME}`,
      `nest-sessions:cookie:${scheme}:AAAAAAAA:${NAME}`,
      `nest-sessions:cookie:${scheme}:${newest.id}:other`,
      `nest-sessions:cookie:${NAME}`,
      '',
    ]) {
      const sealed = seals[use].close(newest.bytes, context, content as Buffer);
      expect(store.open(`${scheme}.${newest.id}.${sealed.toString('base64url')}`, NAME)).toBeNull();
    }
  });

  it('S75: take no other decoding: plain or encoded JSON, a session key, a JSON web token', () => {
    const json = JSON.stringify(record());
    const encoded = Buffer.from(json).toString('base64url');
    for (const foreign of [
      json,
      encoded,
      encodeURIComponent(json),
      `s:${encoded}.abc`,
      `eyJhbGciOiJub25lIn0.${encoded}.`,
      'A'.repeat(43),
      'Fe26.2**abc',
      '',
    ]) {
      expect(store.isToken(foreign)).toBe(false);
      expect(store.open(foreign, NAME)).toBeNull();
    }
  });

  it('survive no garbage, and garbage survives no look', () => {
    const [scheme = '', keyId = ''] = store.seal(record(), NAME).split('.');
    const garbage = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.uint8Array({ maxLength: 4000 }).map((bytes) => {
        return `${scheme}.${keyId}.${Buffer.from(bytes).toString('base64url')}`;
      }),
      fc
        .tuple(fc.constantFrom('e1', 's1'), fc.stringMatching(/^[\w-]{8}$/), fc.base64String())
        .map((parts) => {
          return parts.join('.');
        }),
    );
    fc.assert(
      fc.property(garbage, (text) => {
        store.isToken(text);
        expect(store.open(text, NAME)).toBeNull();
      }),
      { numRuns: 1000 },
    );
  });

  it('differ, though the record be the same, where they hide anything', () => {
    const tokens = new Set(Array.from({ length: 50 }, () => store.seal(record(), NAME)));
    expect(tokens.size).toBe('signedOnly' in options ? 1 : 50);
  });
});

describe('what a client can read', () => {
  it('is nothing of an encrypted token', () => {
    expect(read(storeWith().seal(record({ name: 'Ada Lovelace' }), NAME))).not.toContain('Lovelace');
  });

  it('is everything of a signed one', () => {
    expect(read(storeWith({ signedOnly: true }).seal(record({ name: 'Ada Lovelace' }), NAME))).toContain(
      'Lovelace',
    );
  });
});

const lengthsOf = (options: Partial<CookieSealerOptions>, texts: string[]): number[] => [
  ...new Set(texts.map((text) => storeWith(options).seal(record({ text }), NAME).length)),
];

describe('the length of an encrypted token', () => {
  it('is the same for all contents but those that are much longer', () => {
    const texts = Array.from({ length: 40 }, (_, length) => 'x'.repeat(length));
    expect(lengthsOf({}, texts).length).toBeLessThanOrEqual(2);
    expect(lengthsOf({ signedOnly: true }, texts)).toHaveLength(40);
    // 1200 lengths fit into ten of 128 bytes.
    const many = Array.from({ length: 1200 }, (_, length) => 'x'.repeat(length));
    expect(lengthsOf({}, many).length).toBeLessThanOrEqual(11);
  });

  it('is so for compressed contents', () => {
    const texts = Array.from({ length: 100 }, (_, length) =>
      randomBytes(300 + length / 2).toString('base64'),
    );
    const long = texts.map((text) => text + 'x'.repeat(1000));
    expect(lengthsOf({ compress: true }, long).length).toBeLessThanOrEqual(3);
    const store = storeWith({ compress: true });
    for (const text of long)
      expect(store.open(store.seal(record({ text }), NAME), NAME)?.data).toEqual({ text });
  });
});

describe('the key ring', () => {
  const [older, newer, newest] = [secret(), secret(), secret()];
  const before = new CookieSealer({ secrets: [older] });
  const during = new CookieSealer({ secrets: [newer, older] });
  const after = new CookieSealer({ secrets: newer });
  const later = new CookieSealer({ secrets: [newest, newer] });

  it('S76: seals with the newest secret and opens with all', () => {
    const old = before.seal(record(), NAME);
    expect(during.isToken(old)).toBe(true);
    expect(during.open(old, NAME)).toMatchObject({ userId: 'ada' });

    const resealed = during.seal(record(), NAME);
    expect(after.open(resealed, NAME)).toMatchObject({ userId: 'ada' });
    expect(later.open(resealed, NAME)).toMatchObject({ userId: 'ada' });
    expect(before.isToken(resealed)).toBe(false);
    expect(before.open(resealed, NAME)).toBeNull();
  });

  it('S80: opens nothing any more of a secret that was removed', () => {
    const old = before.seal(record(), NAME);
    expect(after.isToken(old)).toBe(false);
    expect(after.open(old, NAME)).toBeNull();
    expect(later.open(old, NAME)).toBeNull();
  });

  it('does not take one key for another', () => {
    const old = before.seal(record(), NAME).split('.');
    const current = after.seal(record(), NAME).split('.');
    expect(during.open([old[0], current[1], old[2]].join('.'), NAME)).toBeNull();
  });

  it('S79: is the same in every process that has the secrets', () => {
    expect(new CookieSealer({ secrets: newer }).open(after.seal(record(), NAME), NAME)).not.toBeNull();
  });
});

describe('a content that is sealed well and yet none of ours', () => {
  const ring = new KeyRing([SECRET], 'encrypt', 'cookie');
  const format = new TokenFormat(ring, 'encrypt');

  it.each<[what: string, content: Buffer]>([
    ['nothing', Buffer.alloc(0)],
    ['another first byte', Buffer.from('\u0007["id",null,1,1,1,null,1]\n{}')],
    ['no JSON', Buffer.from('\0["id",null,1,1,1,null,1]\n{')],
    ['null', Buffer.from('\0null\n{}')],
    ['an object', Buffer.from('\0{"id":"x"}\n{}')],
    ['too short a list', Buffer.from('\0["id"]\n{}')],
    ['members without data', Buffer.from('\0["id",null,1,1,1,null,1]')],
    ['data that are null', Buffer.from('\0["id",null,1,1,1,null,1]\nnull')],
    ['data that are a list', Buffer.from('\0["id",null,1,1,1,null,1]\n[]')],
    ['meta that are null', Buffer.from('\0["id",null,1,1,1,null,1,null]\n{}')],
    ['no deflated text', Buffer.from('\u0001????')],
    ['a bomb of 20 MB', deflated(`["id",null,1,1,1,null,1]\n{"a":"${'a'.repeat(20_000_000)}"}`)],
  ])('S66: %s is corrupt, and tells nothing', (_what, content) => {
    const token = format.seal(content, NAME);
    const before = process.memoryUsage().arrayBuffers;
    const open = (): unknown => storeWith({ compress: true }).open(token, NAME);
    expect(open).toThrow(SessionRecordCorruptError);
    expect(open).not.toThrow(expect.objectContaining({ cause: expect.anything() as unknown }) as Error);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(10_000_000);
  });

  it('S66: is not looked at unless it is sealed well', () => {
    const bomb = deflated(`"${'a'.repeat(1_000_000)}"`);
    const other = new TokenFormat(new KeyRing([secret()], 'encrypt', 'cookie'), 'encrypt');
    expect(storeWith({ compress: true }).open(other.seal(bomb, NAME), NAME)).toBeNull();
  });
});

describe('compression', () => {
  const repeated: JsonObject = {
    list: Array.from({ length: 200 }, (_, index) => ({ article: index, amount: 1 })),
  };

  it('makes tokens smaller, and is read where it is off', () => {
    const long = storeWith().seal(record(repeated), NAME);
    const short = storeWith({ compress: true }).seal(record(repeated), NAME);
    expect(short.length).toBeLessThan(long.length / 3);
    expect(plain(storeWith().open(short, NAME))).toEqual(plain(record(repeated)));
    expect(plain(storeWith({ compress: true }).open(long, NAME))).toEqual(plain(record(repeated)));
  });

  it('leaves alone what is small, random, or more than it would inflate', () => {
    for (const data of [{ a: 1 }, { a: randomBytes(2000).toString('base64url') }]) {
      expect(sealedLength(data, true)).toBeLessThanOrEqual(sealedLength(data, false));
    }
    const huge = { a: 'a'.repeat(70_000) };
    expect(sealedLength(huge, true)).toBe(sealedLength(huge, false));
  });
});

const sealNothing = (key: Buffer): Buffer => seals.encrypt.close(key, '', Buffer.alloc(0));

it('S84: gives every content a nonce of its own, and every key that contents are closed under a salt', () => {
  const key = randomBytes(32);
  const nonces = Array.from({ length: 20_000 }, () => sealNothing(key).toString('base64', 12, 24));
  // 96 random bits meet less than once in 10^20 such runs.
  expect(new Set(nonces).size).toBe(20_000);
  const salts = Array.from({ length: 1000 }, () => sealNothing(randomBytes(32)).toString('base64', 0, 12));
  expect(new Set(salts).size).toBe(1000);
});

it('S72: does not take a signature of the same key for another purpose', () => {
  const { newest } = new KeyRing([SECRET], 'sign', 'cookie');
  const content = Buffer.from('\0["id",null,1,1,99999999999999,null,1]\n{}');
  const forged = createHmac('sha256', newest.bytes).update(content).digest();
  const token = `s1.${newest.id}.${Buffer.concat([content, forged]).toString('base64url')}`;
  expect(storeWith({ signedOnly: true }).open(token, NAME)).toBeNull();
});

it('seals for as long as a browser keeps a cookie, at the most, where notes of ended sessions are kept for that long', () => {
  const far = record({}, { expiresAt: NOW + 9999 * DAY });
  const revoking = new CookieSealer({ secrets: SECRET, revocations: new MemoryRevocationStore() });
  expect(revoking.open(revoking.seal(far, NAME), NAME)?.expiresAt).toBe(NOW + 400 * DAY);
  expect(storeWith().open(storeWith().seal(far, NAME), NAME)?.expiresAt).toBe(NOW + 9999 * DAY);
});

describe('without a place to note ends', () => {
  it('cannot revoke', async () => {
    await expect(storeWith().revokeBefore('ada')).rejects.toBeInstanceOf(SessionUnsupportedError);
  });

  it('needs no clearing', async () => {
    await expect(storeWith().clearExpired(10)).resolves.toBe(0);
  });
});

describe('revocations', () => {
  it('end the sessions of a user that are older than the moment, and no others', async () => {
    const store = new CookieSealer({ secrets: SECRET, revocations: new MemoryRevocationStore() });
    const isRevoked = (userId: string | null, createdAt: number) =>
      store.isRevoked(record({}, { id: String(createdAt), userId, createdAt }));
    await store.revokeBefore('ada', new Date(NOW));
    await store.revokeBefore('ada', NOW - 10_000);
    await expect(isRevoked('ada', NOW - 1)).resolves.toBe(true);
    await expect(isRevoked('ada', NOW)).resolves.toBe(false);
    await expect(isRevoked('eve', NOW - 1)).resolves.toBe(false);
    await expect(isRevoked(null, NOW - 1)).resolves.toBe(false);
  });

  it('end one session, whenever it was sealed', async () => {
    const store = new CookieSealer({ secrets: SECRET, revocations: new MemoryRevocationStore() });
    await store.revoke(record(), Infinity);
    await expect(store.isRevoked(record({}, { createdAt: NOW + DAY }))).resolves.toBe(true);
    await expect(store.isRevoked(record({}, { id: 'another' }))).resolves.toBe(false);
  });

  it('keep the sessions of a user apart from a session of that id', async () => {
    const store = new CookieSealer({ secrets: SECRET, revocations: new MemoryRevocationStore() });
    await store.revoke(record({}, { id: 'ada' }), Infinity);
    await expect(store.isRevoked(record({}, { id: 'x', userId: 'ada', createdAt: 0 }))).resolves.toBe(false);
  });

  it('are kept until no token of the session opens any more, and an hour for clocks that differ', async () => {
    const notes = new MemoryRevocationStore();
    const noted = jest.spyOn(notes, 'revokeBefore');
    const store = new CookieSealer({ secrets: SECRET, revocations: notes });
    const now = Date.now();
    jest.spyOn(store, 'now').mockReturnValue(now);
    for (const until of [now + DAY, Infinity, now - DAY]) await store.revoke(record(), until);
    // Of the last one there is nothing left that could be revoked.
    expect(noted.mock.calls.map(([, , keepUntil]) => keepUntil - now)).toEqual([DAY + DAY / 24, 401 * DAY]);
  });

  it('leave the memory when they may be forgotten, whatever was noted before them', async () => {
    const notes = new MemoryRevocationStore();
    const all = (notes as unknown as { notes: Map<string, unknown> }).notes;
    const now = Date.now();
    await notes.revokeBefore('user:ada', now, now + 400 * DAY);
    for (let visitor = 0; visitor < 5000; visitor += 1) {
      await notes.revokeBefore(`session:${visitor}`, now, now - 1);
      expect(all.size).toBeLessThanOrEqual(1001);
    }
    expect(await notes.revokedBefore('user:ada')).toBe(now);
  });

  it('are kept for as long as the longest that was asked for', async () => {
    const notes = new MemoryRevocationStore();
    const now = Date.now();
    await notes.revokeBefore('user:ada', now, now + DAY);
    await notes.revokeBefore('user:ada', now + 1, now - 1);
    expect(await notes.revokedBefore('user:ada')).toBe(now + 1);
  });

  it('refuse a moment that is none', async () => {
    const store = new CookieSealer({ secrets: SECRET, revocations: new MemoryRevocationStore() });
    await expect(store.revokeBefore('ada', new Date('?'))).rejects.toBeInstanceOf(SessionValueError);
  });
});
