import { createHash } from 'node:crypto';

/** A Lua script and the SHA-1 by which Redis knows it. */
export interface RedisScript {
  text: string;
  hash: string;
}

/**
 * The store's scripts. Each is one atomic step on keys of one slot.
 *
 * What lives under the key of a session begins with a letter:
 * - `S`, a session: a header of fixed width, so that a touch overwrites a few bytes in place; then the session id,
 *   the user and the expiry as one line of JSON each, the snapshot as the next, and the log. The deadline is Redis's own.
 *
 *   | bytes | 0 | 1–10 | 11–22 | 23–37 | 38–52 | 53–67 | 68–73 |
 *   | --- | --- | --- | --- | --- | --- | --- | --- |
 *   | | `S` | version | id of the last write | lastSeenAt | createdAt | indexed until | length of the three lines |
 * - `M`, moved: the store key that took over, a newline, and in a cluster for a moment the session on its way.
 * - `P`, pending: the store key from which a session is about to arrive, and a newline. It is alive from the moment
 *   on in which the other key says that it has moved here.
 *
 * Moments are on the server's clock, and scripts are given durations. The id of a write lets one that a client sent
 * twice, because a connection broke before the answer, take effect once.
 */
const prelude = `
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
local function moment(value) return string.format('%015.0f', value) end
local function header(version, write, seen, created, indexed, metaLength)
  return string.format('S%010.0f', version) .. write .. moment(seen) .. moment(created) .. moment(indexed)
    .. string.format('%06.0f', metaLength)
end
local function live(key)
  local head = redis.call('GETRANGE', key, 0, 73)
  if #head ~= 74 or string.sub(head, 1, 1) ~= 'S' then return nil end
  local record = {
    version = tonumber(string.sub(head, 2, 11)), write = string.sub(head, 12, 23),
    created = tonumber(string.sub(head, 39, 53)), indexed = tonumber(string.sub(head, 54, 68)),
    metaLength = tonumber(string.sub(head, 69, 74))
  }
  return record.version and record.created and record.indexed and record.metaLength and record
end
local function meta(key, record)
  return string.match(redis.call('GETRANGE', key, 74, 73 + record.metaLength), '^([^\\n]*)\\n([^\\n]*)\\n([^\\n]*)\\n$')
end
local function put(key, value, ttl)
  -- Redis refuses to keep what has expired.
  if tonumber(ttl) > 0 then redis.call('SET', key, value, 'PX', ttl) else redis.call('DEL', key) end
end
local function startsWith(key, text) return redis.call('GETRANGE', key, 0, #text - 1) == text end
`;

/**
 * What save and rename have in common. Whoever wrote since the load has set the deadline; only a `setExpiry` of this
 * request goes above that. A session with a user never outlives its entry in the user's index.
 */
const writing = `
local version, write, expiresIn, newExpiry, newUser, indexedFor, snapshot, line = unpack(ARGV)
local function unchanged(record) return record.version == tonumber(version) end
local function lifetime(key, record)
  if unchanged(record) or newExpiry ~= '' then return tonumber(expiresIn) end
  return redis.call('PTTL', key)
end
local function rewritten(key, record, time, indexed)
  local id, user, expiry = meta(key, record)
  if newUser ~= '' then user = newUser end
  if newExpiry ~= '' then expiry = newExpiry end
  local lines = id .. '\\n' .. user .. '\\n' .. expiry .. '\\n'
  local data = unchanged(record) and snapshot ~= '' and snapshot .. '\\n'
    or redis.call('GETRANGE', key, 74 + record.metaLength, -1) .. line
  if user == 'null' then indexed = 0 end
  return header(record.version + 1, write, time, record.created, indexed, #lines) .. lines .. data, user
end
`;

/** The value as it is, with what is left of its time and the server's clock. */
export const loadScript = script(`${prelude}
local value = redis.call('GET', KEYS[1])
if not value then return {0} end
return {1, value, redis.call('PTTL', KEYS[1]), now()}`);

