import { type SessionChanges, type SessionRecord } from 'nest-sessions';
import { type KindName } from './interleaving-kinds.js';
import { SteppedStore } from './interleaving-store.js';

/** Saves by upsert. */
class Upserts extends SteppedStore {
  override async save(key: string, changes: SessionChanges, record: SessionRecord): Promise<boolean> {
    return (await super.save(key, changes, record)) || super.create(key, record);
  }
}

/** Touches by upsert. */
class TouchesUp extends SteppedStore {
  override async touch(key: string, record: SessionRecord): Promise<boolean> {
    return (await super.touch(key, record)) || super.create(key, record);
  }
}

/** Saves the whole record as the request sees it. */
class SavesWhole extends SteppedStore {
  override save(key: string, changes: SessionChanges, record: SessionRecord): Promise<boolean> {
    const { data, userId, expiry } = record;
    return super.save(key, { ...changes, clear: true, set: data, userId, expiry }, record);
  }
}

/** Deletes the old key before the new one is there. */
class DeletesFirst extends SteppedStore {
  override async rename(
    key: string,
    newKey: string,
    _changes: SessionChanges,
    record: SessionRecord,
  ): Promise<boolean> {
    return (await super.delete(key)) && super.create(newKey, record);
  }
}

/** Leaves the old key alive for a step too long. */
class DeletesLater extends SteppedStore {
  override async rename(
    key: string,
    newKey: string,
    _changes: SessionChanges,
    record: SessionRecord,
  ): Promise<boolean> {
    return (await super.exists(key)) && (await super.create(newKey, record)) && super.delete(key);
  }
}

/** Never lets the old key die. */
class Copies extends SteppedStore {
  override async rename(
    key: string,
    newKey: string,
    changes: SessionChanges,
    record: SessionRecord,
  ): Promise<boolean> {
    return (await super.save(key, changes, record)) && super.create(newKey, record);
  }
}

/** Does not look for the session id. */
class DeletesByKey extends SteppedStore {
  override delete(key: string): Promise<boolean> {
    return super.delete(key);
  }
}

/** Finds the sessions of a user first and ends them then. */
class RevokesInTwoSteps extends SteppedStore {
  readonly #keys = new Map<string, string>();

  override create(key: string, record: SessionRecord): Promise<boolean> {
    this.#keys.set(record.id, key);
    return super.create(key, record);
  }

  override async deleteByUser(userId: string): Promise<number> {
    const found = await super.listByUser(userId);
    const ended = await Promise.all(found.map(({ id }) => super.delete(this.#keys.get(id) ?? '')));
    return ended.filter(Boolean).length;
  }
}

export interface Fault {
  name: string;
  Store: typeof SteppedStore;
  /** In these requests it comes to light, as this. */
  requests: KindName[];
  asWhat: string;
}

const revived = 'the session lives on though it was ended';

export const storeFaults: Fault[] = [
  { name: 'saves by upsert', Store: Upserts, requests: ['write a', 'logout'], asWhat: revived },
  { name: 'touches by upsert', Store: TouchesUp, requests: ['touch', 'revoke'], asWhat: revived },
  { name: 'saves records whole', Store: SavesWhole, requests: ['write a', 'write b'], asWhat: 'instead of' },
  { name: 'saves counters whole', Store: SavesWhole, requests: ['count', 'count'], asWhat: 'instead of' },
  { name: 'deletes first in a rename', Store: DeletesFirst, requests: ['rotate', 'logout'], asWhat: revived },
  {
    name: 'deletes last in a rename',
    Store: DeletesLater,
    requests: ['login', 'write a'],
    asWhat: 'instead of',
  },
  {
    name: 'keeps the old key in a rename',
    Store: Copies,
    requests: ['rotate', 'read'],
    asWhat: 'an old key opens',
  },
  { name: 'deletes by the key alone', Store: DeletesByKey, requests: ['logout', 'login'], asWhat: revived },
  { name: 'revokes in two steps', Store: RevokesInTwoSteps, requests: ['revoke', 'rotate'], asWhat: revived },
];
