import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  appendFileSync,
  chmodSync,
  chownSync,
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
import { jest } from '@jest/globals';
import { fileEngine, FileStore } from 'nest-sessions/file';
import { SessionDirectory } from '../libs/session/src/stores/file/session-directory.js';
import { APPEND, SessionFile } from '../libs/session/src/stores/file/session-file.js';
import { plainCodec } from '../libs/session/src/stores/record-codec.js';
import {
  type JsonObject,
  type SessionChanges,
  type SessionRecord,
} from '../libs/session/src/stores/session-store.js';
import { describeSessionStore } from '../libs/session/src/testing/describe-session-store.js';
import { HOUR, MINUTE, newId, newKeyHash, newRecord, save } from '../libs/session/src/testing/store-bench.js';
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
    const record = newRecord(data, overrides);
    if (!(await this.store.create(record.id, record))) throw new Error('The id is taken.');
    return record.id;
  }

  createMany(count: number, overrides: Partial<SessionRecord> = {}): Promise<string[]> {
    return Promise.all(Array.from({ length: count }, () => this.create({}, overrides)));
  }

  async load(id: string): Promise<SessionRecord> {
    const record = await this.store.load(id);
    if (record === null) throw new Error('The record is gone.');
    return record;
  }

  async save(id: string, changes: SessionChanges): Promise<boolean> {
    return save(this.store, await this.load(id), changes);
  }

  path(id: string): string {
    return pathIn(this.directory, id);
  }

  text(id: string): string {
    return readFileSync(this.path(id), 'utf8');
  }

  /** The names of all files, without those of folders. */
  files(): string[] {
    return (readdirSync(this.directory, { recursive: true }) as string[]).filter((path) =>
      statSync(join(this.directory, path)).isFile(),
    );
  }

  /** The sessions that the index has for all users, as they stand in file names. */
  indexed(): string[] {
    return this.files().flatMap((path) => (path.startsWith('users/') ? [path.slice(-33)] : []));
  }
}

function hexOf(id: string): string {
  return Buffer.from(`${id}AA`, 'base64url').toString('hex').slice(0, 33);
}

