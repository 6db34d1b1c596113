import { setImmediate } from 'node:timers/promises';
import {
  changedRecord,
  type JsonObject,
  type RecordPage,
  type SessionChanges,
  type SessionCount,
  type SessionRecord,
  SessionStore,
  SessionStoreUnavailableError,
} from 'nest-sessions';
import { describeSessionStore, type StoreCapabilities } from 'nest-sessions/testing';
import { SmallestStore, SoundStore } from './support/sound-store.js';

interface KitTest {
  name: string;
  run: () => Promise<void>;
}

/** What a store in memory cannot have. */
const inMemory = { severalProcesses: false, ownClock: false };
/** What a store of four methods need not have. */
const smallest = {
  ...inMemory,
  atomicChanges: false,
  limits: false,
  byUser: false,
  clearsExpired: false,
  corruptRecords: false,
  outages: false,
};

/** The tests of the kit on this store. */
function testsOn(
  Store: typeof SmallestStore,
  capabilities: Partial<StoreCapabilities> = inMemory,
): KitTest[] {
  const suites: string[] = [];
  const tests: KitTest[] = [];
  let passed = 0;
  describeSessionStore(
    'it',
    async () => {
      const store = new Store(() => Date.now() + passed);
      const sound = store as SoundStore;
      return {
        store,
        elapse: async (ms) => void (passed += ms),
        corrupt: async (id) => void sound.corrupt.add(id),
        cut: async () => void (sound.down = true),
        mend: async () => void (sound.down = false),
        dispose: async () => {},
      };
    },
    {
      capabilities,
      describe(name, suite) {
        suites.push(name);
        suite();
        suites.pop();
      },
      it: (name, run) => tests.push({ name: [...suites.slice(1), name].join(': '), run }),
      after: () => {},
    },
  );
  return tests;
}

/** The names of those tests that fail. */
async function failuresOf(tests: readonly KitTest[]): Promise<string[]> {
  const failures: string[] = [];
  for (const { name, run } of tests) await run().catch(() => failures.push(name));
  return failures;
}

type Given<Name extends keyof SessionStore> = SessionStore[Name] extends (...given: infer Values) => unknown
  ? Values
  : never;

