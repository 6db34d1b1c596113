import { createHash, randomBytes } from 'node:crypto';
import { EventEmitter2, EventEmitterModule } from '@nestjs/event-emitter';
import { Test } from '@nestjs/testing';
import { type JsonObject, SessionModule, type SessionRecord, Sessions } from 'nest-sessions';
import { redisEngine, type RedisStore } from 'nest-sessions/redis';
import { describeSessionStore } from 'nest-sessions/testing';
import { keyedKeeper } from '../libs/session/src/session/keyed-keeper.js';
import { createSessionKey, toStoreKey } from '../libs/session/src/session/session-key.js';
import { limitStore } from '../libs/session/src/session/store-access.js';
import { changed, newKey, newRecord } from '../libs/session/src/testing/store-bench.js';
import { silent } from './support/app.js';
import { RedisBench } from './support/redis-bench.js';
import { redisLibraries, redisStoreUnderTest } from './support/redis-store-bench.js';
import { describeWithService } from './support/services.js';

const newSecret = (): string => randomBytes(32).toString('base64url');

/** Too large to be rewritten by every save. */
const LARGE = 'x'.repeat(8000);
const meta = { stamp: 'stamp-of-ada', device: { userAgent: 'Mozilla/5.0 (secret)' } };
const corrupt = { code: 'SESSION_RECORD_CORRUPT' };

/** The encrypted ones of the lines that a value consists of. */
const PARTS = { meta: 3, snapshot: 4, log: 5 };
type Part = keyof typeof PARTS;

function partOf(value: string, part: Part): string {
  return value.split('\n')[PARTS[part]] ?? '';
}

/** As somebody does it who can write to Redis and knows the format. */
function withPart(value: string, part: Part, text: string): string {
  const lines = value.split('\n');
  lines[PARTS[part]] = text;
  const length = lines.slice(0, 4).join('\n').length + 1 - 89;
  return lines
    .join('\n')
    .replace(/^(.{83}).{6}/, (_all, header) => `${header}${`${length}`.padStart(6, '0')}`);
}

