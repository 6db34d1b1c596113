import { type SessionChanges, type SessionRecord, SessionStore } from 'nest-sessions';
import { type KindName } from './interleaving-kinds.js';
import { SteppedStore } from './interleaving-store.js';

type Save = [id: string, keyHash: string, changes: SessionChanges, record: SessionRecord];

/** Saves by upsert. */
class Upserts extends SteppedStore {
  override async save(...[id, keyHash, changes, record]: Save): Promise<boolean> {
    return (await super.save(id, keyHash, changes, record)) || super.create(id, record);
  }
}

/** Touches by upsert. */
class TouchesUp extends SteppedStore {
  override async touch(id: string, record: SessionRecord): Promise<boolean> {
    return (await super.touch(id, record)) || super.create(id, record);
  }
}

/** Saves the whole data as the request sees them. */
class SavesWhole extends SteppedStore {
  override save(...[id, keyHash, changes, record]: Save): Promise<boolean> {
    const { increment: _increment, push: _push, unset: _unset, ...others } = changes;
    return super.save(id, keyHash, { ...others, clear: true, set: record.data }, record);
  }
}

/** Does not look at the key hash. */
class IgnoresHash extends SteppedStore {
  override async save(...[id, keyHash, changes, record]: Save): Promise<boolean> {
    const current = await super.load(id);
    return super.save(id, current?.keyHash ?? keyHash, changes, record);
  }
}

/** Looks at the key hash, and saves a step later. */
class ComparesFirst extends SteppedStore {
  override async save(...[id, keyHash, changes, record]: Save): Promise<boolean> {
    if ((await super.load(id))?.keyHash !== keyHash) return false;
    const current = await super.load(id);
    return super.save(id, current?.keyHash ?? keyHash, changes, record);
  }
}

/** Reads the record, and deletes it a step later. */
class TakesInTwoSteps extends SteppedStore {
  override take(id: string): Promise<SessionRecord | null> {
    return SessionStore.prototype.take.call(this, id);
  }
}

/** Leaves the record where it is. */
class OnlyReads extends SteppedStore {
  override take(id: string): Promise<SessionRecord | null> {
    return super.load(id);
  }
}

/** Gives the same record to two who want to take it. */
class TakesTwice extends SteppedStore {
  override async take(id: string): Promise<SessionRecord | null> {
    const record = await super.load(id);
    await super.delete(id);
    return record;
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
  { name: 'saves data whole', Store: SavesWhole, requests: ['write a', 'write b'], asWhat: 'holds' },
  { name: 'saves counters whole', Store: SavesWhole, requests: ['count', 'count'], asWhat: 'holds' },
  {
    name: 'ignores the key hash',
    Store: IgnoresHash,
    requests: ['rotate', 'rotate'],
    asWhat: 'two rotations',
  },
  {
    name: 'compares the key hash a step too early',
    Store: ComparesFirst,
    requests: ['rotate', 'rotate'],
    asWhat: 'two rotations',
  },
  { name: 'takes in two steps', Store: TakesInTwoSteps, requests: ['login', 'write a'], asWhat: 'kept was' },
  { name: 'takes nothing away', Store: OnlyReads, requests: ['login', 'read'], asWhat: 'no key opens' },
  { name: 'lets two take it', Store: TakesTwice, requests: ['login', 'login'], asWhat: 'two logins carry' },
];
