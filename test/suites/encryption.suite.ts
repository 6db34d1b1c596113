import { type SessionChanges, type SessionRecord, type SessionStore } from 'nest-sessions';
import { type EncryptionOptions } from '../../libs/session/src/stores/record-cipher.js';
import { changed, newKey, newRecord } from '../../libs/session/src/testing/store-bench.js';

/** A store that encrypts, and what somebody may do to the texts that it keeps. */
export interface EncryptedStores {
  /** A store over the same texts as all the others. */
  open(encryption?: EncryptionOptions): SessionStore;
  textAt(key: string): string | Promise<string>;
  putText(key: string, text: string): void | Promise<void>;
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

async function create(store: SessionStore): Promise<string> {
  const key = newKey();
  expect(await store.create(key, newRecord(data, { meta, userId: 'Ann' }))).toBe(true);
  return key;
}

async function load(store: SessionStore, key: string): Promise<SessionRecord> {
  return (await store.load(key)) as SessionRecord;
}

async function save(store: SessionStore, key: string, changes: SessionChanges): Promise<void> {
  expect(await store.save(key, changes, changed(await load(store, key), changes))).toBe(true);
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
    const expectCorrupt = async (store: SessionStore, key: string): Promise<void> => {
      const text = await stores.textAt(key);
      await expect(store.load(key)).rejects.toMatchObject(corrupt);
      await expect(store.find(key)).rejects.toMatchObject(corrupt);
      expect(await store.create(key, newRecord())).toBe(false);
      expect(await stores.textAt(key)).toBe(text);
    };

    it('S71: leaves nothing of data and meta to be read, whatever writes them', async () => {
      const [key, next] = [await create(old), newKey()];
      await save(old, key, { set: { 'more!': 'sugar!' } });
      await save(old, key, { meta: { stamp: 'lemon!' } });
      const text = [await stores.textAt(key)];
      await old.rename(key, next, { set: { 'last!': 'honey!' } }, await load(old, key));
      text.push(await stores.textAt(key), await stores.textAt(next));
      for (const each of text) expect(each).not.toContain('!');
      expect({ ...(await load(old, next)).data }).toEqual({ ...data, 'more!': 'sugar!', 'last!': 'honey!' });
      expect((await load(old, next)).meta).toEqual({ stamp: 'lemon!' });
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
      const key = await create(old);
      const [oldId] = keyIdsIn(await stores.textAt(key));
      expect({ ...(await load(both, key)).data }).toEqual(data);
      await expectCorrupt(newest, key);
      let saves = 0;
      while (keyIdsIn(await stores.textAt(key)).has(oldId as string) && saves < 100) {
        await save(both, key, { set: { filler: 'x'.repeat(200) }, increment: { saves: 1 } });
        saves += 1;
      }
      expect({ ...(await load(newest, key)).data }).toEqual({ ...data, filler: 'x'.repeat(200), saves });
      expect((await load(newest, key)).meta).toEqual(meta);
      await expectCorrupt(old, key);
    });

    it('S80: ends what a dropped secret has encrypted, and nothing else', async () => {
      const [lost, next] = [await create(old), newKey()];
      const [kept] = [await create(newest)];
      const loaded = await load(old, lost);
      await expectCorrupt(newest, lost);
      // Planted by somebody who knows the secret that leaked.
      const planted = await create(old);
      await expectCorrupt(newest, planted);
      expect({ ...(await load(newest, kept)).data }).toEqual(data);
      expect(await newest.delete(lost)).toBe(true);
      expect(await old.load(lost)).toBeNull();
      expect(await old.rename(lost, next, {}, loaded)).toBe(false);
    });

    it('S76: reads what was there before only if it is told to', async () => {
      const key = await create(stores.open());
      await expectCorrupt(newest, key);
      const changing = stores.open({ secrets: NEW, allowPlaintext: true });
      expect({ ...(await load(changing, key)).data }).toEqual(data);
      await save(changing, key, { set: { more: 'sugar!' } });
      expect(await stores.textAt(key)).not.toContain('sugar!');
      expect({ ...(await load(changing, key)).data }).toEqual({ ...data, more: 'sugar!' });
      expect((await load(changing, key)).meta).toEqual(meta);
    });

    it('S78: refuses a weak secret', () => {
      expect(() => stores.open({ secrets: 'keyboard cat' })).toThrow(/"encryption\.secrets"/);
    });
  });
}
