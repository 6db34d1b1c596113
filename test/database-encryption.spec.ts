import { randomBytes } from 'node:crypto';
import { inspect } from 'node:util';
import { type INestApplicationContext } from '@nestjs/common';
import { EventEmitter2, EventEmitterModule } from '@nestjs/event-emitter';
import { Test } from '@nestjs/testing';
import { TypeOrmModule } from '@nestjs/typeorm';
import { type JsonObject, SessionModule, type SessionRecord, Sessions } from 'nest-sessions';
import {
  databaseEngine,
  DatabaseStore,
  type EncryptionOptions,
  RecordCodec,
  SessionEntity,
} from 'nest-sessions/database';
import { Column, DataSource, Entity } from 'typeorm';
import { describeSessionStore } from '../libs/session/src/testing/describe-session-store.js';
import { newRecord, save } from '../libs/session/src/testing/store-bench.js';
import { silent } from './support/app.js';
import { testDatabase, testDataSource } from './support/data-source.js';
import { DatabaseStoreBench } from './support/database-store-bench.js';
import { describeOnEveryDatabase } from './support/services.js';

const newSecret = (): string => randomBytes(32).toString('base64url');

/** Too large to be rewritten by every save. */
const LARGE = 'x'.repeat(8000);
const meta = { stamp: 'stamp-of-ada', device: { userAgent: 'Mozilla/5.0 (secret)' } };

const TEXTS = ['sessionData', 'sessionLog', 'sessionMeta'] as const;

async function load(store: DatabaseStore, id: string): Promise<SessionRecord> {
  const record = await store.load(id);
  if (record === null) throw new Error('The record is gone.');
  return record;
}

async function write(store: DatabaseStore, id: string, set: JsonObject): Promise<void> {
  expect(await save(store, await load(store, id), { set })).toBe(true);
}

/** Resolves with the session id. */
async function create(
  store: DatabaseStore,
  data: JsonObject,
  overrides: Partial<SessionRecord> = {},
): Promise<string> {
  const record = newRecord(data, overrides);
  expect(await store.create(record.id, record)).toBe(true);
  return record.id;
}

/** A session that has something in each of the three columns. */
async function createLarge(store: DatabaseStore, word: string): Promise<string> {
  const id = await create(store, { LARGE, word }, { meta });
  await write(store, id, { later: `${word} again` });
  return id;
}

