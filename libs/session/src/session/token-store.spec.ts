import { hash, randomBytes } from 'node:crypto';
import { resolveOptions } from '../options/resolve-options.js';
import { MemoryStore } from '../stores/memory/memory-store.js';
import { type SessionRecord } from '../stores/session-store.js';
import { newRecord } from '../testing/store-bench.js';
import {
  formatSessionKey,
  keyHasher,
  parseSessionKey,
  type PepperOptions,
  sealSuccessor,
} from './session-key.js';
import { StoreGuard } from './store-guard.js';
import { StoredTokens } from './token-store.js';

const pepper = (): string => randomBytes(32).toString('base64url');

/** A store that counts what it is asked, and the tokens of applications that share it. */
function world() {
  const store = new MemoryStore();
  const calls = { load: 0, create: 0, save: 0 };
  for (const name of ['load', 'create', 'save'] as const) {
    const method = store[name].bind(store) as (...given: unknown[]) => Promise<never>;
    store[name] = (...given: unknown[]) => {
      calls[name] += 1;
      return method(...given);
    };
  }
  const tokensWith = (options?: PepperOptions) =>
    new StoredTokens(new StoreGuard(store, { timeLimit: 5000 }), keyHasher(options), Date.now);
  const recordOf = async (token: string): Promise<SessionRecord> => {
    const record = await store.load(parseSessionKey(token).id);
    if (!record) throw new Error('There is no such record.');
    return record;
  };
  return { store, calls, tokensWith, recordOf };
}

/** Who is logged in when somebody who can write to the store has forged a record, and comes with their own secret. */
async function forge(
  options: PepperOptions | undefined,
  write: (mine: SessionRecord, theirs: SessionRecord, secret: string) => SessionRecord,
): Promise<(string | null)[]> {
  const { store, tokensWith, recordOf } = world();
  const tokens = tokensWith(options);
  const mine = await tokens.create(newRecord({}, { userId: 'me' }));
  const theirs = await tokens.create(newRecord({}, { userId: 'ann' }));
  const { secret } = parseSessionKey(mine.token);
  const written = write(await recordOf(mine.token), await recordOf(theirs.token), secret);
  await store.delete(written.id);
  await store.create(written.id, written);
  const found = await Promise.all(
    [mine.token, formatSessionKey({ id: written.id, secret })].map((token) => tokens.load(token)),
  );
  return found.map((one) => (one && 'record' in one ? one.record.userId : null));
}

const plainHash: Parameters<typeof forge>[1] = (_mine, theirs, secret) => ({
  ...theirs,
  keyHash: keyHasher().hash({ ...theirs, secret }),
});

describe('a record', () => {
  it.each([
    ['no pepper', undefined],
    ['a pepper', { secrets: pepper() }],
  ])('S05: holds the secret in no encoding, and not its plain hash, with %s', async (_name, options) => {
    const { tokensWith, recordOf } = world();
    const { token } = await tokensWith(options).create(newRecord({ a: 1 }, { userId: 'ann' }));
    const kept = JSON.stringify(await recordOf(token));
    const { secret } = parseSessionKey(token);
    const bytes = Buffer.from(secret, 'base64url');
    for (const form of [secret, bytes.toString('hex'), bytes.toString('base64'), token]) {
      for (const text of [form, hash('sha256', form, 'hex'), hash('sha256', form, 'base64url')]) {
        expect(kept).not.toContain(text);
      }
    }
  });

  it('S08: gets another id when its own is taken, and leaves alone what is there', async () => {
    const { store, calls, tokensWith, recordOf } = world();
    const mine = newRecord({ mine: true });
    await store.create(mine.id, newRecord({ of: 'somebody else' }, { id: mine.id }));
    calls.create = 0;
    const { token, record } = await tokensWith().create(mine);
    expect(calls.create).toBe(2);
    expect(record.id).not.toBe(mine.id);
    expect((await recordOf(token)).data).toEqual({ mine: true });
    expect((await store.load(mine.id))?.data).toEqual({ of: 'somebody else' });
  });
});