/** ARGV: id of the write, duration to the deadline, to createdAt, to lastSeenAt, indexed for, metadata, snapshot. */
export const createScript = script(`${prelude}
local write, expiresIn, createdIn, lastSeenIn, indexedFor, lines, snapshot = unpack(ARGV)
local time = now()
local indexed = tonumber(indexedFor) > 0 and time + indexedFor or 0
local value = header(1, write, time + lastSeenIn, time + createdIn, indexed, #lines) .. lines .. snapshot .. '\\n'
if redis.call('EXISTS', KEYS[1]) == 1 then return {redis.call('GETRANGE', KEYS[1], 11, 22) == write and 1 or 0} end
put(KEYS[1], value, expiresIn)
return {1}`);

/**
 * ARGV: as in `writing`; '' for an expiry, a user, a snapshot or a line that is not written.
 * Answers 1 and, if the index has to be extended before the session can live as long as it should, its user.
 */
export const saveScript = script(`${prelude}${writing}
local record = live(KEYS[1])
if not record then return {0} end
if record.write == write then return {1, '', record.version} end
local time, ttl, indexed, short = now(), lifetime(KEYS[1], record), record.indexed, ''
if newUser ~= '' then indexed = newUser == 'null' and 0 or time + indexedFor end
if indexed > 0 and ttl > indexed - time then
  ttl = indexed - time
  local _, user = meta(KEYS[1], record)
  short = newUser ~= '' and newUser or user
end
if newUser ~= '' or newExpiry ~= '' or (snapshot ~= '' and unchanged(record)) then
  local value = rewritten(KEYS[1], record, time, indexed)
  put(KEYS[1], value, ttl)
else
  redis.call('SETRANGE', KEYS[1], 0, header(record.version + 1, write, time, record.created, indexed, record.metaLength))
  if line ~= '' then redis.call('APPEND', KEYS[1], line) end
  redis.call('PEXPIRE', KEYS[1], ttl)
end
return {1, short, record.version + 1}`);

/**
 * ARGV: version, duration to the deadline, to lastSeenAt, for how long the index knows it from now on (0: as before).
 * Answers 2 and the user when the index has to be extended first.
 */
export const touchScript = script(`${prelude}
local version, expiresIn, lastSeenIn, indexedFor = unpack(ARGV)
local record, ttl, time = live(KEYS[1]), tonumber(expiresIn), now()
if not record or record.version ~= tonumber(version) or ttl <= redis.call('PTTL', KEYS[1]) then return {0} end
if record.indexed > 0 then
  if tonumber(indexedFor) > 0 then
    redis.call('SETRANGE', KEYS[1], 53, moment(time + indexedFor))
  elseif ttl > record.indexed - time then
    local _, user = meta(KEYS[1], record)
    return {2, user}
  end
end
redis.call('SETRANGE', KEYS[1], 23, moment(time + lastSeenIn))
redis.call('PEXPIRE', KEYS[1], ttl)
return {1}`);

/**
 * ARGV: '' or the user it must belong to; session ids that are spared. Answers 0: nothing to end; 1: ended, and the
 * user or ''; 2: moved, and where to; 3: pending, and so nobody's yet.
 */
export const endScript = script(`${prelude}
local kind = redis.call('GETRANGE', KEYS[1], 0, 0)
if kind == '' then return {0} end
if kind == 'M' then return {2, string.match(redis.call('GET', KEYS[1]), '^M([^\\n]*)\\n')} end
local record, id, user = live(KEYS[1])
if record then id, user = meta(KEYS[1], record) end
if ARGV[1] ~= '' and kind == 'P' then return {3} end
-- What cannot be read is no good to anybody: there the index's word is enough.
if ARGV[1] ~= '' and user then
  if ARGV[1] ~= user then return {0} end
  for i = 2, #ARGV do if ARGV[i] == id then return {0} end end
end
redis.call('DEL', KEYS[1])
return {1, user or ''}`);

