import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import { inspect } from 'node:util';
import { applyChanges } from '../stores/session-log.js';
import {
  type JsonObject,
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
/** How often a race is run that nothing holds back. */
export const ROUNDS = 15;

/** The cases of one subject. */
export type Cases = (it: DefineTest, bench: StoreBench) => void;
export type DefineTest = (name: string, test: () => Promise<void>) => unknown;

export function newKey(): string {
  return `v1-${randomBytes(32).toString('hex')}`;
}

export function newRecord(data: JsonObject = {}, overrides: Partial<SessionRecord> = {}): SessionRecord {
  const now = Date.now();
  return {
    id: randomBytes(16).toString('base64url'),
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

/** The record as a request sees it that has made these changes. */
export function changed(
  record: SessionRecord,
  changes: SessionChanges,
  overrides: Partial<SessionRecord> = {},
): SessionRecord {
  const { userId, expiry, meta } = { ...record, ...changes };
  return { ...record, userId, expiry, meta, data: applyChanges(record.data, changes), ...overrides };
}

/** Equal as JSON, whatever the prototypes and the order of the keys. */
export function assertData(record: SessionRecord, expected: JsonObject): void {
  assert.deepEqual(JSON.parse(JSON.stringify(record.data)), JSON.parse(JSON.stringify(expected)));
}

export function assertMeta(record: SessionRecord, expected: SessionMeta): void {
  assert.deepEqual(JSON.parse(JSON.stringify(record.meta)), JSON.parse(JSON.stringify(expected)));
}

export function assertNear(actual: number, expected: number, what: string): void {
  const off = Math.abs(actual - expected);
  assert.ok(off < TOLERANCE, `${what} is off by ${off} ms`);
}

/** It fails with this code, and what it throws tells no store key. */
export async function assertFails(work: Promise<unknown>, code: string): Promise<void> {
  const outcome = await settled(work);
  assert.ok(
    'error' in outcome,
    `It resolved with ${inspect(outcome)} where it should have failed with ${code}.`,
  );
  assertTellsNoKey(outcome.error);
  const { error } = outcome as { error: { code?: unknown } };
  assert.equal(error.code, code, inspect(error));
}

export function assertTellsNoKey(error: unknown): void {
  assert.doesNotMatch(inspect(error, { showHidden: true, depth: 9 }), /v1-[0-9a-f]{64}/);
}

export function settled(work: Promise<unknown>): Promise<{ value: unknown } | { error: unknown }> {
  return work.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
}

/** Runs `work` as a process does whose clock is so many milliseconds ahead. */
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

  /** The store as another process has it; of a store for one process, the store itself. */
  async sibling(): Promise<SessionStore> {
    if (!this.capabilities.severalProcesses) return this.store();
    return (this.#sibling ??= this.#makeSibling());
  }

  async #makeSibling(): Promise<SessionStore> {
    const underTest = await this.underTest;
    if (!underTest.sibling) throw missing('sibling', 'severalProcesses');
    return underTest.sibling();
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

  async create(data: JsonObject = {}, overrides: Partial<SessionRecord> = {}): Promise<string> {
    const key = newKey();
    assert.equal(await (await this.store()).create(key, newRecord(data, overrides)), true, 'create');
    return key;
  }

  async load(key: string): Promise<SessionRecord> {
    const record = await (await this.store()).load(key);
    assert.ok(record !== null, 'The record is gone.');
    return record;
  }

  /** As a request does that loaded this record and made these changes. */
  async save(
    key: string,
    loaded: SessionRecord,
    changes: SessionChanges,
    overrides: Partial<SessionRecord> = {},
  ): Promise<boolean> {
    return (await this.store()).save(key, changes, changed(loaded, changes, overrides));
  }

  /** Nothing lives under any of these keys, in the eyes of any process. */
  async assertDead(...keys: string[]): Promise<void> {
    for (const store of [await this.store(), await this.sibling()]) {
      for (const key of keys) {
        assert.equal(await store.load(key), null, 'a dead record was loaded');
        assert.equal(await store.exists(key), false, 'a dead record exists');
        const found = await store.find(key);
        assert.ok(found === null || 'movedTo' in found, 'a dead record was found');
      }
    }
  }

  /** Records that have expired a moment ago by the store's clock. */
  async expired(count: number, overrides: Partial<SessionRecord> = {}): Promise<string[]> {
    const keys = await Promise.all(
      Array.from({ length: count }, () =>
        this.create({ old: 1 }, { ...overrides, expiresAt: Date.now() + SECOND }),
      ),
    );
    await this.elapse(2 * SECOND + 100);
    return keys;
  }

  /**
   * Lets operations race for one record, in every rotation of their order, and hands the outcomes (in the order of the
   * operations as they were given) to `judge`.
   */
  async race(
    prepare: () => Promise<{ key: string; operations: (() => Promise<unknown>)[] }>,
    judge: (outcomes: unknown[]) => Promise<void> | void,
  ): Promise<void> {
    const underTest = await this.underTest;
    const rounds = underTest.race ? 1 : ROUNDS;
    for (let round = 0, rotations = 1; round < rounds * rotations; round++) {
      const { key, operations } = await prepare();
      rotations = operations.length;
      const shift = round % rotations;
      const rotated = [...operations.slice(shift), ...operations.slice(0, shift)];
      const outcomes = underTest.race
        ? await underTest.race(key, rotated)
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
