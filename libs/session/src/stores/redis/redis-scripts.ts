import { createHash } from 'node:crypto';

/** A Lua script and the SHA-1 by which Redis knows it. */
export interface RedisScript {
  text: string;
  hash: string;
}

/** How many characters the header of a session has. */
export const HEADER_LENGTH = 89;

/**
 * The store's scripts. Each is one atomic step on keys of one slot; but outside of a cluster, those that use a session
 * also read the epoch of its user (user-scripts.ts), whose key only the session tells.
 *
 * What lives under the key of a session begins with a letter:
 * - `S`, a session: a header of fixed width, so that a touch overwrites a few bytes in place; then the session id, the
 *   user, the expiry and the meta (mostly empty) as one line each, the snapshot as the next, and the log. The scripts
 *   take no interest in what snapshot, log and meta say. The deadline is Redis's own.
 *
 *   | bytes | 0 | 1–10 | 11–22 | 23–37 | 38–52 | 53–67 | 68–82 | 83–88 |
 *   | --- | --- | --- | --- | --- | --- | --- | --- | --- |
 *   | | `S` | version | id of the last write | lastSeenAt | createdAt | indexed until | bound at | length of the four lines |
 * - `M`, moved: the store key that took over and the session id as one line each, and in a cluster for a moment the
 *   session on its way.
 * - `P`, pending: the store key from which a session is about to arrive, and a newline. It is alive from the moment
 *   on in which the other key says that it has moved here.
 *
 * Moments are on the server's clock, and scripts are given durations. Only "bound at", when the session got its user, is
 * on the clock of the server that has the user's epoch. The id of a write lets one that a client sent twice, because a
 * connection broke before the answer, take effect once.
 */
export const prelude = `
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
local function moment(value) return string.format('%015.0f', value) end
local function header(version, write, seen, created, indexed, bound, length)
  return string.format('S%010.0f', version) .. write .. moment(seen) .. moment(created) .. moment(indexed)
    .. moment(bound) .. string.format('%06.0f', length)
end
local function lines(key, record)
  if not record.lines then
    local text = string.sub(record.head, 90, 89 + record.length)
    if #text < record.length then text = redis.call('GETRANGE', key, 89, 88 + record.length) end
    record.lines = {string.match(text, '^([^\\n]*)\\n([^\\n]*)\\n([^\\n]*)\\n([^\\n]*)\\n$')}
  end
  return unpack(record.lines)
end
-- epochs: what their keys begin with. '' in a cluster, where they live on other servers.
local function ended(epochs, bound, id, user)
  local epoch = epochs .. '{' .. redis.sha1hex(user) .. '}'
  local at = redis.call('HGET', epoch, 'at')
  return at and bound < tonumber(at) and bound < tonumber(redis.call('HGET', epoch, id) or at)
end
local function live(key, epochs)
  -- The header, and for nearly all sessions the lines.
  local head = redis.call('GETRANGE', key, 0, 511)
  if #head < 89 or string.sub(head, 1, 1) ~= 'S' then return nil end
  local record = {
    head = head, version = tonumber(string.sub(head, 2, 11)), write = string.sub(head, 12, 23),
    created = tonumber(string.sub(head, 39, 53)), indexed = tonumber(string.sub(head, 54, 68)),
    bound = tonumber(string.sub(head, 69, 83)), length = tonumber(string.sub(head, 84, 89))
  }
  if not (record.version and record.created and record.indexed and record.bound and record.length) then return nil end
  if epochs ~= '' and record.bound > 0 then
    local id, user = lines(key, record)
    if user and ended(epochs, record.bound, id, user) then return nil end
  end
  return record
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
 * ARGV: '' for an expiry, a user, a meta, a snapshot or a line that is not written; meta and line end in a newline.
 */
export const writing = `
local epochs, version, write, expiresIn, newExpiry, newUser, newMeta, indexedFor, snapshot, line, bound = unpack(ARGV)
local function unchanged(record) return record.version == tonumber(version) end
local function lifetime(key, record)
  if unchanged(record) or newExpiry ~= '' then return tonumber(expiresIn) end
  return redis.call('PTTL', key)
