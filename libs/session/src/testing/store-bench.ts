import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import { inspect } from 'node:util';
import { applyChanges, decodeData, encodeSnapshot } from '../stores/record-log.js';
import {
  type JsonObject,
  type RecordLimits,
  type SessionChanges,
  type SessionMeta,
  type SessionRecord,
  type SessionStore,
} from '../stores/session-store.js';
import { type StoreCapabilities, type StoreUnderTest } from './store-under-test.js';

export const SECOND = 1000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;

/** Stores may keep whole seconds, and on a busy machine a test may stand still for some. */
const TOLERANCE = 10 * SECOND;
/** How often a race is run when the store cannot be held back. */
export const ROUNDS = 15;

/** The cases of one subject. */
export type Cases = (it: DefineTest, bench: StoreBench) => void;
export type DefineTest = (name: string, test: () => Promise<void>) => unknown;

export function newId(): string {
  return randomBytes(16).toString('base64url');
}

/** As long as a key hash may be, and with every kind of character: 64 of `A-Za-z0-9_-.`. */
export function newKeyHash(): string {
  return `kit-_.${randomBytes(29).toString('hex')}`;
}

/** A record to be created under its `id`. */
export function newRecord(data: JsonObject = {}, overrides: Partial<SessionRecord> = {}): SessionRecord {
  const now = Date.now();
  return {
    id: newId(),
    keyHash: newKeyHash(),
    userId: null,
    data,
    expiry: null,
    createdAt: now,
    lastSeenAt: now,
    expiresAt: now + HOUR,
    version: 1,
    meta: {},
    ...overrides,
  };
}

/** The record as the request sees it that loaded this one and made these changes. */
export function changed(
  record: SessionRecord,
  changes: SessionChanges,
  overrides: Partial<SessionRecord> = {},
): SessionRecord {
  const { expiry, meta, keyHash } = { ...record, ...changes };
  const data = decodeData(encodeSnapshot(record.data), '');
  applyChanges(data, changes);
  return { ...record, keyHash, expiry, meta, data, ...overrides };
}

/** Saves as the request does that loaded this record and made these changes. */
export function save(
  store: SessionStore,
  loaded: SessionRecord,
  changes: SessionChanges,
  overrides: Partial<SessionRecord> = {},
): Promise<boolean> {
  return store.save(loaded.id, loaded.keyHash, changes, changed(loaded, changes, overrides));
}

/** Equal as JSON, whatever the prototypes and the order of the keys. */
export function assertJson(actual: unknown, expected: unknown): void {
  assert.deepEqual(JSON.parse(JSON.stringify(actual)), JSON.parse(JSON.stringify(expected)));
}

export function assertData(record: SessionRecord, expected: JsonObject): void {
  assertJson(record.data, expected);
}

export function assertMeta(record: SessionRecord, expected: SessionMeta): void {
  assertJson(record.meta, expected);
}

export function assertNear(actual: number, expected: number, what: string): void {
  const off = Math.abs(actual - expected);
  assert.ok(off < TOLERANCE, `${what} is off by ${off} ms`);
}

/** It fails with this code, and its error tells no key hash. */
export async function assertFails(work: Promise<unknown>, code: string): Promise<void> {
  const outcome = await settled(work);
  assert.ok(
    'error' in outcome,
    `It resolved with ${inspect(outcome)} where it should have failed with ${code}.`,
  );
  assert.doesNotMatch(
    inspect(outcome.error, { showHidden: true, depth: 9 }),
    /kit-_\.[0-9a-f]{58}|Top secret/,
  );
  const { error } = outcome as { error: { code?: unknown } };
  assert.equal(error.code, code, inspect(error));
}

export function settled(work: Promise<unknown>): Promise<{ value: unknown } | { error: unknown }> {
  return work.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
}

/** Runs `work` as a process whose clock is so many milliseconds ahead. */
export async function withClockAhead(ms: number, work: () => Promise<void>): Promise<void> {
  const real = Date.now;
  Date.now = () => real() + ms;
  try {
    await work();
  } finally {
    Date.now = real;
  }
}

/** The store of one suite, made at its first use, and what the cases do with it again and again. */
export class StoreBench {
  #made: Promise<StoreUnderTest> | undefined;
  #sibling: Promise<SessionStore> | undefined;

  constructor(
    private readonly makeStore: () => Promise<StoreUnderTest>,
    readonly capabilities: StoreCapabilities,
  ) {}

