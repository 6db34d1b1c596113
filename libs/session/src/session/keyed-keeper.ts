import {
  type SessionChanges,
  type SessionMeta,
  type SessionMoved,
  type SessionRecord,
} from '../stores/session-store.js';
import { type Found, type RecordKeeper, type Renamed } from './record-keeper.js';
import { createSessionKey, isSessionKey, plainStoreKeys, type StoreKeys } from './session-key.js';
import { type StoreAccess } from './store-access.js';
import { openSuccessor, sealSuccessor } from './successor.js';

/** For so long after a rotation its old key is known to be a client's that has not heard of the new one. */
const OVERLAP = 60_000;
/** Once the client has shown the new key, requests with the old one can only be some that were on their way. */
const OVERLAP_AFTER_USE = 10_000;

/** New keys that are taken, one after the other, are no chance but a fault of the store or of the random numbers. */
const ATTEMPTS = 3;

/** Keeps records in a store, each under a hash of a random session key. A new key only comes with a rotation. */
export function keyedKeeper(
  store: StoreAccess,
  { now = Date.now, keys = plainStoreKeys }: { now?: () => number; keys?: StoreKeys } = {},
): RecordKeeper {
  /** Under its store key, which a session made with former secrets gets here. */
  async function find(key: string): Promise<SessionRecord | SessionMoved | null> {
    const storeKey = keys.of(key);
    const found = await store.load(storeKey);
    if (found !== null) return found;
    for (const formerKey of keys.formerly(key)) {
      const former = await store.load(formerKey);
      if (former === null) continue;
      if (!('movedTo' in former)) await store.rename(formerKey, storeKey, {}, former);
      // Whoever has moved it, this request or a concurrent one: there it is, unless it has just ended.
      return (await store.load(storeKey)) ?? ('movedTo' in former ? former : null);
    }
    return null;
  }

  /** Where the record went that was once kept under this key; null: nowhere that is known. */
  async function follow(key: string, storeKey: string): Promise<Found | null> {
    const record = await store.load(storeKey);
    if (record === null || 'movedTo' in record) return record && { standing: 'replaced', sessionId: null };
    const { rotation } = record.meta;
    const age = now() - record.createdAt - (rotation?.after ?? 0);
    const sinceUse = rotation?.usedAfter === undefined ? 0 : now() - record.createdAt - rotation.usedAfter;
    const overlaps = rotation !== undefined && age < OVERLAP && sinceUse < OVERLAP_AFTER_USE;
    const token = rotation?.successor === undefined ? null : openSuccessor(rotation.successor, key);
    if (token === null) return overlaps ? { standing: 'replaced', sessionId: record.id } : null;
    return { standing: overlaps ? 'live' : 'reused', token, record };
  }

  /** The record's present key, where a concurrent renewal has replaced this one. */
  async function successorOf(key: string): Promise<string | null> {
    const moved = await find(key);
    const found = moved && 'movedTo' in moved ? await follow(key, moved.movedTo) : null;
    return found?.standing === 'live' ? found.token : null;
  }

  /** Notes that the client has the new key, so that the old one need not be honoured much longer. */
  async function confirm(key: string, record: SessionRecord): Promise<Found | null> {
    const { meta, createdAt } = record;
    const { rotation } = meta;
    if (rotation?.successor === undefined || rotation.usedAfter !== undefined) {
      return { standing: 'live', token: key, record };
    }
    const confirmed = { ...meta, rotation: { ...rotation, usedAfter: now() - createdAt } };
    const saved = await store.save(keys.of(key), { meta: confirmed }, { ...record, meta: confirmed });
    // It has ended or moved meanwhile.
    if (!saved) return load(key);
    return {
      standing: 'live',
      token: key,
      record: { ...record, meta: confirmed, version: record.version + 1 },
    };
  }

  async function load(key: string): Promise<Found | null> {
    const found = await find(key);
    if (found === null) return null;
    return 'movedTo' in found ? follow(key, found.movedTo) : confirm(key, found);
  }

  async function save(key: string, changes: SessionChanges, record: SessionRecord): Promise<string | null> {
    if (await store.save(keys.of(key), changes, record)) return key;
    const successor = store.remembersMoves ? await successorOf(key) : null;
    return successor !== null && (await store.save(keys.of(successor), changes, record)) ? successor : null;
  }

  async function move(
    key: string,
    changes: SessionChanges,
    record: SessionRecord,
    renewal: boolean,
  ): Promise<Renamed | null> {
    const newKey = createSessionKey();
    const meta: SessionMeta = {
      ...record.meta,
      rotation: {
        after: now() - record.createdAt,
        ...(renewal && { successor: sealSuccessor(newKey, key) }),
      },
    };
    const moved = await store.rename(
      keys.of(key),
      keys.of(newKey),
      { ...changes, meta },
      { ...record, meta },
    );
    return moved ? { token: newKey, meta } : null;
  }

  return {
    isToken: isSessionKey,
    everyWriteMoves: false,
    load,
    async create(record) {
      for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
        const key = createSessionKey();
        if (await store.create(keys.of(key), record)) return key;
      }
      throw new Error('The session could not be created: the store says of every new key that it is taken.');
    },
    save,
    async rename(key, changes, record) {
      const renamed = await move(key, changes, record, false);
      if (renamed || !store.remembersMoves) return renamed;
      const successor = await successorOf(key);
      return successor === null ? null : move(successor, changes, record, false);
    },
    async renew(key, changes, record) {
      const renewed = await move(key, changes, record, true);
      if (renewed) return renewed;
      // Another request was faster with the renewal: this one has its own key from it, and its changes go there.
      const token = await save(key, changes, record);
      return token === null ? null : { token, meta: record.meta };
    },
    touch: async (key, record) => ((await store.touch(keys.of(key), record)) ? key : null),
    end: (key, id) => store.delete(keys.of(key), id),
  };
}
