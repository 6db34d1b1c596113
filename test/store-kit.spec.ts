import { setImmediate } from 'node:timers/promises';
import {
  applyChanges,
  type SessionChanges,
  type SessionRecord,
  SessionRecordCorruptError,
  SessionStore,
  SessionStoreUnavailableError,
} from 'nest-sessions';
import { MemoryStore } from 'nest-sessions/memory';
import { describeSessionStore, type StoreCapabilities } from 'nest-sessions/testing';
import { SoundStore } from './support/sound-store.js';

type Found = Awaited<ReturnType<SessionStore['find']>>;

/** Runs the kit, and resolves with the names of the tests that fail. */
async function failuresOf(
  Store: typeof SoundStore,
  capabilities: Partial<StoreCapabilities> = {},
): Promise<string[]> {
  const suites: string[] = [];
  const tests: { name: string; run: () => Promise<void> }[] = [];
  const hooks: (() => Promise<void>)[] = [];
  let passed = 0;

  describeSessionStore(
    'it',
    async () => {
      const store = new Store({ now: () => Date.now() + passed });
      return {
        store,
        elapse: async (ms) => void (passed += ms),
        corrupt: (key) => store.spoil(key),
        cut: async () => void (store.down = true),
        mend: async () => void (store.down = false),
        dispose: async () => {},
      };
    },
    {
      capabilities: { severalProcesses: false, ownClock: false, ...capabilities },
      describe(name, suite) {
        suites.push(name);
        suite();
        suites.pop();
      },
      it: (name, run) => tests.push({ name: [...suites.slice(1), name].join(': '), run }),
      after: (hook) => hooks.push(hook),
    },
  );

  const failures: string[] = [];
  for (const { name, run } of tests) await run().catch(() => failures.push(name));
  for (const hook of hooks) await hook();
  return failures;
}