const departing = `
local newKey, indexedUser, movedFor = unpack(ARGV, 9)
local function depart()
  local record, time = live(KEYS[1]), now()
  if not record then return nil end
  local indexed, ttl = time + indexedFor, lifetime(KEYS[1], record)
  local value, user = rewritten(KEYS[1], record, time, indexed)
  if user ~= 'null' then ttl = math.min(ttl, tonumber(indexedFor)) end
  return value, user, ttl
end
`;

/**
 * One key to another of the same server. ARGV: as in `writing`, then the new store key, the user whose index has it,
 * and for how long the old key points to the new one. Answers 0: gone; 1: moved; 2 and the user whose index must have it.
 */
export const renameScript = script(`${prelude}${writing}${departing}
local value, user, ttl = depart()
if not value then return {startsWith(KEYS[1], 'M' .. newKey .. '\\n') and 1 or 0} end
if redis.call('EXISTS', KEYS[2]) == 1 then return {0} end
if user ~= 'null' and user ~= indexedUser then return {2, user} end
put(KEYS[2], value, ttl)
redis.call('SET', KEYS[1], 'M' .. newKey .. '\\n', 'PX', movedFor)
return {1}`);

/** In a cluster, step 1: takes the new key. ARGV: the old store key, milliseconds. */
export const reserveScript = script(`
local pending = 'P' .. ARGV[1] .. '\\n'
if redis.call('SET', KEYS[1], pending, 'NX', 'PX', ARGV[2]) or redis.call('GET', KEYS[1]) == pending then return {1} end
return {0}`);

/** Step 2, the moment of truth: the old key turns from a session into a pointer that carries it. */
export const departScript = script(`${prelude}${writing}${departing}
local moved = 'M' .. newKey .. '\\n'
if startsWith(KEYS[1], moved) then
  return {1, string.sub(redis.call('GET', KEYS[1]), #moved + 1), redis.call('PTTL', KEYS[1])}
end
local value, user, ttl = depart()
if not value then return {0} end
if user ~= 'null' and user ~= indexedUser then return {2, user} end
put(KEYS[1], moved .. value, ttl)
return {1, value, ttl}`);

/** Step 3: the session arrives, unless it was ended on the way. ARGV: the old store key, the value, milliseconds. */
export const arriveScript = script(`${prelude}
if redis.call('GET', KEYS[1]) == 'P' .. ARGV[1] .. '\\n' then
  put(KEYS[1], ARGV[2], ARGV[3])
  return {1}
end
return {startsWith(KEYS[1], string.sub(ARGV[2], 1, 74)) and 1 or 0}`);

/** Step 4: the pointer need not carry the session any more. ARGV: the new store key, milliseconds. */
export const lightenScript = script(`${prelude}
local moved = 'M' .. ARGV[1] .. '\\n'
if startsWith(KEYS[1], moved) then redis.call('SET', KEYS[1], moved, 'PX', ARGV[2]) end
return {1}`);

/** ARGV: a store key, milliseconds. Never brings a deadline forward. */
export const enrolScript = script(`${prelude}
local time, lasts = now(), tonumber(ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', time)
redis.call('ZADD', KEYS[1], 'GT', time + lasts, ARGV[1])
if redis.call('PTTL', KEYS[1]) < lasts then redis.call('PEXPIRE', KEYS[1], lasts) end
return {1}`);

export const membersScript = script(`${prelude}
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now())
return {1, redis.call('ZRANGE', KEYS[1], 0, -1)}`);

export const leaveScript = script(`redis.call('ZREM', KEYS[1], unpack(ARGV)) return {1}`);

function script(text: string): RedisScript {
  return { text, hash: createHash('sha1').update(text).digest('hex') };
}
