import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  appendFileSync,
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { inspect } from 'node:util';
import { Controller, Get, Post } from '@nestjs/common';
import { Session, SessionStore } from 'nest-sessions';
import { fileEngine, FileStore } from 'nest-sessions/file';
import { describeSessionStore } from 'nest-sessions/testing';
import {
  type JsonObject,
  type SessionChanges,
  type SessionRecord,
} from '../libs/session/src/stores/session-store.js';
import { toStoreKey } from '../libs/session/src/session/session-key.js';
import {
  changed,
  HOUR,
  MINUTE,
  newKey,
  newRecord,
  withClockAhead,
} from '../libs/session/src/testing/store-bench.js';
import { platforms, type RunningApp, silent, startApp } from './support/app.js';
import { sessionKeyIn } from './support/database-app.js';
import type { WriterTask } from './support/file-writer.js';
import { buildWriter, Writer } from './support/file-writers.js';
import { byThisClock } from './support/store-kit.js';
import { testsAll } from './support/test-all.js';
import { describeEncryption } from './suites/encryption.suite.js';

/** A store on a directory of its own, with what the tests do to its files. */
class Bench {
  readonly store: FileStore;

  constructor(readonly directory: string) {
    this.store = new FileStore({ directory });
  }

  async create(data: JsonObject = {}, overrides: Partial<SessionRecord> = {}): Promise<string> {
    const key = newKey();
    if (!(await this.store.create(key, newRecord(data, overrides)))) throw new Error('The key is taken.');
    return key;
  }

  createMany(count: number, overrides: Partial<SessionRecord> = {}): Promise<string[]> {
    return Promise.all(Array.from({ length: count }, () => this.create({}, overrides)));
  }

  async load(key: string): Promise<SessionRecord> {
    const record = await this.store.load(key);
    if (record === null) throw new Error('The record is gone.');
    return record;
  }

  save(key: string, loaded: SessionRecord, changes: SessionChanges): Promise<boolean> {
    return this.store.save(key, changes, changed(loaded, changes));
  }

  path(key: string): string {
    return join(this.directory, key.slice(3, 5), key);
  }

  text(key: string): string {
    return readFileSync(this.path(key), 'utf8');
  }

  files(): string[] {
    return (readdirSync(this.directory, { recursive: true }) as string[]).filter((path) =>
      statSync(join(this.directory, path)).isFile(),
    );
  }
}

const SECRET = 'W9d_xPzT4mKs-Y7vLq2NhRb6CjFu1GaE';

const root = mkdtempSync(join(tmpdir(), 'file-store-'));
const writerScript = buildWriter(join(root, 'writer'));
let directories = 0;

function newDirectory(): string {
  const directory = join(root, `sessions-${directories++}`);
  mkdirSync(directory, { mode: 0o700 });
  return directory;
}

function startWriters(
  count: number,
  task: Pick<WriterTask, 'directory' | 'keys' | 'kind' | 'count'>,
): Promise<Writer[]> {
  const names = Array.from({ length: count }, (_, index) => `w${index}`);
  return Promise.all(
    names.map((name) =>
      Writer.start(writerScript, {
        ...task,
        name,
        acknowledged: join(root, `${name}-${randomBytes(4).toString('hex')}`),
      }),
    ),
  );
}

function openStore(directory: string): FileStore {
  return new FileStore({ directory });
}

afterAll(() => rmSync(root, { recursive: true, force: true }));

for (const [title, options] of [
  ['FileStore conforms', {}],
  ['FileStore that encrypts conforms', { encryption: { secrets: SECRET } }],
] as const) {
  describeSessionStore(
    title,
    () => {
      const directory = newDirectory();
      const away = `${directory}-away`;
      return Promise.resolve({
        store: new FileStore({ directory, ...options }),
        sibling: () => new FileStore({ directory, ...options }),
        corrupt: async (key) => {
          const path = join(directory, key.slice(3, 5), key);
          const [head = '', ...entries] = readFileSync(path, 'utf8').split('\n');
          writeFileSync(path, [head.replace(/.$/, ','), ...entries].join('\n'));
        },
        cut: async () => renameSync(directory, away),
        mend: async () => renameSync(away, directory),
        ...byThisClock(async () => rmSync(directory, { recursive: true })),
      });
    },
    { capabilities: { ownClock: false } },
  );
}

describeEncryption('FileStore with encryption', () => {
  const bench = new Bench(newDirectory());
  const { directory } = bench;
  return {
    open: (encryption) => new FileStore({ directory, ...(encryption && { encryption }) }),
    textAt: (key) => bench.text(key),
    putText: (key, text) => writeFileSync(bench.path(key), text),
  };
});