  get underTest(): Promise<StoreUnderTest> {
    return (this.#made ??= this.makeStore());
  }

  async dispose(): Promise<void> {
    await (await this.#made)?.dispose();
  }

  async store(): Promise<SessionStore> {
    return (await this.underTest).store;
  }

  /** The store as another process has it; the store itself if it is for one process only. */
  async sibling(): Promise<SessionStore> {
    if (!this.capabilities.severalProcesses) return this.store();
    return (this.#sibling ??= this.#makeSibling());
  }

  async #makeSibling(): Promise<SessionStore> {
    const underTest = await this.underTest;
    if (!underTest.sibling) throw missing('sibling', 'severalProcesses');
    return underTest.sibling();
  }

  async both(): Promise<[store: SessionStore, sibling: SessionStore]> {
    return [await this.store(), await this.sibling()];
  }

  /** What a test has to do to the store from outside. */
  async hook<Name extends 'corrupt' | 'cut' | 'mend'>(
    name: Name,
    capability: keyof StoreCapabilities,
  ): Promise<NonNullable<StoreUnderTest[Name]>> {
    const underTest = await this.underTest;
    const hook = underTest[name]?.bind(underTest);
    if (!hook) throw missing(name, capability);
    return hook as NonNullable<StoreUnderTest[Name]>;
  }

  async elapse(ms: number): Promise<void> {
    const underTest = await this.underTest;
    await (underTest.elapse ? underTest.elapse(ms) : setTimeout(ms));
  }

  /** Resolves with the record as it was created. */
  async create(data: JsonObject = {}, overrides: Partial<SessionRecord> = {}): Promise<SessionRecord> {
    const record = newRecord(data, overrides);
    assert.equal(await (await this.store()).create(record.id, record), true, 'create');
    return record;
  }

  /** Resolves with the record as it was loaded. */
  async created(data: JsonObject = {}, overrides: Partial<SessionRecord> = {}): Promise<SessionRecord> {
    return this.load((await this.create(data, overrides)).id);
  }

  async load(id: string): Promise<SessionRecord> {
    const record = await (await this.store()).load(id);
    assert.ok(record !== null, 'The record is gone.');
    return record;
  }

  async save(
    loaded: SessionRecord,
    changes: SessionChanges,
    overrides: Partial<SessionRecord> = {},
  ): Promise<boolean> {
    return save(await this.store(), loaded, changes, overrides);
  }

  /** There is no live record under any of these ids, for any process. */
  async assertGone(...ids: string[]): Promise<void> {
    for (const store of await this.both()) {
      for (const id of ids)
        assert.equal(await store.load(id), null, 'a record was loaded that should be gone');
    }
  }

  /** Nothing that a request does gets into the store any more, which loaded this record before it ended. */
  async assertRefused(loaded: SessionRecord): Promise<void> {
    const late = { expiresAt: Date.now() + 9 * HOUR };
    for (const store of await this.both()) {
      for (const changes of [{ set: { a: 2 } }, { expiry: 3600 }, { keyHash: newKeyHash() }, {}]) {
        assert.equal(await save(store, loaded, changes, late), false);
      }
      assert.equal(await store.touch(loaded.id, { ...loaded, ...late }), false);
      assert.equal(await store.take(loaded.id), null);
    }
  }

  /** Ids of records that expired a moment ago by the store's clock. */
  async expired(count: number, overrides: Partial<SessionRecord> = {}): Promise<string[]> {
    const expiresAt = Date.now() + SECOND;
    const records = await Promise.all(
      Array.from({ length: count }, () => this.create({ old: 1 }, { ...overrides, expiresAt })),
    );
    await this.elapse(2 * SECOND + 100);
    return records.map(({ id }) => id);
  }

  /** As the module does it that sets the limits of a store. */
  async withLimits(limits: Partial<RecordLimits>, work: () => Promise<void>): Promise<void> {
    const stores = await this.both();
    const before = stores.map((store) => store.limits);
    for (const store of stores) store.limits = { size: Infinity, keys: Infinity, ...limits };
    try {
      await work();
    } finally {
      for (const [n, store] of stores.entries()) store.limits = before[n] ?? store.limits;
    }
  }

  /**
   * Lets operations race for one record, in every rotation of their order, and hands the outcomes (in the order in which
   * the operations were given) to `judge`.
   */
  async race(
    prepare: () => Promise<{ id: string; operations: (() => Promise<unknown>)[] }>,
    judge: (outcomes: unknown[]) => Promise<void> | void,
  ): Promise<void> {
    const underTest = await this.underTest;
    const rounds = underTest.race ? 1 : ROUNDS;
    for (let round = 0, rotations = 1; round < rounds * rotations; round++) {
      const { id, operations } = await prepare();
      rotations = operations.length;
      const shift = round % rotations;
      const rotated = [...operations.slice(shift), ...operations.slice(0, shift)];
      const outcomes = underTest.race
        ? await underTest.race(id, rotated)
        : await Promise.all(rotated.map((operation) => operation()));
      await judge([...outcomes.slice(rotations - shift), ...outcomes.slice(0, rotations - shift)]);
    }
  }
}

function missing(hook: string, capability: keyof StoreCapabilities): Error {
  return new Error(
    `The store under test has no ${hook}(). Give it one, or declare \`${capability}: false\` in the capabilities.`,
  );
}
