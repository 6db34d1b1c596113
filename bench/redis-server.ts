/**
 * What a session costs the Redis server, beside connect-redis: the time of its commands for one read and one write, by
 * `INFO commandstats`, and the bytes of a session, by `MEMORY USAGE`. A read is GET + EXPIRE with connect-redis, a write
 * GET + SET.
 *
 *   BENCH_REDIS_URL=redis://127.0.0.1:6390 npm run bench:redis
 *
 * Nobody else may use that Redis while it runs, because the server counts the commands of all. Both go through node-redis;
 * the commands are the same through ioredis. The slices of all are interleaved. In a slice every session is read or
 * written once, all at once, so a slice takes a few round trips however slow these are.
 */
import { randomBytes } from 'node:crypto';
import { RedisStore as ConnectRedis } from 'connect-redis';
import { type SessionData as ExpressSession } from 'express-session';
import { type SessionRecord, type SessionStore } from 'nest-sessions';
import { redisEngine } from 'nest-sessions/redis';
import { createClient } from 'redis';
import { numberFrom } from './number-from.js';
import { newRecord, TWO_WEEKS } from './new-record.js';
import { benchRedis, clearRedis, findRedis } from './places.js';
import { markdown, quartiles } from './report.js';

const plan = {
  /** Slices of each kind that are measured. */
  rounds: numberFrom('BENCH_ROUNDS', 25),
  warmUp: numberFrom('BENCH_WARM_UP', 5),
  /** Of a slice, and sessions of each kind. */
  requests: numberFrom('BENCH_REQUESTS', 300),
};

/** Each session begins with a log of another length up to this, or all of them would be folded in the same slice. */
const LOG_LINES = 14;

/** What scripts of ours call is counted with the script, and INFO is the bench's own. */
const NOT_COUNTED = new Set(['lindex', 'ltrim', 'rpush', 'time', 'info']);

/** What keeps sessions: some that are only read, and others that are written to. */
interface Sessions {
  name: string;
  bytes: number;
  read(n: number): Promise<void>;
  write(n: number): Promise<void>;
}

type Uses = Record<'read' | 'write', number[]>;

const client = createClient({ url: benchRedis.url });

await findRedis();
await client.connect();
try {
  process.stdout.write(`${await measure()}\n`);
} finally {
  await client.close();
  await clearRedis();
}
// The stores have connections of their own.
process.exit();

async function measure(): Promise<string> {
  const all = [await connectRedis(), await ours(null), await ours('user-1234567')];
  const times = all.map((): Uses => ({ read: [], write: [] }));
  for (let round = 1 - plan.warmUp; round <= plan.rounds; round++) {
    for (const use of ['read', 'write'] as const) {
      // Another one begins each time: what comes first in a round costs the server more.
      for (let turn = 0; turn < all.length; turn++) {
        const place = (turn + round + plan.warmUp) % all.length;
        const sessions = all[place] as Sessions;
        const time = await timeOf((n) => sessions[use](n));
        if (round > 0) times[place]?.[use].push(time);
      }
    }
  }
  return report(all, times);
}

function report(all: readonly Sessions[], times: readonly Uses[]): string {
  const table = [
    ['', 'sessions', 'µs of the server', '(quartiles)', 'of connect-redis'],
    ['---', '---', '--:', ':-:', '--:'],
  ];
  for (const use of ['read', 'write'] as const) {
    const [, peer] = quartiles(times[0]?.[use] ?? []);
    for (const [place, { name }] of all.entries()) {
      const [low, middle, high] = quartiles(times[place]?.[use] ?? []);
      const range = `${low.toFixed(2)} … ${high.toFixed(2)}`;
      table.push([use, name, middle.toFixed(2), range, (middle / peer).toFixed(2)]);
    }
  }
  for (const { name, bytes } of all) {
    table.push(['bytes', name, String(bytes), '', (bytes / (all[0]?.bytes ?? NaN)).toFixed(2)]);
  }
  return markdown(table);
}

/** Microseconds of the server for one operation. */
async function timeOf(work: (n: number) => Promise<void>): Promise<number> {
  const before = await serverTime();
  await forAll(work);
  return ((await serverTime()) - before) / plan.requests;
}

