/**
 * What a session costs the Redis server, beside connect-redis: the time of its commands for one read and one write, by
 * `INFO commandstats`, and the bytes of a session, by `MEMORY USAGE`. A read is GET + EXPIRE with connect-redis, a write GET
 * + SET; both go through node-redis. The rounds are interleaved, and the median of each is printed.
 *
 * On the Redis of BENCH_REDIS_URL, which nobody else should use meanwhile.
 */
import { randomBytes } from 'node:crypto';
import { RedisStore as ConnectRedis } from 'connect-redis';
import { type SessionData as ExpressSession } from 'express-session';
import { type SessionRecord, type SessionStore } from 'nest-sessions';
import { redisEngine } from 'nest-sessions/redis';
import { createClient } from 'redis';
import { newRecord, TWO_WEEKS } from './new-record.js';
import { benchRedis, clearRedis, findRedis } from './places.js';

const SESSIONS = 300;
const OPERATIONS = 3000;
const ROUNDS = 15;
const AT_ONCE = 16;

type Way = (n: number) => Promise<void>;

const data = (): { [key: string]: string | number } => ({ name: 'Ada', cart: 'x'.repeat(970), n: 1 });
const client = createClient({ url: benchRedis.url });

await findRedis();
await client.connect();
try {
  await measure();
} finally {
  await client.close();
  await clearRedis();
}

async function measure(): Promise<void> {
  const ways: Record<string, Way> = { ...(await connectRedis()) };
  for (const library of ['redis', 'ioredis'] as const) {
    for (const userId of [null, 'user-1234567']) Object.assign(ways, await ours(library, userId));
  }
  const times: Record<string, number[]> = {};
  for (let round = 0; round < ROUNDS; round++) {
    for (const [name, way] of Object.entries(ways)) (times[name] ??= []).push(await timeOf(way));
  }
  for (const [name, rounds] of Object.entries(times)) {
    const median = rounds.toSorted((one, other) => one - other)[ROUNDS >> 1] ?? NaN;
    console.log(`${name.padEnd(34)} ${median.toFixed(2)} µs`);
  }
}

/** Microseconds of the server for one operation. What a script calls counts within the script. */
async function timeOf(way: Way): Promise<number> {
  const before = await commandTimes();
  for (let start = 0; start < OPERATIONS; start += AT_ONCE) {
    await Promise.all(Array.from({ length: AT_ONCE }, (_, n) => way((start + n) % SESSIONS)));
  }
  const after = await commandTimes();
  const scripted = after.evalsha?.calls !== before.evalsha?.calls;
  const inScripts = ['lindex', 'ltrim', 'rpush', 'llen', 'lset', 'pexpire', 'pttl', 'time'];
  const counted = Object.keys(after).filter((name) => !(scripted && inScripts.includes(name)));
  const spent = counted.map((name) => (after[name]?.usec ?? 0) - (before[name]?.usec ?? 0));
  return spent.reduce((sum, usec) => sum + usec, 0) / OPERATIONS;
}

async function commandTimes(): Promise<Partial<Record<string, { calls: number; usec: number }>>> {
  const stats = await client.info('commandstats');
  const lines = stats.matchAll(/cmdstat_([\w|]+):calls=(\d+),usec=(\d+)/g);
  const times = [...lines].map(([, name = '', calls, usec]) => [
    name,
    { calls: Number(calls), usec: Number(usec) },
  ]);
  return Object.fromEntries(times.filter(([name]) => name !== 'info')) as Record<
    string,
    { calls: number; usec: number }
  >;
}

async function connectRedis(): Promise<Record<string, Way>> {
  const prefix = `${benchRedis.prefix}connect-redis:`;
  const store = new ConnectRedis({ client, prefix });
  const ids = Array.from({ length: SESSIONS }, () => randomBytes(24).toString('base64url'));
  const cookie = {
    originalMaxAge: TWO_WEEKS,
    expires: new Date(Date.now() + TWO_WEEKS),
    httpOnly: true,
    path: '/',
  };
  for (const id of ids) await store.set(id, { cookie, ...data() });
  await printBytes('connect-redis', [`${prefix}${ids[0]}`]);
  const get = async (n: number): Promise<ExpressSession & { n: number }> =>
    (await store.get(ids[n] ?? '')) as ExpressSession & { n: number };
  return {
    'connect-redis, read': async (n) => void (await store.touch(ids[n] ?? '', await get(n))),
    'connect-redis, write': async (n) => {
      const session = await get(n);
      await store.set(ids[n] ?? '', { ...session, n: session.n + 1 } as ExpressSession);
    },
  };
}

async function ours(library: 'redis' | 'ioredis', userId: string | null): Promise<Record<string, Way>> {
  const kind = userId === null ? 'anonymous' : 'user';
  const prefix = `${benchRedis.prefix}${library}-${kind}:`;
  const store = (await redisEngine({ url: benchRedis.url, library, prefix }).useFactory()) as SessionStore;
  store.limits = { size: 131_072, keys: 2000 };
  const records = Array.from({ length: SESSIONS }, (_, n) =>
    newRecord({ userId: userId && `${userId}-${n}`, data: data() }),
  );
  for (const record of records) await store.create(record.id, record);
  const indexes = await client.keys(`${prefix}user:*`);
  await printBytes(`ours, ${library}, ${kind}`, [`${prefix}${records[0]?.id}`, ...indexes.slice(0, 1)]);

  const load = async (n: number): Promise<SessionRecord> => {
    const record = await store.load(records[n]?.id ?? '');
    if (record === null) throw new Error('The session is gone.');
    return record;
  };
  return {
    [`ours, ${library}, ${kind}, read`]: async (n) => void (await load(n)),
    [`ours, ${library}, ${kind}, write`]: async (n) => {
      const record = await load(n);
      const set = { n: Number(record.data['n']) + 1 };
      const changed = { ...record, data: { ...record.data, ...set }, expiresAt: Date.now() + TWO_WEEKS };
      if (!(await store.save(record.id, record.keyHash, { set }, changed)))
        throw new Error('It was not saved.');
    },
  };
}

async function printBytes(name: string, keys: string[]): Promise<void> {
  const bytes = await Promise.all(keys.map((key) => client.memoryUsage(key, { SAMPLES: 0 })));
  console.log(`${name.padEnd(34)} ${bytes.reduce((sum: number, each) => sum + (each ?? 0), 0)} bytes`);
}
