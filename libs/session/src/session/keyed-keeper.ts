import { type RecordKeeper } from './record-keeper.js';
import { createSessionKey, isSessionKey, toStoreKey } from './session-key.js';
import { type StoreAccess } from './store-access.js';

/** Keeps records in a store, each under a hash of a random session key. A new key only comes with a rotation. */
export function keyedKeeper(store: StoreAccess): RecordKeeper {
  return {
    isToken: isSessionKey,
    everyWriteMoves: false,
    load: (key) => store.load(toStoreKey(key)),
    async create(record) {
      for (;;) {
        const key = createSessionKey();
        if (await store.create(toStoreKey(key), record)) return key;
      }
    },
    save: async (key, changes, record) => ((await store.save(toStoreKey(key), changes, record)) ? key : null),
    async rename(key, changes, record) {
      const newKey = createSessionKey();
      return (await store.rename(toStoreKey(key), toStoreKey(newKey), changes, record)) ? newKey : null;
    },
    touch: async (key, record) => ((await store.touch(toStoreKey(key), record)) ? key : null),
    async end(key, id) {
      await store.delete(toStoreKey(key), id);
    },
  };
}