function formsOf(sessionKey: string): string[] {
  const bytes = Buffer.from(sessionKey, 'base64url');
  const hashes = [sessionKey, bytes].map((form) => createHash('sha256').update(form).digest());
  return [
    sessionKey,
    ...[bytes, Buffer.from(sessionKey), ...hashes].flatMap((form) => [
      form.toString('hex'),
      // Without the last characters, which depend on what follows.
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

    async function save(store: RedisStore, key: string, set: JsonObject): Promise<void> {
      const changes = { set };
      expect(await store.save(key, changes, changed(await bench.load(key, store), changes))).toBe(true);
    }

    /** A session that has something in each of the three parts. */
    async function createLarge(store: RedisStore, word: string, overrides: Partial<SessionRecord> = {}) {
      const key = newKey();
      await store.create(key, newRecord({ LARGE, word }, { meta, ...overrides }));
      await save(store, key, { later: `${word} again` });
      return key;
    }

    const value = async (key: string): Promise<string> => (await bench.value(key)) ?? '';
    const put = (key: string, text: string): Promise<unknown> =>
      bench.raw.set(bench.redisKey(key), text, 'KEEPTTL');

    it.each([false, true])(
      'S05: leaves nothing of any session key in Redis (encrypted: %p)',
      async (encrypted) => {
        const store = encrypted ? open(newSecret()) : bench.store;
        const keeper = keyedKeeper(limitStore(store, 5000));
        const first = await keeper.create(newRecord({ a: 1 }));
        const keys = [first, createSessionKey()];
        const loaded = async (key: string): Promise<SessionRecord> => {
          const found = await keeper.load(key);
          if (found?.standing !== 'live') throw new Error('The session is gone.');
          return found.record;
        };
        const dumps: string[] = [];
        // A renewal, which leaves something for clients that come with the old key; a login; a save.
        for (const step of ['renew', 'rename'] as const) {
          const record = await loaded(keys[0] as string);
          const changes = { set: { [step]: 1 }, userId: 'ada' };
          const moved = await keeper[step](keys[0] as string, changes, changed(record, changes));
          if (moved === null) throw new Error('The session was not moved.');
          keys.unshift(moved.token);
          dumps.push(await bench.dump());
        }
        const [latest = ''] = keys;
        await keeper.save(latest, { set: { b: 2 } }, changed(await loaded(latest), { set: { b: 2 } }));

        const dump = [...dumps, await bench.dump()].join('\n');
        // Or else nothing of them could be there.
        for (const key of keys.slice(0, 3)) expect(dump).toContain(toStoreKey(key));
        for (const form of keys.flatMap(formsOf)) expect(dump).not.toContain(form);
      },
    );

    it('S05: leaves nothing of the data and the meta in Redis', async () => {
      const store = open(newSecret());
      const key = newKey();
      await store.create(key, newRecord({ LARGE, cardNumber: 'hunter2' }, { userId: 'ada', meta }));
      await save(store, key, { address: 'Downing Street' });
      expect(partOf(await value(key), 'log')).toMatch(/^e1\./);
      const next = newKey();
      const changes = { meta: { ...meta, stamp: 'other-stamp' } };
      await store.rename(key, next, changes, changed(await bench.load(key, store), changes));
      const dump = await bench.dump();
      expect(dump).toContain(next);
      const secrets = ['xxxx', 'cardNumber', 'hunter2', 'address', 'Downing', 'stamp', 'Mozilla', 'secret'];
      for (const text of secrets) expect(dump).not.toContain(text);
      expect(dump).not.toContain(Buffer.from('hunter2').toString('base64url'));
      expect(await store.find(key)).toEqual({ movedTo: next });
      expect(await store.load(next)).toMatchObject({
        data: { cardNumber: 'hunter2', address: 'Downing Street' },
        meta: changes.meta,
      });
    });

    it.each(Object.keys(PARTS) as Part[])('S71: does not take the %s of another session', async (part) => {
      const store = open(newSecret());
      const [ann, bob] = [await createLarge(store, 'Ann'), await createLarge(store, 'Bob')];
      const [ofAnn, ofBob] = [await value(ann), await value(bob)];
      await put(ann, withPart(ofAnn, part, partOf(ofBob, part)));
      await put(bob, withPart(ofBob, part, partOf(ofAnn, part)));
      const swapped = [await value(ann), await value(bob)];
      for (const key of [ann, bob]) {
        await expect(store.load(key)).rejects.toMatchObject(corrupt);
        await expect(store.find(key)).rejects.toMatchObject(corrupt);
        expect(await store.create(key, newRecord())).toBe(false);
      }
      expect([await value(ann), await value(bob)]).toEqual(swapped);

      await put(ann, ofAnn);
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
      const key = await createLarge(store, 'Ann');
      const before = await value(key);
      const spoilt = withPart(before, to, partOf(before, from));
      await put(key, spoilt);
      await expect(store.load(key)).rejects.toMatchObject(corrupt);
      expect(await value(key)).toBe(spoilt);
      // The same way of putting it leads to a session that can be read.
      await put(key, withPart(spoilt, to, partOf(before, to)));
      expect((await bench.load(key, store)).meta).toEqual(meta);
    });

    it('S76: reads what an older secret has written, and writes with the newest', async () => {
      const [older, newest] = [newSecret(), newSecret()];
      const [small, large] = [newKey(), await createLarge(open(older), 'large')];
      await open(older).create(small, newRecord({ word: 'small' }, { meta }));
      const [both, onlyNewest] = [open(newest, older), open(newest)];
      for (const [key, word] of [
        [small, 'small'],
        [large, 'large'],
      ] as const) {
        await expect(onlyNewest.load(key)).rejects.toMatchObject(corrupt);
        expect(await both.load(key)).toMatchObject({ data: { word }, meta });
      }

      // A small session is written whole by its next save. The meta is when it changes.
      await save(both, small, { more: 1 });
      await expect(onlyNewest.load(small)).rejects.toMatchObject(corrupt);
      expect(await both.save(small, { meta: { stamp: 'new' } }, await bench.load(small, both))).toBe(true);
      expect(await onlyNewest.load(small)).toMatchObject({
        data: { word: 'small', more: 1 },
        meta: { stamp: 'new' },
      });

      // A large one has its changes appended, until they are folded.
      const snapshot = partOf(await value(large), 'snapshot');
      await both.save(large, { meta: {} }, await bench.load(large, both));
      await save(both, large, { more: 1 });
      expect(partOf(await value(large), 'snapshot')).toBe(snapshot);
      for (let n = 0; partOf(await value(large), 'log') !== ''; n++) {
        await save(both, large, { [`key${n}`]: 'y'.repeat(1000) });
      }
      expect((await bench.load(large, onlyNewest)).data).toMatchObject({ word: 'large', more: 1 });
    });

    it('S80: takes nothing that a leaked secret has sealed once it is dropped, and leaves it alone', async () => {
      const [leaked, next] = [newSecret(), newSecret()];
      const store = open(next);
      const minted = await createLarge(open(leaked), 'Eve', { userId: 'Eve' });
      const victim = await createLarge(store, 'Ann', { userId: 'Ann' });
      const { id } = await bench.load(victim, store);
      const kept = await value(minted);
      for (const operation of ['load', 'find', 'exists'] as const) {
        await expect(store[operation](minted)).rejects.toMatchObject(corrupt);
      }
      expect(await store.listByUser('Eve')).toEqual([]);
      expect(await store.create(minted, newRecord())).toBe(false);
      expect(await value(minted)).toBe(kept);
      expect(await store.deleteByUser('Eve')).toBe(1);

      // Whoever has it can seal texts for the session of somebody else, too.
      const forged = newKey();
      await open(leaked).create(forged, newRecord({ admin: true, LARGE }, { id, meta: { stamp: 'forged' } }));
      await save(open(leaked), forged, { admin: true });
      const [before, forgery] = [await value(victim), await value(forged)];
      for (const part of Object.keys(PARTS) as Part[]) {
        await put(victim, withPart(before, part, partOf(forgery, part)));
        await expect(store.load(victim)).rejects.toMatchObject(corrupt);
      }
      await put(victim, before);
      expect((await bench.load(victim, store)).data['word']).toBe('Ann');
    });

    it('reads plain text only where it is allowed, and encrypts it with the next write', async () => {
      const secrets = newSecret();
      const key = await bench.create({ word: 'plain' }, { meta });
      const lenient = bench.open({ encryption: { secrets, allowPlaintext: true } });
      await expect(open(secrets).load(key)).rejects.toMatchObject(corrupt);
      await save(lenient, key, { more: 1 });
      expect(partOf(await value(key), 'snapshot')).toMatch(/^e1\./);
      expect(await lenient.load(key)).toMatchObject({ data: { word: 'plain', more: 1 }, meta });
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
      const keyOf = ({ sessionKey }: typeof ann): string => sessionKey ?? '';
      expect((await sessions.open(keyOf(ann)))?.get('name')).toBe('Ann');
      expect(events).toEqual([]);

      const [ofAnn, ofBob] = [toStoreKey(keyOf(ann)), toStoreKey(keyOf(bob))];
      const spoilt = withPart(await value(ofAnn), 'snapshot', partOf(await value(ofBob), 'snapshot'));
      await put(ofAnn, spoilt);
      expect(await sessions.open(keyOf(ann))).toBeNull();
      expect(events).toEqual([expect.objectContaining({ error: expect.objectContaining(corrupt) })]);
      expect(await value(ofAnn)).toBe(spoilt);
      expect((await sessions.open(keyOf(bob)))?.get('name')).toBe('Bob');
      await app.close();
    });
  });
}
