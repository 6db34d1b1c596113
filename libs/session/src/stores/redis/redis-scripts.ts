import { createHash } from 'node:crypto';

/** A Lua script and the SHA-1 by which Redis knows it. */
export interface RedisScript {
  /** Its source. */
  text: string;
  /** The SHA-1 of its source, as hex. */
  hash: string;
}

/**
 * The scripts of the store. Each is one atomic step on one key. A load and an ordinary save run none: they are LRANGE and
 * LINSERT. See redis-record.ts for what lives under the key of a session: a list of the key hash, the lines of the log
 * with the newest first, the head and the snapshot. So the version is that in the head plus the number of lines.
 *
 * A write can reach Redis twice, when a client sends it again because a connection broke before the answer. It has an id
 * of its own, in its line or head, so that the second time changes nothing.
 */
const prelude = `
local function keep(milliseconds, exactly)
  if exactly or tonumber(milliseconds) > redis.call('PTTL', KEYS[1]) then
    redis.call('PEXPIRE', KEYS[1], milliseconds)
  end
end
`;

/** ARGV: key hash, head, snapshot, milliseconds to keep it. Answers 0 when the id is taken. */
export const createScript = script(`
if redis.call('EXISTS', KEYS[1]) == 1 then
  return redis.pcall('LINDEX', KEYS[1], -2) == ARGV[2] and 1 or 0
end
redis.call('RPUSH', KEYS[1], ARGV[1], ARGV[2], ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1`);

/**
 * A save that is more than a short line. ARGV: key hash, line, new key hash or the same, milliseconds to keep the key, 1
 * for exactly so long and 0 for at least, bytes that the record may have ('' for any number), and if the line was sent
 * before, without an answer, the write id of the head at that time, or else ''.
 * Answers 0: gone, or the key hash was replaced; 1: saved; 2: it would be too large, and is as it was; 3: the log was
 * folded since the line was sent before, so that nobody knows whether it was in it.
 */
export const saveScript = script(`${prelude}
local hash, line, newHash, milliseconds, exactly, limit, writeId = unpack(ARGV)
if redis.call('LPOS', KEYS[1], line) then return 1 end
if writeId ~= '' and redis.call('EXISTS', KEYS[1]) == 1
  and string.sub(redis.call('LINDEX', KEYS[1], -2), 1, #writeId) ~= writeId then return 3 end
local first = redis.call('LINDEX', KEYS[1], 0)
if first ~= hash and first ~= '!' .. hash then return 0 end
local large = first ~= hash
if limit ~= '' then
  local size = #line
  for _, element in ipairs(redis.call('LRANGE', KEYS[1], 1, -1)) do size = size + #element end
  if size > tonumber(limit) then return 2 end
  large = size > limit / 2
end
redis.call('LINSERT', KEYS[1], 'AFTER', first, line)
redis.call('LSET', KEYS[1], 0, (large and '!' or '') .. newHash)
keep(milliseconds, exactly == '1')
return 1`);

/**
 * Puts new times into the head. ARGV: version, lastSeenAt, expiresAt, keptUntil, milliseconds to keep the key.
 * Answers 0 when somebody has saved, or touched it later.
 */
export const touchScript = script(`${prelude}
local version, seen, deadline, kept, milliseconds = unpack(ARGV)
local head = redis.call('LINDEX', KEYS[1], -2)
if not head then return 0 end
local origin, folded, touched, until_, rest = string.match(head, '^(%S+ (%d+) %S+) (%d+) %S+ (%S+) %S+(\\n.*)$')
if not origin or folded + redis.call('LLEN', KEYS[1]) - 3 ~= tonumber(version) then return 0 end
if touched == version and tonumber(until_, 36) > tonumber(deadline, 36) then return 0 end
redis.call('LSET', KEYS[1], -2, table.concat({origin, version, seen, deadline, kept}, ' ') .. rest)
keep(milliseconds)
return 1`);

/**
 * Replaces snapshot and log by a new snapshot. ARGV: the head that was loaded, where the elements that were loaded begin
 * (as LTRIM counts from the end), new head, new snapshot. Lines that came later stay. Answers 0 when somebody was faster.
 * Numbers are texts, because Lua takes long to print one, and this runs once for every few saves.
 */
export const foldScript = script(`
if redis.call('LINDEX', KEYS[1], '-2') ~= ARGV[1] then return 0 end
redis.call('LTRIM', KEYS[1], '0', ARGV[2])
redis.call('RPUSH', KEYS[1], ARGV[3], ARGV[4])
return 1`);

/**
 * A save that replaces snapshot and log, unless somebody has written since. ARGV: as above, and the first element that
 * was loaded, the new one, milliseconds to keep the key, 1 for exactly so long and 0 for at least.
 */
export const replaceScript = script(`${prelude}
local head, start, newHead, snapshot, first, newFirst, milliseconds, exactly = unpack(ARGV)
if redis.call('LINDEX', KEYS[1], -2) ~= head or redis.call('LLEN', KEYS[1]) ~= -start then return 0 end
if redis.call('LINDEX', KEYS[1], 0) ~= first then return 0 end
redis.call('LTRIM', KEYS[1], 0, 0)
redis.call('LSET', KEYS[1], 0, newFirst)
redis.call('RPUSH', KEYS[1], newHead, snapshot)
keep(milliseconds, exactly == '1')
return 1`);

/** Deletes a record and answers what it was: all elements; none if there was none; an empty one if it is no record. */
export const endScript = script(`
local elements = redis.pcall('LRANGE', KEYS[1], 0, -1)
if elements.err then elements = {''} end
redis.call('DEL', KEYS[1])
return elements`);

/** The server's clock, in milliseconds. As a script, so that the key decides which server of a cluster it is. */
export const clockScript = script(`
local time = redis.call('TIME')
return time[1] * 1000 + math.floor(time[2] / 1000)`);

/**
 * An entry in the index of a user. KEYS[1]: a sorted set of session ids, by the moment at which the entry is over. ARGV:
 * session id, milliseconds, 1 for a new session and 0 for one that has to be there.
 * Answers the moment until which the entry is good, or 0 for none.
 */
export const enterScript = script(`
local id, milliseconds, new = unpack(ARGV)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- One of another type is as good as lost.
if redis.call('TYPE', KEYS[1]).ok ~= 'zset' then redis.call('DEL', KEYS[1]) end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local score, last = redis.call('ZSCORE', KEYS[1], id), now + milliseconds
if not score and new == '0' then return 0 end
if score and tonumber(score) > last then return tonumber(score) end
redis.call('ZADD', KEYS[1], last, id)
if redis.call('PTTL', KEYS[1]) < tonumber(milliseconds) then redis.call('PEXPIRE', KEYS[1], milliseconds) end
return last`);

/** They may run twice: the second time changes nothing. */
export const repeatable: ReadonlySet<RedisScript> = new Set([
  createScript,
  touchScript,
  replaceScript,
  clockScript,
  enterScript,
]);

function script(text: string): RedisScript {
  return { text, hash: createHash('sha1').update(text).digest('hex') };
}
