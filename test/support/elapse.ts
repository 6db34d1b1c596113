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

/** Takes milliseconds off the time that every key has left, and off the moments in the head and the lines of a session. */
const AGE = `
  local DIGITS = '0123456789abcdefghijklmnopqrstuvwxyz'
  local function aged(text)
    local moment, earlier = tonumber(text, 36) - ARGV[2], ''
    while moment > 0 do
      local digit = moment % 36
      earlier, moment = string.sub(DIGITS, digit + 1, digit + 1) .. earlier, (moment - digit) / 36
    end
    return ' ' .. earlier
  end
  for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do
    local left = redis.call('PTTL', key)
    if left >= 0 and left <= tonumber(ARGV[2]) then
      redis.call('DEL', key)
    elseif left >= 0 then
      redis.call('PEXPIRE', key, left - ARGV[2])
      if redis.call('TYPE', key).ok == 'list' then
        for place = 1, redis.call('LLEN', key) - 2 do
          local numbers, others = string.match(redis.call('LINDEX', key, place), '^([^\\n]*)(.*)$')
          -- Moments are longer than versions, and the id of the write is not behind a space.
          redis.call('LSET', key, place, string.gsub(numbers, ' (%w%w%w%w%w%w%w%w+)', aged) .. others)
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