describe('the directory', () => {
  it('is checked at the start', () => {
    const directory = newDirectory();
    writeFileSync(join(root, 'a-file'), '');
    expect(() => fileEngine({ directory: '' })).toThrow(/"directory" is missing/);
    expect(() => openStore(join(root, 'absent'))).toThrow(/"directory".*does not exist.*mkdir -m 700/);
    expect(() => openStore(join(root, 'a-file'))).toThrow(/not a directory/);
    expect(() => new FileStore({ directory, fsync: 'yes' as never })).toThrow(/"fsync" must be/);
    for (const mode of [0o755, 0o707, 0o701]) {
      chmodSync(directory, mode);
      expect(() => openStore(directory)).toThrow(
        new RegExp(`everybody.*mode ${mode.toString(8)}.*chmod 700`),
      );
    }
    chmodSync(directory, 0o770);
    expect(() => openStore(directory)).not.toThrow();
    symlinkSync(root, join(directory, 'ab'));
    expect(() => openStore(directory)).toThrow(/"ab" is a symbolic link/);
    expect(readdirSync(directory)).toEqual(['ab']);
  });

  it('S70: holds files that only their owner can read, named by the hash', async () => {
    const before = process.umask(0);
    try {
      const bench = new Bench(newDirectory());
      const key = await bench.create({ a: 1 });
      const next = newKey();
      await bench.store.rename(key, next, {}, await bench.load(key));
      for (const path of [key, next].map((each) => bench.path(each))) {
        expect((statSync(path).mode & 0o777).toString(8)).toBe('600');
        expect((statSync(dirname(path)).mode & 0o777).toString(8)).toBe('700');
      }
      expect(bench.files()).toHaveLength(2);
    } finally {
      process.umask(before);
    }
  });

  it('S70: is not left for anything, whatever the key', async () => {
    const parent = newDirectory();
    mkdirSync(join(parent, 'sessions'), { mode: 0o700 });
    const bench = new Bench(join(parent, 'sessions'));
    const hostile = [
      '..',
      '../x',
      '/etc/passwd',
      'v1-../../x',
      '..\\x',
      '%2e%2e/x',
      'a\0b',
      '',
      'v1-ab/../../x',
    ];
    for (const key of hostile) {
      expect(await bench.store.load(key)).toBeNull();
      expect(await bench.store.create(key, newRecord({ key }))).toBe(true);
      expect({ ...(await bench.load(key)).data }).toEqual({ key });
      expect(await bench.store.delete(key)).toBe(true);
    }
    expect(readdirSync(parent)).toEqual(['sessions']);
    expect(bench.files()).toEqual([]);
  });

  it('is missed when it is gone, instead of all sessions', async () => {
    const bench = new Bench(newDirectory());
    const key = await bench.create({ a: 1 });
    renameSync(bench.directory, `${bench.directory}-away`);
    const record = newRecord();
    const outOfReach = async (): Promise<void> => {
      for (const work of [
        () => bench.store.load(key),
        () => bench.store.create(newKey(), record),
        () => bench.store.save(key, { set: { a: 2 } }, record),
        () => bench.store.touch(key, record),
        () => bench.store.rename(key, newKey(), {}, record),
        () => bench.store.delete(key),
        () => bench.store.clearExpired(1),
        () => bench.store.listByUser('Ann'),
        () => bench.store.deleteById('id'),
        () => bench.store.find(key),
      ]) {
        const error: unknown = await work().then(
          () => 'it worked',
          (thrown: unknown) => thrown,
        );
        expect(error).toMatchObject({ code: 'SESSION_STORE_UNAVAILABLE' });
        expect(inspect(error, { showHidden: true, depth: 9 })).not.toMatch(/v1-[0-9a-f]{64}/);
      }
    };
    await outOfReach();
    mkdirSync(bench.directory, { mode: 0o700 }); // such as a mount point whose disk is gone
    await outOfReach();
    rmSync(bench.directory, { recursive: true });
    renameSync(`${bench.directory}-away`, bench.directory);
    expect({ ...(await bench.load(key)).data }).toEqual({ a: 1 });
  });

  it('may be emptied while the store is at work', async () => {
    const bench = new Bench(newDirectory());
    const key = await bench.create();
    for (const name of readdirSync(bench.directory)) rmSync(join(bench.directory, name), { recursive: true });
    expect(await bench.store.load(key)).toBeNull();
    expect(await bench.store.clearExpired(10)).toBe(0);
    expect({ ...(await bench.load(await bench.create({ b: 1 }))).data }).toEqual({ b: 1 });
  });
});