/** Each is a store with one fault, and the tests that find it. */
const faults: Record<string, [Store: typeof SoundStore, ...red: string[]]> = {
  // create
  'overwrites when it creates': [
    class extends SoundStore {
      override async create(_id: string, record: SessionRecord): Promise<boolean> {
        this.write(record);
        return true;
      }
    },
    'records: never overwrites a live record',
    'records: creates one record when fifty try',
  ],
  'creates in two steps': [
    class extends SoundStore {
      override async create(id: string, record: SessionRecord): Promise<boolean> {
        if (this.read(id)) return false;
        await setImmediate();
        this.write(record);
        return true;
      }
    },
    'records: creates one record when fifty try',
  ],
  'keeps whole seconds of an expiry': [
    class extends SoundStore {
      override async create(id: string, record: SessionRecord): Promise<boolean> {
        const expiry = typeof record.expiry === 'number' ? Math.floor(record.expiry) : record.expiry;
        return super.create(id, { ...record, expiry });
      }
    },
    'records: keeps every kind of expiry',
  ],
  'merges into a record that has expired': [
    class extends SoundStore {
      override async create(id: string, record: SessionRecord): Promise<boolean> {
        const before = this.records.get(id);
        return super.create(
          id,
          before ? { ...before, data: record.data, expiresAt: record.expiresAt } : record,
        );
      }
    },
    'expiry: leaves nothing of an expired record to one that is created in its place',
  ],
  'gives every record a minute': [
    class extends SoundStore {
      protected override write(record: SessionRecord): void {
        super.write({ ...record, expiresAt: Math.max(record.expiresAt, this.now() + 60_000) });
      }
    },
    'expiry: never shows a record that was created or saved past its deadline',
  ],
  'shortens a key hash': [
    class extends SoundStore {
      protected override write(record: SessionRecord): void {
        super.write({ ...record, keyHash: record.keyHash.slice(0, 60) });
      }
    },
    'records: gives back what was created',
  ],

  // load
  'finds a record that nobody has created': [
    class extends SoundStore {
      override async save(...given: Given<'save'>): Promise<boolean> {
        return (await super.save(...given)) || this.create(given[0], given[3]);
      }
    },
    'records: knows nothing of an id that was never created',
    'ended stays ended: brings nothing back after a delete, whatever was in flight',
    'ended stays ended: brings nothing back after a take, whatever was in flight',
    'ended stays ended: ends a session by a delete, whatever comes first',
    'expiry: ends a record at its deadline, for every operation',
  ],
  'takes upper case for lower case': [
    class extends SoundStore {
      override async load(id: string): Promise<SessionRecord | null> {
        const same = [...this.records.values()].find(
          (record) => record.id.toLowerCase() === id.toLowerCase(),
        );
        return super.load(same?.id ?? id);
      }
    },
    'records: tells apart ids that differ only in upper and lower case',
  ],
  'takes an id for a pattern': [
    class extends SoundStore {
      override async delete(id: string): Promise<boolean> {
        if (id === '*') this.records.clear();
        return super.delete(id);
      }
    },
    'records: does no harm when it is asked for ids that are none',
  ],
  'shares the record that it keeps': [
    class extends SoundStore {
      protected override read(id: string): SessionRecord | null {
        const kept = this.records.get(id);
        return kept && this.isLive(kept) ? kept : null;
      }
    },
    'records: shares no object with its callers',
  ],
  'keeps the record that it is given': [
    class extends SoundStore {
      override async create(id: string, record: SessionRecord): Promise<boolean> {
        if (this.read(id)) return false;
        this.records.set(id, record);
        return true;
      }
    },
    'records: shares no object with its callers',
  ],
  'looks at the changes after it has waited': [
    class extends SoundStore {
      override async save(...given: Given<'save'>): Promise<boolean> {
        await setImmediate();
        return super.save(...given);
      }
    },
    'records: shares no object with its callers',
  ],
  'loses odd keys': [
    class extends SoundStore {
      override async load(id: string): Promise<SessionRecord | null> {
        const record = await super.load(id);
        if (record) delete record.data['__proto__'];
        return record;
      }
    },
    'records: keeps what is hard to keep',
    'records: keeps odd keys of the dictionary through every kind of change',
  ],
  'cuts long texts': [
    class extends SoundStore {
      override async load(id: string): Promise<SessionRecord | null> {
        const record = await super.load(id);
        if (typeof record?.data['big'] === 'string') record.data['big'] = record.data['big'].slice(0, 65_535);
        return record;
      }
    },
    'records: keeps a megabyte',
  ],
  'counts time in 31 bits': [
    class extends SoundStore {
      protected override isLive({ expiresAt }: SessionRecord): boolean {
        return expiresAt > this.now() && expiresAt - this.now() < 2 ** 31;
      }
    },
    'records: takes a deadline at the end of time',
  ],
  'replays the log on a copy for each line': [
    class extends SoundStore {
      override async load(id: string): Promise<SessionRecord | null> {
        const record = await super.load(id);
        for (let line = 1; line < (record?.version ?? 0); line++) structuredClone(record?.data);
        return record;
      }
    },
    'concurrency: loads many small writes nearly as fast as one large one',
  ],
  'looks at no deadline': [
    class extends SoundStore {
      protected override isLive(): boolean {
        return true;
      }
    },
    'expiry: ends a record at its deadline, for every operation',
    'expiry: ends a record at the deadline of the last save',
    'users: lists, counts and ends no session that has expired',
    'clocks: judges by the clock of this process',
  ],

  // save
  'sets where it should add': [
    class extends SoundStore {
      override save(
        ...[id, keyHash, { increment, push, ...changes }, record]: Given<'save'>
      ): Promise<boolean> {
        const set = { ...changes.set, ...increment, ...push };
        return super.save(id, keyHash, { ...changes, set }, record);
      }
    },
    'save: applies the changes of a request',
    'concurrency: keeps the writes of fifty who loaded the same version',
    'concurrency: keeps what parallel requests do to a large session',
    'concurrency: applies late changes to the record as it is now',
  ],
  'clears last': [
    class extends SoundStore {
      override async save(...[id, keyHash, { clear, ...changes }, record]: Given<'save'>): Promise<boolean> {
        return (
          (await super.save(id, keyHash, changes, record)) &&
          (!clear || super.save(id, keyHash, { clear }, record))
        );
      }
    },
    'save: clears before it does anything else',
  ],
  'raises no version for what is not data': [
    class extends SoundStore {
      override async save(...[id, keyHash, changes, record]: Given<'save'>): Promise<boolean> {
        const before = this.read(id)?.version ?? 0;
        const isData = 'set' in changes || 'unset' in changes || 'clear' in changes;
        const isSaved = await super.save(id, keyHash, changes, record);
        const after = this.read(id);
        if (after && !isData) this.write({ ...after, version: before });
        return isSaved;
      }
    },
    'save: raises the version by one, whatever was changed',
    'touch: leaves a record alone that was saved since it was loaded',
  ],
  'merges meta': [
    class extends SoundStore {
      override save(...[id, keyHash, changes, record]: Given<'save'>): Promise<boolean> {
        const meta = changes.meta && { ...this.read(id)?.meta, ...changes.meta };
        return super.save(id, keyHash, { ...changes, ...(meta && { meta }) }, record);
      }
    },
    'save: keeps expiry and meta unless they are changed, and replaces meta whole',
  ],
  'takes user, expiry and meta from the record of the request': [
    class extends SoundStore {
      override async save(...[id, keyHash, changes, record]: Given<'save'>): Promise<boolean> {
        const isSaved = await super.save(id, keyHash, changes, record);
        const after = this.read(id);
        const { userId, expiry, meta } = record;
        if (isSaved && after) this.write({ ...after, userId, expiry, meta });
        return isSaved;
      }
    },
    'save: takes nothing from the record of the request that is not a change',
    'concurrency: leaves expiry and meta of a concurrent writer alone',
  ],
  'forgets the user when the data are cleared': [
    class extends SoundStore {
      override async save(...[id, keyHash, changes, record]: Given<'save'>): Promise<boolean> {
        const isSaved = await super.save(id, keyHash, changes, record);
        const after = this.read(id);
        if (isSaved && after && changes.clear) this.write({ ...after, userId: null });
        return isSaved;
      }
    },
    'save: keeps id, user and creation through everything',
    'users: lists a session as it is after saves, touches and rotations, until it ends',
  ],
  'only ever moves a deadline forward': [
    class extends SoundStore {
      override save(...[id, keyHash, changes, record]: Given<'save'>): Promise<boolean> {
        const expiresAt = Math.max(record.expiresAt, this.read(id)?.expiresAt ?? 0);
        return super.save(id, keyHash, changes, { ...record, expiresAt });
      }
    },
    'save: sets deadline and last use, forward and back, with changes and without',
    'expiry: ends a record at the deadline of the last save',
  ],
  'never moves a deadline': [
    class extends SoundStore {
      override save(...[id, keyHash, changes, record]: Given<'save'>): Promise<boolean> {
        const expiresAt = this.read(id)?.expiresAt ?? 0;
        return super.save(id, keyHash, changes, { ...record, expiresAt });
      }
    },
    'expiry: moves the deadline with a touch, a save and a rotation',
  ],
  'loses a key when it folds': [
    class extends SoundStore {
      override async load(id: string): Promise<SessionRecord | null> {
        const record = await super.load(id);
        if (record && Object.keys(record.data).length > 40) delete record.data['key7'];
        return record;
      }
    },
    'save: keeps many small changes of a large session',
  ],
  'writes records whole': [
    class extends SoundStore {
      override async save(...[id, keyHash, , record]: Given<'save'>): Promise<boolean> {
        if (this.read(id)?.keyHash !== keyHash) return false;
        this.write({ ...record, version: record.version + 1 });
        return true;
      }
    },
    'rotation: takes along what others wrote since the load',
    'concurrency: keeps the writes of fifty who loaded the same version',
    'concurrency: counts 200 parallel increments',
    'concurrency: applies late changes to the record as it is now',
    'concurrency: counts and appends from nothing when a key is not what it was',
    'concurrency: leaves expiry and meta of a concurrent writer alone',
    'concurrency: loses no data to a late save that changes none',
    'limits: refuses a save that would take the record past its size, and leaves it as it was',
  ],
  'saves in two steps': [
    class extends SoundStore {
      override async save(...[id, keyHash, changes, record]: Given<'save'>): Promise<boolean> {
        const current = this.read(id);
        if (current?.keyHash !== keyHash) return false;
        const next = changedRecord(current, structuredClone(changes), { ...record }, this.now());
        await setImmediate();
        this.write(next);
        return true;
      }
    },
    'rotation: lets exactly one of many rotations win',
    'rotation: refuses what comes under the old key hash after the rotation that it races',
    'concurrency: counts 200 parallel increments',
    'ended stays ended: ends a session by a delete, whatever comes first',
    'ended stays ended: ends a session by a take, whatever comes first',
    'ended stays ended: takes every write that it answered with success',
    "users: ends a user's session whatever it races",
  ],
  'takes deadlines that are stale': [
    class extends SoundStore {
      override save(...[id, keyHash, changes, record]: Given<'save'>): Promise<boolean> {
        const version = this.read(id)?.version ?? 0;
        return super.save(id, keyHash, changes, { ...record, version });
      }
    },
    'concurrency: leaves the deadline of a concurrent writer alone, unless it sets an expiry itself',
  ],

  // save with a key hash
  'saves under any key hash': [
    class extends SoundStore {
      override save(...[id, , changes, record]: Given<'save'>): Promise<boolean> {
        return super.save(id, this.read(id)?.keyHash ?? '', changes, record);
      }
    },
    'rotation: saves only under the key hash of the record, and changes nothing under another',
    'rotation: saves under the new key hash from then on, and no more under the old one',
    'rotation: lets exactly one of many rotations win',
  ],
  'compares key hashes without regard to case': [
    class extends SoundStore {
      override save(...[id, keyHash, changes, record]: Given<'save'>): Promise<boolean> {
        const own = this.read(id)?.keyHash ?? '';
        return super.save(id, own.toLowerCase() === keyHash.toLowerCase() ? own : keyHash, changes, record);
      }
    },
    'rotation: saves only under the key hash of the record, and changes nothing under another',
  ],
  'writes before it compares the key hash': [
    class extends SoundStore {
      override save(...[id, keyHash, changes, record]: Given<'save'>): Promise<boolean> {
        const current = this.read(id);
        if (current) this.write({ ...current, expiresAt: record.expiresAt });
        return super.save(id, keyHash, changes, record);
      }
    },
    'rotation: saves only under the key hash of the record, and changes nothing under another',
  ],
  'rotates and drops the rest of the changes': [
    class extends SoundStore {
      override save(...[id, keyHash, changes, record]: Given<'save'>): Promise<boolean> {
        const { keyHash: next } = changes;
        return super.save(id, keyHash, next === undefined ? changes : { keyHash: next }, record);
      }
    },
    'rotation: replaces the key hash along with everything else that the request changed',
    'rotation: shows the new key hash and what came with it at the same moment',
  ],
  'rotates in two steps': [
    class extends SoundStore {
      override async save(...[id, keyHash, changes, record]: Given<'save'>): Promise<boolean> {
        const { keyHash: next, ...others } = structuredClone(changes);
        if (!(await super.save(id, keyHash, others, record))) return false;
        if (next === undefined) return true;
        await setImmediate();
        return super.save(id, keyHash, { keyHash: next }, record);
      }
    },
    'rotation: shows the new key hash and what came with it at the same moment',
    'rotation: lets exactly one of many rotations win',
  ],

  // touch
  'touches whatever the version': [
    class extends SoundStore {
      override touch(id: string, record: SessionRecord): Promise<boolean> {
        return super.touch(id, { ...record, version: this.read(id)?.version ?? 0 });
      }
    },
    'touch: leaves a record alone that was saved since it was loaded',
  ],
  'shortens by a touch': [
    class extends SoundStore {
      override touch(id: string, record: SessionRecord): Promise<boolean> {
        return super.save(id, record.keyHash, {}, record);
      }
    },
    'touch: never shortens',
  ],
  'writes what a touch is given': [
    class extends SoundStore {
      override async touch(id: string, record: SessionRecord): Promise<boolean> {
        const current = this.read(id);
        if (current?.version !== record.version || current.expiresAt >= record.expiresAt) return false;
        this.write(record);
        return true;
      }
    },
    'touch: moves deadline and last use, and nothing else',
  ],
  'touches in two steps': [
    class extends SoundStore {
      override async touch(id: string, { version, expiresAt }: SessionRecord): Promise<boolean> {
        const current = await this.load(id);
        if (current?.version !== version || current.expiresAt >= expiresAt) return false;
        await setImmediate();
        if (this.read(id)) this.write({ ...current, expiresAt });
        return true;
      }
    },
    'touch: loses no write that it races',
    'rotation: refuses what comes under the old key hash after the rotation that it races',
  ],

  // delete and take
  'deletes what is not there': [
    class extends SoundStore {
      override async delete(id: string): Promise<boolean> {
        await super.delete(id);
        return true;
      }
    },
    'ended stays ended: deletes once',
    'ended stays ended: ends a session for one of many callers',
  ],
  'complains about an expired record': [
    class extends SoundStore {
      override async delete(id: string): Promise<boolean> {
        if (this.records.has(id) && !this.read(id)) throw new Error('It has expired.');
        return super.delete(id);
      }
    },
    'expiry: deletes an expired record without complaint',
  ],
  'takes and leaves the record': [
    class extends SoundStore {
      override take(id: string): Promise<SessionRecord | null> {
        return this.load(id);
      }
    },
    'ended stays ended: takes a record once, as it was last saved',
    'ended stays ended: ends a session for one of many callers',
  ],
  'takes without meta': [
    class extends SoundStore {
      override async take(id: string): Promise<SessionRecord | null> {
        const record = await super.take(id);
        return record && { ...record, meta: {} };
      }
    },
    'ended stays ended: takes a record once, as it was last saved',
  ],
  'takes in two steps': [
    class extends SoundStore {
      override take(id: string): Promise<SessionRecord | null> {
        return SessionStore.prototype.take.call(this, id);
      }
    },
    'ended stays ended: ends a session by a take, whatever comes first',
    'ended stays ended: takes every write that it answered with success',
  ],
  'takes for everybody who asks': [
    class extends SoundStore {
      override async take(id: string): Promise<SessionRecord | null> {
        const record = await this.load(id);
        await super.delete(id);
        return record;
      }
    },
    'ended stays ended: ends a session for one of many callers',
  ],

  // limits
  'knows no limits': [
    class extends SoundStore {
      override limits = { size: Infinity, keys: Infinity };
      override async save(...given: Given<'save'>): Promise<boolean> {
        const before = this.limits;
        this.limits = { size: Infinity, keys: Infinity };
        return super.save(...given).finally(() => (this.limits = before));
      }
    },
    'limits: refuses a save that would take the record past its size, and leaves it as it was',
    'limits: never lets parallel saves take a record past its size, and loses none that it let in',
    'limits: stops a record whose number of keys grows',
  ],
  'measures what the request sees': [
    class extends SoundStore {
      override async save(...[id, keyHash, changes, record]: Given<'save'>): Promise<boolean> {
        const { size } = this.limits;
        if (JSON.stringify(record.data).length > size)
          return super.save(id, keyHash, { set: changes.set ?? {} }, record);
        this.limits = { ...this.limits, size: Infinity };
        return super.save(id, keyHash, changes, record).finally(() => {
          this.limits = { ...this.limits, size };
        });
      }
    },
    'limits: never lets parallel saves take a record past its size, and loses none that it let in',
  ],
  'writes half of what it refuses': [
    class extends SoundStore {
      override async save(...[id, keyHash, changes, record]: Given<'save'>): Promise<boolean> {
        return super.save(id, keyHash, changes, record).catch(async (error: unknown) => {
          await super.save(id, keyHash, { expiry: 60 }, record);
          throw error;
        });
      }
    },
    'limits: refuses a save that would take the record past its size, and leaves it as it was',
  ],
  'counts all that was ever written': [
    class extends SoundStore {
      private readonly written = new Map<string, number>();
      override async save(...[id, keyHash, changes, record]: Given<'save'>): Promise<boolean> {
        const sum = (this.written.get(id) ?? 0) + JSON.stringify(changes).length;
        this.written.set(id, sum);
        const filler: SessionChanges =
          sum > this.limits.size ? { set: { filler: 'x'.repeat(this.limits.size) } } : {};
        return super.save(id, keyHash, { ...changes, ...filler }, record);
      }
    },
    'limits: counts what a record holds, not what was once written to it',
  ],

  // clearing
  'clears what lives': [
    class extends SoundStore {
      override async clearExpired(batchSize: number): Promise<number> {
        const [first] = [...this.records.keys()].slice(-1);
        this.records.delete(first ?? '');
        return super.clearExpired(batchSize);
      }
    },
    'clearExpired: deletes expired records batch by batch, and no live one',
  ],
  'clears in two steps': [
    class extends SoundStore {
      override async clearExpired(batchSize: number): Promise<number> {
        const expired = [...this.records.values()]
          .filter((record) => !this.isLive(record))
          .slice(0, batchSize);
        await setImmediate();
        for (const { id } of expired) this.records.delete(id);
        return expired.length;
      }
    },
    'clearExpired: counts every record once when several clear at once, next to writers',
  ],

  // users
  'tells users apart by the beginning of their ids': [
    class extends SoundStore {
      protected override ofUser(userId: string): SessionRecord[] {
        return [...this.records.values()].filter((record) => record.userId?.startsWith(userId));
      }
    },
    'users: takes user ids literally',
  ],
  'cannot list and does not say so': [
    class extends SoundStore {
      override listByUser(): Promise<never> {
        return this.unsupported('list');
      }
    },
    "users: lists a user's live sessions, whole, and nobody else's",
  ],
  'lists without meta': [
    class extends SoundStore {
      override async listByUser(userId: string): Promise<SessionRecord[]> {
        return (await super.listByUser(userId)).map((record) => ({ ...record, meta: {} }));
      }
    },
    "users: lists a user's live sessions, whole, and nobody else's",
    'users: lists a session as it is after saves, touches and rotations, until it ends',
  ],
  'spares nobody': [
    class extends SoundStore {
      override deleteByUser(userId: string): Promise<number> {
        return super.deleteByUser(userId);
      }
    },
    "users: ends a user's sessions but for some, and nobody else's",
  ],
  'spares everybody when it is to spare somebody': [
    class extends SoundStore {
      override async deleteByUser(userId: string, exceptIds: readonly string[] = []): Promise<number> {
        return exceptIds.length > 1 ? 0 : super.deleteByUser(userId, exceptIds);
      }
    },
    "users: ends a user's sessions but for some, and nobody else's",
  ],
  'locks a user out for good': [
    class extends SoundStore {
      private readonly lockedOut = new Set<string | null>();
      override async deleteByUser(userId: string, exceptIds?: readonly string[]): Promise<number> {
        this.lockedOut.add(userId);
        return super.deleteByUser(userId, exceptIds);
      }
      override async create(id: string, record: SessionRecord): Promise<boolean> {
        return this.lockedOut.has(record.userId) || super.create(id, record);
      }
    },
    'users: keeps a session that starts after the end of all others',
  ],
  'loses a session from its index': [
    class extends SoundStore {
      private readonly unlisted = new Set<string>();
      override async deleteByUser(userId: string, exceptIds?: readonly string[]): Promise<number> {
        const count = await super.deleteByUser(userId, exceptIds);
        await setImmediate();
        for (const { id } of this.ofUser(userId)) this.unlisted.add(id);
        return count;
      }
      override async listByUser(userId: string): Promise<SessionRecord[]> {
        return (await super.listByUser(userId)).filter(({ id }) => !this.unlisted.has(id));
      }
    },
    'users: lists the session of a login that races the end of all, or has ended it',
  ],

  // all sessions
  'goes on to count what has ended': [
    class extends SoundStore {
      private most = 0;
      override async count(): Promise<SessionCount> {
        const { live } = await super.count();
        this.most = Math.max(this.most, live);
        return { live: this.most, loggedIn: null };
      }
    },
    'all sessions: counts the live sessions, or says that it cannot',
  ],
  'counts users for logins': [
    class extends SoundStore {
      override async count(): Promise<SessionCount> {
        return { ...(await super.count()), loggedIn: 1 };
      }
    },
    'all sessions: counts the live sessions, or says that it cannot',
  ],
  'lists the first page only': [
    class extends SoundStore {
      override async list(...given: Given<'list'>): Promise<RecordPage> {
        return { ...(await super.list(...given)), next: null };
      }
    },
    'all sessions: lists every live session, page by page, or says that it cannot',
  ],
  'lists the same page again and again': [
    class extends SoundStore {
      override list(_after: string | null, limit: number): Promise<RecordPage> {
        return super.list(null, limit);
      }
    },
    'all sessions: lists every live session, page by page, or says that it cannot',
  ],
  'lists what has expired': [
    class extends SoundStore {
      override async list(): Promise<RecordPage> {
        return { records: [...this.records.values()].filter(({ id }) => !this.corrupt.has(id)), next: null };
      }
    },
    'all sessions: lists every live session, page by page, or says that it cannot',
  ],
  'lists what it cannot read': [
    class extends SoundStore {
      override async list(after: string | null, limit: number): Promise<RecordPage> {
        this.reach('list');
        this.corrupt.clear();
        return super.list(after, limit);
      }
    },
    'all sessions: lists the other sessions next to a corrupt one',
  ],
  'lists from a copy that is not told of revocations': [
    class extends SoundStore {
      private readonly ended: SessionRecord[] = [];
      override async deleteByUser(userId: string, exceptIds?: readonly string[]): Promise<number> {
        this.ended.push(...this.ofUser(userId));
        return super.deleteByUser(userId, exceptIds);
      }
      override async list(...given: Given<'list'>): Promise<RecordPage> {
        const page = await super.list(...given);
        return { ...page, records: [...page.records, ...this.ended] };
      }
    },
    "all sessions: lists no session that was ended with all of its user's",
  ],

  // faults
  'takes an outage for absence': [
    class extends SoundStore {
      override async load(id: string): Promise<SessionRecord | null> {
        return this.down ? null : super.load(id);
      }
    },
    'faults: never takes an outage for an absent session, and recovers',
  ],
  'takes corruption for absence': [
    class extends SoundStore {
      override async load(id: string): Promise<SessionRecord | null> {
        return this.corrupt.has(id) ? null : super.load(id);
      }
    },
    'faults: says of a corrupt record that it is one, and leaves it',
  ],
  'removes what is corrupt': [
    class extends SoundStore {
      override async load(id: string): Promise<SessionRecord | null> {
        return super.load(id).finally(() => this.corrupt.has(id) && this.records.delete(id));
      }
    },
    'faults: says of a corrupt record that it is one, and leaves it',
  ],
  'lists nothing beside a corrupt record': [
    class extends SoundStore {
      override async listByUser(userId: string): Promise<SessionRecord[]> {
        return this.ofUser(userId).some(({ id }) => this.corrupt.has(id)) ? [] : super.listByUser(userId);
      }
    },
    "faults: lists a user's other sessions next to a corrupt one, and ends all of them",
  ],
  'tells a key hash in an error': [
    class extends SoundStore {
      override async save(...given: Given<'save'>): Promise<boolean> {
        if (this.down) throw new SessionStoreUnavailableError('save', `SET ${given[1]} failed.`);
        return super.save(...given);
      }
    },
    'faults: never takes an outage for an absent session, and recovers',
  ],
  'tells data in an error': [
    class extends SoundStore {
      override async create(id: string, record: SessionRecord): Promise<boolean> {
        if (this.down) {
          const cause = Object.assign(new Error('It failed.'), { parameters: [record] });
          throw new SessionStoreUnavailableError('create', 'it is down. Mend it.', { cause });
        }
        return super.create(id, record);
      }
    },
    'faults: never takes an outage for an absent session, and recovers',
  ],
};

