import { createHash } from 'node:crypto';
import { type SessionRecord, type SessionStore } from 'nest-sessions';
import { HOUR, newKey, newRecord } from '../../libs/session/src/testing/store-bench.js';

export interface MarkedStore {
  /** The same sessions, as two processes have them. */
  one: SessionStore;
  other: SessionStore;
  /** What is kept under the name of a mark. */
  read(name: string): Promise<string | undefined>;
  write(name: string, text: string | undefined): Promise<void>;
}

/** A mark of a user, made so that it holds no id. */
export const markOf = (kind: 'id' | 'user' | 'revoked', id: string): string =>
  `${kind}:${createHash('sha256').update(JSON.stringify(id)).digest('hex')}`;

/** What stores do for the sessions of a user that can only find a session by its key. */
export function describeUserMarks(subject: string, open: () => MarkedStore): void {
  describe(subject, () => {
    let at: MarkedStore;
    beforeEach(() => {
      at = open();
    });
    const ann = 'Ann';

    async function logIn(store: SessionStore, overrides: Partial<SessionRecord> = {}) {
      const [key, record] = [newKey(), newRecord({}, { userId: ann, ...overrides })];
      expect(await store.create(key, record)).toBe(true);
      return { key, id: record.id, record };
    }
    const alive = async (key: string): Promise<boolean> => (await at.other.load(key)) !== null;
    const idsAt = async (store: SessionStore): Promise<string[]> =>
      (await store.listByUser(ann)).map(({ id }) => id).toSorted();

    const losses: [string, string | undefined][] = [
      ['lost', undefined],
      ['damaged', '{"keys":'],
      ['something else', '{"until":"soon"}'],
      ['of an older moment', '{"until":9000000000000,"keys":[]}'],
    ];
    it.each(losses)('S38: ends all sessions of a user when the index is %s', async (_, text) => {
      const session = await logIn(at.one);
      const [theirs, bystander] = [await logIn(at.other), await logIn(at.one, { userId: 'Bob' })];
      await at.write(markOf('user', ann), text);
      await at.other.deleteByUser(ann);
      for (const { key, record } of [session, theirs]) {
        const late = { ...record, expiresAt: Date.now() + 9 * HOUR };
        for (const store of [at.one, at.other]) {
          expect([await store.load(key), await store.find(key), await store.exists(key)]).toEqual([
            null,
            null,
            false,
          ]);
          expect(await store.save(key, { set: { late: 1 } }, late)).toBe(false);
          expect(await store.touch(key, late)).toBe(false);
          expect(await store.rename(key, newKey(), {}, late)).toBe(false);
          expect(await store.deleteById(record.id, ann)).toBe(false);
        }
      }
      expect(await idsAt(at.one)).toEqual([]);
      expect([await alive(bystander.key), await alive((await logIn(at.one)).key)]).toEqual([true, true]);
    });

    it('S38: ends a session that another process has lost from the index', async () => {
      const first = await logIn(at.one);
      const before = await at.read(markOf('user', ann));
      const second = await logIn(at.other);
      expect(await idsAt(at.one)).toEqual([first.id, second.id].toSorted());
      // As by a process that had read it before, and writes it now.
      await at.write(markOf('user', ann), before);
      expect(await idsAt(at.one)).toEqual([first.id]);
      expect(await at.one.deleteByUser(ann)).toBe(1);
      expect([await alive(first.key), await alive(second.key)]).toEqual([false, false]);
    });

    it('lists a session again that got lost, when its deadline moves', async () => {
      const { key, id, record } = await logIn(at.one);
      await at.write(markOf('user', ann), undefined);
      expect(await idsAt(at.one)).toEqual([]);
      expect(await at.one.touch(key, { ...record, expiresAt: record.expiresAt + HOUR })).toBe(true);
      expect(await idsAt(at.other)).toEqual([id]);
    });

    it('S38: spares the sessions it is told to, and revives none by that', async () => {
      const createdAt = Date.now() - 1000;
      const [a, b, c] = [
        await logIn(at.one, { createdAt }),
        await logIn(at.one, { createdAt }),
        await logIn(at.one, { createdAt }),
      ];
      const states = () => Promise.all([a, b, c].map(({ key }) => alive(key)));
      const ending = async (except: string[]): Promise<void> => {
        await at.write(markOf('user', ann), undefined);
        expect(await at.one.deleteByUser(ann, except)).toBe(0);
      };
      await ending([a.id, b.id]);
      expect(await states()).toEqual([true, true, false]);
      await ending([b.id, c.id]);
      expect(await states()).toEqual([false, true, false]);
      await ending([]);
      expect(await states()).toEqual([false, false, false]);
    });

    it('does not count again what a revocation has ended already', async () => {
      const { key } = await logIn(at.one);
      const index = await at.read(markOf('user', ann));
      await at.write(markOf('user', ann), undefined);
      expect(await at.one.deleteByUser(ann)).toBe(0);
      await at.write(markOf('user', ann), index);
      expect(await idsAt(at.one)).toEqual([]);
      await at.write(markOf('user', ann), index);
      expect(await at.one.deleteByUser(ann)).toBe(0);
      expect(await alive(key)).toBe(false);
    });

    it('admits nobody while it cannot be read what was revoked, until all are revoked again', async () => {
      const { key } = await logIn(at.one);
      await at.write(markOf('revoked', ann), 'who knows');
      expect(await alive(key)).toBe(false);
      await at.one.deleteByUser(ann);
      expect(await alive((await logIn(at.one)).key)).toBe(true);
    });

    it('S37: ends among parallel logins all that were there before, and lists all that are left', async () => {
      const done: string[] = [];
      const all: { key: string; id: string }[] = [];
      const logins = Array.from({ length: 30 }, async (_, index) => {
        for (let turn = 0; turn < index; turn++) await new Promise(setImmediate);
        const visitor = newRecord({}, { createdAt: Date.now() - 1000 });
        const [key, next] = [newKey(), newKey()];
        await at.one.create(key, visitor);
        const changes = { userId: ann, meta: { authenticatedAfter: Date.now() - visitor.createdAt } };
        expect(await at.one.rename(key, next, changes, { ...visitor, ...changes })).toBe(true);
        all.push({ key: next, id: visitor.id });
        done.push(next);
      });
      while (done.length < 10) await new Promise(setImmediate);
      const before = [...done];
      await at.one.deleteByUser(ann);
      for (const key of before) expect(await alive(key)).toBe(false);
      await Promise.all(logins);
      const left: string[] = [];
      for (const { key, id } of all) if (await alive(key)) left.push(id);
      expect(await idsAt(at.one)).toEqual(left.toSorted());
      expect(await at.one.deleteByUser(ann)).toBe(left.length);
      for (const { key } of all) expect(await alive(key)).toBe(false);
    });

    it('S37: never ends a login that follows at once', async () => {
      for (let round = 0; round < 20; round++) {
        await at.one.deleteByUser(ann);
        // One of somebody who was there as a visitor before.
        const [createdAt, now] = [Date.now() - HOUR, Date.now()];
        const visitor = await logIn(at.one, { createdAt, meta: { authenticatedAfter: now - createdAt } });
        expect(await alive(visitor.key)).toBe(true);
        expect(await alive((await logIn(at.other)).key)).toBe(true);
      }
    });

    it('lists a session once, and ends it by its id, wherever another process has moved it', async () => {
      const { key, id, record } = await logIn(at.one);
      const [second, third] = [newKey(), newKey()];
      expect(await at.other.rename(key, second, {}, record)).toBe(true);
      // As one finds it who comes between the move and its entry.
      await at.write(markOf('id', id), key);
      await at.write(markOf('user', ann), JSON.stringify({ until: 9e12, keys: [key, second] }));
      expect(await idsAt(at.one)).toEqual([id]);
      expect(await at.one.rename(second, third, {}, record)).toBe(true);
      await at.write(markOf('id', id), key);
      expect([await at.other.deleteById(id, 'Bob'), await at.other.deleteById(id, ann)]).toEqual([
        false,
        true,
      ]);
      expect(await alive(third)).toBe(false);
    });

    it('forgets with the next logins what has ended', async () => {
      const stays = await logIn(at.one);
      for (let login = 0; login < 30; login++) {
        const { key, id } = await logIn(at.one);
        await at.one.delete(key, id);
      }
      const { keys } = JSON.parse((await at.read(markOf('user', ann))) ?? '') as { keys: string[] };
      expect(keys).toContain(stays.key);
      expect(keys.length).toBeLessThan(5);
    });
  });
}