describe('a pepper', () => {
  const [first, second] = [pepper(), pepper()];
  const [old, both, recent] = [{ secrets: first }, { secrets: [second, first] }, { secrets: second }];

  it('can be changed: the record gets a hash under the newest at its next use, and is looked for once', async () => {
    const { calls, tokensWith } = world();
    const { token } = await tokensWith(old).create(newRecord({ a: 1 }, { userId: 'ann' }));
    expect(await tokensWith(recent).load(token)).toBeNull();
    calls.load = calls.save = 0;
    for (let use = 0; use < 2; use += 1) {
      expect(await tokensWith(both).load(token)).toMatchObject({
        standing: 'live',
        token,
        record: { data: { a: 1 } },
      });
    }
    expect(calls).toMatchObject({ load: 2, save: 1 });
    expect(await tokensWith(recent).load(token)).toMatchObject({ standing: 'live', token });
  });

  it('changes under any number of requests at once', async () => {
    const { tokensWith } = world();
    const { token } = await tokensWith(old).create(newRecord({ a: 1 }));
    const tokens = tokensWith(both);
    const found = await Promise.all(Array.from({ length: 20 }, () => tokens.load(token)));
    for (const one of found) expect(one).toMatchObject({ standing: 'live', token });
  });

  it('can be introduced to a store that had none, if that is allowed', async () => {
    const { tokensWith } = world();
    const { token } = await tokensWith().create(newRecord({ a: 1 }));
    expect(await tokensWith(old).load(token)).toBeNull();
    expect(await tokensWith({ ...old, allowUnpeppered: true }).load(token)).toMatchObject({
      standing: 'live',
      token,
    });
    expect(await tokensWith(old).load(token)).toMatchObject({ standing: 'live', token });
  });

  it.each<[string, Parameters<typeof forge>[1]]>([
    ['puts another user into their record', (mine, theirs) => ({ ...mine, userId: theirs.userId })],
    ['copies another record under their id', (mine, theirs) => ({ ...theirs, id: mine.id })],
    ['copies their hash into another record', (mine, theirs) => ({ ...theirs, keyHash: mine.keyHash })],
    ['makes a plain hash', plainHash],
    [
      'seals a successor with their own secret',
      (_mine, theirs, secret) => {
        const { id, createdAt } = theirs;
        const after = Date.now() - createdAt;
        const sealed = { secret: 'x'.repeat(43), after, createdAt };
        const successor = sealSuccessor(sealed, { id, secret }, keyHasher(recent));
        return { ...theirs, meta: { rotation: { after, successor } } };
      },
    ],
  ])('lets nobody become another user who can write to the store and %s', async (_what, write) => {
    expect(await forge(recent, write)).not.toContain('ann');
  });

  it('is needed for that: without one, such a hash can be made', async () => {
    expect(await forge(undefined, plainHash)).toContain('ann');
  });

  it.each(['short', 'changeme-changeme-changeme-changeme', ['x'.repeat(40)]])(
    'S78: is refused when it can be guessed: %j',
    (secrets) => {
      expect(() => keyHasher({ secrets })).toThrow(
        expect.objectContaining({
          code: 'SESSION_CONFIG',
          option: expect.stringMatching(/^pepper\.secrets/),
        }),
      );
    },
  );

  it('is an option', () => {
    expect(resolveOptions({ pepper: recent }).pepper).toEqual({ ...recent, allowUnpeppered: false });
  });
});

describe('a renewal', () => {
  const HOUR = 3_600_000;

  /** A session that was renewed an hour ago, and what somebody who can write to the store makes of its record. */
  async function renewed(change: (record: SessionRecord) => SessionRecord) {
    const { store, tokensWith, recordOf } = world();
    const tokens = tokensWith({ secrets: pepper() });
    const held = await tokens.create(newRecord({ a: 1 }, { userId: 'ann' }));
    await tokens.rotate(held, {}, held.record, { overlap: true });
    const present = await recordOf(held.token);
    const anHourAgo = { ...present, createdAt: present.createdAt - HOUR };
    await store.delete(present.id);
    await store.create(present.id, change(anHourAgo));
    return (await tokens.load(held.token))?.standing;
  }

  it('lets the former secret in for as long as they overlap', async () => {
    expect(await renewed((record) => ({ ...record, createdAt: record.createdAt + HOUR }))).toBe('live');
  });

  it('knows the former secret afterwards, and lets it in no more', async () => {
    expect(await renewed((record) => record)).toBe('reused');
  });

  it.each<[string, (record: SessionRecord) => SessionRecord]>([
    [
      'of the renewal',
      (record) => {
        const rotation = record.meta.rotation as NonNullable<SessionRecord['meta']['rotation']>;
        return { ...record, meta: { rotation: { ...rotation, after: Date.now() - record.createdAt } } };
      },
    ],
    ['of the creation', (record) => ({ ...record, createdAt: record.createdAt + 2 * HOUR })],
  ])('S05: does not overlap longer when the moment %s was moved in the store', async (_moment, move) => {
    expect(await renewed(move)).not.toBe('live');
  });
});
