import { inspect } from 'node:util';
import { type JsonObject, type SessionRecord } from 'nest-sessions';
import { DatabaseStore, SessionEntity } from 'nest-sessions/database';
import { connectionQuery } from '../libs/session/src/stores/database/connection.js';
import { sessionTable } from '../libs/session/src/stores/database/database-store.js';
import { dialects } from '../libs/session/src/stores/sql/dialects.js';
import { SqlStore } from '../libs/session/src/stores/sql/sql-store.js';
import { describeSessionStore } from '../libs/session/src/testing/describe-session-store.js';
import {
  changed,
  HOUR,
  newId,
  newKeyHash,
  newRecord,
  save,
} from '../libs/session/src/testing/store-bench.js';
import { DatabaseStoreBench, POOL_SIZE } from './support/database-store-bench.js';
import { describeOnEveryDatabase, describeWithService } from './support/services.js';

const inDays = (count: number): { expiresAt: number } => ({ expiresAt: Date.now() + count * 24 * HOUR });

describeOnEveryDatabase('DatabaseStore', (kind) => {
  describeSessionStore('conforms', () => new DatabaseStoreBench(kind).underTest(), {
    // SQLite (sql.js) lives inside of this process.
    capabilities: { outages: kind !== 'sqljs', ownClock: kind !== 'sqljs' },
  });

  const bench = new DatabaseStoreBench(kind);
  beforeAll(() => bench.open());
  afterAll(() => bench.close());

  describe('keeps the data', () => {
    it('in the snapshot when nobody else wrote', async () => {
      const loaded = await bench.create({ a: 1, b: 2 });
      expect(await bench.save(loaded, { set: { a: 3 }, unset: ['b'], increment: { n: 2 } })).toBe(true);

      const row = await bench.row(loaded.id);
      expect(row).toMatchObject({ sessionLog: '', version: 2 });
      expect(row?.getDecoded()).toEqual({ a: 3, n: 2 });
      expect({ ...(await bench.load(loaded.id)).data }).toEqual({ a: 3, n: 2 });
    });

    it.each([
      ['loads it first', true],
      ['has it from a cache', false],
    ])('of a large session in its log, and folds a long log, when each request %s', async (_how, loads) => {
      let record = await bench.create({ big: 'x'.repeat(8000) });
      const { id } = record;
      const snapshots = new Set([(await bench.row(id))?.sessionData]);
      const lengths: number[] = [];
      for (let n = 1; n <= 40; n++) {
        if (loads) record = await bench.load(id);
        const changes = { set: { [`key${n}`]: 'y'.repeat(100) } };
        expect(await bench.save(record, changes)).toBe(true);
        record = { ...changed(record, changes), version: record.version + 1 };
        lengths.push((await bench.row(id))?.sessionLog.length ?? -1);
        snapshots.add((await bench.row(id))?.sessionData);
      }
      expect(snapshots.size).toBe(3);
      expect(Math.max(...lengths)).toBeGreaterThan(1500);
      expect(Math.max(...lengths)).toBeLessThan(3000);
      expect(lengths).toContain(0);
      expect(Object.keys((await bench.load(id)).data)).toHaveLength(41);
    });

    it('of a large session in a log that is folded by its lines, too', async () => {
      const { id } = await bench.create({ big: 'x'.repeat(20_000), n: 0 });
      const lines: number[] = [];
      for (let n = 1; n <= 100; n++) {
        await bench.save(await bench.load(id), { increment: { n: 1 } });
        lines.push(((await bench.row(id))?.sessionLog.split('\n').length ?? 0) - 1);
      }
      expect(Math.max(...lines)).toBeLessThanOrEqual(64);
      expect(lines).toContain(0);
      expect((await bench.load(id)).data['n']).toBe(100);
    });

    it('as they are when only the expiry or the secret changes, and raises the version', async () => {
      const { id } = await bench.create({ a: 1 });
      await bench.update(id, { sessionLog: '{"s":{"b":2}}\n' });
      const loaded = await bench.load(id);
      const keyHash = newKeyHash();
      for (const changes of [{ expiry: 60 }, {}, { keyHash }]) {
        expect(await bench.save(loaded, changes)).toBe(true);
      }
      expect(await bench.row(id)).toMatchObject({
        sessionData: '{"a":1}',
        sessionLog: '{"s":{"b":2}}\n',
        expiry: '60',
        keyHash,
        version: 4,
      });
      // A request that loaded before that may not replace the snapshot any more.
      await bench.save({ ...loaded, keyHash }, { set: { c: 3 } });
      expect({ ...(await bench.load(id)).data }).toEqual({ a: 1, b: 2, c: 3 });
    });

    it.each<Partial<SessionEntity>>([
      { sessionData: 'not json' },
      { sessionData: '[]' },
      { sessionLog: '{"s":' },
      { expiry: '{}' },
      { expiry: 'x' },
      { sessionMeta: 'not json' },
      { sessionMeta: '[]' },
      // No Date holds it.
      { createdAt: 9e15 },
      { lastSeenAt: 9e15 },
      { expireDate: 9e15 },
    ])('as they are when they are corrupt: %p', async (columns) => {
      const { id } = await bench.create({ a: 1 });
      await bench.update(id, columns);
      await expect(bench.store.load(id)).rejects.toMatchObject({ code: 'SESSION_RECORD_CORRUPT' });
      const isOfData = 'sessionData' in columns || 'sessionLog' in columns;
      expect((await bench.row(id))?.getDecoded()).toEqual(isOfData ? {} : { a: 1 });
    });
  });

  it('keeps meta in a column of its own, which is empty when there is none', async () => {
    const loaded = await bench.create({ a: 1 });
    const { id } = loaded;
    const columns = async (): Promise<unknown> => {
      const { sessionMeta, sessionData, version } = (await bench.row(id)) ?? {};
      return { sessionMeta, sessionData, version };
    };
    expect(await columns()).toEqual({ sessionMeta: '', sessionData: '{"a":1}', version: 1 });
    await bench.save(loaded, { meta: { stamp: 's' } });
    expect(await columns()).toEqual({ sessionMeta: '{"stamp":"s"}', sessionData: '{"a":1}', version: 2 });
    // By a request that loaded before that.
    await bench.save(loaded, { set: { b: 2 } });
    expect(await bench.load(id)).toMatchObject({ data: { a: 1, b: 2 }, meta: { stamp: 's' } });
    await bench.save(await bench.load(id), { set: { a: 3 }, unset: ['b'], meta: {} });
    expect(await columns()).toEqual({ sessionMeta: '', sessionData: '{"a":3}', version: 4 });
    expect((await bench.load(id)).meta).toEqual({});
  });

  it('takes a session where the database cannot return what it deletes', async () => {
    const query = connectionQuery(bench.dataSource, true);
    let refused = 0;
    const store = new SqlStore({
      dialect: dialects[kind === 'sqljs' ? 'sqlite' : kind],
      table: sessionTable(bench.dataSource, bench.dataSource.getMetadata(SessionEntity)),
      query: (text, values, limit) => {
        if (!text.startsWith('DELETE') || !text.includes('RETURNING')) return query(text, values, limit);
        refused += 1;
        return Promise.reject(Object.assign(new Error('You have an error …'), { code: 'ER_PARSE_ERROR' }));
      },
    });
    for (let round = 0; round < 10; round++) {
      const loaded = await bench.create({ n: 0 });
      const writes = Array.from({ length: 8 }, () => bench.save(loaded, { increment: { n: 1 } }));
      const takes = [store.take(loaded.id), store.take(loaded.id)];
      const saved = (await Promise.all(writes)).filter(Boolean).length;
      const taken = (await Promise.all(takes)).filter((record) => record !== null);
      expect(taken.map(({ data }) => data['n'])).toEqual([saved]);
      expect(await bench.row(loaded.id)).toBeNull();
    }
    // Two at once, and then never again.
    expect(refused).toBe(2);
  });

  it('binds its values, whatever is in them', async () => {
    // A mode in which a backslash is a letter. Servers other than MySQL know no other.
    if (kind === 'mysql')
      await bench.onEveryConnection(`SET sql_mode = CONCAT(@@sql_mode, ',NO_BACKSLASH_ESCAPES')`);
    const odd = `\\'; DELETE FROM nest_session; -- \\" \` ? $1 \0 %`;
    const user = odd.replace('\0', '');
    const { id } = await bench.create({ odd }, { userId: user });
    const keyHash = `v1.${odd.replace('\0', '')}`;
    const present = (): Promise<SessionRecord> => bench.load(id);
    /** Whatever may hold a text that somebody chose, in every statement of the store. */
    const operations: (() => Promise<unknown>)[] = [
      async () => bench.save(await present(), { set: { more: odd }, meta: { stamp: odd } }),
      async () => bench.save(await present(), { set: { [odd]: odd }, expiry: 60 }),
      async () =>
        Promise.all([1, 2, 3].map(async () => bench.save(await present(), { push: { list: [odd] } }))),
      async () => bench.save(await present(), { keyHash }),
      async () => bench.store.touch(id, { ...(await present()), ...inDays(2) }),
      () => bench.store.load(`${id}' OR '1' = '1`),
      () => Promise.all([id, odd, odd].map((each) => bench.store.load(each.replace('\0', '')))),
      () => bench.store.listByUser(user),
      () => bench.store.take(`\\' OR 1 = 1 -- `),
      () => bench.store.delete(`\\' OR 1 = 1 -- `),
      () => bench.store.deleteByUser(user, [id, `\\') OR 1 = 1 -- `]),
      () => bench.store.deleteByUser(`\\' OR 1 = 1 -- `),
      () => bench.store.clearExpired(5),
    ];
    for (const operation of operations) {
      const statements = await bench.statementsOf(operation);
      expect(statements.filter((text) => /OR 1|OR '1'|DELETE FROM nest_session;/.test(text))).toEqual([]);
    }
    const { data, meta } = await present();
    expect({ ...data }).toEqual({ odd, more: odd, [odd]: odd, list: [odd, odd, odd] });
    expect(meta).toEqual({ stamp: odd });
    expect(await bench.row(id)).toMatchObject({ userId: user, keyHash });
    expect(await bench.store.listByUser(user)).toHaveLength(1);
  });

  describe('a deadline', () => {
    it('moves the bucket with it', async () => {
      const loaded = await bench.create();
      const { id } = loaded;
      const writes = [
        () => save(bench.store, loaded, { set: { a: 1 } }, inDays(40)),
        async () => bench.store.touch(id, { ...(await bench.load(id)), ...inDays(50) }),
        () => save(bench.store, loaded, { expiry: 60 }, inDays(3)),
      ];
      for (const write of writes) {
        expect(await write()).toBe(true);
        const row = await bench.row(id);
        expect(row?.expireBucket).toBe(Math.floor((row?.expireDate ?? 0) / HOUR));
      }
    });

    it('that has passed makes no id free, and lets nothing write', async () => {
      const loaded = await bench.create({ a: 1 });
      const { id } = loaded;
      await bench.expire(id);
      expect(await bench.store.create(id, newRecord({ theirs: 1 }, { id }))).toBe(false);
      expect(await bench.save(loaded, { set: { a: 2 } })).toBe(false);
      expect((await bench.row(id))?.getDecoded()).toEqual({ a: 1 });
      expect(await bench.store.take(id)).toBeNull();
      expect(await bench.store.delete(id)).toBe(true);
    });
  });

  it('does everything in one statement', async () => {
    bench.store.limits = { size: 100_000, keys: 1000 };
    const loaded = await bench.create({ big: 'x'.repeat(5000) });
    const { id } = loaded;
    const operations: Record<string, () => Promise<unknown>> = {
      load: () => bench.store.load(id),
      save: () => bench.save(loaded, { set: { a: 1 } }),
      'save late': () => bench.save(loaded, { clear: true }),
      'save expiry': () => bench.save(loaded, { expiry: 1 }),
      'save meta': () => bench.save(loaded, { meta: { stamp: 's' } }),
      touch: () => bench.store.touch(id, loaded),
      create: () => bench.store.create(newId(), newRecord()),
      rotate: () => bench.save(loaded, { keyHash: newKeyHash() }),
      take: () => bench.store.take(id),
      clear: () => bench.store.clearExpired(10),
      delete: () => bench.store.delete(id),
      list: () => bench.store.listByUser('Ann'),
    };
    for (const [name, operation] of Object.entries(operations)) {
      expect([name, (await bench.statementsOf(operation)).length]).toEqual([name, 1]);
    }
    bench.store.limits = { size: Infinity, keys: Infinity };
  });

  it('says that it is unavailable when the data source is closed', async () => {
    const closed = new DatabaseStoreBench(kind);
    await closed.open();
    const { store } = closed;
    await closed.close();
    const record = newRecord();
    for (const work of [
      store.load(record.id),
      store.create(record.id, record),
      save(store, record, { set: { a: 1 } }),
      store.clearExpired(1),
    ]) {
      await expect(work).rejects.toMatchObject({
        code: 'SESSION_STORE_UNAVAILABLE',
        message: expect.stringContaining('initialize'),
      });
    }
  });
});

