import { inspect } from 'node:util';
import { type SessionOptions } from '../session.options.js';
import { resolveOptions } from '../options/resolve-options.js';
import { changedRecord } from '../stores/record-log.js';
import { type SessionChanges, type SessionRecord, SessionStore } from '../stores/session-store.js';
import { LiveSession } from './live-session.js';
import { ReplacedTokens } from './replaced-tokens.js';
import { type Session, createSession } from './session.js';
import { type SessionEvent } from './session-events.js';
import { keyHasher } from './session-key.js';
import { StoreGuard } from './store-guard.js';
import { StoredTokens } from './token-store.js';

/** Keeps texts, as every real store does, so that nothing is shared by reference. */
class MapStore extends SessionStore {
  readonly records = new Map<string, string>();
  readonly calls: string[] = [];
  failing = false;

  load(id: string): Promise<SessionRecord | null> {
    this.calls.push('load');
    return Promise.resolve(this.read(id));
  }

  create(id: string, record: SessionRecord): Promise<boolean> {
    this.calls.push('create');
    if (this.failing) return Promise.reject(new Error('down'));
    if (this.records.has(id)) return Promise.resolve(false);
    this.records.set(id, JSON.stringify(record));
    return Promise.resolve(true);
  }

  async save(id: string, keyHash: string, changes: SessionChanges, record: SessionRecord): Promise<boolean> {
    this.calls.push('save');
    if (this.failing) throw new Error('down');
    const stored = this.read(id);
    if (stored?.keyHash !== keyHash) return false;
    this.records.set(id, JSON.stringify(changedRecord(stored, changes, record, record.lastSeenAt)));
    return true;
  }

  override touch(id: string, record: SessionRecord): Promise<boolean> {
    this.calls.push('touch');
    const stored = this.read(id);
    if (stored?.version !== record.version) return Promise.resolve(false);
    const { expiresAt, lastSeenAt } = record;
    this.records.set(id, JSON.stringify({ ...stored, expiresAt, lastSeenAt }));
    return Promise.resolve(true);
  }

  override take(id: string): Promise<SessionRecord | null> {
    this.calls.push('take');
    if (this.failing) return Promise.reject(new Error('down'));
    const stored = this.read(id);
    this.records.delete(id);
    return Promise.resolve(stored);
  }

  delete(id: string): Promise<boolean> {
    this.calls.push('delete');
    return Promise.resolve(this.records.delete(id));
  }

  private read(id: string): SessionRecord | null {
    const text = this.records.get(id);
    return text === undefined ? null : (JSON.parse(text) as SessionRecord);
  }
}

function world(options: SessionOptions = {}) {
  const store = new MapStore();
  const events: SessionEvent[] = [];
  const resolved = resolveOptions(options);
  const clock = { now: Date.UTC(2026, 0, 1) };
  const environment = {
    ...resolved,
    tokens: new StoredTokens(new StoreGuard(store, { timeLimit: 1000 }), keyHasher(), () => clock.now),
    replacedTokens: new ReplacedTokens(() => clock.now),
    touchesRestUntil: 0,
    now: () => clock.now,
    emit: (event: SessionEvent) => events.push(event),
  };
  const open = async (sessionKey?: string): Promise<Session> => {
    const session = createSession(new LiveSession(environment, sessionKey === undefined ? [] : [sessionKey]));
    await session.load();
    return session;
  };
  /** A session that is in the store, opened anew: nothing of it has been touched. */
  const stored = async (data: Record<string, unknown> = { name: 'ada' }): Promise<Session> => {
    const session = await open();
    session.update(data as never);
    await session.save();
    store.calls.length = 0;
    return open(session.sessionKey() as string);
  };
  return { store, events, clock, environment, open, stored };
}

/** A refusal whose message says these things, in this order. */
function refusal(...parts: string[]): Error {
  const message = expect.stringMatching(new RegExp(parts.join('.*'))) as string;
  return expect.objectContaining({ code: 'SESSION_KEY', message }) as Error;
}