describe('describeSessionStore', () => {
  it('finds nothing wrong with a store that is in order', async () => {
    expect(await failuresOf(SoundStore)).toEqual([]);
  });

  const defects: Record<string, [Store: typeof SoundStore, ...red: string[]]> = {
    'a save that inserts': [
      class extends SoundStore {
        override async save(key: string, changes: SessionChanges, record: SessionRecord): Promise<boolean> {
          return (await super.save(key, changes, record)) || this.create(key, record);
        }
      },
      'save: creates nothing',
      'ended stays ended: brings nothing back, whatever was in flight',
      'ended stays ended: ends a session for good, whoever comes first',
      'expiry: ends a record at its deadline, for every operation',
    ],
    'a save that writes records whole': [
      class extends SoundStore {
        override async save(key: string, _changes: SessionChanges, record: SessionRecord): Promise<boolean> {
          if (!(await this.peek(key))) return false;
          await this.replace(key, record);
          return true;
        }
      },
      'concurrency: keeps the writes of fifty who loaded the same version',
      'concurrency: applies late changes to the record as it is now',
      'concurrency: counts 200 parallel increments',
      'concurrency: leaves expiry and user of a concurrent writer alone',
    ],
    'a save in two steps': [
      class extends SoundStore {
        override async save(key: string, changes: SessionChanges, record: SessionRecord): Promise<boolean> {
          const current = await this.load(key);
          await setImmediate();
          if (!current || !(await this.peek(key))) return false;
          await this.replace(key, { ...record, ...current, data: applyChanges(current.data, changes) });
          return true;
        }
      },
      'concurrency: counts 200 parallel increments',
    ],
    'a save that takes stale deadlines': [
      class extends SoundStore {
        override async save(key: string, changes: SessionChanges, record: SessionRecord): Promise<boolean> {
          const version = (await this.peek(key))?.version ?? 0;
          return super.save(key, changes, { ...record, version });
        }
      },
      'concurrency: leaves the deadline of a concurrent writer alone, unless it sets an expiry itself',
    ],
    'a create that overwrites': [
      class extends SoundStore {
        override async create(key: string, record: SessionRecord): Promise<boolean> {
          await this.replace(key, record);
          return true;
        }
      },
      'create and load: never overwrites a live record',
      'create and load: creates one record when fifty try',
    ],
    'a rename that overwrites': [
      class extends SoundStore {
        override async rename(...given: Parameters<SessionStore['rename']>): Promise<boolean> {
          await super.delete(given[1]);
          return super.rename(...given);
        }
      },
      'rename: changes nothing when the new key is taken',
    ],
    'a rename that deletes first': [
      class extends SoundStore {
        override async rename(...given: Parameters<SessionStore['rename']>): Promise<boolean> {
          const [key, newKey, , record] = given;
          const current = await this.load(key);
          if (!current || !(await this.delete(key))) return false;
          return this.create(newKey, { ...current, ...record, version: current.version + 1 });
        }
      },
      'ended stays ended: has a record at every step of a rename',
      'ended stays ended: ends a session between any two steps of a rename',
    ],
    'a rename that leaves the old key': [
      class extends SoundStore {
        override async rename(...given: Parameters<SessionStore['rename']>): Promise<boolean> {
          const [key, newKey, , record] = given;
          return (
            (await this.load(key)) !== null && this.create(newKey, { ...record, version: record.version + 1 })
          );
        }
      },
      'rename: moves the record and applies the changes',
      'rename: lets exactly one of many rotations win',
      'rename: lets nothing be written under the old key any more',
    ],
    'a touch that knows no version': [
      class extends SoundStore {
        override async touch(key: string, record: SessionRecord): Promise<boolean> {
          const version = (await this.peek(key))?.version ?? 0;
          return super.touch(key, { ...record, version });
        }
      },
      'touch: leaves alone what somebody else has written since',
    ],
    'a touch that shortens': [
      class extends SoundStore {
        override async touch(key: string, record: SessionRecord): Promise<boolean> {
          return super.save(key, {}, record);
        }
      },
      'touch: never shortens',
    ],
    'a touch that writes what it is given': [
      class extends SoundStore {
        override async touch(key: string, record: SessionRecord): Promise<boolean> {
          const current = await this.peek(key);
          if (current?.version !== record.version || current.expiresAt >= record.expiresAt) return false;
          await this.replace(key, record);
          return true;
        }
      },
      'touch: stores nothing but the moments of the record it is given',
    ],
    'a touch in two steps': [
      class extends SoundStore {
        override async touch(key: string, record: SessionRecord): Promise<boolean> {
          const current = await this.load(key);
          if (current?.version !== record.version || current.expiresAt >= record.expiresAt) return false;
          await setImmediate();
          if (!(await this.peek(key))) return false;
          await this.replace(key, { ...current, expiresAt: record.expiresAt });
          return true;
        }
      },
      'touch: loses no write that it races',
    ],
    'a delete that knows no session id': [
      class extends SoundStore {
        override delete(key: string): Promise<boolean> {
          return super.delete(key);
        }
      },
      'ended stays ended: finds a record that was renamed meanwhile',
      'ended stays ended: ends a session for good, whoever comes first',
    ],
    'records that are shared with callers': [
      class extends SoundStore {
        readonly shared = new Map<string, SessionRecord>();
        override async load(key: string): Promise<SessionRecord | null> {
          const record = await super.load(key);
          if (record && this.shared.get(key)?.version !== record.version) this.shared.set(key, record);
          return record && (this.shared.get(key) ?? null);
        }
      },
      'create and load: shares no object with its callers',
    ],
    'a clock of its own that is the process’s': [
      class extends SoundStore {},
      'clocks: ends nothing early or late when this process is -10 minutes ahead',
      'clocks: ends nothing early or late when this process is 10 minutes ahead',
    ],
    'a clearing that takes the living': [
      class extends SoundStore {
        override async clearExpired(batchSize: number): Promise<number> {
          await super.deleteByUser('Ann');
          return (await super.clearExpired(batchSize)) + 1;
        }
      },
      'clearExpired: deletes expired records batch by batch, and no live one',
    ],
    'users told apart by their beginning': [
      class extends SoundStore {
        override async listByUser(userId: string): Promise<SessionRecord[]> {
          return [...(await super.listByUser(userId)), ...(await super.listByUser(`${userId}*`))];
        }
      },
      'users: takes user ids literally',
    ],
    'no way to a user’s sessions': [
      class extends SoundStore {
        override listByUser(): Promise<never> {
          return this.unsupported('list');
        }
      },
      "users: lists a user's live sessions, whole, and nobody else's",
    ],
    'outages that look like absence': [
      class extends SoundStore {
        override async load(key: string): Promise<SessionRecord | null> {
          return this.down ? null : super.load(key);
        }
      },
      'faults: never takes an outage for an absent session, and recovers',
    ],
    'corruption that looks like absence': [
      class extends SoundStore {
        override async load(key: string): Promise<SessionRecord | null> {
          return super.load(key).catch((error: unknown) => {
            if (error instanceof SessionRecordCorruptError) return null;
            throw error;
          });
        }
      },
      'faults: says of a corrupt record that it is one, and leaves it',
    ],
    'errors that tell a key': [
      class extends SoundStore {
        override async load(key: string): Promise<SessionRecord | null> {
          if (this.down) throw new SessionStoreUnavailableError('load', `GET ${key} failed.`);
          return super.load(key);
        }
      },
      'faults: never takes an outage for an absent session, and recovers',
    ],
    'data that loses odd keys': [
      class extends SoundStore {
        override async load(key: string): Promise<SessionRecord | null> {
          const record = await super.load(key);
          if (record) delete record.data['__proto__'];
          return record;
        }
      },
      'values: keeps what is hard to keep',
      'values: keeps odd keys of the dictionary through every kind of change',
    ],
    'a rename that drops meta': [
      class extends SoundStore {
        override rename(...given: Parameters<SessionStore['rename']>): Promise<boolean> {
          const [key, newKey, changes, record] = given;
          return super.rename(key, newKey, { meta: {}, ...changes }, record);
        }
      },
      'meta: keeps meta through saves, touches and renames that are about other things',
      'meta: leaves the meta of a concurrent writer alone',
    ],
    'a save that merges meta': [
      class extends SoundStore {
        override async save(key: string, changes: SessionChanges, record: SessionRecord): Promise<boolean> {
          const { meta: before } = (await this.peek(key)) ?? record;
          const { meta } = changes;
          return super.save(key, { ...changes, ...(meta && { meta: { ...before, ...meta } }) }, record);
        }
      },
      'meta: replaces meta as a whole, by a save and by a rename',
    ],
    'a save that takes the meta of the request': [
      class extends SoundStore {
        override save(key: string, changes: SessionChanges, record: SessionRecord): Promise<boolean> {
          return super.save(key, { ...changes, meta: record.meta }, record);
        }
      },
      'meta: leaves the meta of a concurrent writer alone',
    ],
    'a touch that takes the meta of the request': [
      class extends SoundStore {
        override async touch(key: string, record: SessionRecord): Promise<boolean> {
          if (!(await super.touch(key, record))) return false;
          return super.save(key, { meta: record.meta }, record);
        }
      },
      'meta: keeps meta through saves, touches and renames that are about other things',
    ],
    'lists without meta': [
      class extends SoundStore {
        override async listByUser(userId: string): Promise<SessionRecord[]> {
          return (await super.listByUser(userId)).map((record) => ({ ...record, meta: {} }));
        }
      },
      "users: lists a user's live sessions, whole, and nobody else's",
    ],
    'moves of keys that nobody has moved': [
      class extends SoundStore {
        override async find(key: string): Promise<Found> {
          return (await super.find(key)) ?? { movedTo: key };
        }
      },
      'find: finds a live record as load does, and nothing else',
      'find: tells nothing of a rename that did not happen',
    ],
    'moves that are noted before they happen': [
      class extends SoundStore {
        private readonly noted = new Map<string, string>();
        override rename(...given: Parameters<SessionStore['rename']>): Promise<boolean> {
          this.noted.set(given[0], given[1]);
          return super.rename(...given);
        }
        override async find(key: string): Promise<Found> {
          const movedTo = this.noted.get(key);
          return (await this.load(key)) ?? (movedTo === undefined ? null : { movedTo });
        }
      },
      'find: tells nothing of a rename that did not happen',
    ],
    'moves that are noted after they happened': [
      class extends SoundStore {
        private readonly noted = new Map<string, string>();
        override async rename(...given: Parameters<SessionStore['rename']>): Promise<boolean> {
          const renamed = await super.rename(...given);
          await setImmediate();
          if (renamed) this.noted.set(given[0], given[1]);
          return renamed;
        }
        override async find(key: string): Promise<Found> {
          const movedTo = this.noted.get(key);
          return (await this.load(key)) ?? (movedTo === undefined ? null : { movedTo });
        }
      },
      'find: finds the record or its new key at every moment of a rename, if the store remembers moves',
    ],
    'moves that are forgotten too early': [
      class extends SoundStore {
        private readonly movedAt = new Map<string, number>();
        override async rename(...given: Parameters<SessionStore['rename']>): Promise<boolean> {
          this.movedAt.set(given[0], this.now());
          return super.rename(...given);
        }
        override async find(key: string): Promise<Found> {
          const found = await super.find(key);
          return found && 'movedTo' in found && this.now() - (this.movedAt.get(key) ?? 0) > 30_000
            ? null
            : found;
        }
      },
      'find: tells it for a minute, whatever is cleared',
    ],
    'moves that it promised to remember': [
      class extends SoundStore {
        override find(key: string): Promise<Found> {
          return this.load(key);
        }
      },
      'find: tells where a rename has moved a record to, if the store remembers that',
      'find: tells it for a minute, whatever is cleared',
    ],
    'moves that are remembered, and not said to be': [
      class extends SoundStore {
        override readonly remembersMoves = false as never;
      },
      'find: tells where a rename has moved a record to, if the store remembers that',
    ],
    'a find that follows a move': [
      class extends SoundStore {
        override async find(key: string): Promise<Found> {
          const found = await super.find(key);
          return found && 'movedTo' in found ? this.load(found.movedTo) : found;
        }
      },
      'find: tells where a rename has moved a record to, if the store remembers that',
      'rename: moves the record and applies the changes',
    ],
    'an end by id that ignores the user': [
      class extends SoundStore {
        override deleteById(id: string): Promise<boolean> {
          return super.deleteById(id);
        }
      },
      "deleteById: ends no session of another user's, nor one of nobody's",
      'deleteById: finds it wherever logins and rotations have moved it',
    ],
    'an end by id that ends the user’s others as well': [
      class extends SoundStore {
        override async deleteById(id: string, userId?: string): Promise<boolean> {
          const ended = await super.deleteById(id, userId);
          if (ended) await super.deleteByUser(userId ?? 'Ann');
          return ended;
        }
      },
      'deleteById: ends exactly the session with this id, once and for good',
    ],
    'an end by id that loses sight of what is moved': [
      class extends SoundStore {
        private readonly keys = new Map<string, string>();
        override async create(key: string, record: SessionRecord): Promise<boolean> {
          this.keys.set(record.id, key);
          return super.create(key, record);
        }
        override async deleteById(id: string, userId?: string): Promise<boolean> {
          const key = this.keys.get(id) ?? '';
          const record = await this.peek(key);
          return record !== null && (userId ?? record.userId) === record.userId && this.delete(key);
        }
      },
      'deleteById: finds it wherever logins and rotations have moved it',
      'deleteById: ends a session by its id in spite of a rotation',
      'deleteById: ends a session by its id and user in spite of a rotation',
    ],
    'ids told apart by their letters alone': [
      class extends SoundStore {
        private readonly ids = new Map<string, string>();
        override async create(key: string, record: SessionRecord): Promise<boolean> {
          this.ids.set(record.id.toLowerCase(), record.id);
          return super.create(key, record);
        }
        override deleteById(id: string, userId?: string): Promise<boolean> {
          return super.deleteById(this.ids.get(id.toLowerCase()) ?? id, userId);
        }
      },
      'deleteById: takes ids literally',
    ],
    'an end by id of what has expired': [
      class extends SoundStore {
        private readonly ids = new Set<string>();
        override async create(key: string, record: SessionRecord): Promise<boolean> {
          this.ids.add(record.id);
          return super.create(key, record);
        }
        override async deleteById(id: string, userId?: string): Promise<boolean> {
          return (await super.deleteById(id, userId)) || this.ids.delete(id);
        }
      },
      'users: lists, counts and ends no session that has expired',
    ],
    'a deadline that nobody watches': [
      class extends SoundStore {
        override now(): number {
          return Date.now();
        }
      },
      'expiry: ends a record at its deadline, for every operation',
      'expiry: ends a record at the deadline of the last save',
    ],
  };

  it.each(Object.entries(defects))('sees %s', async (name, [Store, ...red]) => {
    const failures = await failuresOf(Store, { ownClock: name.startsWith('a clock') });
    expect(failures).toEqual(expect.arrayContaining(red));
  });

  it('has a test for every lack that is declared', async () => {
    class Lacking extends SoundStore {
      override save(key: string, _changes: SessionChanges, record: SessionRecord): Promise<boolean> {
        return this.peek(key).then(async (current) => {
          if (current) await this.replace(key, record);
          return current !== null;
        });
      }
      override delete(key: string): Promise<boolean> {
        return super.delete(key);
      }
      override clearExpired(): Promise<number> {
        return SessionStore.prototype.clearExpired.call(this, 0);
      }
      override listByUser(): Promise<never> {
        return this.unsupported('list');
      }
      override deleteByUser(): Promise<never> {
        return this.unsupported('end');
      }
      override deleteById(): Promise<never> {
        return this.unsupported('end');
      }
    }
    const lacks = {
      atomicChanges: false,
      findsRenamed: false,
      byUser: false,
      clearsExpired: false,
      outages: false,
    };
    expect(await failuresOf(Lacking, lacks)).toEqual([]);

    // Lacks that a store does not have are no better than capabilities that it does not have.
    expect(
      await failuresOf(SoundStore, { byUser: false, findsRenamed: false, clearsExpired: false }),
    ).toEqual([
      'ended stays ended: ends a session for good, whoever comes first',
      'ended stays ended: ends a session between any two steps of a rename',
      'ended stays ended: lacks a way to a record that was renamed meanwhile',
      'clearExpired: leaves clearing to the store, and live records alone',
      "users: says that it cannot list or end a user's sessions",
      'deleteById: says that it cannot end a session by its id',
    ]);
  });

  it('says which hook is missing', async () => {
    const failures: unknown[] = [];
    const tests: (() => Promise<void>)[] = [];
    describeSessionStore('it', async () => ({ store: new MemoryStore(), dispose: async () => {} }), {
      describe: (_name, suite) => suite(),
      it: (name, run) => name.includes('corrupt record that') && tests.push(run),
      after: () => {},
    });
    for (const run of tests) await run().catch((error: unknown) => failures.push(error));
    expect(failures).toEqual([
      expect.objectContaining({ message: expect.stringContaining('corruptRecords: false') }),
    ]);
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