describeOnEveryDatabase('an encrypted DatabaseStore', (kind) => {
  if (kind !== 'mysql') {
    // What is encrypted goes the way of what is not, so that two databases will do.
    describeSessionStore(
      'conforms',
      async () => {
        const conforming = new DatabaseStoreBench(kind);
        await conforming.open();
        const encryption = { secrets: newSecret() };
        const open = (): DatabaseStore =>
          new DatabaseStore(conforming.dataSource, SessionEntity, { encryption });
        return {
          store: open(),
          sibling: open,
          elapse: (ms) => conforming.elapse(ms),
          corrupt: (id) => conforming.update(id, { sessionData: '{}' }),
          dispose: () => conforming.close(),
        };
      },
      { capabilities: { outages: false, ownClock: kind !== 'sqljs' } },
    );
  }

  const bench = new DatabaseStoreBench(kind);
  beforeAll(() => bench.open());
  afterAll(() => bench.close());

  const open = (...secrets: string[]): DatabaseStore => openWith({ secrets });
  const openWith = (encryption: EncryptionOptions): DatabaseStore =>
    new DatabaseStore(bench.dataSource, SessionEntity, { encryption });

  const corrupt = { code: 'SESSION_RECORD_CORRUPT' };

  it('S05: leaves nothing of the data and the meta in the table', async () => {
    const store = open(newSecret());
    const id = await create(store, { LARGE, cardNumber: 'hunter2' }, { userId: 'ada', meta });
    await write(store, id, { address: 'Downing Street' });
    const rows = await bench.dataSource.query<object[]>('SELECT * FROM nest_session');
    const dump = JSON.stringify(rows);
    // Or else nothing of it could be there.
    expect(dump).toContain(id);
    expect((await bench.row(id))?.sessionLog).toMatch(/^e1\..+\n$/);

    const secrets = ['xxxx', 'cardNumber', 'hunter2', 'address', 'Downing', 'stamp', 'Mozilla', 'secret'];
    for (const text of secrets) expect(dump).not.toContain(text);
    expect(dump).not.toContain(Buffer.from('hunter2').toString('base64url'));
    expect(await store.load(id)).toMatchObject({
      data: { cardNumber: 'hunter2', address: 'Downing Street' },
      meta,
    });
  });

  it.each(TEXTS)('S71: does not take %s from another session', async (column) => {
    const store = open(newSecret());
    const [ann, bob] = [await createLarge(store, 'Ann'), await createLarge(store, 'Bob')];
    const [ofAnn, ofBob] = [await bench.row(ann), await bench.row(bob)];
    await bench.update(ann, { [column]: ofBob?.[column] });
    await bench.update(bob, { [column]: ofAnn?.[column] });
    const swapped = [await bench.row(ann), await bench.row(bob)];
    for (const id of [ann, bob]) {
      await expect(store.load(id)).rejects.toMatchObject(corrupt);
      expect(await store.create(id, newRecord({}, { id }))).toBe(false);
    }
    expect([await bench.row(ann), await bench.row(bob)]).toEqual(swapped);

    await bench.update(ann, { [column]: ofAnn?.[column] });
    expect((await store.load(ann))?.data).toMatchObject({ word: 'Ann', later: 'Ann again' });
  });

  it.each([
    ['sessionLog', 'sessionData'],
    ['sessionMeta', 'sessionData'],
    ['sessionMeta', 'sessionLog'],
    ['sessionData', 'sessionMeta'],
    ['sessionLog', 'sessionMeta'],
  ] as const)('S71: does not take %s for %s', async (from, to) => {
    const store = open(newSecret());
    const id = await createLarge(store, 'Ann');
    const row = await bench.row(id);
    // As the log ends in a newline, the other texts would be told by that alone.
    await bench.update(id, { [to]: row?.[from]?.trim() });
    await expect(store.load(id)).rejects.toMatchObject(corrupt);
    expect((await bench.row(id))?.[to]).toBe(row?.[from]?.trim());
  });

  it('S76: reads what an older secret has written, and writes with the newest', async () => {
    const [older, newest] = [newSecret(), newSecret()];
    const large = await createLarge(open(older), 'large');
    const small = await create(open(older), { word: 'small' }, { meta });
    const [both, onlyNewest] = [open(newest, older), open(newest)];
    for (const [id, word] of [
      [small, 'small'],
      [large, 'large'],
    ] as const) {
      await expect(onlyNewest.load(id)).rejects.toMatchObject(corrupt);
      expect(await both.load(id)).toMatchObject({ data: { word }, meta });
    }

    // A small session is written whole by its next save. The meta is when it changes.
    await write(both, small, { more: 1 });
    await expect(onlyNewest.load(small)).rejects.toMatchObject(corrupt);
    await save(both, await load(both, small), { meta: { stamp: 'new' } });
    expect(await onlyNewest.load(small)).toMatchObject({
      data: { word: 'small', more: 1 },
      meta: { stamp: 'new' },
    });

    // A large one has its changes appended, until they are folded.
    const { sessionData } = (await bench.row(large)) ?? {};
    await save(both, await load(both, large), { meta: {} });
    await write(both, large, { more: 1 });
    expect((await bench.row(large))?.sessionData).toBe(sessionData);
    for (let n = 0; (await bench.row(large))?.sessionLog !== ''; n++) {
      await write(both, large, { [`key${n}`]: 'y'.repeat(1000) });
    }
    expect((await onlyNewest.load(large))?.data).toMatchObject({ word: 'large', more: 1 });
  });

  it('S80: has lost what a secret sealed that is dropped, and touches none of it', async () => {
    const [leaked, next] = [newSecret(), newSecret()];
    const id = await create(open(leaked), { admin: true }, { userId: 'Eve' });
    const row = await bench.row(id);
    const store = open(next);
    await expect(store.load(id)).rejects.toMatchObject(corrupt);
    expect(await store.listByUser('Eve')).toEqual([]);
    expect(await store.create(id, newRecord({}, { id }))).toBe(false);
    expect(await bench.row(id)).toEqual(row);
    expect(await store.deleteByUser('Eve')).toBe(1);
  });

  it('S78: refuses secrets that could be guessed, and does not repeat them', async () => {
    const weak = ['hunter2', 'changeme', 'x'.repeat(64), 'keyboard cat keyboard cat keyboard cat'];
    for (const secret of weak) {
      const error = thrownBy(() => open(newSecret(), secret));
      expect(error).toMatchObject({ code: 'SESSION_CONFIG', option: 'encryption.secrets[1]' });
      expect(inspect(error)).not.toContain(secret);
    }
    for (const secrets of ['secret', []]) {
      expect(thrownBy(() => openWith({ secrets }))).toMatchObject({ option: 'encryption.secrets' });
    }
  });

  it('reads plain text only where it is allowed, and encrypts it with the next fold', async () => {
    const secrets = newSecret();
    const large = await createLarge(bench.store, 'large');
    const small = await create(bench.store, { word: 'small' }, { meta });
    const [strict, lenient] = [openWith({ secrets }), openWith({ secrets, allowPlaintext: true })];
    for (const [id, word] of [
      [small, 'small'],
      [large, 'large'],
    ] as const) {
      await expect(strict.load(id)).rejects.toMatchObject(corrupt);
      expect(await lenient.load(id)).toMatchObject({ data: { word }, meta });
      await write(lenient, id, { more: 1 });
      expect((await lenient.load(id))?.data).toMatchObject({ word, more: 1 });
    }
    expect((await bench.row(small))?.sessionData).toMatch(/^e1\./);
    await expect(bench.store.load(small)).rejects.toMatchObject(corrupt);
  });

  it('has rows that can be decoded with a codec, and with nothing else', async () => {
    const secrets = newSecret();
    const row = await bench.row(await createLarge(open(secrets), 'Ann'));
    expect(row?.getDecoded(new RecordCodec({ secrets }))).toMatchObject({ word: 'Ann', later: 'Ann again' });
    expect(row?.getDecoded(new RecordCodec({ secrets: newSecret() }))).toEqual({});
    const unsupported = { code: 'SESSION_UNSUPPORTED' };
    expect(thrownBy(() => row?.getDecoded())).toMatchObject(unsupported);

    // Since its encryption was turned on, only the log was written.
    const plain = await create(bench.store, { LARGE, a: 1 });
    const migrating = { secrets, allowPlaintext: true };
    await write(openWith(migrating), plain, { b: 2 });
    const mixed = await bench.row(plain);
    expect(mixed?.sessionData).toMatch(/^\{/);
    expect(thrownBy(() => mixed?.getDecoded())).toMatchObject(unsupported);
    expect(mixed?.getDecoded(new RecordCodec(migrating))).toMatchObject({ a: 1, b: 2 });
  });
});

function thrownBy(work: () => unknown): unknown {
  try {
    return work();
  } catch (error) {
    return error;
  }
}

@Entity('app_session')
class AppSession extends SessionEntity {
  @Column({ type: 'int', nullable: true })
  accountId!: number | null;

  static override columnsFrom({ accountId }: JsonObject): Partial<AppSession> {
    return { accountId: typeof accountId === 'number' ? accountId : null };
  }
}

it('leaves columns that the application asked for readable', async () => {
  const { dataSource, dispose } = await testDataSource('sqljs', [AppSession]);
  const store = new DatabaseStore(dataSource, AppSession, { encryption: { secrets: newSecret() } });
  await create(store, { accountId: 7 });
  expect(await AppSession.countBy({ accountId: 7 })).toBe(1);
  expect((await AppSession.findOneByOrFail({ accountId: 7 })).sessionData).toMatch(/^e1\./);
  await dispose();
});

describe('databaseEngine with encryption', () => {
  let app: INestApplicationContext | undefined;
  afterEach(() => app?.close());

  async function start(encryption: EncryptionOptions): Promise<INestApplicationContext> {
    const { options } = await testDatabase('sqljs');
    const module = await Test.createTestingModule({
      imports: [
        EventEmitterModule.forRoot(),
        TypeOrmModule.forRoot({ ...options, synchronize: true, autoLoadEntities: true }),
        SessionModule.forRoot(databaseEngine({ encryption }), { clearExpired: false }),
      ],
    })
      .setLogger(silent)
      .compile();
    return (app = await module.init());
  }

  it('S71: treats what was moved as absent, tells of it, and leaves it alone', async () => {
    const started = await start({ secrets: newSecret() });
    const sessions = started.get(Sessions);
    const [ann, bob] = [await sessions.create({ name: 'Ann' }), await sessions.create({ name: 'Bob' })];
    const events: unknown[] = [];
    started.get(EventEmitter2).on('session.corrupt', (event) => events.push(event));
    const keyOf = (session: typeof ann): string => session.sessionKey() ?? '';
    expect((await sessions.open(keyOf(ann)))?.get('name')).toBe('Ann');
    expect(events).toEqual([]);

    const table = started.get(DataSource).getRepository(SessionEntity);
    const { sessionData } = await table.findOneByOrFail({ sessionId: bob.id });
    await table.update({ sessionId: ann.id }, { sessionData });
    expect(await sessions.open(keyOf(ann))).toBeNull();
    expect(events).toEqual([
      { type: 'corrupt', error: expect.objectContaining({ code: 'SESSION_RECORD_CORRUPT' }) },
    ]);
    expect(await table.findOneByOrFail({ sessionId: ann.id })).toMatchObject({ sessionData });
    expect((await sessions.open(keyOf(bob)))?.get('name')).toBe('Bob');
  });

  it('S78: does not start with a weak secret', async () => {
    await expect(start({ secrets: 'changeme' })).rejects.toMatchObject({
      code: 'SESSION_CONFIG',
      option: 'encryption.secrets',
    });
  });
});