describe('the flags, as Django sets them', () => {
  const table: [what: string, act: (session: Session) => unknown, accessed: boolean, modified: boolean][] = [
    ['nothing', () => {}, false, false],
    ['reading a property', (session) => session['name'], true, false],
    ['get', (session) => session.get('name'), true, false],
    ['get of a missing key', (session) => session.get('missing'), true, false],
    ['getOrThrow', (session) => session.getOrThrow('name'), true, false],
    ['in', (session) => 'name' in session, true, false],
    ['has', (session) => session.has('missing'), true, false],
    ['keys', (session) => session.keys(), true, false],
    ['Object.keys', (session) => Object.keys(session), true, false],
    ['values', (session) => session.values(), true, false],
    ['entries', (session) => session.entries(), true, false],
    ['spread', (session) => ({ ...session }), true, false],
    ['JSON.stringify', (session) => JSON.stringify(session), true, false],
    ['userId', (session) => session.userId, true, false],
    ['isEmpty', (session) => session.isEmpty(), false, false],
    ['sessionKey', (session) => session.sessionKey(), false, false],
    ['id', (session) => session.id, true, false],
    ['createdAt', (session) => session.createdAt, true, false],
    [
      'peek',
      (session) =>
        session.peek(() => [session.userId, session['name'], { ...session }, session.cookie.maxAge]),
      false,
      false,
    ],
    ['peek after a look', (session) => [session.id, session.peek(() => session.id)], true, false],
    ['peek that writes', (session) => session.peek(() => session.set('a', 1)), false, true],
    ['cookie', (session) => session.cookie.maxAge, true, false],
    ['inspection', (session) => inspect(session), false, false],
    ['awaiting it', (session) => Promise.resolve(session), false, false],
    ['assigning', (session) => (session['a'] = 1), true, true],
    ['set', (session) => session.set('a', 1), true, true],
    ['set of an equal value', (session) => session.set('name', 'ada'), true, true],
    ['delete', (session) => session.delete('name'), true, true],
    ['the delete operator', (session) => delete session['name'], true, true],
    ['delete of a missing key', (session) => session.delete('missing'), true, false],
    ['pop', (session) => session.pop('name'), true, true],
    ['pop of a missing key with a fallback', (session) => session.pop('missing', null), true, false],
    ['setDefault of a key that is there', (session) => session.setDefault('name', 'x'), true, false],
    ['setDefault of a missing key', (session) => session.setDefault('a', 1), true, true],
    ['update', (session) => session.update({ a: 1 }), true, true],
    ['update with nothing', (session) => session.update({}), true, true],
    ['clear', (session) => session.clear(), true, true],
    ['flush', (session) => session.flush(), true, true],
    ['cycleKey', (session) => session.cycleKey(), true, true],
    ['login', (session) => session.login('1'), true, true],
    ['setExpiry', (session) => session.setExpiry(60), true, true],
    ['setExpiry(null) where there is none', (session) => session.setExpiry(null), false, false],
    ['getExpiryAge', (session) => session.getExpiryAge(), true, false],
    ['setTestCookie', (session) => session.setTestCookie(), true, true],
    ['testCookieWorked', (session) => session.testCookieWorked(), true, false],
    ['modified = true', (session) => (session.modified = true), false, true],
    ['increment', (session) => session.increment('n'), true, true],
    ['push', (session) => session.push('list', 1), true, true],
    ['addFlash', (session) => session.addFlash('info', 'hello'), true, true],
    ['takeFlash without messages', (session) => session.takeFlash(), true, false],
    ['flashInput', (session) => session.flashInput({ name: 'ada' }), true, true],
    ['takeOldInput without input', (session) => session.takeOldInput(), true, false],
    ['reflash without messages', (session) => session.reflash(), false, false],
  ];

  it.each(table)('%s', async (_what, act, accessed, modified) => {
    const session = await world().stored();
    await act(session);
    expect({ accessed: session.accessed, modified: session.modified }).toEqual({ accessed, modified });
  });

  it('leaves modified alone when a strict operation fails', async () => {
    const session = await world().stored();
    expect(() => session.deleteOrThrow('missing')).toThrow(expect.objectContaining({ code: 'SESSION_KEY' }));
    expect(() => session.pop('missing')).toThrow(/"missing" is missing/);
    expect(() => session.getOrThrow('missing')).toThrow(/"missing" is missing/);
    expect(session.modified).toBe(false);
  });

  it('sees what was changed inside of a value', async () => {
    const session = await world().stored({ cart: { items: [] } });
    (session['cart'] as { items: string[] }).items.push('apple');
    expect(session.modified).toBe(true);
  });
});