for (const kind of ['postgres', 'mysql'] as const) {
  describeWithService(kind, `DatabaseStore on a server that becomes read-only (${kind})`, () => {
    const bench = new DatabaseStoreBench(kind);
    beforeAll(() => bench.open());
    afterAll(() => bench.close());

    it.each([true, false])(
      'is served again as soon as the server can be, without a restart (prepared statements: %p)',
      async (preparedStatements) => {
        const store = new DatabaseStore(bench.dataSource, SessionEntity, { preparedStatements });
        const loaded = await bench.create();
        await bench.onEveryConnection(
          kind === 'postgres'
            ? 'SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY'
            : 'SET SESSION TRANSACTION READ ONLY',
        );
        // Connections that are made from now on are to a server that takes writes.
        for (let n = 0; n < POOL_SIZE; n++) {
          await expect(save(store, loaded, { set: { a: 1 } })).rejects.toMatchObject({
            code: 'SESSION_STORE_UNAVAILABLE',
          });
        }
        expect(await save(store, loaded, { set: { a: 1 } })).toBe(true);
      },
    );
  });
}

describeWithService('postgres', 'DatabaseStore under concurrent requests', () => {
  const bench = new DatabaseStoreBench('postgres');
  beforeAll(() => bench.open());
  afterAll(() => bench.close());

  const createMany = (count: number, data: (n: number) => JsonObject): Promise<SessionRecord[]> =>
    Promise.all(Array.from({ length: count }, (_, n) => bench.create(data(n))));

  it('sends loads together and answers each on its own', async () => {
    const live = await createMany(40, (n) => ({ n, list: [n] }));
    const [corrupt, expired] = [await bench.create(), await bench.create()];
    await bench.update(corrupt.id, { sessionData: 'not json' });
    await bench.expire(expired.id);
    const missing = Array.from({ length: 12 }, () => newRecord());
    const asked = [...live, corrupt, expired, ...missing, ...live.slice(-10)];
    expect(asked).toHaveLength(64);

    let outcomes: PromiseSettledResult<SessionRecord | null>[] = [];
    const statements = await bench.statementsOf(async () => {
      outcomes = await Promise.allSettled(asked.map(({ id }) => bench.store.load(id)));
    });
    expect(statements.length).toBeLessThanOrEqual(4);
    const present = live.map((_, n) => ({
      status: 'fulfilled',
      value: expect.objectContaining({ data: { n, list: [n] }, version: 1 }),
    }));
    const absent = { status: 'fulfilled', value: null };
    expect(outcomes).toEqual([
      ...present,
      { status: 'rejected', reason: expect.objectContaining({ code: 'SESSION_RECORD_CORRUPT' }) },
      absent,
      ...missing.map(() => absent),
      ...present.slice(-10),
    ]);
    // Two requests for the same session have a record each to write to.
    const records = [39, 63].map((index) => (outcomes[index] as PromiseFulfilledResult<SessionRecord>).value);
    expect(records[0]).not.toBe(records[1]);
    expect(records[0]?.data['list']).not.toBe(records[1]?.data['list']);
  });

  it('fails only the load that the database refuses', async () => {
    const ids = (await createMany(8, (n) => ({ n }))).map(({ id }) => id);
    const outcomes = await Promise.allSettled([...ids, 'NUL: \u0000'].map((id) => bench.store.load(id)));
    expect(outcomes.map(({ status }) => status)).toEqual([...ids.map(() => 'fulfilled'), 'rejected']);
  });

  it('sends saves together, and each session in turn has its own', async () => {
    const created = await createMany(64, () => ({ n: 0, 'it\'s "}{\\,': '\n' }));
    for (let n = 0; n < 10; n++) {
      const loaded = await Promise.all(created.map(({ id }) => bench.load(id)));
      let saved: boolean[] = [];
      const statements = await bench.statementsOf(async () => {
        saved = await Promise.all(
          loaded.map((record, index) => bench.save(record, { set: { n: n + 1, own: index } })),
        );
      });
      expect(saved).toEqual(created.map(() => true));
      expect(statements.length).toBeLessThanOrEqual(4);
    }
    for (const [index, { id }] of created.entries()) {
      expect(await bench.row(id)).toMatchObject({ sessionLog: '', version: 11 });
      const { data, expiresAt } = await bench.load(id);
      expect({ ...data }).toEqual({ n: 10, own: index, 'it\'s "}{\\,': '\n' });
      expect(Math.abs(expiresAt - Date.now() - HOUR)).toBeLessThan(10_000);
    }
  });

  it('saves all that many requests do to the same sessions at the same time, and revives none', async () => {
    const shared = await createMany(8, () => ({ count: 0 }));
    const [expired, deleted, rotated] = await createMany(3, () => ({ a: 1 }));
    if (!expired || !deleted || !rotated) throw new Error('There are three.');
    await bench.expire(expired.id);
    await bench.store.delete(deleted.id);
    await bench.save(rotated, { keyHash: newKeyHash() });

    const work = Array.from({ length: 20 }, (_, n) =>
      shared.map((record) => bench.save(record, { increment: { count: 1 }, set: { [`key${n}`]: n } })),
    ).flat();
    const late = [expired, deleted, rotated].map((record) => bench.save(record, { set: { a: 2 } }));
    expect(await Promise.all(work)).toEqual(work.map(() => true));
    expect(await Promise.all(late)).toEqual([false, false, false]);
    for (const { id } of shared) {
      const { data, version } = await bench.load(id);
      expect(data['count']).toBe(20);
      expect(Object.keys(data)).toHaveLength(21);
      expect(version).toBe(21);
    }
    for (const { id } of [expired, rotated]) expect((await bench.row(id))?.getDecoded()).toEqual({ a: 1 });
    expect(await bench.row(deleted.id)).toBeNull();
  });

  it('stops at the limit within a batch, too, and refuses nothing else', async () => {
    const [full, ...others] = await createMany(20, () => ({ a: 'x'.repeat(900) }));
    if (full === undefined) throw new Error('There are twenty.');
    await bench.save(full, { set: { b: 'x'.repeat(900) } });
    bench.store.limits = { size: 2000, keys: 100 };
    const saves = [...others.slice(0, 9), full, ...others.slice(9)];
    const outcomes = await Promise.allSettled(
      saves.map((record) => bench.save(record, { set: { c: 'y'.repeat(300) } })),
    );
    bench.store.limits = { size: Infinity, keys: Infinity };
    const refused = {
      status: 'rejected',
      reason: expect.objectContaining({ code: 'SESSION_LIMIT', limit: 'size' }),
    };
    const saved = { status: 'fulfilled', value: true };
    expect(outcomes).toEqual(saves.map((record) => (record === full ? refused : saved)));
    expect(Object.keys((await bench.load(full.id)).data)).toEqual(['a', 'b']);
  });

  it('lets nobody wait for a session that somebody else holds, but for its own requests', async () => {
    const [held, ...others] = await createMany(20, () => ({ a: 1 }));
    if (held === undefined) throw new Error('There are twenty.');
    const holder = bench.dataSource.createQueryRunner();
    await holder.startTransaction();
    await holder.manager.update(SessionEntity, { sessionId: held.id }, { userId: 'Ann' });
    const saving = (record: SessionRecord): Promise<boolean> => bench.save(record, { set: { a: 2 } });
    // The first two are on their own, so that the one that has to wait is in a batch.
    const first = others.slice(0, 2).map(saving);
    let done = false;
    const waiting = saving(held).finally(() => (done = true));
    const rest = others.slice(2).map(saving);
    expect(await Promise.all([...first, ...rest])).toEqual(others.map(() => true));
    expect(done).toBe(false);
    await holder.commitTransaction();
    await holder.release();
    expect(await waiting).toBe(true);
    expect(await bench.row(held.id)).toMatchObject({ userId: 'Ann', sessionData: '{"a":2}' });
  });
});

