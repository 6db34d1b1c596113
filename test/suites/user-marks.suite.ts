import { createHash } from 'node:crypto';
import { type SessionRecord, type SessionStore } from 'nest-sessions';
import { HOUR, newKeyHash, newRecord, save } from '../../libs/session/src/testing/store-bench.js';

export interface MarkedStore {
  /** The same sessions, as two processes have them. */
  one: SessionStore;
  other: SessionStore;
  /** What is kept under the name of a mark. */
  read(name: string): Promise<string | undefined>;
  write(name: string, text: string | undefined): Promise<void>;
}

/** A mark of a user. Its name does not hold the user id. */
const markOf = (kind: 'user' | 'revoked', userId: string): string =>
  `${kind}:${createHash('sha256').update(JSON.stringify(userId)).digest('hex')}`;

/** What stores that can only find a session by its id do for the sessions of a user. */
export function describeUserMarks(subject: string, open: () => MarkedStore): void {
  describe(subject, () => {
    let at: MarkedStore;
    beforeEach(() => {
      at = open();
    });
    const ann = 'Ann';

    async function logIn(
      store: SessionStore,
      overrides: Partial<SessionRecord> = {},
    ): Promise<SessionRecord> {
      const record = newRecord({}, { userId: ann, ...overrides });
      expect(await store.create(record.id, record)).toBe(true);
      return record;
    }
    const alive = async ({ id }: SessionRecord): Promise<boolean> => (await at.other.load(id)) !== null;
    const idsAt = async (store: SessionStore): Promise<string[]> =>
      (await store.listByUser(ann)).map(({ id }) => id).toSorted();

    const losses: [string, string | undefined][] = [
      ['lost', undefined],
      ['damaged', '{"ids":'],
      ['something else', '{"until":"soon"}'],
      ['of an older moment', '{"until":9000000000000,"ids":[]}'],
    ];
    it.each(losses)('S38: ends all sessions of a user when the list is %s', async (_, text) => {
      const session = await logIn(at.one);
      const [theirs, bystander] = [await logIn(at.other), await logIn(at.one, { userId: 'Bob' })];
      await at.write(markOf('user', ann), text);
      await at.other.deleteByUser(ann);
      for (const record of [session, theirs]) {
        const late = { expiresAt: Date.now() + 9 * HOUR };
        for (const store of [at.one, at.other]) {
          expect(await store.load(record.id)).toBeNull();
          expect(await save(store, record, { set: { late: 1 } }, late)).toBe(false);
          expect(await save(store, record, { keyHash: newKeyHash() }, late)).toBe(false);
          expect(await store.touch(record.id, { ...record, ...late })).toBe(false);
          expect(await store.take(record.id)).toBeNull();
        }
        expect(await at.one.delete(record.id)).toBe(false);
      }
      expect(await idsAt(at.one)).toEqual([]);
      expect([await alive(bystander), await alive(await logIn(at.one))]).toEqual([true, true]);
    });

    it('S37 S38: ends a session that another process has lost from the list, begun in the same moment or before', async () => {
      const first = await logIn(at.one);
      const before = await at.read(markOf('user', ann));
      const second = await logIn(at.other);
      expect(await idsAt(at.one)).toEqual([first.id, second.id].toSorted());
      // As by a process that had read it before, and writes it now.
      await at.write(markOf('user', ann), before);
      expect(await idsAt(at.one)).toEqual([first.id]);
      expect(await at.one.deleteByUser(ann)).toBe(1);
      expect([await alive(first), await alive(second)]).toEqual([false, false]);
    });

    it('lists a session again that got lost, when its deadline moves', async () => {
      const record = await logIn(at.one);
      await at.write(markOf('user', ann), undefined);
      expect(await idsAt(at.one)).toEqual([]);
      const later = { ...record, expiresAt: record.expiresAt + HOUR };
      expect(await at.one.touch(record.id, later)).toBe(true);
      expect(await idsAt(at.other)).toEqual([record.id]);
    });

    it('S38: spares the sessions it is told to, and revives none by that', async () => {
      const createdAt = Date.now() - 1000;
      const [a, b, c] = [
        await logIn(at.one, { createdAt }),
        await logIn(at.one, { createdAt }),
        await logIn(at.one, { createdAt }),
      ];
      const states = () => Promise.all([a, b, c].map(alive));
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
      const record = await logIn(at.one);
      const list = await at.read(markOf('user', ann));
      await at.write(markOf('user', ann), undefined);
      expect(await at.one.deleteByUser(ann)).toBe(0);
      await at.write(markOf('user', ann), list);
      expect(await idsAt(at.one)).toEqual([]);
      await at.write(markOf('user', ann), list);
      expect(await at.one.deleteByUser(ann)).toBe(0);
      expect(await alive(record)).toBe(false);
    });

    it('admits nobody while the revocation cannot be read, until all sessions are revoked again', async () => {
      const record = await logIn(at.one);
      await at.write(markOf('revoked', ann), 'who knows');
      expect(await alive(record)).toBe(false);
      await at.one.deleteByUser(ann);
      expect(await alive(await logIn(at.one))).toBe(true);
    });

    it('S37: ends among parallel logins all that were there before, and lists all that are left', async () => {
      const done: SessionRecord[] = [];
      const logins = Array.from({ length: 30 }, async (_, index) => {
        for (let turn = 0; turn < index; turn++) await new Promise(setImmediate);
        done.push(await logIn(at.one));
      });
      while (done.length < 10) await new Promise(setImmediate);
      const before = [...done];
      await at.one.deleteByUser(ann);
      for (const record of before) expect(await alive(record)).toBe(false);
      await Promise.all(logins);
      const left: string[] = [];
      for (const record of done) if (await alive(record)) left.push(record.id);
      expect(await idsAt(at.one)).toEqual(left.toSorted());
      expect(await at.one.deleteByUser(ann)).toBe(left.length);
      for (const record of done) expect(await alive(record)).toBe(false);
    });

    it('S37: never ends a login that follows at once', async () => {
      for (let round = 0; round < 20; round++) {
        await at.one.deleteByUser(ann);
        expect(await alive(await logIn(at.one))).toBe(true);
        expect(await alive(await logIn(at.other))).toBe(true);
      }
    });

    it('finishes when logins, ends and lists of one user meet', async () => {
      const rounds = Array.from({ length: 20 }, async () => {
        const record = await logIn(at.one);
        const later = { ...record, expiresAt: record.expiresAt + HOUR };
        await Promise.all([
          at.one.deleteByUser(ann, [record.id]),
          at.one.listByUser(ann),
          at.one.touch(record.id, later),
          at.one.take(record.id),
        ]);
      });
      await Promise.all(rounds);
      expect(await idsAt(at.other)).toEqual([]);
    });

    it('forgets what has ended, with the next logins and when all are ended', async () => {
      const listed = async (): Promise<string[]> => {
        const { ids } = JSON.parse((await at.read(markOf('user', ann))) ?? '') as { ids: string[] };
        return ids;
      };
      const stays = await logIn(at.one);
      for (let login = 0; login < 30; login++) await at.one.delete((await logIn(at.one)).id);
      expect(await listed()).toContain(stays.id);
      expect((await listed()).length).toBeLessThan(5);
      await at.one.deleteByUser(ann, [stays.id]);
      expect(await listed()).toEqual([stays.id]);
    });
  });
}