interface Fault {
  name: string;
  Store: typeof SmallestStore;
  capabilities: Partial<StoreCapabilities>;
  red: string[];
}

const ownClock = { ...inMemory, ownClock: true };

const allFaults: Fault[] = [
  ...Object.entries(faults).map(([name, [Store, ...red]]) => ({ name, Store, capabilities: inMemory, red })),
  {
    name: 'has no clock of its own and does not say so',
    Store: SoundStore,
    capabilities: ownClock,
    red: [
      'clocks: ends nothing early or late when this process is -10 minutes ahead',
      'clocks: ends nothing early or late when this process is 10 minutes ahead',
      'clocks: clears nothing that lives when this process is 10 minutes ahead',
    ],
  },
  {
    name: 'can do what it is said to lack',
    Store: SoundStore,
    capabilities: { ...inMemory, byUser: false, clearsExpired: false },
    red: [
      'clearExpired: leaves clearing to the store, and live records alone',
      "users: says that it cannot list or end a user's sessions",
    ],
  },
  {
    name: 'writes records neither whole nor by their changes',
    Store: class extends SmallestStore {
      override async save(...[id, keyHash, changes, record]: Given<'save'>): Promise<boolean> {
        const { one } = (this.read(id) ?? record).data;
        const data: JsonObject = one === undefined ? record.data : { ...record.data, one };
        return super.save(id, keyHash, changes, { ...record, data });
      }
    },
    capabilities: smallest,
    red: ['concurrency: keeps one of the sessions that are written at once, whole'],
  },
];

