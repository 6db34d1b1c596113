import { type RedisConnection, RedisStore } from 'nest-sessions/redis';
import { newRecord } from '../libs/session/src/testing/store-bench.js';
import { DelegatingConnection } from './support/redis-connections.js';
import { RedisBench } from './support/redis-bench.js';
import { describeWithService } from './support/services.js';

async function create(store: RedisStore, count: number): Promise<string[]> {
  const records = Array.from({ length: count }, () => newRecord());
  await Promise.all(records.map((record) => store.create(record.id, record)));
  return records.map(({ id }) => id);
}

const storeOn = (connection: RedisConnection, prefix: string): RedisStore =>
  new RedisStore(connection, { prefix });

async function allIds(store: RedisStore): Promise<string[]> {
  const ids: string[] = [];
  for (let after: string | null = null; ;) {
    const { records, next } = await store.list(after, 1000);
    ids.push(...records.map(({ id }) => id));
    if (next === null) return ids;
    after = next;
  }
}

describeWithService('redis', 'all sessions in Redis', () => {
  const bench = new RedisBench().use();

  it('takes its prefix literally, and nothing for a session that is none', async () => {
    const prefix = `${bench.prefix}a*b?c^\\[x]:`;
    const other = `${bench.prefix}aXbYc^\\x:`;
    const [store, neighbour] = [storeOn(bench.noting(), prefix), storeOn(bench.noting(), other)];
    const own = await create(store, 3);
    await create(neighbour, 2);
    const user = newRecord({}, { userId: 'ann' });
    await store.create(user.id, user);
    await bench.raw.set(`${prefix}${'x'.repeat(21)}`, 'another thing');
    await bench.raw.set(`${prefix}${'!'.repeat(22)}`, 'another thing');
    await bench.raw.set(`${prefix}${'y'.repeat(22)}`, 'no list, so that it is left out');

    expect((await store.count()).live).toBe(5);
    const listed = await allIds(store);
    expect(listed.toSorted()).toEqual([...own, user.id].toSorted());
    expect((await neighbour.count()).live).toBe(2);
    expect(await store.list('no cursor', 10)).toEqual({ records: [], next: null });
    for (const none of ['7.0', '0.18446744073709551616', '0.99999999999999999999']) {
      expect(await store.list(none, 10)).toEqual({ records: [], next: null });
    }
    const last = await store.list('0.18446744073709551615', 10);
    expect(last.records.length).toBeLessThanOrEqual(10);
  });

  it('lists no session whose user has lost it', async () => {
    const prefix = `${bench.prefix}lost:`;
    const store = storeOn(bench.noting(), prefix);
    const [kept, lost] = [newRecord({}, { userId: 'ann' }), newRecord({}, { userId: 'bob' })];
    await store.create(lost.id, lost);
    const index = await bench.raw.keys(`${prefix}user:*`);
    await store.create(kept.id, kept);
    await bench.raw.unlink(...index);
    const listed = await allIds(store);
    expect(listed).toEqual([kept.id]);
  });

  /** A database with so many keys that nothing comes to its end; a tenth of them are sessions. */
  class EndlessConnection extends DelegatingConnection {
    override async sendTo(primary: string, command: readonly [string, ...string[]]): Promise<unknown> {
      await super.sendTo(primary, ['ping']);
      if (command[0] === 'dbsize') return 3_000_000;
      const [, cursor, , pattern = '', , count] = command;
      const key = pattern.replace(/\?+$/, '');
      const keys = Array.from({ length: Number(count) / 10 }, (_, n) => key + String(n).padStart(22, 'k'));
      return [String(Number(cursor) + 1), keys];
    }
  }

  it('asks a bounded number of times, and estimates beyond', async () => {
    const endless = new EndlessConnection(bench.noting());
    const store = storeOn(endless, `${bench.prefix}endless:`);
    expect(await store.count()).toEqual({ live: 300_000, loggedIn: null });
    expect(endless.sent.length).toBe(257);

    endless.sent.length = 0;
    const { records, next } = await store.list(null, 50);
    expect([records, next]).toEqual([[], '0.20']);
    expect(endless.sent.filter((name) => name === 'ping')).toHaveLength(20);
    expect(endless.sent.length).toBeLessThan(25);
  });
});
