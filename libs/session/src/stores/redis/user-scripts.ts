import { prelude, script } from './redis-scripts.js';

/**
 * The scripts of what is kept per user, on one slot: KEYS[1] is the index, a sorted set of store keys, and KEYS[2] the
 * epoch, a hash. Its field `at` is the moment of the last revocation of all sessions: what was bound earlier has ended.
 * Each session that was spared has a field under its id (as JSON), with the moment that counts for it instead.
 */

const index = `${prelude}
-- One of another type is as good as lost.
local function withoutStale(key, time)
  if redis.call('TYPE', key).ok ~= 'zset' then redis.call('DEL', key) end
  redis.call('ZREMRANGEBYSCORE', key, '-inf', time)
end
`;

/**
 * ARGV: a store key, milliseconds. Never brings a deadline forward. Answers the moment at which a session that is now
 * bound to the user is bound: not before the epoch, also within one millisecond or after a clock that went back.
 */
export const enrolScript = script(`${index}
local time, lasts = now(), tonumber(ARGV[2])
withoutStale(KEYS[1], time)
redis.call('ZADD', KEYS[1], 'GT', time + lasts, ARGV[1])
if redis.call('PTTL', KEYS[1]) < lasts then redis.call('PEXPIRE', KEYS[1], lasts) end
local at = redis.call('HGET', KEYS[2], 'at')
if not at then return {1, time} end
if redis.call('PTTL', KEYS[2]) < lasts then redis.call('PEXPIRE', KEYS[2], lasts) end
return {1, math.max(time, tonumber(at))}`);

/**
 * Sets the epoch past everything that is bound by now. A session is spared only if earlier revocations have left it alive:
 * the moment that counted for it goes on to count. ARGV: milliseconds for which the epoch lasts at least, session ids
 * that are spared. Answers the store keys of the index.
 */
export const revokeScript = script(`${index}
local time = now()
withoutStale(KEYS[1], time)
local before = redis.call('HGET', KEYS[2], 'at') or '0'
local epoch = {'at', string.format('%.0f', math.max(time, tonumber(before)) + 1)}
for i = 2, #ARGV do
  epoch[#epoch + 1] = ARGV[i]
  epoch[#epoch + 1] = redis.call('HGET', KEYS[2], ARGV[i]) or before
end
redis.call('DEL', KEYS[2])
for i = 1, #epoch, 2 do redis.call('HSET', KEYS[2], epoch[i], epoch[i + 1]) end
redis.call('PEXPIRE', KEYS[2], math.max(tonumber(ARGV[1]), redis.call('PTTL', KEYS[1])))
return {1, redis.call('ZRANGE', KEYS[1], 0, -1)}`);

/** The store keys of the index, and the epoch. */
export const membersScript = script(`${index}
withoutStale(KEYS[1], now())
return {1, redis.call('ZRANGE', KEYS[1], 0, -1), redis.call('HGETALL', KEYS[2])}`);

/** KEYS[1]: the epoch. */
export const epochScript = script(`return {1, redis.call('HGETALL', KEYS[1])}`);

/** ARGV: store keys. Answers the epoch. */
export const leaveScript = script(`
redis.call('ZREM', KEYS[1], unpack(ARGV))
return {1, redis.call('HGETALL', KEYS[2])}`);
