import { inspect } from 'node:util';
import { type SessionRecord } from 'nest-sessions';
import { SessionEntity } from 'nest-sessions/database';
import { describeSessionStore } from 'nest-sessions/testing';
import { HOUR, newKey, newRecord } from '../libs/session/src/testing/store-bench.js';
import { DatabaseStoreBench } from './support/database-store-bench.js';
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
      const key = await bench.create({ a: 1, b: 2 });
      const loaded = await bench.load(key);
      expect(await bench.save(key, loaded, { set: { a: 3 }, unset: ['b'], increment: { n: 2 } })).toBe(true);

      const row = await bench.row(key);
      expect(row).toMatchObject({ sessionLog: '', version: 2 });
      expect(row?.getDecoded()).toEqual({ a: 3, n: 2 });
      expect({ ...(await bench.load(key)).data }).toEqual({ a: 3, n: 2 });
    });

    it('of a large session in its log, and folds a long log', async () => {
      const key = await bench.create({ big: 'x'.repeat(8000) });
      const snapshots = new Set([(await bench.row(key))?.sessionData]);
      const lengths: number[] = [];
      for (let n = 1; n <= 40; n++) {
        await bench.save(key, await bench.load(key), { set: { [`key${n}`]: 'y'.repeat(100) } });
        lengths.push((await bench.row(key))?.sessionLog.length ?? -1);
        snapshots.add((await bench.row(key))?.sessionData);
      }
      expect(snapshots.size).toBe(2);
      expect(Math.max(...lengths)).toBeGreaterThan(1500);
      expect(Math.max(...lengths)).toBeLessThan(3000);
      expect(lengths).toContain(0);
      expect(Object.keys((await bench.load(key)).data)).toHaveLength(41);
    });

    it('as they are when only the expiry or the user changes, and raises the version', async () => {
      const key = await bench.create({ a: 1 });
      await bench.update(key, { sessionLog: '{"s":{"b":2}}\n' });
      const loaded = await bench.load(key);
      for (const changes of [{ expiry: 60 }, { userId: 'Ann' }, {}]) {
        expect(await bench.save(key, loaded, changes)).toBe(true);
      }
      expect(await bench.row(key)).toMatchObject({
        sessionData: '{"a":1}',
        sessionLog: '{"s":{"b":2}}\n',
        expiry: '60',
        userId: 'Ann',
        version: 4,
      });
      // Whoever loaded before that may not replace the snapshot any more.
      await bench.save(key, loaded, { set: { c: 3 } });
      expect({ ...(await bench.load(key)).data }).toEqual({ a: 1, b: 2, c: 3 });
    });

    it.each<Partial<SessionEntity>>([
      { sessionData: 'not json' },
      { sessionData: '[]' },
      { sessionLog: '{"s":' },
      { expiry: '{}' },
      { expiry: 'x' },
      { sessionMeta: 'not json' },
      { sessionMeta: '[]' },
    ])('as they are when they are corrupt: %p', async (columns) => {
      const key = await bench.create({ a: 1 });
      await bench.update(key, columns);
      await expect(bench.store.load(key)).rejects.toMatchObject({ code: 'SESSION_RECORD_CORRUPT' });
      const isOfData = 'sessionData' in columns || 'sessionLog' in columns;
      expect((await bench.row(key))?.getDecoded()).toEqual(isOfData ? {} : { a: 1 });
    });
  });

  it('keeps meta in a column of its own, which is null when there is none', async () => {
    const key = await bench.create({ a: 1 });
    const columns = async (): Promise<unknown> => {
      const { sessionMeta, sessionData, version } = (await bench.row(key)) ?? {};
      return { sessionMeta, sessionData, version };
    };
    expect(await columns()).toEqual({ sessionMeta: null, sessionData: '{"a":1}', version: 1 });
    const loaded = await bench.load(key);
    await bench.save(key, loaded, { meta: { stamp: 's' } });
    expect(await columns()).toEqual({ sessionMeta: '{"stamp":"s"}', sessionData: '{"a":1}', version: 2 });
    // By somebody who loaded before that.
    await bench.save(key, loaded, { set: { b: 2 } });
    expect(await bench.load(key)).toMatchObject({ data: { a: 1, b: 2 }, meta: { stamp: 's' } });
    await bench.save(key, await bench.load(key), { set: { a: 3 }, unset: ['b'], meta: {} });
    expect(await columns()).toEqual({ sessionMeta: null, sessionData: '{"a":3}', version: 4 });
    expect((await bench.load(key)).meta).toEqual({});
  });

  describe('a rename', () => {
    it('leaves word under the key that it left, until the next one', async () => {
      const [first, second, third] = [await bench.create({ a: 1 }), newKey(), newKey()];
      await bench.store.rename(first, second, {}, await bench.load(first));
      expect((await bench.row(second))?.formerKey).toBe(first);
      expect(await bench.store.find(first)).toEqual({ movedTo: second });
      expect(await bench.store.find(second)).toMatchObject({ data: { a: 1 } });
      expect(await bench.store.load(first)).toBeNull();
      expect(await bench.store.exists(first)).toBe(false);

      await bench.save(second, await bench.load(second), { set: { a: 2 } });
      expect(await bench.store.find(first)).toEqual({ movedTo: second });
      await bench.store.rename(second, third, {}, await bench.load(second));
      expect(await bench.store.find(second)).toEqual({ movedTo: third });
      expect(await bench.store.find(first)).toBeNull();
    });

    it('leaves none of a session that has ended', async () => {
      const end: ((key: string) => Promise<unknown>)[] = [
        (key) => bench.store.delete(key),
        (key) => bench.expire(key),
      ];
      for (const work of end) {
        const [key, next] = [await bench.create(), newKey()];
        await bench.store.rename(key, next, {}, await bench.load(key));
        expect(await bench.store.find(key)).toEqual({ movedTo: next });
        await work(next);
        expect([await bench.store.find(key), await bench.store.find(next)]).toEqual([null, null]);
      }
    });

    it('that was too late changes nothing of it', async () => {
      const [key, next] = [await bench.create(), newKey()];
      const loaded = await bench.load(key);
      await bench.store.rename(key, next, {}, loaded);
      expect(await bench.store.rename(key, newKey(), {}, loaded)).toBe(false);
      expect(await bench.store.find(key)).toEqual({ movedTo: next });
    });
  });

  it('ends a session by its id, unless it has expired or is not of that user', async () => {
    const [key, expired] = [await bench.create({}, { userId: 'Ann' }), await bench.create()];
    const [{ id }, { id: expiredId }] = [await bench.load(key), await bench.load(expired)];
    await bench.expire(expired);
    expect(await bench.store.deleteById(expiredId)).toBe(false);
    expect(await bench.store.deleteById(id, 'Bob')).toBe(false);
    expect(await bench.row(key)).not.toBeNull();
    // Also if nobody can read it any more.
    await bench.update(key, { sessionData: 'not json' });
    expect(await bench.store.deleteById(id, 'Ann')).toBe(true);
    expect([await bench.row(key), (await bench.row(expired)) === null]).toEqual([null, false]);
  });

  describe('a deadline', () => {
    it('moves the bucket with it', async () => {
      const key = await bench.create();
      const loaded = await bench.load(key);
      const writes = [
        () => bench.store.save(key, { set: { a: 1 } }, { ...loaded, ...inDays(40) }),
        async () => bench.store.touch(key, { ...(await bench.load(key)), ...inDays(50) }),
        async () => bench.store.save(key, { expiry: 60 }, { ...loaded, ...inDays(3) }),
      ];
      for (const write of writes) {
        expect(await write()).toBe(true);
        const row = await bench.row(key);
        expect(row?.expireBucket).toBe(Math.floor((row?.expireDate ?? 0) / HOUR));
      }
    });

    it('that has passed makes no key free, and lets nothing write', async () => {
      const key = await bench.create({ a: 1 });
      const loaded = await bench.load(key);
      await bench.expire(key);
      expect(await bench.store.create(key, newRecord({ theirs: 1 }))).toBe(false);
      expect(await bench.save(key, loaded, { set: { a: 2 } })).toBe(false);
      expect((await bench.row(key))?.getDecoded()).toEqual({ a: 1 });
      expect(await bench.store.delete(key)).toBe(true);
    });
  });

  it('throws when the new key of a rename is taken, changes nothing, and says no key', async () => {
    const [key, taken] = [await bench.create({ mine: 1 }), await bench.create({ theirs: 1 })];
    const error: Error = await bench.store
      .rename(key, taken, { set: { mine: 2 } }, await bench.load(key))
      .then(() => new Error('It did not throw.'))
      .catch((thrown: Error) => thrown);
    expect(error.message).toMatch(/unique|duplicate/i);
    expect(inspect(error, { showHidden: true, depth: 9 })).not.toMatch(/[0-9a-f]{64}/);
    expect(error.cause).toBeUndefined();
    expect({ ...(await bench.load(key)).data }).toEqual({ mine: 1 });
    expect({ ...(await bench.load(taken)).data }).toEqual({ theirs: 1 });
  });

  it('does everything in one statement', async () => {
    const key = await bench.create({ big: 'x'.repeat(5000) });
    const loaded = await bench.load(key);
    const operations: Record<string, () => Promise<unknown>> = {
      load: () => bench.store.load(key),
      find: () => bench.store.find(key),
      'save small': () => bench.save(key, loaded, { set: { a: 1 } }),
      'save appending': () => bench.save(key, loaded, { clear: true }),
      'save expiry': () => bench.save(key, loaded, { expiry: 1 }),
      'save meta': () => bench.save(key, loaded, { meta: { stamp: 's' } }),
      exists: () => bench.store.exists(key),
      touch: () => bench.store.touch(key, loaded),
      create: () => bench.create(),
      rename: () => bench.store.rename(key, newKey(), {}, loaded),
      'delete by id': () => bench.store.deleteById(loaded.id, 'Ann'),
      clear: () => bench.store.clearExpired(10),
      delete: () => bench.store.delete(key),
    };
    for (const [name, operation] of Object.entries(operations)) {
      expect([name, (await bench.statementsOf(operation)).length]).toEqual([name, 1]);
    }
    // What a rename may have left is looked for where nothing else is.
    expect(await bench.statementsOf(() => bench.store.find(newKey()))).toHaveLength(2);
  });

  it('says that it is unavailable when the data source is closed', async () => {
    const closed = new DatabaseStoreBench(kind);
    await closed.open();
    const { store } = closed;
    await closed.close();
    for (const work of [
      store.load(newKey()),
      store.create(newKey(), newRecord()),
      store.save(newKey(), { set: { a: 1 } }, newRecord()),
      store.clearExpired(1),
    ]) {
      await expect(work).rejects.toMatchObject({ code: 'SESSION_STORE_UNAVAILABLE' });
    }
  });
});

