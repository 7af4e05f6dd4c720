/*
 * v        hash  key → "revision changedAt session|- value": what is there now; a tombstone has no value
 * v:r      zset  key → revision: the commit order
 * v:due    zset  key → when it ends by itself, µs
 * v:gone   zset  key → when it was deleted, µs: tombstones, forgotten after 10 min
 * v:b:<n>  set   keys bound to session n
 * v:rev    the newest revision; v:f the highest one of a tombstone that is forgotten
 */

/** Changes entries. A store that lost everything goes on above its old revisions: they are at least the time in µs. */
export const STATE_PUT: string = /* lua */ `
local function state_put(key, value, session)
  local last = redis.call('GET', K .. 'v:rev')
  local revision = int(math.max(tonumber(last or 0) + 1, now()))
  if not last then redis.call('SET', K .. 'v:f', int(tonumber(revision) - 1)) end
  redis.call('SET', K .. 'v:rev', revision)
  redis.call('HSET', K .. 'v', key, revision .. ' ' .. int(now()) .. ' ' .. (session or '-') .. ' ' .. value)
  redis.call('ZADD', K .. 'v:r', revision, key)
  redis.call('ZREM', K .. 'v:due', key)
  if value == '' then redis.call('ZADD', K .. 'v:gone', int(now()), key) else redis.call('ZREM', K .. 'v:gone', key) end
  if session then redis.call('SADD', K .. 'v:b:' .. session, key) end
  local slash = string.find(key, '/', 1, true)
  hint('state', slash and string.sub(key, 1, slash) or key)
end
local function state_record(key)
  local record = redis.call('HGET', K .. 'v', key)
  if not record then return nil end
  local revision, at, session, value = string.match(record, '^(%d+) (%d+) (%S+) (.*)$')
  return { revision = revision, at = at, session = session, value = value }
end
`;

/** Defines `state_on_close(session)`: what is bound to the session ends with it, closed or expired. */
export const STATE_ON_CLOSE: string = /* lua */ `${STATE_PUT}
local function state_on_close(session)
  local bound = K .. 'v:b:' .. session
  local keys = redis.call('SMEMBERS', bound)
  table.sort(keys)
  for _, key in ipairs(keys) do
    local record = state_record(key)
    if record and record.session == session and record.value ~= '' then state_put(key, '') end
  end
  redis.call('DEL', bound)
end
`;