for (const kind of ['postgres', 'mysql'] as const) {
  describeWithService(kind, `DatabaseStore among others (${kind})`, () => {
    const bench = new DatabaseStoreBench(kind);
    beforeAll(() => bench.open());
    afterAll(() => bench.close());

    it('deletes no row that is being touched while it is cleared', async () => {
      const { id } = await bench.create();
      await bench.expire(id);
      const holder = bench.dataSource.createQueryRunner();
      await holder.startTransaction();
      const later = Date.now() + HOUR;
      await holder.manager.update(
        SessionEntity,
        { sessionId: id },
        { expireDate: later, expireBucket: Math.floor(later / HOUR) },
      );
      const clearing = bench.store.clearExpired(10);
      // PostgreSQL skips the row, MySQL waits for it.
      await (kind === 'postgres' ? clearing : bench.untilWaiting(() => 1));
      await holder.commitTransaction();
      await holder.release();
      expect(await clearing).toBe(0);
      expect(await bench.store.load(id)).not.toBeNull();
    });

    it('says that it is unavailable when the connection is cut in mid-statement', async () => {
      const loaded = await bench.create();
      const { id } = loaded;
      const holder = bench.dataSource.createQueryRunner();
      await holder.startTransaction();
      await holder.manager.update(SessionEntity, { sessionId: id }, { version: 7 });
      const saving = bench.save(loaded, { set: { secret: 'hunter2' } });
      const outcome = saving.then(
        () => 'saved',
        (error: unknown) => error,
      );
      const waiting = await bench.untilWaiting(() => 1);
      await bench.dataSource.query(
        kind === 'postgres' ? `SELECT pg_terminate_backend(${waiting[0]})` : `KILL ${waiting[0]}`,
      );
      expect(await outcome).toMatchObject({ code: 'SESSION_STORE_UNAVAILABLE', operation: 'save' });
      expect(inspect(await outcome, { showHidden: true, depth: 9 })).not.toContain('hunter2');
      await holder.rollbackTransaction();
      await holder.release();
      expect({ ...(await bench.load(id)).data }).toEqual({});
    });
  });
}
