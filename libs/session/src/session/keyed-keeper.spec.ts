import { hash, randomBytes } from 'node:crypto';
import { resolveOptions } from '../session.options.js';
import { MemoryStore } from '../stores/memory/memory-store.js';
import { newRecord } from '../testing/store-bench.js';
import { keyedKeeper } from './keyed-keeper.js';
import { pepperedStoreKeys, plainStoreKeys, type StoreKeys } from './session-key.js';
import { limitStore } from './store-access.js';

const secret = (): string => randomBytes(32).toString('base64url');

function world() {
  const store = new MemoryStore();
  const calls: string[] = [];
  const watched = new Proxy(store, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name);
      if (typeof member !== 'function') return member;
      return (...args: unknown[]): unknown => {
        calls.push(String(name));
        return (member as (...args: unknown[]) => unknown).apply(target, args);
      };
    },
  });
  const keeperWith = (keys: StoreKeys) => keyedKeeper(limitStore(watched, 5000), { keys });
  return { store, calls, keeperWith };
}

describe('store keys', () => {
  it('S05: are no encoding of the session key, and not its plain hash', async () => {
    const { store, keeperWith } = world();
    const seen: string[] = [];
    const create = store.create.bind(store);
    store.create = (key, record) => {
      seen.push(key, JSON.stringify(record));
      return create(key, record);
    };
    for (const keys of [plainStoreKeys, pepperedStoreKeys({ secrets: secret() })]) {
      const key = await keeperWith(keys).create(newRecord({ a: 1 }));
      const bytes = Buffer.from(key, 'base64url');
      const forms = [key, bytes.toString('hex'), bytes.toString('base64')].flatMap((form) => [
        form,
        hash('sha256', form, 'hex'),
        hash('sha256', form, 'base64url'),
      ]);
      for (const form of forms) expect(seen.join('\n')).not.toContain(form);
    }
  });

  it('S07: are looked up, never compared, and tell nothing of keys that begin alike', () => {
    const key = randomBytes(32).toString('base64url');
    const alike = key.slice(0, -2) + (key.endsWith('AA') ? 'BA' : 'AA');
    const [one, other] = [plainStoreKeys.of(key), plainStoreKeys.of(alike)];
    const same = one.split('').filter((digit, index) => digit === other[index]).length;
    // Behind the three characters that all have, 64 random digits agree in 4 places; in 25 once in 10^12 times.
    expect(same).toBeLessThan(28);
  });
});

describe('a new session', () => {
  it('S08: gets another key when its own is taken, and leaves alone what is there', async () => {
    const { store, calls, keeperWith } = world();
    const keeper = keeperWith(plainStoreKeys);
    const create = store.create.bind(store);
    let taken: string | undefined;
    store.create = async (key, record) => {
      if (taken === undefined) {
        taken = key;
        await create(key, newRecord({ of: 'somebody else' }));
      }
      return create(key, record);
    };
    const key = await keeper.create(newRecord({ mine: true }));
    expect(plainStoreKeys.of(key)).not.toBe(taken);
    expect(calls.filter((call) => call === 'create')).toHaveLength(2);
    expect((await store.load(taken as string))?.data).toEqual({ of: 'somebody else' });
  });
});

describe('a pepper', () => {
  const [first, second] = [secret(), secret()];
  const [old, rolled, dropped] = [
    pepperedStoreKeys({ secrets: first }),
    pepperedStoreKeys({ secrets: [second, first] }),
    pepperedStoreKeys({ secrets: second }),
  ];

  it('makes other store keys with every secret, of the shape that stores know', () => {
    const key = randomBytes(32).toString('base64url');
    const all = [plainStoreKeys.of(key), old.of(key), dropped.of(key)];
    expect(new Set(all).size).toBe(3);
    for (const storeKey of all) expect(storeKey).toMatch(/^v[12]-[0-9a-f]{64}$/);
    expect(rolled.of(key)).toBe(dropped.of(key));
  });

  it('can be changed: sessions under the former one are found, and move to the new one', async () => {
    const { store, calls, keeperWith } = world();
    const key = await keeperWith(old).create(newRecord({ a: 1 }));
    expect(await keeperWith(dropped).load(key)).toBeNull();
    const found = await keeperWith(rolled).load(key);
    expect(found).toMatchObject({ standing: 'live', token: key, record: { data: { a: 1 } } });
    expect(await store.load(old.of(key))).toBeNull();
    calls.length = 0;
    expect(await keeperWith(rolled).load(key)).toMatchObject({ standing: 'live', token: key });
    expect(calls).toEqual(['find']);
    expect(await keeperWith(dropped).load(key)).toMatchObject({ standing: 'live', token: key });
  });

  it('moves a session once, however many requests come at the time', async () => {
    const { keeperWith } = world();
    const key = await keeperWith(old).create(newRecord({ a: 1 }));
    const keeper = keeperWith(rolled);
    const found = await Promise.all(Array.from({ length: 20 }, () => keeper.load(key)));
    for (const one of found) expect(one).toMatchObject({ standing: 'live', token: key });
  });

  it('can be introduced to a store that had none, if that is allowed', async () => {
    const { keeperWith } = world();
    const key = await keeperWith(plainStoreKeys).create(newRecord({ a: 1 }));
    expect(await keeperWith(old).load(key)).toBeNull();
    const lenient = pepperedStoreKeys({ secrets: first, allowUnpeppered: true });
    expect(await keeperWith(lenient).load(key)).toMatchObject({ standing: 'live', token: key });
    expect(await keeperWith(old).load(key)).toMatchObject({ standing: 'live', token: key });
  });

  it.each(['short', 'changeme-changeme-changeme-changeme', ['x'.repeat(40)]])(
    'S78: is refused when it can be guessed: %j',
    (secrets) => {
      expect(() => pepperedStoreKeys({ secrets })).toThrow(
        expect.objectContaining({
          code: 'SESSION_CONFIG',
          option: expect.stringMatching(/^pepper\.secrets/),
        }),
      );
    },
  );

  it('is an option', () => {
    const secrets = [first];
    expect(resolveOptions({ pepper: { secrets } }).pepper).toEqual({ secrets, allowUnpeppered: false });
  });
});

describe('the first use of a renewed key', () => {
  it('finds what a login in another request has made of the session meanwhile', async () => {
    const { store, keeperWith } = world();
    const keeper = keeperWith(plainStoreKeys);
    const key = await keeper.create(newRecord({ a: 1 }));
    const record = newRecord({ a: 1 });
    const renewed = await keeper.renew(key, {}, { ...record, ...(await store.load(plainStoreKeys.of(key))) });
    const token = renewed?.token ?? '';
    const save = store.save.bind(store);
    store.save = async (...given) => {
      store.save = save;
      const current = await store.load(plainStoreKeys.of(token));
      if (current) await keeper.rename(token, { userId: 'ann' }, { ...current, userId: 'ann' });
      return save(...given);
    };
    expect(await keeper.load(token)).toMatchObject({ standing: 'replaced' });
  });
});
