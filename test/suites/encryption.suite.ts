import { type SessionChanges, type SessionRecord, type SessionStore } from 'nest-sessions';
import { type EncryptionOptions } from '../../libs/session/src/stores/sealing.js';
import * as bench from '../../libs/session/src/testing/store-bench.js';

/** A store that encrypts, and what somebody may do to the texts that it keeps. */
export interface EncryptedStores {
  /** A store over the same texts as all the others. */
  open(encryption?: EncryptionOptions): SessionStore;
  textAt(id: string): string | Promise<string>;
  putText(id: string, text: string): void | Promise<void>;
  dispose?(): Promise<void>;
}

const [OLD, NEW] = ['q3Vh-8sTzLw5Xk_R2mYd7NbJ4cFp9GaE', 'Zt6_uHrC1vQeK8-oWyS3jMx5BnDi0LfP'];
const corrupt = { code: 'SESSION_RECORD_CORRUPT' };
/** Equally long, so that nothing but the encryption tells one from the other. Only what is secret here has a `!` in it. */
const data = { 'secret!': 'tea!' };
const meta = { stamp: 'cream!' };

const TOKEN = /e1\.([\w-]{8})\.[\w-]{44,}/g;

function tokensIn(text: string): string[] {
  return [...text.matchAll(TOKEN)].map(([token]) => token);
}

/** The ids of the keys by which the tokens of a text are encrypted. */
function keyIdsIn(text: string): Set<string> {
  return new Set([...text.matchAll(TOKEN)].map(([, keyId = '']) => keyId));
}

/** Resolves with the session id. */
async function create(store: SessionStore): Promise<string> {
  const record = bench.newRecord(data, { meta, userId: 'Ann' });
  expect(await store.create(record.id, record)).toBe(true);
  return record.id;
}

async function load(store: SessionStore, id: string): Promise<SessionRecord> {
  return (await store.load(id)) as SessionRecord;
}

async function save(store: SessionStore, id: string, changes: SessionChanges): Promise<void> {
  expect(await bench.save(store, await load(store, id), changes)).toBe(true);
}

/** What encryption at rest has to do for any store. */
export function describeEncryption(name: string, openStores: () => EncryptedStores): void {
  describe(name, () => {
    const stores = openStores();
    const [old, both, newest] = [{ secrets: OLD }, { secrets: [NEW, OLD] }, { secrets: NEW }].map(
      (encryption) => stores.open(encryption),
    ) as [SessionStore, SessionStore, SessionStore];
    afterAll(() => stores.dispose?.());

    /** It is no session, whatever is tried, and stays as it is. */
    const expectCorrupt = async (store: SessionStore, id: string): Promise<void> => {
      const text = await stores.textAt(id);
      await expect(store.load(id)).rejects.toMatchObject(corrupt);
      expect(await store.create(id, bench.newRecord({}, { id }))).toBe(false);
      expect(await stores.textAt(id)).toBe(text);
    };

    it('S71: leaves nothing of data and meta to be read, whatever writes them', async () => {
      const id = await create(old);
      const text: string[] = [];
      for (const changes of [
        { set: { 'more!': 'sugar!' } },
        { meta: { stamp: 'lemon!' } },
        { keyHash: bench.newKeyHash(), set: { 'last!': 'honey!' } },
      ]) {
        await save(old, id, changes);
        text.push(await stores.textAt(id));
      }
      for (const each of text) expect(each).not.toContain('!');
      expect({ ...(await load(old, id)).data }).toEqual({ ...data, 'more!': 'sugar!', 'last!': 'honey!' });
      expect((await load(old, id)).meta).toEqual({ stamp: 'lemon!' });
    });

    it('S71: takes nothing encrypted from another session, nor from another place in the same one', async () => {
      const [one, other] = [await create(old), await create(old)];
      const [text, theirs] = [await stores.textAt(one), await stores.textAt(other)];
      const [first = '', second = ''] = tokensIn(text);
      const [theirFirst = '', theirSecond = ''] = tokensIn(theirs);
      const swapped = text.replace(first, '\0').replace(second, first).replace('\0', second);
      for (const forged of [text.replace(first, theirFirst), text.replace(second, theirSecond), swapped]) {
        expect(forged).toHaveLength(text.length);
        await stores.putText(one, forged);
        await expectCorrupt(old, one);
      }
      await stores.putText(one, text);
      expect((await load(old, one)).meta).toEqual(meta);
    });

    it('S76: encrypts with the newest secret, decrypts with all, and forgets the old one by and by', async () => {
      const id = await create(old);
      const [oldKeyId] = keyIdsIn(await stores.textAt(id));
      expect({ ...(await load(both, id)).data }).toEqual(data);
      await expectCorrupt(newest, id);
      let saves = 0;
      while (keyIdsIn(await stores.textAt(id)).has(oldKeyId as string) && saves < 100) {
        await save(both, id, { set: { filler: 'x'.repeat(200) }, increment: { saves: 1 } });
        saves += 1;
      }
      expect({ ...(await load(newest, id)).data }).toEqual({ ...data, filler: 'x'.repeat(200), saves });
      expect((await load(newest, id)).meta).toEqual(meta);
      await expectCorrupt(old, id);
    });

    it('S80: ends what a dropped secret has encrypted, and nothing else', async () => {
      const [lost, kept] = [await create(old), await create(newest)];
      const loaded = await load(old, lost);
      await expectCorrupt(newest, lost);
      // Planted by somebody who knows the secret that leaked.
      const planted = await create(old);
      await expectCorrupt(newest, planted);
      expect({ ...(await load(newest, kept)).data }).toEqual(data);
      expect(await newest.delete(lost)).toBe(true);
      expect(await old.load(lost)).toBeNull();
      expect(await bench.save(old, loaded, { keyHash: bench.newKeyHash() })).toBe(false);
    });

    it('S76: reads what was there before only if it is told to', async () => {
      const id = await create(stores.open());
      await expectCorrupt(newest, id);
      const changing = stores.open({ secrets: NEW, allowPlaintext: true });
      expect({ ...(await load(changing, id)).data }).toEqual(data);
      await save(changing, id, { set: { more: 'sugar!' } });
      expect(await stores.textAt(id)).not.toContain('sugar!');
      expect({ ...(await load(changing, id)).data }).toEqual({ ...data, more: 'sugar!' });
      expect((await load(changing, id)).meta).toEqual(meta);
    });

    it('S78: refuses a weak secret', () => {
      expect(() => stores.open({ secrets: 'keyboard cat' })).toThrow(/"encryption\.secrets"/);
    });
  });
}
