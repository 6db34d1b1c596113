import { createHash, randomBytes } from 'node:crypto';
import { EventEmitter2, EventEmitterModule } from '@nestjs/event-emitter';
import { Test } from '@nestjs/testing';
import { type JsonObject, SessionModule, type SessionRecord, Sessions } from 'nest-sessions';
import { redisEngine, type RedisStore } from 'nest-sessions/redis';
import { describeSessionStore } from 'nest-sessions/testing';
import { keyHasher } from '../libs/session/src/session/session-key.js';
import { StoreGuard } from '../libs/session/src/session/store-guard.js';
import { StoredTokens } from '../libs/session/src/session/token-store.js';
import { changed, newRecord, save as saveTo } from '../libs/session/src/testing/store-bench.js';
import { silent } from './support/app.js';
import { RedisBench } from './support/redis-bench.js';
import { redisLibraries, redisStoreUnderTest } from './support/redis-store-bench.js';
import { describeWithService } from './support/services.js';

const newSecret = (): string => randomBytes(32).toString('base64url');

/** Too large to be folded soon. */
const LARGE = 'x'.repeat(8000);
const meta = { stamp: 'stamp-of-ada', device: { userAgent: 'Mozilla/5.0 (secret)' } };
const corrupt = { code: 'SESSION_RECORD_CORRUPT' };

/** The encrypted parts: in which element they are, and in which line of it. */
const PARTS = { meta: [-2, 3], snapshot: [-1, 0], log: [1, 2] } as const;
type Part = keyof typeof PARTS;

function partOf(elements: string[], part: Part): string {
  const [element, line] = PARTS[part];
  return elements.at(element)?.split('\n')[line] ?? '';
}

/** As somebody does it who can write to Redis and knows the format. */
function withPart(elements: string[], part: Part, text: string): string[] {
  const [element, line] = PARTS[part];
  return elements.with(element, elements.at(element)?.split('\n').with(line, text).join('\n') ?? '');
}

/** The forms in which a secret might stand somewhere, without what depends on the text around it. */
function formsOf(secret: string): string[] {
  const bytes = Buffer.from(secret, 'base64url');
  const hashes = [secret, bytes].map((form) => createHash('sha256').update(form).digest());
  return [
    secret,
    ...[bytes, Buffer.from(secret), ...hashes].flatMap((form) => [
      form.toString('hex'),
      form.toString('base64url').slice(0, 41),
      form.toString('base64').slice(0, 41),
    ]),
  ];
}

describeWithService('redis', 'an encrypted RedisStore', () => {
  // What is encrypted goes the way of what is not, so that one client will do.
  const encryption = { secrets: newSecret() };
  describeSessionStore('conforms', () => redisStoreUnderTest('ioredis', { encryption }), {
    capabilities: { clearsExpired: false },
  });
});