// Root may write anywhere; see also the disk that is read-only.
(process.geteuid?.() === 0 ? describe.skip : describe)(
  'the directory of another user [takes no root]',
  () => {
    it('is found out by writing to it', () => {
      const directory = newDirectory();
      chmodSync(directory, 0o500);
      expect(() => openStore(directory)).toThrow(/cannot be made and linked \(EACCES/);
      expect(() => openStore('/')).toThrow(/"directory"/);
    });
  },
);

describe('what is planted', () => {
  it.each([
    ['a symbolic link', (path: string, target: string) => symlinkSync(target, path)],
    ['a dangling link', (path: string) => symlinkSync(join(root, 'dangling'), path)],
    ['a directory', (path: string) => mkdirSync(path)],
    ['a pipe', (path: string) => execFileSync('mkfifo', [path])],
  ])('S70: is not followed, nor waited for: %s', async (kind, plant) => {
    const bench = new Bench(newDirectory());
    const [key, target] = [newKey(), join(root, 'target')];
    writeFileSync(target, 'untouched');
    mkdirSync(dirname(bench.path(key)), { mode: 0o700 });
    plant(bench.path(key), target);

    for (const work of [
      bench.store.load(key),
      bench.store.save(key, { set: { a: 1 } }, newRecord()),
      bench.store.rename(key, newKey(), {}, newRecord()),
    ]) {
      await expect(work).rejects.toMatchObject({ code: 'SESSION_RECORD_CORRUPT' });
    }
    expect(await bench.store.create(key, newRecord())).toBe(false);
    expect(await bench.store.clearExpired(10)).toBe(0);
    expect(await bench.store.listByUser('Ann')).toEqual([]);
    const ended = await bench.store.delete(key).catch((error: { code: string }) => error.code);
    expect(ended).toBe(kind === 'a directory' ? 'SESSION_STORE_UNAVAILABLE' : true);
    expect(readFileSync(target, 'utf8')).toBe('untouched');
    expect(existsSync(join(root, 'dangling'))).toBe(false);
  });

  it('S70: is no session under another name', async () => {
    const bench = new Bench(newDirectory());
    const [key, copy] = [await bench.create({ a: 1 }), await bench.create({ b: 2 })];
    writeFileSync(bench.path(copy), bench.text(key));
    expect(await bench.store.load(copy)).toBeNull();
    expect(await bench.store.save(copy, { set: { c: 3 } }, newRecord())).toBe(false);
  });
});

describe('a session file', () => {
  it('grows by a short line per write and is folded now and then', async () => {
    const bench = new Bench(newDirectory());
    const key = await bench.create({ big: 'x'.repeat(30_000), n: 0 });
    const lengths: number[] = [];
    for (let n = 0; n < 200; n++) {
      await bench.save(key, await bench.load(key), { increment: { n: 1 } });
      lengths.push(statSync(bench.path(key)).size);
    }
    expect((await bench.load(key)).data['n']).toBe(200);
    expect(Math.max(...lengths)).toBeLessThan(39_000);
    const folds = lengths.filter((length, n) => length < (lengths[n - 1] ?? 0));
    expect(folds.length).toBeGreaterThan(2);
    expect(folds.length).toBeLessThan(10);
    expect(bench.files()).toHaveLength(1);
  });

  it('survives a line that was cut short at any place, and what follows it', async () => {
    const bench = new Bench(newDirectory());
    const key = await bench.create({ a: 1 });
    const whole = bench.text(key).length;
    const changes = { set: { b: 'Ünï 漢字 👩‍👩‍👧' } };
    await bench.save(key, await bench.load(key), changes);
    const bytes = statSync(bench.path(key)).size;
    for (let size = whole; size < bytes; size++) {
      const other = await bench.create({});
      writeFileSync(
        bench.path(other),
        bench.text(key).replaceAll(key, other).replaceAll(key.slice(-16), other.slice(-16)),
      );
      truncateSync(bench.path(other), size);
      expect({ ...(await bench.load(other)).data }).toEqual({ a: 1 });
      expect(await bench.save(other, await bench.load(other), { set: { c: 3 } })).toBe(true);
      expect({ ...(await bench.load(other)).data }).toEqual({ a: 1, c: 3 });
    }
  });

  it('is dead from the entry on that ends it, removed or not', async () => {
    const bench = new Bench(newDirectory());
    const [key, next] = [await bench.create({ big: 'x'.repeat(5000) }), newKey()];
    const loaded = await bench.load(key);
    appendFileSync(bench.path(key), endEntry(key));
    const inode = statSync(bench.path(key)).ino;

    expect(await bench.store.load(key)).toBeNull();
    expect(await bench.save(key, loaded, { set: { big: 'y'.repeat(5000) } })).toBe(false);
    expect(await bench.store.touch(key, { ...loaded, expiresAt: Date.now() + 9 * HOUR })).toBe(false);
    expect(await bench.store.rename(key, next, {}, loaded)).toBe(false);
    expect(existsSync(bench.path(next))).toBe(false);
    expect(await bench.store.delete(key, loaded.id)).toBe(false);
    expect(statSync(bench.path(key)).ino).toBe(inode);
  });

  it.each([
    ['an empty file', () => ''],
    ['no session file', () => 'garbage\n'],
    ['zeros', (text: string) => '\0'.repeat(text.length)],
    ['a spoiled head', (text: string) => text.replace('"format":1', '"format":{')],
    ['a format to come', (text: string) => text.replace('"format":1', '"format":2')],
    ['a spoiled snapshot', (text: string) => text.replace('"a":1', '"a":,')],
    ['a spoiled line', (text: string) => text.replace('"op":"save"', '"op":"save ')],
    ['spoiled changes', (text: string) => text.replace('{"b":2}', '{"b",2}')],
    ['a line of something else', (text: string) => `${text}\ngarbage`],
  ])('S64, S73: is corrupt, and left as it is: %s', async (_kind, spoil) => {
    const bench = new Bench(newDirectory());
    const key = await bench.create({ a: 1 });
    await bench.save(key, await bench.load(key), { set: { b: 2 } });
    const text = spoil(bench.text(key));
    writeFileSync(bench.path(key), text);
    await expect(bench.store.load(key)).rejects.toMatchObject({ code: 'SESSION_RECORD_CORRUPT' });
    expect(await bench.store.create(key, newRecord())).toBe(false);
    expect(await bench.store.listByUser('Ann')).toEqual([]);
    expect(bench.text(key)).toBe(text);
    expect(await bench.store.delete(key)).toBe(true);
    expect(bench.files()).toEqual([]);
  });
});

describe('several processes', () => {
  it('lose no write of each other', async () => {
    const bench = new Bench(newDirectory());
    const keys = await bench.createMany(5);
    const writers = await startWriters(4, {
      directory: bench.directory,
      keys,
      kind: 'increment',
      count: 1000,
    });
    expect(await Promise.all(writers.map((writer) => writer.go()))).toEqual([1000, 1000, 1000, 1000]);
    for (const key of keys) {
      const { data } = await bench.load(key);
      expect(data['n']).toBe(800);
      for (const { task } of writers) expect(data[task.name]).toEqual(everyFifth(keys.indexOf(key), 1000));
    }
    expect(bench.files()).toHaveLength(5);
  });

  it('lose nothing that was acknowledged when one of them is killed, again and again', async () => {
    const bench = new Bench(newDirectory());
    const keys = await bench.createMany(3);
    const acknowledged = new Map<string, number>();
    const found = new Map<string, number>();
    const rounds = testsAll ? 12 : 3;
    for (let round = 0; round < rounds; round++) {
      const [killed, survivor] = await startWriters(2, {
        directory: bench.directory,
        keys,
        kind: 'increment',
      });
      const ends = [killed?.go(), survivor?.go()];
      await untilWritten(killed as Writer, 20 + 7 * round);
      killed?.kill();
      await ends[0];
      // That the other one goes on shows that nothing stays sealed.
      await untilWritten(survivor as Writer, writesOf(survivor as Writer) + 60);
      survivor?.kill();
      await ends[1];

      for (const key of keys) {
        const { data } = await bench.load(key);
        for (const writer of [killed, survivor] as Writer[]) {
          const kept = (data[writer.task.name] ?? []) as number[];
          const known = writer.acknowledged().get(key) ?? [];
          expect(kept.slice(0, known.length)).toEqual(known);
          expect(kept.length - known.length).toBeLessThanOrEqual(1);
          acknowledged.set(key, (acknowledged.get(key) ?? 0) + known.length);
        }
        found.set(key, data['n'] as number);
        await bench.save(key, await bench.load(key), { unset: ['w0', 'w1'] });
      }
    }
    for (const key of keys) {
      const surplus = (found.get(key) ?? 0) - (acknowledged.get(key) ?? 0);
      expect(surplus).toBeGreaterThanOrEqual(0);
      expect(surplus).toBeLessThanOrEqual(2 * rounds);
    }
    await Promise.all(keys.map((key) => bench.store.delete(key)));
    await bench.store.clearExpired(10);
    expect(bench.files().filter((path) => !path.startsWith('tmp'))).toEqual([]);
  });

  it('revive nothing that one of them ends', async () => {
    const bench = new Bench(newDirectory());
    const keys = await bench.createMany(300);
    const writers = await startWriters(3, { directory: bench.directory, keys, kind: 'increment' });
    const done = writers.map((writer) => writer.go());
    await untilWritten(writers[2] as Writer, 50);
    for (const key of keys) expect(await bench.store.delete(key)).toBe(true);
    await Promise.all(done);
    for (const key of keys) expect(await bench.store.load(key)).toBeNull();
    expect(bench.files()).toEqual([]);
  });

  it('take over the files that a process sealed before it died, each one once', async () => {
    const bench = new Bench(newDirectory());
    const keys = await bench.createMany(100);
    const [sealer] = await startWriters(1, { directory: bench.directory, keys, kind: 'seal' });
    await sealer?.go();
    expect(keys.every((key) => bench.text(key).includes('"op":"seal"'))).toBe(true);
    const inodes = keys.map((key) => statSync(bench.path(key)).ino);

    const writers = await startWriters(4, {
      directory: bench.directory,
      keys,
      kind: 'increment',
      count: 200,
    });
    await Promise.all(writers.map((writer) => writer.go()));
    for (const key of keys) expect((await bench.load(key)).data['n']).toBe(8);
    expect(keys.filter((key, n) => statSync(bench.path(key)).ino === inodes[n])).toEqual([]);
  });

  it('see a session under exactly one key while it rotates, and end it for good', async () => {
    const bench = new Bench(newDirectory());
    const keys = [await bench.create({ a: 1 }), ...Array.from({ length: 400 }, newKey)];
    const { id } = await bench.load(keys[0] as string);
    const [rotator] = await startWriters(1, { directory: bench.directory, keys, kind: 'rotate' });
    const done = rotator?.go();
    for (let index = 0; index < 200;) {
      const [key, next] = [keys[index] as string, keys[index + 1] as string];
      const lived = await bench.store.exists(key);
      if (lived) continue;
      const record = await bench.store.load(next);
      // Null: it has moved on since.
      expect(record === null || (record.id === id && record.version === index + 2)).toBe(true);
      expect(await bench.store.exists(key)).toBe(false);
      index += 1;
    }
    expect(await bench.store.delete(keys[0] as string, id)).toBe(true);
    await done;
    for (const key of keys) expect(await bench.store.load(key)).toBeNull();
  });

  it('write to a session that another one rotates, and lose nothing', async () => {
    const bench = new Bench(newDirectory());
    const keys = [await bench.create({ a: 1 }), ...Array.from({ length: 200 }, newKey)];
    const { directory } = bench;
    const [rotator] = await startWriters(1, { directory, keys, kind: 'rotate' });
    const writers = await startWriters(2, { directory, keys, kind: 'follow' });
    const following = writers.map((writer) => writer.go());
    const moves = await rotator?.go();
    // They would wait for ever for a rotation that has stopped.
    if (moves !== 200) for (const writer of writers) writer.kill();
    const writes = await Promise.all(following);
    expect(moves).toBe(200);
    const last = keys.at(-1) as string;
    const { data } = await bench.load(last);
    expect(data).toMatchObject({ a: 1, moves: 200, n: (writes[0] ?? 0) + (writes[1] ?? 0) });
    for (const writer of writers) {
      const acknowledged = writer.acknowledged();
      expect(data[writer.task.name]).toEqual([...acknowledged.values()].flat());
      // One whose write is refused while the session lives runs ahead of it, and finds nothing there.
      expect(acknowledged.has(last)).toBe(true);
    }
  });
});

describe('with fsync', () => {
  it('loses nothing of parallel writes while the file is folded and moved', async () => {
    const bench = new Bench(newDirectory());
    const store = new FileStore({ directory: bench.directory, fsync: true });
    const [key, next] = [await bench.create({ big: 'x'.repeat(2000) }), newKey()];
    const loaded = await bench.load(key);
    const changes = { increment: { n: 1 }, set: { filler: 'y'.repeat(200) } };
    const write = (under: string): Promise<boolean> => store.save(under, changes, changed(loaded, changes));
    const before = await Promise.all(Array.from({ length: 60 }, () => write(key)));
    const [moved, ...racing] = await Promise.all([
      store.rename(key, next, {}, loaded),
      ...Array.from({ length: 30 }, () => write(key)),
    ]);
    const after = await Promise.all(Array.from({ length: 60 }, () => write(next)));
    expect([moved, ...before, ...after].every(Boolean)).toBe(true);
    expect((await bench.load(next)).data['n']).toBe(120 + racing.filter(Boolean).length);
    expect(statSync(bench.path(next)).size).toBeLessThan(10_000);
    expect(readdirSync(join(bench.directory, 'tmp'))).toEqual([]);
  });
});

describe('rename', () => {
  it('takes no key that something has, and leaves nothing behind', async () => {
    const bench = new Bench(newDirectory());
    const [key, taken] = [await bench.create({ mine: 1 }), await bench.create({ theirs: 1 })];
    await expect(bench.store.rename(key, taken, {}, await bench.load(key))).rejects.toThrow(/taken/);
    expect({ ...(await bench.load(key)).data }).toEqual({ mine: 1 });
    await bench.store.delete(key);
    expect(await bench.store.rename(key, newKey(), {}, newRecord())).toBe(false);
    const expired = await bench.create({}, { expiresAt: Date.now() - 1 });
    expect(await bench.store.rename(expired, newKey(), {}, newRecord())).toBe(false);
    expect(bench.files()).toHaveLength(2);
  });

  it('leaves a signpost without data, which is cleared later', async () => {
    const bench = new Bench(newDirectory());
    const [key, next] = [await bench.create({ secret: 1 }, { userId: 'Ann' }), newKey()];
    await bench.store.rename(key, next, {}, await bench.load(key));
    expect(bench.text(key)).not.toMatch(/secret|Ann/);
    await withClockAhead(MINUTE + MINUTE / 2, async () => {
      expect(await bench.store.clearExpired(10)).toBe(0);
      expect(await bench.store.find(key)).toEqual({ movedTo: next });
    });
    await withClockAhead(2 * MINUTE, async () => expect(await bench.store.find(key)).toBeNull());
    expect(existsSync(bench.path(key))).toBe(true);

    writeFileSync(bench.path(key), aged(bench.text(key), 2 * HOUR));
    utimesSync(bench.path(key), 0, 0);
    expect(await bench.store.clearExpired(10)).toBe(0);
    expect(existsSync(bench.path(key))).toBe(false);
    expect(await bench.store.exists(next)).toBe(true);
  });

  it('that was killed before its append has done nothing', async () => {
    const bench = new Bench(newDirectory());
    const [key, next] = [await bench.create({ a: 1 }), newKey()];
    mkdirSync(dirname(bench.path(next)), { recursive: true });
    linkSync(bench.path(key), bench.path(next));
    expect(await bench.store.load(next)).toBeNull();
    expect(await bench.store.find(next)).toBeNull();
    expect(await bench.save(next, await bench.load(key), { set: { b: 1 } })).toBe(false);
    expect(await bench.save(key, await bench.load(key), { set: { c: 1 } })).toBe(true);
    expect({ ...(await bench.load(key)).data }).toEqual({ a: 1, c: 1 });
  });

  it('that was killed right after its append has moved the session', async () => {
    const bench = new Bench(newDirectory());
    const [key, next] = [await bench.create({ a: 1 }, { userId: 'Ann' }), newKey()];
    await bench.store.rename(key, next, {}, await bench.load(key));
    rmSync(bench.path(key));
    linkSync(bench.path(next), bench.path(key));
    expect(await bench.store.load(key)).toBeNull();
    expect(await bench.store.find(key)).toEqual({ movedTo: next });
    await withClockAhead(2 * MINUTE, async () => expect(await bench.store.find(key)).toBeNull());
    expect(await bench.store.listByUser('Ann')).toHaveLength(1);
    expect(await bench.store.delete(key, (await bench.load(next)).id)).toBe(true);
    expect(await bench.store.load(next)).toBeNull();
    utimesSync(bench.path(key), 0, 0);
    await bench.store.clearExpired(10);
    expect(bench.files()).toEqual([]);
  });
});

describe('clearExpired', () => {
  const past = { expiresAt: Date.now() - MINUTE };

  it('clears batch by batch, each record once, and no live one', async () => {
    const bench = new Bench(newDirectory());
    const other = new FileStore({ directory: bench.directory });
    const live = await bench.createMany(50);
    await bench.createMany(250, past);
    expect(await bench.store.clearExpired(20)).toBe(20);
    const totals = await Promise.all([clearAll(bench.store), clearAll(other), clearAll(bench.store)]);
    expect(totals.reduce((sum, total) => sum + total)).toBe(230);
    expect(bench.files()).toHaveLength(50);
    for (const key of live) expect(await bench.store.exists(key)).toBe(true);
  });

  it('goes by the content, and opens only what may have expired', async () => {
    const bench = new Bench(newDirectory());
    const key = await bench.create({ a: 1 });
    const { mtimeMs } = statSync(bench.path(key));
    expect(Math.abs(mtimeMs - (await bench.load(key)).expiresAt)).toBeLessThan(10_000);
    utimesSync(bench.path(key), 0, 0);
    expect(await bench.store.clearExpired(10)).toBe(0);
    expect(statSync(bench.path(key)).mtimeMs).toBeGreaterThan(Date.now() + 50 * MINUTE);

    await bench.store.touch(key, { ...(await bench.load(key)), expiresAt: Date.now() + 9 * HOUR });
    expect(statSync(bench.path(key)).mtimeMs).toBeGreaterThan(Date.now() + 8 * HOUR);
    await bench.store.save(key, { expiry: 1 }, { ...(await bench.load(key)), expiresAt: Date.now() + 1 });
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(await bench.store.clearExpired(10)).toBe(1);
  });

  it('removes what crashes leave behind, and leaves alone what is not ours', async () => {
    const bench = new Bench(newDirectory());
    const [live, ended, garbage, young] = [await bench.create({ a: 1 }), ...(await bench.createMany(3))] as [
      string,
      string,
      string,
      string,
    ];
    const ending = bench.text(ended); // as it is when a process dies between the entry and the removal
    appendFileSync(bench.path(ended), endEntry(ended));
    expect(ending).not.toBe(bench.text(ended));
    for (const key of [garbage, young]) writeFileSync(bench.path(key), 'garbage');
    utimesSync(bench.path(ended), 0, 0);
    utimesSync(bench.path(garbage), 0, 0);
    writeFileSync(join(bench.directory, 'tmp', 'young'), 'x');
    linkSync(bench.path(live), join(bench.directory, 'tmp', 'published'));
    writeFileSync(join(dirname(bench.path(live)), 'README'), 'not ours');
    writeFileSync(join(bench.directory, 'notes.txt'), 'not ours');

    expect(await bench.store.load(ended)).toBeNull();
    expect(await bench.store.clearExpired(10)).toBe(0);
    expect(bench.files().toSorted()).toEqual(
      [
        'notes.txt',
        'tmp/young',
        `${live.slice(3, 5)}/README`,
        ...[live, young].map((key) => `${key.slice(3, 5)}/${key}`),
      ].toSorted(),
    );
    expect({ ...(await bench.load(live)).data }).toEqual({ a: 1 });
  });

  it('lets others work in between', async () => {
    const bench = new Bench(newDirectory());
    for (let n = 0; n < 10; n++) await bench.createMany(200, past);
    let turns = 0;
    const ticking = setInterval(() => (turns += 1), 1);
    const before = process.cpuUsage();
    expect(await bench.store.clearExpired(2000)).toBe(2000);
    // What it has computed, not what it has waited for the machine, decides how often others should have had a turn.
    const { user, system } = process.cpuUsage(before);
    clearInterval(ticking);
    expect(turns).toBeGreaterThan((user + system) / 1000 / 40);
  });
});

describe('the sessions of a user', () => {
  it('are listed and ended, but for some', async () => {
    const bench = new Bench(newDirectory());
    const odd = `Ann"\\\n${'ü'.repeat(3)}`;
    const [first, second] = await bench.createMany(2, { userId: odd });
    const others = [
      await bench.create({}, { userId: 'Bob' }),
      await bench.create({ note: JSON.stringify(odd), odd }),
    ];
    await bench.create({}, { userId: odd, expiresAt: Date.now() - 1 });
    const late = await bench.create();
    await bench.save(late, await bench.load(late), { userId: odd });

    const listed = await bench.store.listByUser(odd);
    const ids = await Promise.all(
      [first, second, late].map(async (key) => (await bench.load(key as string)).id),
    );
    expect(listed.map(({ id }) => id).toSorted()).toEqual(ids.toSorted());
    expect(await bench.store.deleteByUser(odd, [ids[0] as string])).toBe(2);
    expect((await bench.store.listByUser(odd)).map(({ id }) => id)).toEqual([ids[0]]);
    for (const key of others) expect(await bench.store.exists(key)).toBe(true);
  });

  it('are found while they rotate', async () => {
    const bench = new Bench(newDirectory());
    const keys = [await bench.create({ a: 1 }, { userId: 'Ann' }), ...Array.from({ length: 300 }, newKey)];
    await bench.createMany(500);
    const [rotator] = await startWriters(1, { directory: bench.directory, keys, kind: 'rotate' });
    const done = rotator?.go();
    await untilWritten(rotator as Writer, 20);
    expect(await bench.store.deleteByUser('Ann')).toBe(1);
    await done;
    expect(await bench.store.listByUser('Ann')).toEqual([]);
  });

  it.each([undefined, 'Ann'])('are found by session id while they rotate (of user: %p)', async (userId) => {
    const bench = new Bench(newDirectory());
    const keys = [await bench.create({ a: 1 }, { userId: 'Ann' }), ...Array.from({ length: 300 }, newKey)];
    const { id } = await bench.load(keys[0] as string);
    await bench.createMany(500, { userId: 'Ann' });
    const [rotator] = await startWriters(1, { directory: bench.directory, keys, kind: 'rotate' });
    const done = rotator?.go();
    await untilWritten(rotator as Writer, 20);
    expect(await bench.store.deleteById(id, userId)).toBe(true);
    await done;
    expect(await bench.store.listByUser('Ann')).toHaveLength(500);
  });
});

const describeOnTmpfs = canMount() ? describe : describe.skip;

describeOnTmpfs.each([false, true])('on a small disk (fsync: %p) [takes root and tmpfs]', (fsync) => {
  const mountPoint = newDirectory();
  beforeAll(() => mount(mountPoint));
  afterAll(() => execFileSync('umount', [mountPoint]));

  it('reports that it is full, keeps what it acknowledged, and recovers', async () => {
    const bench = new Bench(mountPoint);
    const store = new FileStore({ directory: mountPoint, fsync });
    const expired = await bench.createMany(10, { expiresAt: Date.now() - MINUTE });
    const [busy, leaving] = [await bench.create({ n: 0 }), await bench.create()];
    expect(await store.save(leaving, { set: { a: 1 } }, await bench.load(leaving))).toBe(true);

    let kept = 0;
    const failure: unknown = await (async () => {
      for (;;) {
        const loaded = await bench.load(busy);
        await store.save(busy, { increment: { n: 1 }, push: { list: ['x'.repeat(2000)] } }, loaded);
        kept += 1;
      }
    })().catch((error: unknown) => error);
    expect(failure).toMatchObject({
      code: 'SESSION_STORE_UNAVAILABLE',
      operation: 'save',
      cause: { code: 'ENOSPC' },
    });
    expect(kept).toBeGreaterThan(10);
    const { data } = await bench.load(busy);
    expect([data['n'], (data['list'] as unknown[]).length]).toEqual([kept, kept]);
    await expect(store.create(newKey(), newRecord({ x: 'x'.repeat(5000) }))).rejects.toMatchObject({
      code: 'SESSION_STORE_UNAVAILABLE',
    });
    const next = newKey();
    const large = { set: { x: 'x'.repeat(5000) } };
    await expect(store.rename(busy, next, large, await bench.load(busy))).rejects.toMatchObject({
      code: 'SESSION_STORE_UNAVAILABLE',
    });
    expect(existsSync(bench.path(next))).toBe(false);
    expect(readdirSync(join(mountPoint, 'tmp'))).toEqual([]);

    expect(await store.delete(leaving)).toBe(true);
    expect(await store.clearExpired(100)).toBe(expired.length);
    expect(await store.save(busy, { increment: { n: 1 } }, await bench.load(busy))).toBe(true);
    expect((await bench.load(busy)).data['n']).toBe(kept + 1);
  });
});

describeOnTmpfs('on a disk that is read-only [takes root and tmpfs]', () => {
  const mountPoint = newDirectory();
  beforeAll(() => mount(mountPoint));
  afterAll(() => execFileSync('umount', [mountPoint]));

  it('does not start, and fails where it has started before', async () => {
    const bench = new Bench(mountPoint);
    const key = await bench.create({ a: 1 });
    const loaded = await bench.load(key);
    execFileSync('mount', ['-o', 'remount,ro', mountPoint]);
    expect(() => openStore(mountPoint)).toThrow(/cannot be made and linked \(EROFS/);
    expect({ ...(await bench.load(key)).data }).toEqual({ a: 1 });
    const unavailable = { code: 'SESSION_STORE_UNAVAILABLE', cause: { code: 'EROFS' } };
    await expect(bench.save(key, loaded, { set: { a: 2 } })).rejects.toMatchObject(unavailable);
    await expect(bench.store.delete(key)).rejects.toMatchObject(unavailable);
    await expect(bench.create()).rejects.toMatchObject(unavailable);
  });
});

@Controller()
class VisitController {
  @Get('visits')
  visits(@Session() session: Session): number {
    return session.increment('visits');
  }

  @Post('login')
  login(@Session() session: Session): void {
    session.login('Ann');
  }

  @Post('logout')
  logout(@Session() session: Session): void {
    session.logout();
  }
}

describe.each(platforms)('an application on %s', (platform) => {
  let directory: string;
  let running: RunningApp;

  beforeAll(async () => {
    directory = newDirectory();
    const engine = fileEngine({ inject: [], useFactory: () => Promise.resolve({ directory }) });
    running = await startApp(platform, { engine, controllers: [VisitController], logger: silent });
  });
  afterAll(() => running.close());

  it('counts parallel requests exactly, rotates at a login and ends for good', async () => {
    const first = sessionKeyIn(await running.request.get('/visits')) as string;
    await Promise.all(Array.from({ length: 30 }, () => running.request.get('/visits').set(...cookie(first))));
    expect((await running.request.get('/visits').set(...cookie(first))).text).toBe('32');

    const second = sessionKeyIn(await running.request.post('/login').set(...cookie(first))) as string;
    expect((await running.request.get('/visits').set(...cookie(first))).text).toBe('1');
    expect((await running.request.get('/visits').set(...cookie(second))).text).toBe('33');
    expect(await running.app.get(SessionStore).listByUser('Ann')).toHaveLength(1);
    await running.request.post('/logout').set(...cookie(second));
    expect((await running.request.get('/visits').set(...cookie(second))).text).toBe('1');
    expect(await running.app.get(SessionStore).listByUser('Ann')).toEqual([]);
  });

  it('S05: keeps nothing on the disk that opens a session', async () => {
    const first = sessionKeyIn(await running.request.get('/visits')) as string;
    const second = sessionKeyIn(await running.request.post('/login').set(...cookie(first))) as string;
    await running.request.get('/visits').set(...cookie(second));
    const paths = readdirSync(directory, { recursive: true, withFileTypes: true });
    const dump = paths
      .map((entry) => join(entry.parentPath, entry.name))
      .map((path) => path + (statSync(path).isFile() ? readFileSync(path, 'latin1') : ''))
      .join('\n');
    expect(dump).toContain(toStoreKey(second));
    for (const key of [first, second]) {
      const bytes = Buffer.from(key, 'base64url');
      const hashes = [key, bytes].flatMap((input) =>
        (['hex', 'base64', 'base64url'] as const).map((encoding) =>
          createHash('sha256').update(input).digest(encoding),
        ),
      );
      const encodings = [Buffer.from(key), bytes].flatMap((input) =>
        (['hex', 'base64', 'base64url', 'latin1'] as const).map((encoding) => input.toString(encoding)),
      );
      for (const text of [key, ...encodings, ...hashes]) expect(dump.includes(text)).toBe(false);
    }
  });

  it('S71: takes a forged part of a file for no session, tells of it and leaves it alone', async () => {
    const logged: string[] = [];
    const bench = new Bench(newDirectory());
    const encrypted = await startApp(platform, {
      engine: fileEngine({ directory: bench.directory, encryption: { secrets: SECRET } }),
      controllers: [VisitController],
      logger: { ...silent, error: (message: string) => void logged.push(message) },
    });
    try {
      const [mine, theirs] = [
        sessionKeyIn(await encrypted.request.get('/visits')) as string,
        sessionKeyIn(await encrypted.request.get('/visits')) as string,
      ];
      const payload = /\t(.*)$/;
      const [, foreign = ''] = payload.exec(bench.text(toStoreKey(theirs))) ?? [];
      const forged = bench.text(toStoreKey(mine)).replace(payload, `\t${foreign}`);
      writeFileSync(bench.path(toStoreKey(mine)), forged);
      expect((await encrypted.request.get('/visits').set(...cookie(mine))).text).toBe('1');
      expect((await encrypted.request.get('/visits').set(...cookie(theirs))).text).toBe('2');
      expect(logged).toEqual([expect.stringMatching(/could not be decrypted/)]);
      expect(bench.text(toStoreKey(mine))).toBe(forged);
    } finally {
      await encrypted.close();
    }
  });

  it('keeps its sessions over a restart, and says 503 without its directory', async () => {
    const key = sessionKeyIn(await running.request.get('/visits')) as string;
    await running.close();
    running = await startApp(platform, {
      engine: fileEngine({ directory, fsync: true }),
      controllers: [VisitController],
      logger: silent,
    });
    const visit = () => running.request.get('/visits').set('Cookie', `sessionid=${key}`);
    expect((await visit()).text).toBe('2');
    renameSync(directory, `${directory}-away`);
    const response = await visit();
    expect([response.status, response.headers['set-cookie']]).toEqual([503, undefined]);
    renameSync(`${directory}-away`, directory);
    expect((await visit()).text).toBe('3');
  });

  it('does not start without its directory', async () => {
    const engine = fileEngine({ directory: join(root, 'nowhere') });
    await expect(startApp(platform, { engine, logger: silent })).rejects.toMatchObject({
      code: 'SESSION_CONFIG',
    });
  });
});

function mount(directory: string): void {
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k,mode=700', 'tmpfs', directory], { stdio: 'ignore' });
}

function canMount(): boolean {
  const directory = newDirectory();
  try {
    mount(directory);
    execFileSync('umount', [directory]);
    return true;
  } catch {
    return false;
  }
}

async function clearAll(store: FileStore): Promise<number> {
  let [total, last] = [0, 20];
  while (last === 20) total += last = await store.clearExpired(20);
  return total;
}

function cookie(key: string): [name: string, value: string] {
  return ['Cookie', `sessionid=${key}`];
}

function everyFifth(first: number, end: number): number[] {
  return Array.from({ length: end / 5 }, (_, n) => first + 5 * n);
}

function writesOf(writer: Writer): number {
  return [...writer.acknowledged().values()].reduce((sum, writes) => sum + writes.length, 0);
}

async function untilWritten(writer: Writer, atLeast: number): Promise<void> {
  while (writesOf(writer) < atLeast) await new Promise((resolve) => setTimeout(resolve, 10));
}

/** A line as another process writes it. */
function endEntry(key: string): string {
  const body = `${JSON.stringify({ op: 'end', at: Date.now(), tag: 'other', of: key.slice(-16) })}\t`;
  return `\n${body.length} ${body}`;
}

function aged(text: string, milliseconds: number): string {
  return text.replace(
    /"expiresAt":(\d+)/,
    (_, moment: string) => `"expiresAt":${Number(moment) - milliseconds}`,
  );
}
