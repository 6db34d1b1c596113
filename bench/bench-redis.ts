import { createClient } from 'redis';

/** Keys of this run's own, in a Redis that may have others: that of BENCH_REDIS_URL, or on the standard port. */
export const benchRedis = {
  url: process.env['BENCH_REDIS_URL'] ?? 'redis://127.0.0.1:6379',
  prefix: `nest-sessions-bench-${process.pid}:`,
};

/** @throws when there is none, before anything else is begun */
export async function findRedis(): Promise<void> {
  const client = newClient();
  try {
    await client.connect();
  } catch (cause) {
    throw new Error('No Redis on the standard port. Set BENCH_REDIS_URL to one.', { cause });
  }
  await client.close();
}

export async function clearRedis(): Promise<void> {
  const client = newClient();
  await client.connect();
  for await (const keys of client.scanIterator({ MATCH: `${benchRedis.prefix}*`, COUNT: 1000 })) {
    if (keys.length > 0) await client.unlink(keys);
  }
  await client.close();
}

function newClient() {
  const client = createClient({ url: benchRedis.url, socket: { reconnectStrategy: false } });
  return client.on('error', () => {});
}
