import { prelude, script, writing } from './redis-scripts.js';

/** The scripts of a rotation: see `SessionMove`, and redis-scripts.ts for what they write. */

const departing = `
local newKey, indexedUser, movedFor = unpack(ARGV, 12)
local function depart()
  local record, time = live(KEYS[1], epochs), now()
  if not record then return nil end
  local indexed, ttl = time + indexedFor, lifetime(KEYS[1], record)
  local value, user, id = rewritten(KEYS[1], record, time, indexed)
  if user ~= 'null' then ttl = math.min(ttl, tonumber(indexedFor)) end
  return value, user, ttl, 'M' .. newKey .. '\\n' .. id .. '\\n'
end
`;

/**
 * One key to another of the same server. ARGV: as in `writing`, then the new store key, the user whose index has it,
 * and for how long the old key points to the new one. Answers 0: gone; 1: moved; 2 and the user whose index must have it.
 */
export const renameScript = script(`${prelude}${writing}${departing}
local value, user, ttl, pointer = depart()
if not value then return {startsWith(KEYS[1], 'M' .. newKey .. '\\n') and 1 or 0} end
if redis.call('EXISTS', KEYS[2]) == 1 then return {0} end
if user ~= 'null' and user ~= indexedUser then return {2, user} end
put(KEYS[2], value, ttl)
redis.call('SET', KEYS[1], pointer, 'PX', movedFor)
return {1}`);

/** In a cluster, step 1: takes the new key. ARGV: the old store key, milliseconds. */
export const reserveScript = script(`
local pending = 'P' .. ARGV[1] .. '\\n'
if redis.call('SET', KEYS[1], pending, 'NX', 'PX', ARGV[2]) or redis.call('GET', KEYS[1]) == pending then return {1} end
return {0}`);

/** Step 2, the moment of truth: the old key turns from a session into a pointer that carries it. */
export const departScript = script(`${prelude}${writing}${departing}
if startsWith(KEYS[1], 'M' .. newKey .. '\\n') then
  return {1, string.match(redis.call('GET', KEYS[1]), '^[^\\n]*\\n[^\\n]*\\n(.*)$'), redis.call('PTTL', KEYS[1])}
end
local value, user, ttl, pointer = depart()
if not value then return {0} end
if user ~= 'null' and user ~= indexedUser then return {2, user} end
put(KEYS[1], pointer .. value, ttl)
return {1, value, ttl}`);

/** Step 3: the session arrives, unless it was ended on the way. ARGV: the old store key, the value, milliseconds. */
export const arriveScript = script(`${prelude}
if redis.call('GET', KEYS[1]) == 'P' .. ARGV[1] .. '\\n' then
  put(KEYS[1], ARGV[2], ARGV[3])
  return {1}
end
return {startsWith(KEYS[1], string.sub(ARGV[2], 1, 89)) and 1 or 0}`);

/** Step 4: the pointer need not carry the session any more. ARGV: the new store key, milliseconds. */
export const lightenScript = script(`${prelude}
if startsWith(KEYS[1], 'M' .. ARGV[1] .. '\\n') then
  local pointer = string.match(redis.call('GET', KEYS[1]), '^[^\\n]*\\n[^\\n]*\\n')
  if pointer then redis.call('SET', KEYS[1], pointer, 'PX', ARGV[2]) end
end
return {1}`);