describe('describeSessionStore', () => {
  it('finds nothing wrong with a store that is in order', async () => {
    expect(await failuresOf(testsOn(SoundStore))).toEqual([]);
  });

  it('finds nothing wrong with four methods', async () => {
    expect(await failuresOf(testsOn(SmallestStore, smallest))).toEqual([]);
  });

  it.each(allFaults)('sees a store that $name', async ({ Store, capabilities, red }) => {
    const tests = testsOn(Store, capabilities).filter(({ name }) => red.includes(name));
    expect((await failuresOf(tests)).toSorted()).toEqual(red.toSorted());
  });

  it.each([inMemory, ownClock, smallest])('has no test that no fault turns red (%j)', (capabilities) => {
    const red = allFaults.flatMap((fault) => fault.red);
    const names = testsOn(SoundStore, capabilities).map(({ name }) => name);
    expect(names.filter((name) => !red.includes(name))).toEqual([]);
  });

  it('says which hook is missing', async () => {
    const tests: (() => Promise<void>)[] = [];
    describeSessionStore('it', async () => ({ store: new SmallestStore(), dispose: async () => {} }), {
      describe: (_name, suite) => suite(),
      it: (name, run) => name.includes('corrupt record that') && tests.push(run),
      after: () => {},
    });
    expect(tests).toHaveLength(1);
    await expect(tests[0]?.()).rejects.toThrow('corruptRecords: false');
  });

  it('says that it needs a test framework', () => {
    const globals = globalThis as { it?: unknown };
    const known = globals.it;
    delete globals.it;
    try {
      expect(() => describeSessionStore('it', async () => ({}) as never)).toThrow(/no test framework/);
    } finally {
      globals.it = known;
    }
  });
});
