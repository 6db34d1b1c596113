import { Redis } from 'ioredis';

const realNow = Date.now;
let ahead = 0;

/** Lets time pass for everything in this process that goes by `Date.now`. */
export function setClockAhead(seconds: number): void {
  ahead += seconds * 1000;
  Date.now = () => realNow() + ahead;
}

export function setClockRight(): void {
  ahead = 0;
  Date.now = realNow;
}

/** Takes milliseconds off the time that every key has left, and off the moments in the header of a session. */
const AGE = `
  for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do
    local left = redis.call('PTTL', key)
    if left >= 0 and left <= tonumber(ARGV[2]) then
      redis.call('DEL', key)
    elseif left >= 0 then
      redis.call('PEXPIRE', key, left - ARGV[2])
      if redis.call('TYPE', key).ok == 'string' and redis.call('GETRANGE', key, 0, 0) == 'S' then
        for _, at in ipairs({23, 38}) do
          local moment = tonumber(redis.call('GETRANGE', key, at, at + 14))
          redis.call('SETRANGE', key, at, string.format('%015.0f', moment - ARGV[2]))
        end
      end
    end
  end`;

/** Lets the sessions of a Redis store be older than they are. */
export async function ageRedis({ url, prefix }: { url: string; prefix: string }, seconds: number) {
  await withRedis(url, (client) => client.eval(AGE, 0, prefix, seconds * 1000));
}

export async function removeKeys({ url, prefix }: { url: string; prefix: string }): Promise<void> {
  await withRedis(url, async (client) => {
    const keys = await client.keys(`${prefix}*`);
    if (keys.length > 0) await client.unlink(...keys);
  });
}

async function withRedis(url: string, work: (client: Redis) => Promise<unknown>): Promise<void> {
  const client = new Redis(url);
  try {
    await work(client);
  } finally {
    client.disconnect();
  }
}
