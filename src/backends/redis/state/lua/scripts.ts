import { SESSION_NOTICE } from '../../lua/sessions.ts';

/**
 * Defines `state_tidy()`: carries out ends that are due, in their order, and forgets old tombstones. All that is due, so that no reader sees what
 * has ended.
 */
const STATE_TIDY = /* lua */ `${SESSION_NOTICE}
local function state_tidy()
  session_notice()
  for _, key in ipairs(redis.call('ZRANGE', K .. 'v:due', '-inf', int(now()), 'BYSCORE')) do state_put(key, '') end
  local old = redis.call('ZRANGE', K .. 'v:gone', '-inf', int(now() - 600000000), 'BYSCORE', 'LIMIT', 0, 250)
  if #old == 0 then return end
  local forgotten = tonumber(redis.call('GET', K .. 'v:f') or 0)
  for _, key in ipairs(old) do
    local revision = redis.call('ZSCORE', K .. 'v:r', key)
    if revision then forgotten = math.max(forgotten, tonumber(revision)) end
    redis.call('HDEL', K .. 'v', key)
    redis.call('ZREM', K .. 'v:r', key)
    redis.call('ZREM', K .. 'v:gone', key)
  end
  redis.call('SET', K .. 'v:f', int(forgotten))
end
`;

/** ARGV: keys. Answers the time and a record or nil for each. */
export const STATE_GET: string = /* lua */ `${STATE_TIDY}
state_tidy()
local answer = { int(now()) }
for i, key in ipairs(ARGV) do answer[i + 1] = redis.call('HGET', K .. 'v', key) end
return answer
`;

/**
 * ARGV: session, sequence, then five a swap: key, expected revision, 's' when bound to the session, ends in µs or '', value or ''. Answers JSON. Where it
 * swapped, the caller knows the values.
 */
export const STATE_SWAP: string = /* lua */ `${STATE_TIDY}
local known = begin(ARGV[1], ARGV[2])
if known then return known end
state_tidy()
local swapped, before = true, {}
for i = 3, #ARGV, 5 do
  local record = state_record(ARGV[i])
  if record and record.value == '' then record = nil end
  before[i] = record
  if tonumber(record and record.revision or 0) ~= tonumber(ARGV[i + 1]) then swapped = false end
end
local entries = {}
for i = 3, #ARGV, 5 do
  local key, value, text = ARGV[i], ARGV[i + 4], 'null'
  if swapped then
    if value ~= '' or before[i] then
      state_put(key, value, value ~= '' and ARGV[i + 2] == 's' and ARGV[1] or nil)
      if value ~= '' and ARGV[i + 3] ~= '' then redis.call('ZADD', K .. 'v:due', int(now() + tonumber(ARGV[i + 3])), key) end
    end
    if value ~= '' then text = '[' .. redis.call('GET', K .. 'v:rev') .. ',' .. int(now()) .. ']' end
  elseif before[i] then
    text = '[' .. before[i].revision .. ',' .. before[i].at .. ',' .. before[i].value .. ']'
  end
  entries[#entries + 1] = text
end
return finish(ARGV[1], ARGV[2], '{"at":' .. int(now()) .. ',"swapped":' .. tostring(swapped) .. ',"entries":[' .. table.concat(entries, ',') .. ']}')
`;

/**
 * ARGV: prefix, after, limit. Answers the time, the revision to go on with, whether there is a reset, whether there is more, then key and record by turns.
 * Looks at 2,000 entries at most.
 */
export const STATE_CHANGES: string = /* lua */ `${STATE_TIDY}
state_tidy()
local prefix, after, limit = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local newest = tonumber(redis.call('GET', K .. 'v:rev') or 0)
local forgotten = tonumber(redis.call('GET', K .. 'v:f') or newest + 1)
-- Who has seen more than there is has seen what the server has lost.
local reset = after > 0 and (after < forgotten or after > newest)
local listing = reset or after <= 0
local from = reset and 0 or math.abs(after)
local begins = from == 0
local answer, count, scanned = { int(now()), int(newest), reset and 'yes' or '', '' }, 0, 0
local function stop()
  answer[2] = int(listing and -from or from)
  answer[4] = 'yes'
  return answer
end
while true do
  local keys = redis.call('ZRANGE', K .. 'v:r', '(' .. int(from), '+inf', 'BYSCORE', 'LIMIT', 0, 100, 'WITHSCORES')
  for i = 1, #keys, 2 do
    local key, revision = keys[i], tonumber(keys[i + 1])
    if string.sub(key, 1, #prefix) == prefix then
      local record = redis.call('HGET', K .. 'v', key)
      -- Who begins has nothing to delete.
      if not begins or string.match(record, '^%d+ %d+ %S+ (.?)') ~= '' then
        if count == limit then return stop() end
        count = count + 1
        answer[#answer + 1] = key
        answer[#answer + 1] = record
      end
    end
    from = revision
  end
  if #keys < 200 then return answer end
  scanned = scanned + 100
  if scanned >= 2000 then return stop() end
end
`;