end
local function rewritten(key, record, time, indexed)
  local id, user, expiry, meta = lines(key, record)
  local boundAt = record.bound
  if newUser ~= '' then user, boundAt = newUser, tonumber(bound) end
  if newExpiry ~= '' then expiry = newExpiry end
  local text = id .. '\\n' .. user .. '\\n' .. expiry .. '\\n' .. (newMeta ~= '' and newMeta or meta .. '\\n')
  local data = unchanged(record) and snapshot ~= '' and snapshot .. '\\n'
    or redis.call('GETRANGE', key, 89 + record.length, -1) .. line
  if user == 'null' then indexed, boundAt = 0, 0 end
  return header(record.version + 1, write, time, record.created, indexed, boundAt, #text) .. text .. data, user, id
end
`;

/**
 * The value as it is, with what is left of its time and the server's clock. ARGV: epochs.
 * What an epoch has ended is deleted by whoever meets it.
 */
export const loadScript = script(`${prelude}
local value, epochs = redis.call('GET', KEYS[1]), ARGV[1]
if not value then return {0} end
if epochs ~= '' and string.sub(value, 1, 1) == 'S' then
  local bound = tonumber(string.sub(value, 69, 83))
  if bound and bound > 0 then
    local id, user = string.match(value, '^([^\\n]*)\\n([^\\n]*)\\n', 90)
    if user and ended(epochs, bound, id, user) then
      redis.call('DEL', KEYS[1])
      return {0}
    end
  end
end
return {1, value, redis.call('PTTL', KEYS[1]), now()}`);

/** ARGV: id of the write, duration to the deadline, to createdAt, to lastSeenAt, indexed for, bound at, lines, snapshot. */
export const createScript = script(`${prelude}
local write, expiresIn, createdIn, lastSeenIn, indexedFor, bound, text, snapshot = unpack(ARGV)
local time = now()
local indexed = tonumber(indexedFor) > 0 and time + indexedFor or 0
local value = header(1, write, time + lastSeenIn, time + createdIn, indexed, bound, #text) .. text .. snapshot .. '\\n'
if redis.call('EXISTS', KEYS[1]) == 1 then return {redis.call('GETRANGE', KEYS[1], 11, 22) == write and 1 or 0} end
put(KEYS[1], value, expiresIn)
return {1}`);

/**
 * ARGV: as in `writing`.
 * Answers 1 and, if the index has to be extended before the session can live as long as it should, its user.
 */
export const saveScript = script(`${prelude}${writing}
local record = live(KEYS[1], epochs)
if not record then return {0} end
if record.write == write then return {1, '', record.version} end
local time, ttl, indexed, short = now(), lifetime(KEYS[1], record), record.indexed, ''
if newUser ~= '' then indexed = newUser == 'null' and 0 or time + indexedFor end
if indexed > 0 and ttl > indexed - time then
  ttl = indexed - time
  local _, user = lines(KEYS[1], record)
  short = newUser ~= '' and newUser or user
end
if newUser ~= '' or newExpiry ~= '' or newMeta ~= '' or (snapshot ~= '' and unchanged(record)) then
  local value = rewritten(KEYS[1], record, time, indexed)
  put(KEYS[1], value, ttl)
else
  redis.call('SETRANGE', KEYS[1], 0,
    header(record.version + 1, write, time, record.created, indexed, record.bound, record.length))
  if line ~= '' then redis.call('APPEND', KEYS[1], line) end
  redis.call('PEXPIRE', KEYS[1], ttl)
end
return {1, short, record.version + 1}`);

/**
 * ARGV: epochs, version, duration to the deadline, to lastSeenAt, for how long the index knows it from now on (0: as
 * before). Answers 2 and the user when the index has to be extended first.
 */
export const touchScript = script(`${prelude}
local epochs, version, expiresIn, lastSeenIn, indexedFor = unpack(ARGV)
local record, ttl, time = live(KEYS[1], epochs), tonumber(expiresIn), now()
if not record or record.version ~= tonumber(version) or ttl <= redis.call('PTTL', KEYS[1]) then return {0} end
if record.indexed > 0 then
  if tonumber(indexedFor) > 0 then
    redis.call('SETRANGE', KEYS[1], 53, moment(time + indexedFor))
  elseif ttl > record.indexed - time then
    local _, user = lines(KEYS[1], record)
    return {2, user}
  end
end
redis.call('SETRANGE', KEYS[1], 23, moment(time + lastSeenIn))
redis.call('PEXPIRE', KEYS[1], ttl)
return {1}`);

/**
 * ARGV: '' or the user it must belong to; '' or the session id that it must have; session ids that are spared.
 * Answers 0: nothing to end; 1: ended, with its user and id, or '', and when it was bound; 2: moved, and where to; 3:
 * pending, and so nobody's yet.
 */
export const endScript = script(`${prelude}
local owner, only = ARGV[1], ARGV[2]
local kind = redis.call('GETRANGE', KEYS[1], 0, 0)
if kind == '' then return {0} end
if kind == 'M' then
  local to, id = string.match(redis.call('GET', KEYS[1]), '^M([^\\n]*)\\n([^\\n]*)\\n')
  if only ~= '' and only ~= id then return {0} end
  return {2, to}
end
local record, id, user = live(KEYS[1], '')
if record then id, user = lines(KEYS[1], record) end
if owner ~= '' and kind == 'P' then return {3} end
if only ~= '' and kind ~= 'P' and only ~= id then return {0} end
-- What cannot be read is no good to anybody: there the index's word is enough.
if owner ~= '' and user then
  if owner ~= user then return {0} end
  for i = 3, #ARGV do if ARGV[i] == id then return {0} end end
end
redis.call('DEL', KEYS[1])
return {1, user or '', id or '', record and record.bound or 0}`);

/**
 * Looks at some of all keys of one server. ARGV: a cursor, a pattern, how many, a session id. Answers the next cursor,
 * and the keys under which the session is or was.
 */
export const scanScript = script(`
local cursor, pattern, count, id = unpack(ARGV)
local page = redis.call('SCAN', cursor, 'MATCH', pattern, 'COUNT', count, 'TYPE', 'string')
local found = {}
for _, key in ipairs(page[2]) do
  local head = redis.call('GETRANGE', key, 0, 255 + #id)
  local kind = string.sub(head, 1, 1)
  if kind == 'S' and string.sub(head, 90, 90 + #id) == id .. '\\n'
    or kind == 'M' and string.match(head, '^[^\\n]*\\n([^\\n]*)\\n') == id then
    found[#found + 1] = key
  end
end
return {1, page[1], found}`);

export function script(text: string): RedisScript {
  return { text, hash: createHash('sha1').update(text).digest('hex') };
}
