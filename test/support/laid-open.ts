import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TypeOrmModule } from '@nestjs/typeorm';
import { Redis } from 'ioredis';
import { databaseEngine } from 'nest-sessions/database';
import { fileEngine } from 'nest-sessions/file';
import { MemoryStore } from 'nest-sessions/memory';
import { redisEngine } from 'nest-sessions/redis';
import { type SessionStore } from 'nest-sessions';
import { DataSource } from 'typeorm';
import { type AppSetup } from './app.js';
import { testDatabase } from './data-source.js';
import { testRedis } from './redis-store-bench.js';
import { type ServiceName } from './services.js';

/** A store as somebody sees it who has got hold of what it keeps. */
export interface LaidOpen extends Pick<AppSetup, 'engine' | 'imports'> {
  /** All that is stored, keys included. For memory: all that the store was given. */
  dump(): Promise<string>;
  /** Puts another text in the place of one that is stored, of the same length. Not for memory. */
  replace(text: string, by: string): Promise<void>;
  /** All that is stored under a session id, as one text. Not for memory. */
  read(id: string): Promise<string>;
  /** Stores such a text under a session id, in the place of what is there. */
  write(id: string, text: string): Promise<void>;
  dispose(): Promise<void>;
}

/** The stores that differ most in how they keep a session, and what each of them needs. */
export const laidOpenStores: [
  name: string,
  service: ServiceName | undefined,
  open: () => Promise<LaidOpen>,
][] = [
  ['memory', undefined, openMemory],
  ['postgres', 'postgres', openPostgres],
  ['redis', 'redis', openRedis],
  ['file', undefined, openFiles],
];

/** The number of records, of any kind. */
export const lines = (dump: string): number => dump.split('\n').filter((line) => line !== '').length;

const outOfReach = (): Promise<never> => Promise.reject(new Error('Nobody gets at the memory of a process.'));

function openMemory(): Promise<LaidOpen> {
  const store = new MemoryStore();
  const given = new Map<string, string>();
  for (const method of ['create', 'save'] as const) {
    const original = store[method].bind(store) as (...parameters: unknown[]) => Promise<boolean>;
    (store[method] as typeof original) = (...parameters) => {
      given.set(String(parameters[0]), JSON.stringify(parameters));
      return original(...parameters);
    };
  }
  return Promise.resolve({
    engine: { useFactory: (): SessionStore => store },
    dump: () => Promise.resolve([...given.values()].join('\n')),
    replace: outOfReach,
    read: outOfReach,
    write: outOfReach,
    dispose: () => Promise.resolve(),
  });
}

async function openPostgres(): Promise<LaidOpen> {
  const { options, dispose } = await testDatabase('postgres');
  const access = await new DataSource(options).initialize();
  return {
    engine: databaseEngine(),
    imports: [TypeOrmModule.forRoot({ ...options, autoLoadEntities: true, synchronize: true })],
    async dump() {
      const rows = (await access.query('SELECT * FROM nest_session ORDER BY 1')) as object[];
      return rows.map((row) => Object.values(row).map(String).join('\t')).join('\n');
    },
    async replace(text, by) {
      await access.query(
        'UPDATE nest_session SET session_data = replace(session_data, $1, $2), session_log = replace(session_log, $1, $2)',
        [text, by],
      );
    },
    async read(id) {
      const sql = 'SELECT row_to_json(t)::text AS text FROM nest_session t WHERE session_key = $1';
      const [row] = (await access.query(sql, [id])) as [{ text: string }];
      return row.text;
    },
    async write(id, text) {
      const columns = Object.keys(JSON.parse(text) as object).join();
      await access.query(
        `UPDATE nest_session SET (${columns}) = (SELECT ${columns} FROM json_populate_record(NULL::nest_session, $1)) ` +
          'WHERE session_key = $2',
        [text, id],
      );
    },
    async dispose() {
      await access.destroy();
      await dispose();
    },
  };
}

function openRedis(): Promise<LaidOpen> {
  const { url, prefix } = testRedis();
  const access = new Redis(url);
  /** Sessions are lists; the rest (indexes of users) is shown as Redis would save it. */
  const lists = async (): Promise<[key: string, elements: string[] | null][]> => {
    const keys = await access.keys(`${prefix}*`);
    return Promise.all(keys.map(async (key) => [key, await access.lrange(key, 0, -1).catch(() => null)]));
  };
  return Promise.resolve({
    engine: redisEngine({ url, prefix }),
    async dump() {
      const stored = (await lists()).toSorted(([one], [other]) => (one < other ? -1 : 1));
      const all = stored.map(
        async ([key, elements]) => `${key}\t${JSON.stringify(elements ?? (await access.dump(key)))}`,
      );
      return (await Promise.all(all)).join('\n');
    },
    async replace(text, by) {
      for (const [key, elements] of await lists()) {
        for (const [place, element] of (elements ?? []).entries()) {
          if (element.includes(text)) await access.lset(key, place, element.replaceAll(text, by));
        }
      }
    },
    read: async (id) => JSON.stringify(await access.lrange(`${prefix}${id}`, 0, -1)),
    write: async (id, text) => {
      await access
        .multi()
        .del(`${prefix}${id}`)
        .rpush(`${prefix}${id}`, ...(JSON.parse(text) as string[]))
        .exec();
    },
    dispose: async () => void (await access.quit()),
  });
}

function openFiles(): Promise<LaidOpen> {
  const directory = mkdtempSync(join(tmpdir(), 'nest-sessions-'));
  const files = (): string[] =>
    readdirSync(directory, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name))
      .toSorted();
  const pathOf = (id: string): string => {
    // In hexadecimal digits, because some file systems do not tell capitals from small letters.
    const name = Buffer.from(`${id}AA`, 'base64url').toString('hex').slice(0, 33);
    return join(directory, name.slice(0, 2), name);
  };
  return Promise.resolve({
    engine: fileEngine({ directory }),
    dump: () =>
      Promise.resolve(
        files()
          .map((path) => `${path}\t${JSON.stringify(readFileSync(path, 'utf8'))}`)
          .join('\n'),
      ),
    replace: (text, by) => {
      for (const path of files()) {
        writeFileSync(path, readFileSync(path, 'utf8').replaceAll(text, by));
      }
      return Promise.resolve();
    },
    read: (id) => Promise.resolve(readFileSync(pathOf(id), 'utf8')),
    write: (id, text) => Promise.resolve(writeFileSync(pathOf(id), text)),
    dispose: () => Promise.resolve(rmSync(directory, { recursive: true, force: true })),
  });
}