/** All microseconds that the server has spent on commands. */
async function serverTime(): Promise<number> {
  const stats = await client.info('commandstats');
  let sum = 0;
  for (const [, name = '', spent] of stats.matchAll(/cmdstat_([\w|]+):calls=\d+,usec=(\d+)/g)) {
    if (!NOT_COUNTED.has(name)) sum += Number(spent);
  }
  return sum;
}

async function forAll(work: (n: number) => Promise<unknown>): Promise<void> {
  await Promise.all(Array.from({ length: plan.requests }, (_, n) => work(n)));
}

/** Sessions to read and sessions to write, with logs of all lengths. */
async function filled<Session>(
  create: () => Promise<Session>,
  write: (session: Session) => Promise<unknown>,
): Promise<{ toRead: Session[]; toWrite: Session[] }> {
  const createAll = (): Promise<Session[]> => Promise.all(Array.from({ length: plan.requests }, create));
  const [toRead, toWrite] = [await createAll(), await createAll()];
  for (let line = 0; line < LOG_LINES; line++) {
    await forAll(async (n) => {
      if (n % LOG_LINES > line) await Promise.all([toRead, toWrite].map((of) => write(of[n] as Session)));
    });
  }
  return { toRead, toWrite };
}

/** About 1 KB as JSON. */
function data(): { [key: string]: string | number } {
  return { name: 'Ada', cart: 'x'.repeat(970), n: 1 };
}

async function connectRedis(): Promise<Sessions> {
  const prefix = `${benchRedis.prefix}connect-redis:`;
  const store = new ConnectRedis({ client, prefix });
  const create = async (): Promise<string> => {
    const id = randomBytes(24).toString('base64url');
    const expires = new Date(Date.now() + TWO_WEEKS);
    await store.set(id, {
      cookie: { originalMaxAge: TWO_WEEKS, expires, httpOnly: true, path: '/' },
      ...data(),
    });
    return id;
  };
  const get = async (id: string): Promise<ExpressSession & { n: number }> =>
    (await store.get(id)) as ExpressSession & { n: number };
  const write = async (id: string): Promise<void> => {
    const session = await get(id);
    await store.set(id, { ...session, n: session.n + 1 } as ExpressSession);
  };
  const { toRead, toWrite } = await filled(create, write);
  return {
    name: 'connect-redis',
    bytes: await bytesOf([prefix + toRead[0]]),
    read: async (n) => void (await store.touch(toRead[n] ?? '', await get(toRead[n] ?? ''))),
    write: (n) => write(toWrite[n] ?? ''),
  };
}

async function ours(userId: string | null): Promise<Sessions> {
  const name = userId === null ? 'ours, anonymous' : 'ours, with a user';
  const prefix = `${benchRedis.prefix}${userId === null ? 'anonymous' : 'user'}:`;
  const engine = redisEngine({ url: benchRedis.url, library: 'redis', prefix });
  const store = (await engine.useFactory()) as SessionStore;
  store.limits = { size: 131_072, keys: 2000 };
  let users = 0;
  const create = async (): Promise<string> => {
    const record = newRecord({ userId: userId && `${userId}-${++users}`, data: data() });
    await store.create(record.id, record);
    return record.id;
  };
  const load = async (id: string): Promise<SessionRecord> => {
    const record = await store.load(id);
    if (record === null) throw new Error('The session is gone.');
    return record;
  };
  const write = async (id: string): Promise<void> => {
    const record = await load(id);
    const set = { n: Number(record.data['n']) + 1 };
    const changed = { ...record, data: { ...record.data, ...set }, expiresAt: Date.now() + TWO_WEEKS };
    if (!(await store.save(id, record.keyHash, { set }, changed))) throw new Error('It was not saved.');
  };
  const { toRead, toWrite } = await filled(create, write);
  const indexes = await client.keys(`${prefix}user:*`);
  return {
    name,
    // The first one has no log yet.
    bytes: await bytesOf([prefix + toRead[0], ...indexes.slice(0, 1)]),
    read: async (n) => void (await load(toRead[n] ?? '')),
    write: (n) => write(toWrite[n] ?? ''),
  };
}

async function bytesOf(keys: string[]): Promise<number> {
  const bytes = await Promise.all(keys.map((key) => client.memoryUsage(key, { SAMPLES: 0 })));
  return bytes.reduce((sum: number, each) => sum + (each ?? 0), 0);
}