function pathIn(directory: string, id: string): string {
  return join(directory, hexOf(id).slice(0, 2), hexOf(id));
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
  task: Pick<WriterTask, 'directory' | 'ids' | 'kind' | 'count'>,
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

// Many of these tests start processes and wait for them, which takes its time on a busy machine.
jest.setTimeout(300_000);

afterEach(() => jest.restoreAllMocks());
afterAll(() => rmSync(root, { recursive: true, force: true }));

for (const [title, options] of [
  ['FileStore conforms', {}],
  ['FileStore that encrypts conforms', { encryption: { secrets: SECRET } }],
  ['FileStore with fsync conforms', { fsync: true }],
] as const) {
  describeSessionStore(
    title,
    () => {
      const directory = newDirectory();
      const away = `${directory}-away`;
      return Promise.resolve({
        store: new FileStore({ directory, ...options }),
        sibling: () => new FileStore({ directory, ...options }),
        corrupt: async (id) => {
          const [first = '', ...entries] = readFileSync(pathIn(directory, id), 'utf8').split('\n');
          writeFileSync(pathIn(directory, id), [first.replace(/.$/, ','), ...entries].join('\n'));
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
    textAt: (id) => bench.text(id),
    putText: (id, text) => writeFileSync(bench.path(id), text),
  };
});

describe('the directory', () => {
  it('S70: is checked at the start, and refused where others may write to it', () => {
    const directory = newDirectory();
    writeFileSync(join(root, 'a-file'), '');
    expect(() => fileEngine({ directory: '' })).toThrow(/"directory" is missing/);
    expect(() => openStore(join(root, 'absent'))).toThrow(/"directory".*does not exist.*mkdir -m 700/);
    expect(() => openStore(join(root, 'a-file'))).toThrow(/not a directory/);
    expect(() => new FileStore({ directory, fsync: 'yes' as never })).toThrow(/"fsync" must be/);
    for (const mode of [0o755, 0o707, 0o701, 0o770, 0o720]) {
      chmodSync(directory, mode);
      const message = new RegExp(`not closed to others.*mode ${mode.toString(8)}.*chmod 700`);
      expect(() => openStore(directory)).toThrow(message);
    }
    chmodSync(directory, 0o750);
    expect(() => openStore(directory)).not.toThrow();
    expect(readdirSync(directory)).toEqual([]);
  });

  it.each(['ab', 'tmp', 'users', 'users/abc'])(
    'S70: is refused with what was planted in it while others could write to it: %s',
    (name) => {
      const [directory, elsewhere] = [newDirectory(), newDirectory()];
      const path = join(directory, name);
      mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
      symlinkSync(elsewhere, path);
      expect(() => openStore(directory)).toThrow(new RegExp(`"${name}", which is a symbolic link`));
      rmSync(path);
      mkdirSync(path, { mode: 0o700 });
      expect(() => openStore(directory)).not.toThrow();
      chmodSync(path, 0o770);
      expect(() => openStore(directory)).toThrow(new RegExp(`"${name}", which is not closed.*mode 770`));
      expect(readdirSync(elsewhere)).toEqual([]);
    },
  );

  it('S70: holds files that only their owner can read, named by the session id', async () => {
    const before = process.umask(0);
    try {
      const bench = new Bench(newDirectory());
      const id = await bench.create({ a: 1 }, { userId: 'Ann' });
      const files = bench.files();
      expect(files).toHaveLength(2);
      for (const path of files.map((file) => join(bench.directory, file))) {
        expect(path.endsWith(hexOf(id))).toBe(true);
        expect((statSync(path).mode & 0o777).toString(8)).toBe('600');
        expect((statSync(dirname(path)).mode & 0o777).toString(8)).toBe('700');
      }
    } finally {
      process.umask(before);
    }
  });

  it('keeps ids apart that differ by upper and lower case only', async () => {
    const bench = new Bench(newDirectory());
    const ids = ['AbCdEfGhIjKlMnOpQrStUA', 'aBcDeFgHiJkLmNoPqRsTuA', 'ABCDEFGHIJKLMNOPQRSTUA'];
    for (const id of ids) await bench.create({ id }, { id });
    for (const id of ids) expect({ ...(await bench.load(id)).data }).toEqual({ id });
    const names = bench.files().map((path) => path.toLowerCase());
    expect(new Set(names).size).toBe(3);
    expect(names).toEqual(bench.files());
  });

  it('S70: is not left for anything, whatever the id', async () => {
    const parent = newDirectory();
    mkdirSync(join(parent, 'sessions'), { mode: 0o700 });
    const bench = new Bench(join(parent, 'sessions'));
    const id = await bench.create({ a: 1 }, { id: 'AAAAAAAAAAAAAAAAAAAAAA' });
    const hostile = [
      '..',
      '../x',
      '/etc/passwd',
      '../../../../tmp/session',
      '..\\x',
      '%2e%2e/x',
      'a\0b',
      '',
      hexOf(id),
      `${id}=`,
      `${id}A`,
      id.slice(1),
    ];
    for (const other of hostile) {
      const record = newRecord({}, { id: other, userId: 'Ann' });
      expect(await bench.store.load(other)).toBeNull();
      expect(await bench.store.take(other)).toBeNull();
      expect(await bench.store.delete(other)).toBe(false);
      expect(await bench.store.touch(other, record)).toBe(false);
      expect(await bench.store.save(other, record.keyHash, { set: { a: 2 } }, record)).toBe(false);
      await expect(bench.store.create(other, record)).rejects.toThrow('22 characters');
    }
    expect(readdirSync(parent)).toEqual(['sessions']);
    expect(bench.files()).toEqual([join('00', hexOf(id))]);
    expect({ ...(await bench.load(id)).data }).toEqual({ a: 1 });
  });

  it('is missed when it is gone, instead of all sessions', async () => {
    const bench = new Bench(newDirectory());
    const record = newRecord({ a: 1 }, { userId: 'Ann' });
    await bench.store.create(record.id, record);
    renameSync(bench.directory, `${bench.directory}-away`);
    const outOfReach = async (): Promise<void> => {
      for (const work of [
        () => bench.store.load(record.id),
        () => bench.store.create(newId(), record),
        () => bench.store.save(record.id, record.keyHash, { set: { a: 2 } }, record),
        () => bench.store.touch(record.id, record),
        () => bench.store.take(record.id),
        () => bench.store.delete(record.id),
        () => bench.store.clearExpired(1),
        () => bench.store.listByUser('Ann'),
        () => bench.store.deleteByUser('Ann'),
      ]) {
        const error: unknown = await work().then(
          () => 'it worked',
          (thrown: unknown) => thrown,
        );
        expect(error).toMatchObject({ code: 'SESSION_STORE_UNAVAILABLE' });
        expect(inspect(error, { showHidden: true, depth: 9 })).not.toContain(hexOf(record.id));
      }
    };
    await outOfReach();
    mkdirSync(bench.directory, { mode: 0o700 }); // such as a mount point whose disk is gone
    await outOfReach();
    rmSync(bench.directory, { recursive: true });
    renameSync(`${bench.directory}-away`, bench.directory);
    expect({ ...(await bench.load(record.id)).data }).toEqual({ a: 1 });
    expect(await bench.store.listByUser('Ann')).toHaveLength(1);
  });

  it('may be emptied while the store is at work', async () => {
    const bench = new Bench(newDirectory());
    const id = await bench.create({}, { userId: 'Ann' });
    for (const name of readdirSync(bench.directory)) rmSync(join(bench.directory, name), { recursive: true });
    expect(await bench.store.load(id)).toBeNull();
    expect(await bench.store.listByUser('Ann')).toEqual([]);
    expect(await bench.store.clearExpired(10)).toBe(0);
    const next = await bench.create({ b: 1 }, { userId: 'Ann' });
    expect({ ...(await bench.load(next)).data }).toEqual({ b: 1 });
    expect(await bench.store.listByUser('Ann')).toHaveLength(1);
  });
});

// Root may write anywhere; see also the disk that is read-only.
(process.geteuid?.() === 0 ? describe.skip : describe)(
  'the directory of another user [takes no root]',
  () => {
    it('is found out by writing to it', () => {
      const directory = newDirectory();
      chmodSync(directory, 0o500);
      expect(() => openStore(directory)).toThrow(/cannot be created and linked \(EACCES/);
      expect(() => openStore('/')).toThrow(/"directory"/);
    });
  },
);

(process.geteuid?.() === 0 ? describe : describe.skip)('what belongs to another user [takes root]', () => {
  it('S70: is neither used nor read', async () => {
    const directory = newDirectory();
    chownSync(directory, 12_345, 12_345);
    expect(() => openStore(directory)).toThrow(/belongs to another user \(12345\)/);
    chownSync(directory, 0, 0);
    const bench = new Bench(directory);
    const id = await bench.create({ a: 1 });
    chownSync(bench.path(id), 12_345, 12_345);
    await expect(bench.store.load(id)).rejects.toMatchObject({ code: 'SESSION_RECORD_CORRUPT' });
    chownSync(bench.path(id), 0, 0);
    chownSync(dirname(bench.path(id)), 12_345, 12_345);
    await expect(bench.store.load(id)).rejects.toMatchObject({ code: 'SESSION_STORE_UNAVAILABLE' });
    expect(() => openStore(directory)).toThrow(/belongs to another user/);
  });
});

describe('what is planted', () => {
  it.each([
    ['a symbolic link', (path: string, target: string) => symlinkSync(target, path)],
    ['a dangling link', (path: string) => symlinkSync(join(root, 'dangling'), path)],
    ['a directory', (path: string) => mkdirSync(path)],
    ['a pipe', (path: string) => execFileSync('mkfifo', [path])],
  ])('S70: is not followed, nor waited for: %s', async (kind, plant) => {
    const bench = new Bench(newDirectory());
    const target = join(root, 'target');
    const record = newRecord({}, { userId: 'Ann' });
    const { id } = record;
    writeFileSync(target, 'untouched');
    mkdirSync(dirname(bench.path(id)), { mode: 0o700 });
    plant(bench.path(id), target);

    for (const work of [
      bench.store.load(id),
      bench.store.take(id),
      bench.store.touch(id, record),
      bench.store.save(id, record.keyHash, { set: { a: 1 } }, record),
    ]) {
      await expect(work).rejects.toMatchObject({ code: 'SESSION_RECORD_CORRUPT' });
    }
    expect(await bench.store.create(id, record)).toBe(false);
    expect(await bench.store.clearExpired(10)).toBe(0);
    expect(await bench.store.listByUser('Ann')).toEqual([]);
    const ended = await bench.store.delete(id).catch((error: { code: string }) => error.code);
    expect(ended).toBe(kind === 'a directory' ? 'SESSION_STORE_UNAVAILABLE' : true);
    expect(readFileSync(target, 'utf8')).toBe('untouched');
    expect(existsSync(join(root, 'dangling'))).toBe(false);
  });

  it('S70: is not followed where a folder should be', async () => {
    const theirs = new Bench(newDirectory());
    const record = newRecord({ a: 1 }, { userId: 'Ann' });
    await theirs.store.create(record.id, record);
    const before = theirs.files();
    const unavailable = { code: 'SESSION_STORE_UNAVAILABLE' };
    const shard = hexOf(record.id).slice(0, 2);
    for (const [folder, ...works] of [
      ['tmp', (store: FileStore) => store.create(record.id, record)],
      [
        'users',
        (store: FileStore) => store.create(record.id, record),
        (store: FileStore) => store.listByUser('Ann'),
      ],
      [
        shard,
        ...(['load', 'take', 'delete'] as const).map((name) => (store: FileStore) => store[name](record.id)),
      ],
    ] as const) {
      const bench = new Bench(newDirectory());
      symlinkSync(join(theirs.directory, folder), join(bench.directory, folder));
      for (const work of works) await expect(work(bench.store)).rejects.toMatchObject(unavailable);
    }
    expect(theirs.files()).toEqual(before);
    expect({ ...(await theirs.load(record.id)).data }).toEqual({ a: 1 });
  });

  it('S70: is no session under another id', async () => {
    const bench = new Bench(newDirectory());
    const [id, copy] = [await bench.create({ a: 1 }), await bench.create({ b: 2 })];
    const { keyHash } = await bench.load(id);
    writeFileSync(bench.path(copy), bench.text(id));
    expect(await bench.store.load(copy)).toBeNull();
    expect(await bench.store.save(copy, keyHash, { set: { c: 3 } }, await bench.load(id))).toBe(false);
    expect(await bench.store.take(copy)).toBeNull();
    expect(await bench.store.delete(copy)).toBe(false);
    expect({ ...(await bench.load(id)).data }).toEqual({ a: 1 });
  });
});

describe('a session file', () => {
  it('grows by a short line per write and is folded now and then', async () => {
    const bench = new Bench(newDirectory());
    const id = await bench.create({ big: 'x'.repeat(30_000), n: 0 });
    const lengths: number[] = [];
    for (let n = 0; n < 200; n++) {
      await bench.save(id, { increment: { n: 1 } });
      lengths.push(statSync(bench.path(id)).size);
    }
    expect((await bench.load(id)).data['n']).toBe(200);
    expect(Math.max(...lengths)).toBeLessThan(39_000);
    const folds = lengths.filter((length, n) => length < (lengths[n - 1] ?? 0));
    expect(folds.length).toBeGreaterThan(2);
    expect(folds.length).toBeLessThan(10);
    expect(bench.files()).toHaveLength(1);
  });

  it('is folded by the number of its lines, too', async () => {
    const bench = new Bench(newDirectory());
    const id = await bench.create({ big: 'x'.repeat(100_000) });
    const lines: number[] = [];
    for (let n = 0; n < 200; n++) {
      await bench.save(id, { set: { n } });
      lines.push(bench.text(id).split('\n').length);
    }
    expect(Math.max(...lines)).toBe(65);
  });

  it('with a long log costs what its lines cost, and not all data for each line', async () => {
    const bench = new Bench(newDirectory());
    const names = Array.from({ length: 6000 }, (_, n) => `key${n}`);
    const id = await bench.create(Object.fromEntries(names.map((name) => [name, 'x'.repeat(20)])));
    const { keyHash, expiresAt, data } = await bench.load(id);
    // By hand, because the store would have folded it long before.
    for (let n = 0; n < 600; n++) {
      const entry = { op: 'save', at: Date.now(), keyHash, loadedVersion: 0, expiresAt, tag: `t${n}` };
      appendFileSync(bench.path(id), lineOf(entry, JSON.stringify({ s: { [`key${n * 7}`]: n } })));
      data[`key${n * 7}`] = n;
    }
    expect({ ...(await bench.load(id)).data }).toEqual({ ...data });
    const folded = await bench.create(data);
    const times = { long: Infinity, folded: Infinity };
    for (let round = 0; round < 15; round++) {
      times.long = Math.min(times.long, await timed(() => bench.load(id)));
      times.folded = Math.min(times.folded, await timed(() => bench.load(folded)));
    }
    // About twice as long. A replay that copies the data for each line takes more than a hundred times as long.
    expect(times.long).toBeLessThan(20 * times.folded);
  });

  it('survives a line that was cut short at any place, and what follows it', async () => {
    const bench = new Bench(newDirectory());
    const id = await bench.create({ a: 1 });
    const whole = bench.text(id).length;
    await bench.save(id, { set: { b: 'Ünï 漢字 👩‍👩‍👧' } });
    const bytes = statSync(bench.path(id)).size;
    for (let size = whole; size < bytes; size++) {
      const other = await bench.create({});
      writeFileSync(bench.path(other), bench.text(id).replaceAll(id, other));
      truncateSync(bench.path(other), size);
      expect({ ...(await bench.load(other)).data }).toEqual({ a: 1 });
      expect(await bench.save(other, { set: { c: 3 } })).toBe(true);
      expect({ ...(await bench.load(other)).data }).toEqual({ a: 1, c: 3 });
    }
  });

  it('is dead from the entry on that ends it, removed or not', async () => {
    const bench = new Bench(newDirectory());
    const id = await bench.create({ big: 'x'.repeat(5000) });
    const loaded = await bench.load(id);
    appendFileSync(bench.path(id), endEntry());

    expect(await bench.store.load(id)).toBeNull();
    expect(await save(bench.store, loaded, { set: { big: 'y'.repeat(5000) } })).toBe(false);
    expect(await save(bench.store, loaded, { keyHash: newKeyHash() })).toBe(false);
    expect(await bench.store.touch(id, { ...loaded, expiresAt: Date.now() + 9 * HOUR })).toBe(false);
    expect(await bench.store.take(id)).toBeNull();
    expect(await bench.store.delete(id)).toBe(false);
    expect(await bench.store.load(id)).toBeNull();
  });

  it.each([
    ['an empty file', () => ''],
    ['no session file', () => 'garbage\n'],
    ['zeros', (text: string) => '\0'.repeat(text.length)],
    ['a spoiled head', (text: string) => text.replace('"format":1', '"format":{')],
    ['a format to come', (text: string) => text.replace('"format":1', '"format":2')],
    ['a spoiled snapshot', (text: string) => text.replace('"a":1', '"a":,')],
    ['a spoiled line', (text: string) => text.replace('"op":"save"', '"op":"save ')],
    ['an entry of another kind', (text: string) => text.replace('"op":"save"', '"op":"swap"')],
    ['a seal that names a path', (text: string) => text + lineOf({ op: 'seal', at: 0, tag: '../../x' })],
    ['spoiled changes', (text: string) => text.replace('{"b":2}', '{"b",2}')],
    ['a line of something else', (text: string) => `${text}\ngarbage`],
  ])('S64, S73: is corrupt, and left as it is: %s', async (_kind, spoil) => {
    const bench = new Bench(newDirectory());
    const id = await bench.create({ a: 1 }, { userId: 'Ann' });
    await bench.save(id, { set: { b: 2 } });
    const text = spoil(bench.text(id));
    expect(text).not.toBe(bench.text(id));
    writeFileSync(bench.path(id), text);
    const corrupt = { code: 'SESSION_RECORD_CORRUPT' };
    await expect(bench.store.load(id)).rejects.toMatchObject(corrupt);
    await expect(bench.store.take(id)).rejects.toMatchObject(corrupt);
    expect(await bench.store.create(id, newRecord({}, { id }))).toBe(false);
    expect(await bench.store.listByUser('Ann')).toEqual([]);
    expect(bench.text(id)).toBe(text);
    expect(await bench.store.delete(id)).toBe(true);
    expect(existsSync(bench.path(id))).toBe(false);
  });
});

describe('limits', () => {
  const limits = { size: 20_000, keys: 300 };

  it('leave nothing in the file of what they refuse', async () => {
    const bench = new Bench(newDirectory());
    bench.store.limits = limits;
    const id = await bench.create({ a: 'x'.repeat(10_000) });
    const sizes = [];
    for (let n = 0; n < 50; n++) {
      const changes = n % 2 ? { set: { b: 'y'.repeat(11_000) } } : { set: manyKeys(301) };
      await expect(bench.save(id, changes)).rejects.toMatchObject({ code: 'SESSION_LIMIT' });
      sizes.push(statSync(bench.path(id)).size);
    }
    expect(Math.max(...sizes)).toBeLessThan(30_000);
    expect({ ...(await bench.load(id)).data }).toEqual({ a: 'x'.repeat(10_000) });
  });

  it('count exactly what is written again, keys and numbers included', async () => {
    const bench = new Bench(newDirectory());
    bench.store.limits = limits;
    const id = await bench.create({ ...manyKeys(300) });
    for (let n = 0; n < 30; n++) {
      expect(await bench.save(id, { set: manyKeys(300) })).toBe(true);
      expect(await bench.save(id, { increment: { key0: 0.1, key1: 0.2 } })).toBe(true);
    }
    await expect(bench.save(id, { set: { another: 1 } })).rejects.toMatchObject({
      limit: 'keys',
      actual: 301,
    });
    expect(await bench.save(id, { unset: ['key7'], set: { another: 1 } })).toBe(true);
    expect(Object.keys((await bench.load(id)).data)).toHaveLength(300);

    const numbers = Object.fromEntries(Array.from({ length: 200 }, (_, n) => [`n${n}`, 0.1]));
    const long = await bench.create({ filler: 'x'.repeat(15_200), ...numbers });
    // Each of the 200 numbers gets 14 characters longer, of which the line shows none.
    const increment = Object.fromEntries(Object.keys(numbers).map((key) => [key, 0.2]));
    await expect(bench.save(long, { increment })).rejects.toMatchObject({ limit: 'size' });
    expect((await bench.load(long)).data['n0']).toBe(0.1);
  });

  it('hold when several processes write at once, and lose nothing that was let in', async () => {
    const bench = new Bench(newDirectory());
    const ids = await bench.createMany(3);
    const writers = await startWriters(4, { directory: bench.directory, ids, kind: 'grow', count: 40 });
    const kept = await Promise.all(writers.map((writer) => writer.go()));
    let found = 0;
    for (const id of ids) {
      const { data } = await bench.load(id);
      expect(JSON.stringify(data).length).toBeLessThanOrEqual(100_000);
      expect(statSync(bench.path(id)).size).toBeLessThan(150_000);
      const names = writers.flatMap((writer) =>
        (writer.acknowledged().get(id) ?? []).map((n) => `${writer.task.name}-${n}`),
      );
      expect(Object.keys(data).toSorted()).toEqual(names.toSorted());
      // There was room for 33 of them.
      expect(names.length).toBeGreaterThan(25);
      found += names.length;
    }
    expect(sum(kept)).toBe(found);
  });
});

describe('several processes', () => {
  it('lose no write of each other', async () => {
    const bench = new Bench(newDirectory());
    const ids = await bench.createMany(5);
    const writers = await startWriters(4, {
      directory: bench.directory,
      ids,
      kind: 'increment',
      count: 1000,
    });
    expect(await Promise.all(writers.map((writer) => writer.go()))).toEqual([1000, 1000, 1000, 1000]);
    for (const id of ids) {
      const { data } = await bench.load(id);
      expect(data['n']).toBe(800);
      for (const { task } of writers) expect(data[task.name]).toEqual(everyFifth(ids.indexOf(id), 1000));
    }
    expect(bench.files()).toHaveLength(5);
  });

  it('lose nothing that was acknowledged when one of them is killed, again and again', async () => {
    const bench = new Bench(newDirectory());
    const ids = await bench.createMany(3);
    const acknowledged = new Map<string, number>();
    const found = new Map<string, number>();
    const rounds = testsAll ? 12 : 3;
    for (let round = 0; round < rounds; round++) {
      const [killed, survivor] = (await startWriters(2, {
        directory: bench.directory,
        ids,
        kind: 'increment',
      })) as [Writer, Writer];
      const ends = [killed.go(), survivor.go()];
      await untilWritten(killed, 20 + 7 * round);
      killed.kill();
      await ends[0];
      // That the other one goes on shows that nothing stays sealed.
      await untilWritten(survivor, writesOf(survivor) + 60);
      survivor.kill();
      await ends[1];

      for (const id of ids) {
        const { data } = await bench.load(id);
        for (const writer of [killed, survivor]) {
          const kept = (data[writer.task.name] ?? []) as number[];
          const known = writer.acknowledged().get(id) ?? [];
          expect(kept.slice(0, known.length)).toEqual(known);
          expect(kept.length - known.length).toBeLessThanOrEqual(1);
          acknowledged.set(id, (acknowledged.get(id) ?? 0) + known.length);
        }
        found.set(id, data['n'] as number);
        await bench.save(id, { unset: ['w0', 'w1'] });
      }
    }
    for (const id of ids) {
      const surplus = (found.get(id) ?? 0) - (acknowledged.get(id) ?? 0);
      expect(surplus).toBeGreaterThanOrEqual(0);
      expect(surplus).toBeLessThanOrEqual(2 * rounds);
    }
    await Promise.all(ids.map((id) => bench.store.delete(id)));
    expect(bench.files().filter((path) => !path.startsWith('tmp'))).toEqual([]);
  });

  it('revive nothing that one of them ends', async () => {
    const bench = new Bench(newDirectory());
    const ids = await bench.createMany(300);
    const writers = await startWriters(3, { directory: bench.directory, ids, kind: 'increment' });
    const done = writers.map((writer) => writer.go());
    await untilWritten(writers[2] as Writer, 50);
    for (const id of ids) expect(await bench.store.delete(id)).toBe(true);
    await Promise.all(done);
    for (const id of ids) expect(await bench.store.load(id)).toBeNull();
    expect(bench.files()).toEqual([]);
  });

  it('take each session once', async () => {
    const bench = new Bench(newDirectory());
    const ids = await bench.createMany(300, { userId: 'Ann' });
    const writers = await startWriters(4, { directory: bench.directory, ids, kind: 'take' });
    const taken = await Promise.all(writers.map((writer) => writer.go()));
    expect(sum(taken)).toBe(300);
    const owners = writers.flatMap((writer) => [...writer.acknowledged().keys()]);
    expect(owners.toSorted()).toEqual(ids.toSorted());
    expect(bench.files()).toEqual([]);
  });

  it('refuse what was loaded before another one rotated the key, and lose nothing else', async () => {
    const bench = new Bench(newDirectory());
    const ids = await bench.createMany(2);
    const { directory } = bench;
    const rotators = await startWriters(2, { directory, ids, kind: 'rotate', count: 300 });
    const writers = await startWriters(2, { directory, ids, kind: 'increment', count: 600 });
    const [rotations, writes] = await Promise.all([
      Promise.all(rotators.map((rotator) => rotator.go())),
      Promise.all(writers.map((writer) => writer.go())),
    ]);
    const counts = { rotations: 0, n: 0 };
    for (const id of ids) {
      const { data } = await bench.load(id);
      for (const writer of writers) {
        expect(data[writer.task.name] ?? []).toEqual(writer.acknowledged().get(id) ?? []);
      }
      counts.rotations += data['rotations'] as number;
      counts.n += data['n'] as number;
    }
    expect(counts).toEqual({ rotations: sum(rotations), n: sum(writes) });
  });

  it('take over the files that a process sealed before it died, each one once', async () => {
    const bench = new Bench(newDirectory());
    const ids = await bench.createMany(100);
    const [sealer] = await startWriters(1, { directory: bench.directory, ids, kind: 'seal' });
    await sealer?.go();
    expect(ids.every((id) => bench.text(id).includes('"op":"seal"'))).toBe(true);
    const inodes = ids.map((id) => statSync(bench.path(id)).ino);

    const writers = await startWriters(4, { directory: bench.directory, ids, kind: 'increment', count: 200 });
    await Promise.all(writers.map((writer) => writer.go()));
    for (const id of ids) expect((await bench.load(id)).data['n']).toBe(8);
    expect(ids.filter((id, n) => statSync(bench.path(id)).ino === inodes[n])).toEqual([]);
    expect(readdirSync(join(bench.directory, 'tmp'))).toEqual([]);
  });

  it('undo nothing when a process goes on that was held up after its seal', async () => {
    const bench = new Bench(newDirectory());
    const id = await bench.create({ a: 1 });
    const [directory, file] = [new SessionDirectory(bench.directory, false), openFile(bench, id)];
    const { expiresAt } = await bench.load(id);
    await directory.writeTemporary('heldup', bench.text(id), expiresAt);
    file.append({ op: 'seal', at: Date.now() }, '', 'heldup');
    expect(await bench.save(id, { set: { b: 2 } })).toBe(true);

    await directory.rewriteTemporary('heldup', bench.text(id), expiresAt);
    expect(await directory.replace('heldup', id, file.inode)).toBe(false);
    expect({ ...(await bench.load(id)).data }).toEqual({ a: 1, b: 2 });
  });

  it('let one that is held up for moments replace its file itself', async () => {
    const bench = new Bench(newDirectory());
    const id = await bench.create({ a: 1 });
    const [directory, file] = [new SessionDirectory(bench.directory, false), openFile(bench, id)];
    const { expiresAt } = await bench.load(id);
    await directory.writeTemporary('heldup', bench.text(id), expiresAt);
    file.append({ op: 'seal', at: Date.now() }, '', 'heldup');
    const saving = bench.save(id, { set: { b: 2 } });
    const inode = statSync(join(bench.directory, 'tmp', 'heldup')).ino;
    expect(await directory.replace('heldup', id, file.inode)).toBe(true);
    expect(await saving).toBe(true);
    expect(statSync(bench.path(id)).ino).toBe(inode);
    expect({ ...(await bench.load(id)).data }).toEqual({ a: 1, b: 2 });
  });
});

describe('with fsync', () => {
  it('loses nothing of parallel writes while the file is folded', async () => {
    const bench = new Bench(newDirectory());
    const store = new FileStore({ directory: bench.directory, fsync: true });
    const id = await bench.create({ big: 'x'.repeat(2000) });
    const first = await bench.load(id);
    const changes = { increment: { n: 1 }, set: { filler: 'y'.repeat(200) } };
    const write = (loaded: SessionRecord): Promise<boolean> => save(store, loaded, changes);
    const before = await Promise.all(Array.from({ length: 60 }, () => write(first)));
    const keyHash = newKeyHash();
    const [rotated, ...racing] = await Promise.all([
      save(store, first, { keyHash }),
      ...Array.from({ length: 30 }, () => write(first)),
    ]);
    const second = await bench.load(id);
    const after = await Promise.all(Array.from({ length: 60 }, () => write(second)));
    expect([rotated, ...before, ...after].every(Boolean)).toBe(true);
    expect((await bench.load(id)).data['n']).toBe(120 + racing.filter(Boolean).length);
    expect(statSync(bench.path(id)).size).toBeLessThan(10_000);
    expect(readdirSync(join(bench.directory, 'tmp'))).toEqual([]);
  });
});

describe('clearExpired', () => {
  const past = { expiresAt: Date.now() - MINUTE };

  it('clears batch by batch, each record once, and no live one', async () => {
    const bench = new Bench(newDirectory());
    const other = new FileStore({ directory: bench.directory });
    const live = await bench.createMany(50, { userId: 'Ann' });
    await bench.createMany(250, { ...past, userId: 'Ann' });
    expect(await bench.store.clearExpired(20)).toBe(20);
    const totals = await Promise.all([clearAll(bench.store), clearAll(other), clearAll(bench.store)]);
    expect(sum(totals)).toBe(230);
    expect(bench.files()).toHaveLength(100);
    expect(bench.indexed().toSorted()).toEqual(live.map(hexOf).toSorted());
    for (const id of live) await bench.load(id);
  });

  it('goes by the content, and opens only what may have expired', async () => {
    const bench = new Bench(newDirectory());
    const id = await bench.create({ a: 1 });
    const { mtimeMs } = statSync(bench.path(id));
    expect(Math.abs(mtimeMs - (await bench.load(id)).expiresAt)).toBeLessThan(10_000);
    utimesSync(bench.path(id), 0, 0);
    expect(await bench.store.clearExpired(10)).toBe(0);
    expect(statSync(bench.path(id)).mtimeMs).toBeGreaterThan(Date.now() + 50 * MINUTE);

    await bench.store.touch(id, { ...(await bench.load(id)), expiresAt: Date.now() + 9 * HOUR });
    expect(statSync(bench.path(id)).mtimeMs).toBeGreaterThan(Date.now() + 8 * HOUR);
    const expiresAt = Date.now() + 1;
    await save(bench.store, await bench.load(id), { expiry: 1 }, { expiresAt });
    while (Date.now() <= expiresAt) await new Promise((resolve) => setTimeout(resolve, 1));
    expect(await bench.store.clearExpired(10)).toBe(1);
  });

  it('removes what crashes leave behind, and leaves alone what is not ours', async () => {
    const bench = new Bench(newDirectory());
    const [live, ended, garbage, young] = (await bench.createMany(4, { userId: 'Ann' })) as [
      string,
      string,
      string,
      string,
    ];
    appendFileSync(bench.path(ended), endEntry()); // as it is when a process dies between the entry and the removal
    for (const id of [garbage, young]) writeFileSync(bench.path(id), 'garbage');
    utimesSync(bench.path(ended), 0, 0);
    utimesSync(bench.path(garbage), 0, 0);
    writeFileSync(join(bench.directory, 'tmp', 'young'), 'x');
    linkSync(bench.path(live), join(bench.directory, 'tmp', 'published'));
    writeFileSync(join(dirname(bench.path(live)), 'README'), 'not ours');
    writeFileSync(join(bench.directory, 'users', 'README'), 'not ours');
    writeFileSync(join(bench.directory, 'notes.txt'), 'not ours');

    expect(await bench.store.load(ended)).toBeNull();
    expect(await bench.store.clearExpired(10)).toBe(0);
    const sessions = bench.files().filter((path) => !path.startsWith('users/'));
    expect(sessions.toSorted()).toEqual(
      [
        'notes.txt',
        'tmp/young',
        ...[live, young].map((id) => join(hexOf(id).slice(0, 2), hexOf(id))),
        join(hexOf(live).slice(0, 2), 'README'),
      ].toSorted(),
    );
    expect(existsSync(join(bench.directory, 'users', 'README'))).toBe(true);
    expect({ ...(await bench.load(live)).data }).toEqual({});
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
    const odd = `Ann"\\\n${'ü'.repeat(300)}/../\0`;
    const ids = await bench.createMany(3, { userId: odd });
    const others = [
      await bench.create({}, { userId: 'Bob' }),
      await bench.create({}, { userId: odd.toLowerCase() }),
      await bench.create({ note: JSON.stringify(odd), odd }),
    ];
    await bench.create({}, { userId: odd, expiresAt: Date.now() - 1 });

    const listed = await bench.store.listByUser(odd);
    expect(listed.map(({ id }) => id).toSorted()).toEqual(ids.toSorted());
    expect(await bench.store.deleteByUser(odd, [ids[0] as string])).toBe(2);
    expect((await bench.store.listByUser(odd)).map(({ id }) => id)).toEqual([ids[0]]);
    for (const id of others) await bench.load(id);
  });

  it('are found without a look into the files of others', async () => {
    const bench = new Bench(newDirectory());
    await bench.createMany(500, { userId: 'Bob' });
    await bench.createMany(500);
    await bench.createMany(7, { userId: 'Ann' });
    const open = jest.spyOn(SessionFile, 'open');
    expect(await bench.store.listByUser('Ann')).toHaveLength(7);
    expect(open).toHaveBeenCalledTimes(7);
    expect(await bench.store.deleteByUser('Ann')).toBe(7);
    expect(open).toHaveBeenCalledTimes(14);
  });

  it('leave the index when they end, in whatever way', async () => {
    const bench = new Bench(newDirectory());
    const [deleted, taken, ended, expired, garbage, last] = (await bench.createMany(6, {
      userId: 'Ann',
    })) as [string, string, string, string, string, string];
    await bench.store.delete(deleted);
    await bench.store.take(taken);
    appendFileSync(bench.path(ended), endEntry());
    await bench.store.delete(ended);
    await save(bench.store, await bench.load(expired), {}, { expiresAt: Date.now() - 1 });
    await bench.store.clearExpired(10);
    expect(bench.indexed().toSorted()).toEqual([garbage, last].map(hexOf).toSorted());
    writeFileSync(bench.path(garbage), 'garbage');
    expect(await bench.store.deleteByUser('Ann')).toBe(2);
    expect(await bench.store.listByUser('Ann')).toEqual([]);
    expect(existsSync(bench.path(garbage))).toBe(false);
  });

  it('are ended although one of them cannot be read', async () => {
    const bench = new Bench(newDirectory());
    const [spoiled, sound] = (await bench.createMany(2, { userId: 'Ann' })) as [string, string];
    const text = bench.text(spoiled);
    writeFileSync(bench.path(spoiled), text.replace('"format":1', '"format":2'));
    expect((await bench.store.listByUser('Ann')).map(({ id }) => id)).toEqual([sound]);
    expect(await bench.store.deleteByUser('Ann')).toBe(2);
    // It does not come back when the reason is gone.
    expect(existsSync(bench.path(spoiled))).toBe(false);
  });

  it('are not what an entry says whose session is missing, or belongs to somebody else', async () => {
    const bench = new Bench(newDirectory());
    const directory = new SessionDirectory(bench.directory, false);
    const ofBob = await bench.create({}, { userId: 'Bob' });
    const missing = newId();
    for (const id of [ofBob, missing]) await directory.addUserEntry('Ann', id);
    expect(await bench.store.listByUser('Ann')).toEqual([]);
    expect(await bench.store.deleteByUser('Ann')).toBe(0);
    await bench.load(ofBob);

    const clearFor16Days = async (from: number): Promise<void> => {
      for (let day = 0; day < 16; day++) {
        jest.spyOn(Date, 'now').mockReturnValue(from + day * 24 * HOUR);
        await bench.store.clearExpired(10);
      }
    };
    // The session may be about to be created: only an old entry is certain to be left over.
    await clearFor16Days(Date.now() - 20 * 24 * HOUR);
    expect(directory.sessionsOf('Ann')).toContain(missing);
    await clearFor16Days(Date.now() + 22 * 24 * HOUR);
    expect(directory.sessionsOf('Ann')).not.toContain(missing);
  });

  it('are in the index although clearing has removed the entry while one was created', async () => {
    const bench = new Bench(newDirectory());
    const directory = new SessionDirectory(bench.directory, false);
    jest.spyOn(SessionDirectory.prototype, 'publish').mockImplementationOnce((tag, id) => {
      // As if the process had been stopped for more than an hour.
      directory.removeUserEntry('Ann', id);
      jest.spyOn(Date, 'now').mockReturnValue(Date.now() + 2 * HOUR);
      return directory.publish(tag, id);
    });
    const id = await bench.create({}, { userId: 'Ann', expiresAt: Date.now() + 9 * HOUR });
    expect((await bench.store.listByUser('Ann')).map((record) => record.id)).toEqual([id]);
  });

  it('are all in the index when the processes that create them are killed', async () => {
    const bench = new Bench(newDirectory());
    for (let round = 0; round < 5; round++) {
      const ids = Array.from({ length: 5000 }, newId);
      const [writer] = (await startWriters(1, { directory: bench.directory, ids, kind: 'create' })) as [
        Writer,
      ];
      const done = writer.go();
      await untilWritten(writer, 20 + 13 * round);
      writer.kill();
      await done;
    }
    const sessions = bench
      .files()
      .filter((path) => /^[0-9a-f]{2}\//.test(path))
      .map((path) => path.slice(3));
    const listed = (await bench.store.listByUser('Ann')).map(({ id }) => hexOf(id));
    expect(listed.toSorted()).toEqual(sessions.toSorted());
    expect(sessions.length).toBeGreaterThan(200);
    expect(await bench.store.deleteByUser('Ann')).toBe(sessions.length);
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
    expect(await save(store, await bench.load(leaving), { set: { a: 1 } })).toBe(true);

    let kept = 0;
    const failure: unknown = await (async () => {
      for (;;) {
        const loaded = await bench.load(busy);
        await save(store, loaded, { increment: { n: 1 }, push: { list: ['x'.repeat(2000)] } });
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
    const large = newRecord({ x: 'x'.repeat(5000) }, { userId: 'Ann' });
    const unavailable = { code: 'SESSION_STORE_UNAVAILABLE' };
    await expect(store.create(large.id, large)).rejects.toMatchObject(unavailable);
    expect(await store.listByUser('Ann')).toEqual([]);
    const rotation = { keyHash: newKeyHash(), set: { x: 'x'.repeat(5000) } };
    await expect(save(store, await bench.load(busy), rotation)).rejects.toMatchObject(unavailable);
    expect((await bench.load(busy)).keyHash).not.toBe(rotation.keyHash);
    expect(readdirSync(join(mountPoint, 'tmp'))).toEqual([]);

    expect(await store.delete(leaving)).toBe(true);
    expect(await store.clearExpired(100)).toBe(expired.length);
    expect(await save(store, await bench.load(busy), { increment: { n: 1 } })).toBe(true);
    expect((await bench.load(busy)).data['n']).toBe(kept + 1);
  });
});

describeOnTmpfs('on a disk that is read-only [takes root and tmpfs]', () => {
  const mountPoint = newDirectory();
  beforeAll(() => mount(mountPoint));
  afterAll(() => execFileSync('umount', [mountPoint]));

  it('does not start, and fails where it has started before', async () => {
    const bench = new Bench(mountPoint);
    const id = await bench.create({ a: 1 });
    const loaded = await bench.load(id);
    execFileSync('mount', ['-o', 'remount,ro', mountPoint]);
    expect(() => openStore(mountPoint)).toThrow(/cannot be created and linked \(EROFS/);
    expect({ ...(await bench.load(id)).data }).toEqual({ a: 1 });
    const unavailable = { code: 'SESSION_STORE_UNAVAILABLE', cause: { code: 'EROFS' } };
    await expect(save(bench.store, loaded, { set: { a: 2 } })).rejects.toMatchObject(unavailable);
    await expect(bench.store.delete(id)).rejects.toMatchObject(unavailable);
    await expect(bench.create()).rejects.toMatchObject(unavailable);
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

function everyFifth(first: number, end: number): number[] {
  return Array.from({ length: end / 5 }, (_, n) => first + 5 * n);
}

function writesOf(writer: Writer): number {
  return [...writer.acknowledged().values()].reduce((total, writes) => total + writes.length, 0);
}

async function untilWritten(writer: Writer, atLeast: number): Promise<void> {
  while (writesOf(writer) < atLeast) await new Promise((resolve) => setTimeout(resolve, 10));
}

function openFile(bench: Bench, id: string): SessionFile {
  const directory = new SessionDirectory(bench.directory, false);
  return SessionFile.open(directory, plainCodec, id, APPEND) as SessionFile;
}

/** A line as another process writes it. */
function endEntry(): string {
  return lineOf({ op: 'end', at: Date.now(), tag: 'other' });
}

function lineOf(entry: object, payload = ''): string {
  const body = `${JSON.stringify(entry)}\t${payload}`;
  return `\n${body.length} ${body}`;
}

function manyKeys(count: number): { [key: string]: number } {
  return Object.fromEntries(Array.from({ length: count }, (_, n) => [`key${n}`, n]));
}

function sum(numbers: (number | undefined)[]): number {
  return numbers.reduce((total: number, each) => total + (each ?? 0), 0);
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}