for (const library of redisLibraries) {
  describeWithService('redis', `an encrypted RedisStore, through ${library}`, () => {
    const bench = new RedisBench(library).use();
    const open = (...secrets: string[]): RedisStore => bench.open({ encryption: { secrets } });

    async function save(store: RedisStore, id: string, set: JsonObject): Promise<void> {
      expect(await saveTo(store, await bench.load(id, store), { set })).toBe(true);
    }

    /** A session that has something in each of the three parts. */
    async function createLarge(store: RedisStore, word: string, overrides: Partial<SessionRecord> = {}) {
      const record = newRecord({ LARGE, word }, { meta, ...overrides });
      await store.create(record.id, record);
      await save(store, record.id, { later: `${word} again` });
      return record.id;
    }

    it.each([false, true])(
      'S05: leaves nothing of any secret in Redis (encrypted: %p)',
      async (encrypted) => {
        const store = encrypted ? open(newSecret()) : bench.store;
        const tokens = new StoredTokens(new StoreGuard(store, { timeLimit: 5000 }), keyHasher(), () =>
          Date.now(),
        );
        let held = await tokens.create(newRecord({ a: 1 }, { userId: 'ada' }));
        const used = [held.token];
        const dumps = [await bench.dump()];
        // A renewal, which leaves something for clients that come with the old secret; a rotation; a save.
        for (const overlap of [true, false]) {
          const changes = { set: { [`${overlap}`]: 1 } };
          const rotated = await tokens.rotate(held, changes, changed(held.record, changes), { overlap });
          if (rotated === null) throw new Error('The session was not rotated.');
          held = rotated;
          used.push(held.token);
          dumps.push(await bench.dump());
        }
        expect(
          await tokens.save(held, { set: { b: 2 } }, changed(held.record, { set: { b: 2 } })),
        ).not.toBeNull();
        const dump = [...dumps, await bench.dump()].join('\n');
        // Or else nothing of them could be there.
        expect(dump).toContain(held.record.keyHash);
        for (const form of used.flatMap((token) => formsOf(token.slice(23))))
          expect(dump).not.toContain(form);
      },
    );

    it('S05: leaves nothing of the data and the meta in Redis', async () => {
      const store = open(newSecret());
      const record = newRecord({ LARGE, cardNumber: 'hunter2' }, { userId: 'ada', meta });
      const { id } = record;
      await store.create(id, record);
      await save(store, id, { address: 'Downing Street' });
      expect(partOf(await bench.elements(id), 'log')).toMatch(/^e1\./);
      const changes = { meta: { ...meta, stamp: 'other-stamp' } };
      expect(await saveTo(store, await bench.load(id, store), changes)).toBe(true);
      const dump = await bench.dump();
      expect(dump).toContain(id);
      const secrets = ['xxxx', 'cardNumber', 'hunter2', 'address', 'Downing', 'stamp', 'Mozilla', 'secret'];
      for (const text of secrets) expect(dump).not.toContain(text);
      expect(dump).not.toContain(Buffer.from('hunter2').toString('base64url'));
      expect(await store.load(id)).toMatchObject({
        data: { cardNumber: 'hunter2', address: 'Downing Street' },
        meta: changes.meta,
      });
    });

    it.each(Object.keys(PARTS) as Part[])('S71: does not take the %s of another session', async (part) => {
      const store = open(newSecret());
      const [ann, bob] = [await createLarge(store, 'Ann'), await createLarge(store, 'Bob')];
      const [ofAnn, ofBob] = [await bench.elements(ann), await bench.elements(bob)];
      await bench.put(ann, withPart(ofAnn, part, partOf(ofBob, part)));
      await bench.put(bob, withPart(ofBob, part, partOf(ofAnn, part)));
      const swapped = [await bench.elements(ann), await bench.elements(bob)];
      for (const id of [ann, bob]) {
        await expect(store.load(id)).rejects.toMatchObject(corrupt);
        await expect(store.take(id)).rejects.toMatchObject(corrupt);
        expect(await store.create(id, newRecord({}, { id }))).toBe(false);
      }
      expect([await bench.elements(ann), await bench.elements(bob)]).toEqual(swapped);

      await bench.put(ann, ofAnn);
      expect((await bench.load(ann, store)).data).toMatchObject({ word: 'Ann', later: 'Ann again' });
    });

    it.each([
      ['log', 'snapshot'],
      ['meta', 'snapshot'],
      ['meta', 'log'],
      ['snapshot', 'meta'],
      ['snapshot', 'log'],
      ['log', 'meta'],
    ] as [Part, Part][])('S71: does not take the %s for the %s', async (from, to) => {
      const store = open(newSecret());
      const id = await createLarge(store, 'Ann');
      const before = await bench.elements(id);
      const spoilt = withPart(before, to, partOf(before, from));
      await bench.put(id, spoilt);
      await expect(store.load(id)).rejects.toMatchObject(corrupt);
      expect(await bench.elements(id)).toEqual(spoilt);
      // The same way of putting it leads to a session that can be read.
      await bench.put(id, withPart(spoilt, to, partOf(before, to)));
      expect((await bench.load(id, store)).meta).toEqual(meta);
    });

    it('S76: reads what an older secret has written, and writes with the newest', async () => {
      const [older, newest] = [newSecret(), newSecret()];
      const id = await createLarge(open(older), 'old');
      const [both, onlyNewest] = [open(newest, older), open(newest)];
      await expect(onlyNewest.load(id)).rejects.toMatchObject(corrupt);
      expect(await both.load(id)).toMatchObject({ data: { word: 'old', later: 'old again' }, meta });

      // Changes are appended until the log is folded, and then everything is encrypted anew.
      const snapshot = partOf(await bench.elements(id), 'snapshot');
      await save(both, id, { more: 1 });
      expect(partOf(await bench.elements(id), 'snapshot')).toBe(snapshot);
      for (let n = 0; partOf(await bench.elements(id), 'snapshot') === snapshot; n++) {
        expect(n).toBeLessThan(20);
        await save(both, id, { [`key${n}`]: 'y'.repeat(1000) });
        await bench.load(id, both);
      }
      expect(await bench.load(id, onlyNewest)).toMatchObject({ data: { word: 'old', more: 1 }, meta });
    });

    it('S80: takes nothing that a leaked secret has sealed once it is dropped, and leaves it alone', async () => {
      const [leaked, next] = [newSecret(), newSecret()];
      const store = open(next);
      const minted = await createLarge(open(leaked), 'Eve', { userId: 'Eve' });
      const victim = await createLarge(store, 'Ann', { userId: 'Ann' });
      const kept = await bench.elements(minted);
      for (const operation of ['load', 'take'] as const) {
        await expect(store[operation](minted)).rejects.toMatchObject(corrupt);
      }
      expect(await store.listByUser('Eve')).toEqual([]);
      expect(await store.create(minted, newRecord({}, { id: minted }))).toBe(false);
      expect(await bench.elements(minted)).toEqual(kept);
      expect(await store.deleteByUser('Eve')).toBe(1);

      // Whoever has it can seal texts for the session of somebody else, too.
      const before = await bench.elements(victim);
      await bench.raw.del(bench.keyOf(victim));
      const forged = newRecord({ admin: true, LARGE }, { id: victim, meta: { stamp: 'forged' } });
      await open(leaked).create(victim, forged);
      await save(open(leaked), victim, { admin: true });
      const forgery = await bench.elements(victim);
      for (const part of Object.keys(PARTS) as Part[]) {
        await bench.put(victim, withPart(before, part, partOf(forgery, part)));
        await expect(store.load(victim)).rejects.toMatchObject(corrupt);
      }
      await bench.put(victim, before);
      expect((await bench.load(victim, store)).data['word']).toBe('Ann');
    });

    it('reads plain text only where it is allowed, and encrypts what it writes', async () => {
      const secrets = newSecret();
      const { id } = await bench.create({ word: 'plain' }, { meta });
      const lenient = bench.open({ encryption: { secrets, allowPlaintext: true } });
      await expect(open(secrets).load(id)).rejects.toMatchObject(corrupt);
      await save(lenient, id, { more: 1 });
      expect(partOf(await bench.elements(id), 'log')).toMatch(/^e1\./);
      for (let n = 0; n < 20; n++) await save(lenient, id, { more: n });
      expect(partOf(await bench.elements(id), 'snapshot')).toMatch(/^e1\./);
      expect(await open(secrets).load(id)).toMatchObject({ data: { word: 'plain', more: 19 }, meta });
    });

    it('S78: does not start with a weak secret, and does not repeat it', () => {
      const encryption = { secrets: [newSecret(), 'changeme-please'] };
      const make = (): unknown => redisEngine({ url: bench.url, library, encryption });
      const error = expect.objectContaining({ code: 'SESSION_CONFIG', option: 'encryption.secrets[1]' });
      expect(make).toThrow(error);
      expect(make).not.toThrow(/changeme/);
    });

    it('S71: has a session whose texts were moved absent for the application, and tells of it', async () => {
      const { url, prefix } = bench;
      const encryption = { secrets: newSecret() };
      const module = await Test.createTestingModule({
        imports: [
          EventEmitterModule.forRoot(),
          SessionModule.forRoot(redisEngine({ url, prefix, library, encryption }), { clearExpired: false }),
        ],
      })
        .setLogger(silent)
        .compile();
      const app = await module.init();
      const sessions = app.get(Sessions);
      const [ann, bob] = [await sessions.create({ name: 'Ann' }), await sessions.create({ name: 'Bob' })];
      const events: unknown[] = [];
      app.get(EventEmitter2).on('session.corrupt', (event) => events.push(event));
      const keyOf = (session: typeof ann): string => session.sessionKey() ?? '';
      expect((await sessions.open(keyOf(ann)))?.get('name')).toBe('Ann');
      expect(events).toEqual([]);

      const [ofAnn, ofBob] = [keyOf(ann).slice(0, 22), keyOf(bob).slice(0, 22)];
      const elements = await bench.elements(ofAnn);
      const spoilt = withPart(elements, 'snapshot', partOf(await bench.elements(ofBob), 'snapshot'));
      await bench.put(ofAnn, spoilt);
      expect(await sessions.open(keyOf(ann))).toBeNull();
      expect(events).toEqual([expect.objectContaining({ error: expect.objectContaining(corrupt) })]);
      expect(await bench.elements(ofAnn)).toEqual(spoilt);
      expect((await sessions.open(keyOf(bob)))?.get('name')).toBe('Bob');
      await app.close();
    });
  });
}