describeWithService('postgres', 'DatabaseStore under concurrent requests', () => {
  const bench = new DatabaseStoreBench('postgres');
  beforeAll(() => bench.open());
  afterAll(() => bench.close());

  it('sends loads together and answers each on its own', async () => {
    const live = await Promise.all(Array.from({ length: 40 }, (_, n) => bench.create({ n, list: [n] })));
    const [corrupt, expired] = [await bench.create(), await bench.create()];
    await bench.update(corrupt, { sessionData: 'not json' });
    await bench.expire(expired);
    const missing = Array.from({ length: 12 }, () => newKey());
    const keys = [...live, corrupt, expired, ...missing, ...live.slice(-10)];
    expect(keys).toHaveLength(64);

    let outcomes: PromiseSettledResult<SessionRecord | null>[] = [];
    const statements = await bench.statementsOf(async () => {
      outcomes = await Promise.allSettled(keys.map((key) => bench.store.load(key)));
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
    // Who asked for the same key has a record of their own to write to.
    const records = [39, 63].map((index) => (outcomes[index] as PromiseFulfilledResult<SessionRecord>).value);
    expect(records[0]).not.toBe(records[1]);
    expect(records[0]?.data['list']).not.toBe(records[1]?.data['list']);
  });

  it('sends finds together as well, and what they look for after a miss', async () => {
    const live = await Promise.all(Array.from({ length: 20 }, (_, n) => bench.create({ n })));
    const left = await Promise.all(Array.from({ length: 20 }, () => bench.create()));
    const moves = await Promise.all(
      left.map(async (key) => {
        const next = newKey();
        await bench.store.rename(key, next, {}, await bench.load(key));
        return next;
      }),
    );
    const missing = Array.from({ length: 20 }, () => newKey());
    let found: unknown[] = [];
    const statements = await bench.statementsOf(async () => {
      found = await Promise.all(
        [...live, ...left, ...missing, ...left.slice(-4)].map((key) => bench.store.find(key)),
      );
    });
    expect(statements.length).toBeLessThanOrEqual(8);
    const moved = moves.map((movedTo) => ({ movedTo }));
    expect(found).toEqual([
      ...live.map((_, n) => expect.objectContaining({ data: { n } })),
      ...moved,
      ...missing.map(() => null),
      ...moved.slice(-4),
    ]);
  });

  it('fails only the load that the database refuses', async () => {
    const keys = await Promise.all(Array.from({ length: 8 }, (_, n) => bench.create({ n })));
    const refused = 'v1-\u0000';
    const outcomes = await Promise.allSettled([...keys, refused].map((key) => bench.store.load(key)));
    expect(outcomes.map(({ status }) => status)).toEqual([...keys.map(() => 'fulfilled'), 'rejected']);
  });

  it('sends saves together, and each session in turn has its own', async () => {
    const keys = await Promise.all(
      Array.from({ length: 64 }, () => bench.create({ n: 0, 'it\'s "}{\\,': '\n' })),
    );
    for (let n = 0; n < 10; n++) {
      const loaded = await Promise.all(keys.map((key) => bench.load(key)));
      let saved: boolean[] = [];
      const statements = await bench.statementsOf(async () => {
        saved = await Promise.all(
          loaded.map((record, index) =>
            bench.save(keys[index] ?? '', record, { set: { n: n + 1, own: index } }),
          ),
        );
      });
      expect(saved).toEqual(keys.map(() => true));
      expect(statements.length).toBeLessThanOrEqual(4);
    }
    for (const [index, key] of keys.entries()) {
      expect(await bench.row(key)).toMatchObject({ sessionLog: '', version: 11 });
      const { data, expiresAt } = await bench.load(key);
      expect({ ...data }).toEqual({ n: 10, own: index, 'it\'s "}{\\,': '\n' });
      expect(Math.abs(expiresAt - Date.now() - HOUR)).toBeLessThan(10_000);
    }
  });

  it('saves all that many requests do to the same sessions at the same time, and revives none', async () => {
    const shared = await Promise.all(Array.from({ length: 8 }, () => bench.create({ count: 0 })));
    const [expired, deleted] = [await bench.create({ a: 1 }), await bench.create({ a: 1 })];
    const gone = [await bench.load(expired), await bench.load(deleted)];
    await bench.expire(expired);
    await bench.store.delete(deleted);
    const loaded = await Promise.all(shared.map((key) => bench.load(key)));

    const work = Array.from({ length: 20 }, (_, n) =>
      shared.map((key, index) =>
        bench.save(key, loaded[index] ?? newRecord(), { increment: { count: 1 }, set: { [`key${n}`]: n } }),
      ),
    ).flat();
    const late = [expired, deleted].map((key, index) =>
      bench.save(key, gone[index] ?? newRecord(), { set: { a: 2 } }),
    );
    expect(await Promise.all(work)).toEqual(work.map(() => true));
    expect(await Promise.all(late)).toEqual([false, false]);
    for (const key of shared) {
      const { data, version } = await bench.load(key);
      expect(data['count']).toBe(20);
      expect(Object.keys(data)).toHaveLength(21);
      expect(version).toBe(21);
    }
    expect((await bench.row(expired))?.getDecoded()).toEqual({ a: 1 });
    expect(await bench.row(deleted)).toBeNull();
  });

  it('lets nobody wait for a session that somebody else holds, but for its own requests', async () => {
    const [held, ...others] = await Promise.all(Array.from({ length: 20 }, () => bench.create({ a: 1 })));
    if (held === undefined) throw new Error('There is none.');
    const loaded = await Promise.all([held, ...others].map((key) => bench.load(key)));
    const holder = bench.dataSource.createQueryRunner();
    await holder.startTransaction();
    await holder.manager.update(SessionEntity, { sessionKey: held }, { userId: 'Ann' });
    const save = (key: string, index: number): Promise<boolean> =>
      bench.save(key, loaded[index] ?? newRecord(), { set: { a: 2 } });
    // The first two are on their own, so that the one that has to wait is in a batch.
    const first = others.slice(0, 2).map((key, index) => save(key, index + 1));
    let done = false;
    const waiting = save(held, 0).finally(() => (done = true));
    const rest = others.slice(2).map((key, index) => save(key, index + 3));
    expect(await Promise.all([...first, ...rest])).toEqual(others.map(() => true));
    expect(done).toBe(false);
    await holder.commitTransaction();
    await holder.release();
    expect(await waiting).toBe(true);
    expect(await bench.row(held)).toMatchObject({ userId: 'Ann', sessionData: '{"a":2}' });
  });
});

for (const kind of ['postgres', 'mysql'] as const) {
  describeWithService(kind, `DatabaseStore among others (${kind})`, () => {
    const bench = new DatabaseStoreBench(kind);
    beforeAll(() => bench.open());
    afterAll(() => bench.close());

    it('deletes no row that is being touched while it is cleared', async () => {
      const key = await bench.create();
      await bench.expire(key);
      const holder = bench.dataSource.createQueryRunner();
      await holder.startTransaction();
      const later = Date.now() + HOUR;
      await holder.manager.update(
        SessionEntity,
        { sessionKey: key },
        { expireDate: later, expireBucket: Math.floor(later / HOUR) },
      );
      const clearing = bench.store.clearExpired(10);
      // PostgreSQL skips the row, MySQL waits for it.
      await (kind === 'postgres' ? clearing : bench.untilWaiting(1));
      await holder.commitTransaction();
      await holder.release();
      expect(await clearing).toBe(0);
      expect(await bench.store.exists(key)).toBe(true);
    });

    it('says that it is unavailable when the connection is cut in mid-statement', async () => {
      const key = await bench.create();
      const loaded = await bench.load(key);
      const holder = bench.dataSource.createQueryRunner();
      await holder.startTransaction();
      await holder.manager.update(SessionEntity, { sessionKey: key }, { version: 7 });
      const saving = bench.save(key, loaded, { set: { secret: 'hunter2' } });
      const outcome = saving.then(
        () => 'saved',
        (error: unknown) => error,
      );
      const waiting = await bench.untilWaiting(1);
      await bench.dataSource.query(
        kind === 'postgres' ? `SELECT pg_terminate_backend(${waiting[0]})` : `KILL ${waiting[0]}`,
      );
      expect(await outcome).toMatchObject({ code: 'SESSION_STORE_UNAVAILABLE', operation: 'save' });
      expect(inspect(await outcome, { showHidden: true, depth: 9 })).not.toContain('hunter2');
      await holder.rollbackTransaction();
      await holder.release();
      expect({ ...(await bench.load(key)).data }).toEqual({});
    });
  });
}