describe('the dictionary by property syntax', () => {
  it('leads to nothing that sessions share', async () => {
    const { stored } = world();
    const session = await stored();
    expect((session as unknown as Record<string, unknown>)['__proto__']).toBeUndefined();
    expect(Reflect.get(session, '__proto__')).toBeUndefined();
    const names = Object.getOwnPropertyNames(Object.getPrototypeOf(session));
    expect(names).toContain('constructor');
    const shared = names.map((name): unknown => Reflect.get(session, name));
    const loose = names.filter((_, at) => typeof shared[at] === 'function' && !Object.isFrozen(shared[at]));
    expect(loose).toEqual([]);
    expect(() => Object.assign(session.save, { call: null })).toThrow(TypeError);
  });

  it('reads, writes, deletes, enumerates and spreads the data and nothing else', async () => {
    const session = await world().stored({ a: 1 });
    session['b'] = 2;
    delete session['a'];
    session['c'] = { d: [3] };
    expect(Object.keys(session)).toEqual(['b', 'c']);
    expect({ ...session }).toEqual({ b: 2, c: { d: [3] } });
    expect(JSON.parse(JSON.stringify(session))).toEqual({ b: 2, c: { d: [3] } });
    const seen: string[] = [];
    for (const key in session) seen.push(key);
    expect(seen).toEqual(['b', 'c']);
    expect(['b' in session, 'get' in session]).toEqual([true, false]);
  });

  it.each(['get', 'save', 'id', 'then', 'toString'])(
    'gives the name %s to the session, and the value by get and set',
    async (name) => {
      const session = await world().stored();
      expect(() => ((session as Record<string, unknown>)[name] = 'mine')).toThrow(
        expect.objectContaining({
          code: 'SESSION_KEY',
          message: expect.stringContaining('session.set(') as string,
        }),
      );
      session.set(name, 'mine');
      expect(session.get(name)).toBe('mine');
      expect((session as Record<string, unknown>)[name]).not.toBe('mine');
    },
  );

  it.each([
    ['userId', 'session.login\\(userId\\)'],
    ['authenticatedAt', 'session.login\\(\\)'],
    ['authenticationAge', 'session.login\\(\\)'],
    ['expiresAt', 'session.setExpiry\\(\\)'],
    ['lastSeenAt', 'session.touch\\(\\)'],
    ['createdAt', 'first saved'],
    ['id', 'regenerate\\(\\)'],
    ['loaded', 'session.load\\(\\)'],
  ])('says what to do instead of assigning to %s, or deleting it', async (name, advice) => {
    const session = await world().stored();
    expect(() => (session[name] = 'mine')).toThrow(refusal(`"${name}" cannot be assigned`, advice));
    expect(() => delete session[name]).toThrow(refusal(`"${name}" cannot be assigned`, advice));
    expect(session.modified).toBe(false);
    session.set(name, 'mine');
    expect(delete session[name]).toBe(true);
    expect(session.has(name)).toBe(false);
  });

  it('userId is never advised as a key of the data, where no guard looks', async () => {
    const session = (await world().stored()) as Record<string, unknown>;
    expect(() => (session['userId'] = 7)).not.toThrow(/session\.set\(/);
    expect(() => (session['userId'] = 7)).toThrow(/session\.login\(userId\)/);
  });

  it('has an error for every other name of its own, and no assignment changes one of them', async () => {
    const session = await world().stored();
    const names = new Set<string>();
    for (
      let object = Object.getPrototypeOf(session) as object | null;
      object;
      object = Object.getPrototypeOf(object) as object | null
    ) {
      for (const name of Object.getOwnPropertyNames(object)) names.add(name);
    }
    for (const setter of ['accessed', 'modified', 'cookie']) names.delete(setter);
    expect(names.size).toBeGreaterThan(50);
    for (const name of names) {
      const before = session[name];
      expect(() => (session[name] = 'mine')).toThrow(
        refusal(`"${name}" (cannot be|is the name of|is not allowed)`, '\\.'),
      );
      expect(session[name]).toEqual(before);
    }
    expect(session.keys()).toEqual(['name']);
  });

  it('no name that is read by property syntax leads to the secret', async () => {
    const session = await world().stored();
    const secret = session.sessionKey()?.slice(23) as string;
    const prototype = Object.getPrototypeOf(Object.getPrototypeOf(session) as object) as object;
    const names = [Object.getPrototypeOf(session) as object, prototype].flatMap((object) =>
      Object.getOwnPropertyNames(object),
    );
    expect(names).toContain('sessionKey');
    for (const name of names) {
      const value = (session as Record<string, unknown>)[name];
      expect(String(value)).not.toContain(secret);
      expect(JSON.stringify({ value })).not.toContain(secret);
    }
  });

  it.each(['__proto__', 'constructor', 'prototype'])('refuses the key %s', async (key) => {
    const session = await world().stored();
    for (const write of [
      () => session.set(key, {}),
      () => ((session as Record<string, unknown>)[key] = { polluted: true }),
    ]) {
      expect(write).toThrow(
        expect.objectContaining({
          code: 'SESSION_KEY',
          message: expect.stringContaining('is not allowed') as string,
        }),
      );
    }
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  });

  it('names the place of a value that JSON cannot carry, and stays as it was', async () => {
    const session = await world().stored();
    expect(() => (session['cart'] = { items: [{ at: new Date() }] } as never)).toThrow('"cart.items[0].at"');
    expect(session.keys()).toEqual(['name']);
    expect(session.modified).toBe(false);
  });

  it('keeps no secret in what an inspection shows', async () => {
    const session = await world().stored();
    const key = session.sessionKey() as string;
    for (const options of [
      {},
      { showHidden: true, depth: 20 },
      { showProxy: true, depth: 20 },
      { customInspect: false, depth: 20 },
    ]) {
      const shown = inspect(session, options);
      expect(shown).not.toContain(key);
      expect(shown).not.toContain(key.slice(23));
    }
    expect(JSON.stringify(session)).not.toContain(key);
  });
});

it('can be shown even when it holds what cannot be saved', async () => {
  const session = await world().stored({ cart: {} });
  (session['cart'] as Record<string, unknown>)['at'] = new Date(0);
  expect(inspect(session)).toContain('1970');
  await expect(session.save()).rejects.toMatchObject({ code: 'SESSION_VALUE', path: 'cart.at' });
});

describe('before it is loaded', () => {
  it('refuses every touch, with a sentence that helps, even without a cookie', () => {
    const { environment } = world();
    const session = createSession(new LiveSession(environment));
    for (const touch of [
      () => session['name'],
      () => (session['name'] = 'ada'),
      () => session.get('name'),
      () => session.userId,
      () => session.flush(),
      () => Object.keys(session),
      () => session.id,
    ]) {
      expect(touch).toThrow(expect.objectContaining({ code: 'SESSION_NOT_LOADED' }));
    }
    expect(inspect(session)).toContain('not loaded');
  });

  it('is loaded once, however often that is asked for', async () => {
    const { store, environment, stored } = world();
    const sessionKey = (await stored()).sessionKey();
    store.calls.length = 0;
    const session = createSession(new LiveSession(environment, [sessionKey as string]));
    await Promise.all([session.load(), session.load()]);
    await session.load();
    expect(store.calls).toEqual(['load']);
  });
});

describe('saving', () => {
  it('creates a record under the session id, and keeps only a hash of the secret', async () => {
    const { store, open } = world();
    const session = await open();
    session['name'] = 'ada';
    await session.save();
    expect(session.sessionKey()).toMatch(/^[\w-]{22}\.[\w-]{43}$/);
    const [id, secret] = (session.sessionKey() as string).split('.') as [string, string];
    expect([...store.records.keys()]).toEqual([id]);
    expect(session.id).toBe(id);
    expect([...store.records.values()].join()).not.toContain(secret);
  });

  it('stores nothing for a session that stayed or became empty', async () => {
    const { store, open } = world();
    const session = await open();
    session['name'] = 'ada';
    delete session['name'];
    await session.save();
    expect(store.calls).toEqual([]);
  });

  it('writes nothing when a value was replaced by an equal one', async () => {
    const { store, stored } = world();
    const session = await stored({ cart: { items: [1] } });
    session['cart'] = { items: [1] };
    await session.save();
    expect(store.calls).toEqual(['load']);
  });

  it('keeps a record whose data were all removed', async () => {
    const { store, stored } = world();
    const session = await stored();
    delete session['name'];
    await session.save();
    expect(store.calls).toEqual(['load', 'save']);
    expect(session.isEmpty()).toBe(false);
  });

  it('saves each thing once', async () => {
    const { store, stored } = world();
    const session = await stored();
    session['a'] = 1;
    await Promise.all([session.save(), session.save()]);
    await session.save();
    expect(store.calls).toEqual(['load', 'save']);
  });

  it('keeps what was changed while a save was under way', async () => {
    const { stored, open } = world();
    const session = await stored();
    session['a'] = 1;
    const saving = session.save();
    session['b'] = 2;
    await saving;
    await session.save();
    expect((await open(session.sessionKey() as string)).toJSON()).toEqual({ name: 'ada', a: 1, b: 2 });
  });

  it('saves nothing that was declared unmodified, until the next write', async () => {
    const { stored, open } = world();
    const session = await stored();
    session['a'] = 1;
    session.modified = false;
    await session.save();
    expect((await open(session.sessionKey() as string)).has('a')).toBe(false);
    session['b'] = 2;
    await session.save();
    expect((await open(session.sessionKey() as string)).toJSON()).toEqual({ name: 'ada', a: 1, b: 2 });
  });

  it('moves a deadline back when the options were shortened', async () => {
    const { store, clock, environment, stored, open } = world();
    const sessionKey = (await stored()).sessionKey();
    environment.policy.idleTimeout = 600_000;
    clock.now += 300_000;
    const session = await open(sessionKey as string);
    expect(session.get('name')).toBe('ada');
    await session.save();
    expect(session.expiresAt?.getTime()).toBe(clock.now + 600_000);
    store.calls.length = 0;
    await (await open(sessionKey as string)).save();
    expect(store.calls).toEqual(['load']);
  });

  it('renews the deadline for modified = true', async () => {
    const { store, clock, stored } = world({ sliding: false });
    const session = await stored();
    clock.now += 60_000;
    session.modified = true;
    await session.save();
    expect(store.calls).toEqual(['load', 'touch']);
    expect(session.expiresAt?.getTime()).toBe(clock.now + 14 * 86_400_000);
  });

  it('drops the changes of a session that has ended, says so, and never makes it again', async () => {
    const { store, events, stored } = world();
    const session = await stored();
    const { id } = session;
    store.records.clear();
    session['late'] = true;
    await expect(session.save()).rejects.toMatchObject({ code: 'SESSION_GONE' });
    session['later'] = true;
    await expect(session.save()).rejects.toMatchObject({ code: 'SESSION_GONE' });
    expect(store.records.size).toBe(0);
    expect(events.slice(2)).toEqual([{ type: 'write-after-end', sessionId: id }]);
  });

  it('leaves a login that comes while a save is on its way to the next one, with its new key', async () => {
    const { store, stored, open } = world();
    const session = await stored();
    const before = session.sessionKey() as string;
    const save = store.save.bind(store);
    store.save = (...given) => {
      store.save = save;
      session.login('ann', { remember: true });
      return save(...given);
    };
    session['early'] = true;
    await session.save();
    await session.save();
    expect(session.sessionKey()).not.toBe(before);
    const again = await open(session.sessionKey() as string);
    expect([again.userId, again['early'], again.authenticatedAt]).toEqual(['ann', true, expect.any(Date)]);
    expect((await open(before)).userId).toBeNull();
  });

  it('a logout after that still ends the session, whose secret was replaced', async () => {
    const { store, stored, open } = world();
    const session = await stored();
    const { id } = session;
    const other = await open(session.sessionKey() as string);
    other.cycleKey();
    await other.save();
    session['late'] = true;
    await expect(session.save()).rejects.toMatchObject({ code: 'SESSION_GONE' });
    session.logout();
    await session.save();
    expect(store.records.has(id)).toBe(false);
  });

  it('can be tried again after the store has failed', async () => {
    const { store, stored, open } = world();
    const session = await stored();
    session['a'] = 1;
    store.failing = true;
    await expect(session.save()).rejects.toThrow('down');
    store.failing = false;
    await session.save();
    expect((await open(session.sessionKey() as string)).get('a')).toBe(1);
  });
});

describe('identity', () => {
  it('flush deletes the record and starts anew under another key and id', async () => {
    const { store, stored, open } = world();
    const session = await stored();
    const before = { key: session.sessionKey() as string, id: session.id };
    session.flush();
    expect([session.isEmpty(), session.sessionKey()]).toEqual([true, null]);
    session['fresh'] = 1;
    await session.save();
    expect(session.sessionKey()).not.toBe(before.key);
    expect(session.id).not.toBe(before.id);
    expect((await open(before.key)).isEmpty()).toBe(true);
    expect(store.records.size).toBe(1);
  });

  it('cycleKey keeps data and id, and kills the old key', async () => {
    const { stored, open } = world();
    const session = await stored();
    const before = { key: session.sessionKey() as string, id: session.id };
    session.cycleKey();
    session['more'] = 1;
    await session.save();
    expect(session.sessionKey()).not.toBe(before.key);
    const again = await open(session.sessionKey() as string);
    expect([again.id, again.toJSON()]).toEqual([before.id, { name: 'ada', more: 1 }]);
    expect((await open(before.key)).isEmpty()).toBe(true);
  });

  it('login starts a new session, keeps anonymous data, and ends the session from before', async () => {
    const { store, stored, open } = world();
    const session = await stored({ cart: [1] });
    const anonymousKey = session.sessionKey() as string;
    const anonymousId = session.id;
    session.login(7);
    await session.save();
    const again = await open(session.sessionKey() as string);
    expect([again.userId, again.toJSON()]).toEqual(['7', { cart: [1] }]);
    expect((await open(anonymousKey)).userId).toBeNull();
    expect(session.id).not.toBe(anonymousId);
    expect([...store.records.keys()]).toEqual([session.id]);
  });

  it('login carries over what others have written to the session from before', async () => {
    const { stored, open } = world();
    const session = await stored({ cart: [1], n: 1 });
    const other = await open(session.sessionKey() as string);
    session.login(7, { keep: ['cart', 'n'] });
    session.increment('n', 10);
    other.push('cart', 2);
    other.increment('n');
    other['dropped'] = true;
    await other.save();
    await session.save();
    expect((await open(session.sessionKey() as string)).toJSON()).toEqual({ cart: [1, 2], n: 12 });
  });

  it('a login stands when the session from before has ended, without what it held', async () => {
    const { store, stored, open } = world();
    const session = await stored({ cart: [1] });
    session.login(7);
    session['own'] = true;
    store.records.clear();
    await session.save();
    const again = await open(session.sessionKey() as string);
    expect([again.userId, again.toJSON()]).toEqual(['7', { own: true }]);
  });

  it('a login that fails half way leaves the session from before, and nothing of itself', async () => {
    const { store, stored, open } = world();
    const session = await stored({ cart: [1] });
    const before = session.sessionKey() as string;
    store.take = () => Promise.reject(new Error('down'));
    session.login(7);
    await expect(session.save()).rejects.toThrow('down');
    expect([...store.records.keys()]).toEqual([before.slice(0, 22)]);
    expect((await open(before)).toJSON()).toEqual({ cart: [1] });
  });

  it('login as another user keeps nothing of the first', async () => {
    const { stored } = world();
    const session = await stored({ secret: 'of ada' });
    session.login('ada');
    session.login('ada');
    expect(session.get('secret')).toBe('of ada');
    session.login('bob');
    expect([session.userId, session.keys()]).toEqual(['bob', []]);
  });

  it.each([
    undefined,
    null,
    '',
    Number.NaN,
    Infinity,
    7n,
    { id: 7 },
    ['ann'],
    'a'.repeat(256),
    'a\0b',
    '\0',
    '\ud800',
    'ann\udc00',
  ])('login refuses %p, and says what a user id is', async (userId) => {
    const session = await world().stored();
    expect(() => session.login(userId as never)).toThrow(
      expect.objectContaining({
        code: 'SESSION_KEY',
        message: expect.stringMatching(/`user\.id`.*1 to 255 characters/) as string,
      }),
    );
    expect([session.userId, session.modified]).toEqual([null, false]);
  });

  it.each([7, 0, -1, 'a'.repeat(255), ' ', 'Ada', 'a:b', '🔑', 'a\nb'])('login takes %p', async (userId) => {
    const { open } = world();
    const session = await open();
    session.login(userId);
    await session.save();
    expect((await open(session.sessionKey() as string)).userId).toBe(String(userId));
  });

  it('an expiry in the past ends the session', async () => {
    const { store, stored } = world();
    const session = await stored();
    session.setExpiry(-1);
    await session.save();
    expect(store.records.size).toBe(0);
  });
});

describe('flash messages', () => {
  it('are there for the next one who asks, once, by type if wanted', async () => {
    const { stored, open } = world();
    const session = await stored({});
    session.addFlash('info', 'saved');
    session.addFlash('error', 'but');
    await session.save();
    const next = await open(session.sessionKey() as string);
    expect(next.takeFlash('error')).toEqual([{ type: 'error', message: 'but' }]);
    expect(next.takeFlash()).toEqual([{ type: 'info', message: 'saved' }]);
    expect(next.takeFlash()).toEqual([]);
  });

  it('are whatever JSON can carry', async () => {
    const { stored, open } = world();
    const session = await stored({});
    const messages = ['text', 7, false, null, ['a', 1], { undo: { path: '/cart', items: [1] } }];
    for (const message of messages) session.addFlash('any', message);
    expect(() => session.addFlash('any', new Date() as never)).toThrow(/"_flash:.*message" is a Date/);
    expect(() => session.addFlash('any', (() => {}) as never)).toThrow(/SESSION_VALUE|function/);
    await session.save();
    const next = await open(session.sessionKey() as string);
    const taken = next.takeFlash<unknown>();
    expect(taken.map(({ message }) => message)).toEqual(messages);
    expect(taken.every(({ type }) => type === 'any')).toBe(true);
  });

  it('are not what an application keeps under their keys, which goes', async () => {
    const { stored, open } = world();
    const odd = {
      '_flash:a': null,
      '_flash:b': 'text',
      '_flash:c': ['x'],
      '_flash:d': { type: 7 },
      _flash_input: [1],
    };
    const session = await stored(odd);
    session.addFlash('info', 'saved');
    await session.save();
    const next = await open(session.sessionKey() as string);
    expect(next.takeFlash('info')).toEqual([{ type: 'info', message: 'saved' }]);
    expect(next.takeOldInput()).toEqual({});
    next.reflash();
    expect(next.keys()).toEqual([expect.stringMatching(/^_flash:/)]);
    await next.save();
    const over = await open(session.sessionKey() as string);
    expect([over.takeFlash(), { ...over }]).toEqual([[{ type: 'info', message: 'saved' }], {}]);
  });

  it('keep of a form no field called __proto__, wherever it is', async () => {
    const { stored, open } = world();
    const session = await stored({});
    const body = '{"name":"Ada","__proto__":{"admin":true},"items":[{"__proto__":1,"n":[1,null]}]}';
    session.flashInput(JSON.parse(body) as { name: string });
    await session.save();
    const input = (await open(session.sessionKey() as string)).takeOldInput();
    expect(JSON.stringify(input)).toBe('{"name":"Ada","items":[{"n":[1,null]}]}');
    expect('admin' in input).toBe(false);

    const ring: { name: string; ring?: object } = { name: 'Ada' };
    ring.ring = ring;
    expect(() => session.flashInput(ring as never)).toThrow(/a value that contains itself/);
    expect(() => session.flashInput({ at: new Date() as never })).toThrow(/is a Date/);
  });

  it('are kept for one request more, without a write to the store', async () => {
    const { store, stored, open } = world();
    const session = await stored({ name: 'ada' });
    session.addFlash('info', 'saved');
    session.addFlash('error', { field: 'name' });
    session.flashInput({ name: 'Ada', born: 1815, notes: undefined });
    await session.save();
    store.calls.length = 0;

    const redirected = await open(session.sessionKey() as string);
    expect(redirected.takeFlash()).toHaveLength(2);
    expect(redirected.takeOldInput()).toEqual({ name: 'Ada', born: 1815 });
    redirected.reflash();
    redirected.reflash();
    await redirected.save();
    expect(store.calls).toEqual(['load']);

    const shown = await open(session.sessionKey() as string);
    expect(shown.takeFlash('error')).toEqual([{ type: 'error', message: { field: 'name' } }]);
    shown.reflash();
    expect(shown.takeFlash('error')).toHaveLength(1);
    expect(shown.takeFlash()).toEqual([{ type: 'info', message: 'saved' }]);
    expect(shown.takeOldInput()).toEqual({ name: 'Ada', born: 1815 });
    await shown.save();
    const over = await open(session.sessionKey() as string);
    expect([over.takeFlash(), over.takeOldInput(), { ...over }]).toEqual([[], {}, { name: 'ada' }]);
  });

  it('bring no message of one user to another', async () => {
    const { stored, open } = world();
    for (const leave of [
      (session: Session) => session.logout(),
      (session: Session) => session.login('bob'),
      (session: Session) => session.flush(),
    ]) {
      const session = await stored({});
      session.login('ann');
      session.addFlash('info', 'for ann');
      session.flashInput({ iban: 'of ann' });
      await session.save();
      const next = await open(session.sessionKey() as string);
      next.takeFlash();
      next.takeOldInput();
      leave(next);
      next.reflash();
      expect([next.takeFlash(), next.takeOldInput()]).toEqual([[], {}]);
    }
  });
});

describe('old input', () => {
  it('is for the next form, once, and no message', async () => {
    const { stored, open } = world();
    const session = await stored({});
    session.flashInput({ name: 'first' });
    session.flashInput({ name: 'Ada', interests: ['maths'] });
    session.addFlash('error', 'Wrong password.');
    await session.save();
    const next = await open(session.sessionKey() as string);
    expect(next.takeFlash()).toEqual([{ type: 'error', message: 'Wrong password.' }]);
    expect(next.takeOldInput()).toEqual({ name: 'Ada', interests: ['maths'] });
    expect(next.takeOldInput()).toEqual({});
    expect(() => next.flashInput({ at: new Date() as never })).toThrow(/"_flash_input\.at"/);
  });
});

describe('express-session’s cookie', () => {
  it.each<[string, (session: Session) => void, number | null, boolean]>([
    ['maxAge', (session) => (session.cookie.maxAge = 60_000), 60_000, false],
    ['maxAge null', (session) => (session.cookie.maxAge = null), null, true],
    ['expires', (session) => (session.cookie.expires = new Date(Date.UTC(2026, 0, 1, 0, 2))), 120_000, false],
    ['expires false', (session) => (session.cookie.expires = false), null, true],
    ['originalMaxAge', (session) => (session.cookie.originalMaxAge = 60_000), 60_000, false],
    [
      'assignment of another cookie',
      (session) => (session.cookie = { originalMaxAge: 30_000 } as never),
      30_000,
      false,
    ],
    ['assignment of an age', (session) => (session.cookie = { maxAge: 30_000 } as never), 30_000, false],
    ['assignment of no age', (session) => (session.cookie = { maxAge: null } as never), null, true],
    ['expires null', (session) => (session.cookie.expires = null), null, true],
  ])('%s', async (_what, act, maxAge, browserLength) => {
    const session = await world().stored();
    act(session);
    expect([session.cookie.maxAge, session.getExpireAtBrowserClose()]).toEqual([maxAge, browserLength]);
  });

  it('moves its end with touch()', async () => {
    const { clock, stored } = world();
    const session = await stored();
    clock.now += 3_600_000;
    expect(session.cookie.maxAge).toBe(14 * 86_400_000 - 3_600_000);
    session.touch();
    expect(session.cookie.expires?.getTime()).toBe(clock.now + 14 * 86_400_000);
    expect(session.cookie.maxAge).toBe(14 * 86_400_000);
    expect(session.modified).toBe(false);
  });

  it('shows the end that the server goes by, whichever time-out comes first', async () => {
    const { open } = world({ idleTimeout: '1h' });
    expect((await open()).cookie.maxAge).toBe(3_600_000);
    const limited = await world({ absoluteTimeout: '10m', idleTimeout: '5m' }).open();
    limited.setExpiry(3600);
    expect(limited.cookie.maxAge).toBe(600_000);
  });

  it.each<[string, (session: Session) => void]>([
    ['maxAge 0', (session) => (session.cookie.maxAge = 0)],
    ['maxAge -0', (session) => (session.cookie.maxAge = -0)],
    ['maxAge of less than a millisecond', (session) => (session.cookie.maxAge = Number.MIN_VALUE)],
    ['maxAge -1', (session) => (session.cookie.maxAge = -1)],
    ['originalMaxAge 0', (session) => (session.cookie.originalMaxAge = 0)],
    ['a cookie of maxAge 0', (session) => (session.cookie = { maxAge: 0 } as never)],
    ['expires now', (session) => (session.cookie.expires = new Date(Date.UTC(2026, 0, 1)))],
  ])('%s ends the session', async (_what, act) => {
    const { store, events, stored } = world();
    const session = await stored();
    act(session);
    expect(session.cookie.maxAge).toBeLessThanOrEqual(1);
    expect(session.getExpireAtBrowserClose()).toBe(false);
    await session.save();
    expect(store.records.size).toBe(0);
    expect(events.at(-1)).toMatchObject({ type: 'ended', reason: 'expiry' });
  });

  const wrong: unknown[] = [
    '86400000',
    '1d',
    '',
    true,
    new Date(),
    Number.NaN,
    Infinity,
    1e18,
    {},
    undefined,
    7n,
  ];
  it.each([
    ...wrong.map((value): [string, unknown] => ['maxAge', value]),
    ['maxAge', false],
    ...wrong.map((value): [string, unknown] => ['originalMaxAge', value]),
    ['expires', '2030-01-01T00:00:00Z'],
    ['expires', 1893456000000],
    ['expires', 0],
    ['expires', true],
    ['expires', undefined],
    ['expires', ''],
    ['expires', new Date(Number.NaN)],
  ])('refuses %s = %p', async (name, value) => {
    const session = await world().stored();
    expect(() => Object.assign(session.cookie, { [name]: value })).toThrow(
      expect.objectContaining({ code: 'SESSION_VALUE', path: `cookie.${name}` }),
    );
    expect(session.cookie.maxAge).toBe(14 * 86_400_000);
    expect(session.getExpireAtBrowserClose()).toBe(false);
    expect(session.modified).toBe(false);
  });

  it.each<[unknown, string]>([
    [null, 'cookie'],
    [undefined, 'cookie'],
    ['sessionid=1', 'cookie'],
    [60_000, 'cookie'],
    [{}, 'cookie'],
    [{ maxage: 60_000 }, 'cookie'],
    [{ maxAge: '60000' }, 'cookie.maxAge'],
    [{ originalMaxAge: true, maxAge: 60_000 }, 'cookie.originalMaxAge'],
    [{ expires: 1893456000000 }, 'cookie.expires'],
    [{ maxAge: 60_000, secure: true }, 'cookie.secure'],
    [{ maxAge: 60_000, path: '/shop' }, 'cookie.path'],
  ])('refuses the assignment of %p in its place', async (cookie, path) => {
    const session = await world().stored();
    expect(() => (session.cookie = cookie as never)).toThrow(
      expect.objectContaining({ code: 'SESSION_VALUE', path }),
    );
    expect(session.cookie.maxAge).toBe(14 * 86_400_000);
    expect(session.modified).toBe(false);
  });

  it('takes over the lifetime of another session’s, also by way of JSON', async () => {
    const [one, other] = [await world().stored(), await world().stored()];
    one.cookie.maxAge = 60_000;
    other.cookie = one.cookie;
    expect([other.cookie.maxAge, other.cookie.originalMaxAge]).toEqual([60_000, 60_000]);
    one.cookie.maxAge = null;
    other.cookie = JSON.parse(JSON.stringify(one.cookie)) as Session['cookie'];
    expect(other.getExpireAtBrowserClose()).toBe(true);
  });

  it('S54: is never serialised for longer than 400 days', async () => {
    const session = await world().stored();
    session.setExpiry('100y');
    expect(session.cookie.serialize('a', 'b')).toContain('Expires=Fri, 05 Feb 2027 00:00:00 GMT');
  });

  it('serialises', async () => {
    const session = await world().stored();
    expect(session.cookie.serialize('a', 'b')).toBe(
      'a=b; Path=/; Expires=Thu, 15 Jan 2026 00:00:00 GMT; HttpOnly; SameSite=Lax',
    );
    expect(JSON.parse(JSON.stringify(session.cookie))).toMatchObject({
      path: '/',
      originalMaxAge: 1_209_600_000,
    });
  });
});
